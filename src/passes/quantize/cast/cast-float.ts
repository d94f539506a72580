/**
 * Float weights in 16 bits. Stored only: W → Cast(W₁₆) : the runtime folds the Cast of a constant when it loads the model, so
 * what runs is the float32 kernel. float16: 11 significant bits, |w| ≤ 65504; bfloat16: 8 bits, the range of float32.
 */

import { z } from 'zod'
import { PareError } from '../../../base/errors.ts'
import { codeOfDtype } from '../../../ir/dtype-code.ts'
import { editGraph, mapGraphs, takenIds } from '../../../ir/edit.ts'
import { allGraphs, constants, consumers } from '../../../ir/graph.ts'
import { elementCount, tensor, toFloats } from '../../../ir/tensor.ts'
import { precisionOf } from '../../../ops/ask.ts'
import { inferShapes } from '../../../ops/infer.ts'
import type { Graph, Model, Node, Tensor } from '../../../types.ts'
import { definePass } from '../../pass.ts'
import type { Context } from '../../types.ts'
import { matcher } from '../common/select.ts'
import { computeInHalf, guardedConstants, isCast, keptNodes } from './compute.ts'
import { largestHalf, leastNormal, type Narrow, reasonNotNarrow, vanishing } from './narrow.ts'
import { valuesBeyond } from './overflow.ts'
import { raised } from './raise.ts'

/** Stores float32 constants in a 16-bit type; the model computes in float32 as before. */
export const castFloat = definePass({
  name: 'cast-float',
  summary: 'store float weights in 16 bits, to run as float32 at the same speed; or compute in float16',
  group: 'storage',
  asStored: true,
  uses: ['calibration'],
  options: {
    type: z
      .enum(['float16', 'bfloat16', 'float32'])
      .default('float16')
      .describe('type the weights are stored in; float32: all of a float16, bfloat16 or float64 model becomes float32'),
    compute: z
      .boolean()
      .default(false)
      .describe('compute in float16 too, between inputs and outputs of float32: for GPUs and NPUs; CPUs are slower'),
    exclude: z.array(z.string()).default([]).describe('nodes left alone: operator types or name patterns with *'),
    minElements: z.int().min(1).default(128).describe('smaller constants are no weights and stay as they are')
  },
  run: (model, options, ctx) => {
    const isExcluded = matcher(options.exclude)
    const { type } = options
    if (type === 'float32') return raised(model)
    if (options.compute) return castCompute(model, { ...options, type, isExcluded }, ctx)
    const taken = takenIds(model)
    return mapGraphs(model, (graph) => castGraph(graph, { ...options, type, isExcluded, taken, ctx }))
  }
})

/** Calibration data, where there is some, tells which values float16 cannot hold. */
async function castCompute(
  model: Model,
  o: Pick<How, 'type' | 'minElements' | 'isExcluded'>,
  ctx: Context
): Promise<Model> {
  if (o.type !== 'float16')
    throw new PareError('E_OPTION', 'cast-float: compute needs float16; bfloat16 is for storage', { where: 'type' })
  const typed = inferShapes(model)
  const guards = guardedConstants(typed, o)
  if (guards.size > 0) ctx.note(`constants outside the range of float16 were clamped: ${[...guards.keys()].join(', ')}`)
  const { calibration } = ctx.data
  if (!calibration)
    ctx.note('cast-float: no calibration data, so values were not checked for being too large or too small for float16')
  const overflow = calibration
    ? await valuesBeyond(typed, { least: leastNormal, limit: largestHalf }, calibration, guards, ctx)
    : new Map()
  const how = { ...o, overflow }
  const kept = keptNodes(typed, how)
  const made = computeInHalf(typed, kept, how)
  for (const [node, reason] of kept) if (reason !== undefined) ctx.refuse(node, `${reason}: stays in float32`)
  if (made === typed) return model
  for (const graph of allGraphs(typed))
    for (const v of constants(graph))
      if (v.dtype === 'float32' && elementCount(v.data.shape) >= Math.max(2, o.minElements))
        if (consumers(graph, v.id).some((n) => !kept.has(n))) tellVanishing(v.id, v.data, { type: o.type, ctx })
  ctx.plan({ type: o.type, overflow: Object.fromEntries(overflow), float32: [...kept.keys()].map((n) => n.name) })
  return made
}

interface How {
  readonly type: Narrow
  readonly minElements: number
  readonly isExcluded: (node: Node) => boolean
  readonly taken: Set<string>
  readonly ctx: Context
}

function castGraph(graph: Graph, how: How): Graph {
  return editGraph(
    graph,
    (d) => {
      for (const v of constants(graph)) {
        const readers = consumers(graph, v.id)
        if (v.data.dtype !== 'float32' || elementCount(v.data.shape) < how.minElements || readers.length === 0) continue
        if (
          readers.some((n) => precisionOf(n) === 'single' || isCast(n) || n.domain !== undefined || how.isExcluded(n))
        )
          continue
        const reason = reasonNotNarrow(v.data, how.type)
        if (reason) {
          how.ctx.refuse(readers[0] as Node, `weight ${v.id} ${reason}: it stays in float32`)
          continue
        }
        tellVanishing(v.id, v.data, how)
        const stored = tensor(how.type, v.data.shape, toFloats(v.data))
        const id = d.addConstant(stored, `${v.id}_${how.type === 'float16' ? 'f16' : 'bf16'}`)
        const { data: _, ...type } = v
        d.set(type)
        d.add('Cast', [id], { attrs: { to: codeOfDtype('float32') }, outputs: [v.id] })
      }
    },
    how.taken
  )
}

function tellVanishing(id: string, t: Tensor, { type, ctx }: Pick<How, 'type' | 'ctx'>): void {
  const lost = vanishing(t, type)
  if (!lost) return
  const which = `${lost.channels} of ${t.shape[lost.axis]} channels on axis ${lost.axis}`
  ctx.note(`weight ${id}: ${which} hold only values below the least of ${type} and become 0`)
}

import { z } from 'zod'
import { PareError } from '../../base/errors.ts'
import { type Draft, editGraph, mapGraphs, takenIds } from '../../ir/edit.ts'
import { constant } from '../../ir/graph.ts'
import { inferShapes } from '../../ops/infer.ts'
import { plainSoftmax } from '../../ops/plain-softmax.ts'
import type { Graph, Model, Value } from '../../types.ts'
import { definePass } from '../pass.ts'
import { withTypes } from '../typed.ts'
import type { Context } from '../types.ts'
import { inlineBranches } from './branch.ts'
import { foldConstants } from './fold.ts'
import { dropIdentities, type Look } from './identity.ts'
import { mergeConstants, mergeNodes } from './merge.ts'
import { contentsOf, foldShapes } from './shapes.ts'
import { dropUnused } from './unused.ts'

const options = {
  fold: z.boolean().default(true).describe('compute beforehand what does not depend on the inputs'),
  merge: z.boolean().default(true).describe('keep one of several equal constants or computations'),
  maxFoldBytes: z
    .number()
    .int()
    .nonnegative()
    .default(16 * 1024 * 1024)
    .describe('largest result of folding, in bytes')
}

/** Every round removes nodes or constants; real models need two to four. */
const maxRounds = 30

/**
 * Removes what a model computes in vain: dead and unused parts, nodes that hand on their input, shape arithmetic on known
 * shapes, branches whose condition is known, repeated constants and computations, and (through the Runner) what depends on constants only. What is
 * left computes the same numbers by the same operators; names and types of inputs and outputs stay. The file does not grow.
 */
export const simplify = definePass({
  name: 'simplify',
  summary: 'fold constants and shape arithmetic; drop dead, idle and repeated nodes and constants',
  group: 'graph',
  options,
  run: (model, o, ctx) =>
    withTypes(plainSoftmax(model), async (typed) => {
      const failed = new Set<string>()
      let now = typed
      for (let round = 0; round < maxRounds; round++) {
        if (ctx.signal.aborted) throw new PareError('E_ABORTED', 'stopped while simplifying')
        ctx.progress('simplify', round, undefined)
        const made = await simplifyOnce(now, o, failed, ctx)
        if (made === now) break
        now = inferShapes(made)
      }
      return now
    })
})

interface Options {
  readonly fold: boolean
  readonly merge: boolean
  readonly maxFoldBytes: number
}

async function simplifyOnce(model: Model, o: Options, failed: Set<string>, ctx: Context): Promise<Model> {
  const taken = takenIds(model)
  const rearranged = mapGraphs(model, (graph, around) => {
    const contents = o.fold ? contentsOf(model, graph, around) : new Map()
    const edited = editGraph(
      graph,
      (draft) => {
        const look = lookFrom(draft, around)
        if (o.fold) {
          inlineBranches(draft, contents, look)
          foldShapes(draft, contents, (id) => look.value(id))
        }
        dropIdentities(draft, look)
        if (o.merge) {
          mergeConstants(draft, graph, around)
          mergeNodes(draft)
        }
      },
      taken
    )
    return dropUnused(edited, taken)
  })
  return o.fold ? foldConstants(rearranged, o.maxFoldBytes, failed, ctx) : rearranged
}

function lookFrom(draft: Draft, around: readonly Graph[]): Look {
  const outer = (id: string): Graph | undefined => around.findLast((g) => g.values.has(id))
  return {
    value: (id): Value | undefined => (id == null ? undefined : (draft.value(id) ?? outer(id)?.values.get(id))),
    constant: (id) => {
      if (id == null || draft.value(id)) return draft.constant(id)
      const graph = outer(id)
      return graph && constant(graph, id)
    }
  }
}

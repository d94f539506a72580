/**
 * How much each weight's type alone disturbs the model: e² = ‖y − r‖² / ‖r‖² of the outputs, with only that weight stored.
 * Disturbances of layers are nearly independent, so e² adds up over them (the additive model of HAWQ-V2, Dong et al. 2020,
 * and of Lin, Talathi & Annapureddy 2016), and second moments of a layer's inputs are the same for all its types: the data
 * runs once.
 */
import { PareError, stopIfAborted } from '../../../base/errors.ts'
import { compacted } from '../../../ir/compact.ts'
import { editGraph, mapGraphs, takenIds } from '../../../ir/edit.ts'
import { constant } from '../../../ir/graph.ts'
import { type Gram, grams, type LayerInput } from '../../../observe/gram.ts'
import { inferShapes } from '../../../ops/infer.ts'
import type { Dataset, Model, Tensor } from '../../../types.ts'
import { shiftBiases } from '../../biases.ts'
import type { Context } from '../../types.ts'
import { weightUses } from '../common/uses.ts'
import { expanded, type Stored, storeAlone } from '../weights/apply.ts'
import { storeByMoments } from '../weights/gptq-store.ts'
import { canShift, centred, shiftOf, soleLayer } from '../weights/layerwise.ts'
import type { WeightPlan } from '../weights/plan.ts'
import { asHalf, type Method, type Part, type Way } from './types.ts'

/** A weight as one type makes it, and what the bias of its layer loses for that, by the first output of the node. */
export interface Disturbed {
  readonly id: string
  /** Made anew from its codes at every call. */
  readonly data: () => Tensor
  readonly shift?: { readonly output: string; readonly values: Float64Array }
}

/** Weights of every part in every way: `made[part][way]`. */
export async function disturbances(
  model: Model,
  parts: readonly Part[],
  method: Method,
  data: Dataset | undefined,
  ctx: Pick<Context, 'engine' | 'signal' | 'progress'>
): Promise<readonly (readonly (readonly Disturbed[])[])[]> {
  const typed = inferShapes(model)
  const used = weightUses(typed)
  const made = parts.map((p) => p.ways.map((): Disturbed[] => []))
  const layers = new Map<LayerInput, { id: string; part: number }>()
  for (const [at, part] of parts.entries())
    for (const id of part.ids) {
      const plan = part.ways.flatMap((w) => w.plans).find((w) => w.id === id)
      const layer = data && plan ? soleLayer(typed, plan) : 'there is no data'
      if (typeof layer === 'string') storeAll(id, at, undefined)
      else layers.set(layer, { id, part: at })
    }
  if (!data) return made
  let done = 0
  for await (const [layer, gram] of grams(typed, [...layers.keys()], data, ctx)) {
    const { id, part } = layers.get(layer) as { id: string; part: number }
    storeAll(id, part, { layer, gram })
    ctx.progress('rounding weights in every type', ++done, layers.size)
  }
  return made

  function storeAll(id: string, at: number, seen: { layer: LayerInput; gram: Gram } | undefined): void {
    stopIfAborted(ctx.signal)
    const own = used.get(id)?.data
    const isSparse = typed.graph.values.get(id)?.sparse !== undefined
    const rounded = own && rounder(typed, own, method, isSparse, seen)
    for (const [i, way] of (parts[at] as Part).ways.entries()) {
      const one = rounded?.(id, way)
      if (one) made[at]?.[i]?.push(one)
    }
  }
}

/** How a weight is rounded; the moments of its layer are taken around the mean where a bias takes that up. */
function rounder(
  typed: Model,
  own: Tensor,
  method: Method,
  isSparse: boolean,
  seen: { readonly layer: LayerInput; readonly gram: Gram } | undefined
): (id: string, way: Way) => Disturbed | undefined {
  const hasBias = seen !== undefined && canShift(typed, seen.layer)
  const gram = seen && (hasBias ? centred(seen.gram) : seen.gram)
  const store = (w: WeightPlan): Stored =>
    seen && gram && method === 'gptq'
      ? storeByMoments(w, own, seen.layer, gram, isSparse)
      : storeAlone(w, own, { hqq: method === 'hqq', isSparse })
  return (id, way) => {
    const w = way.plans.find((p) => p.id === id)
    if (!w) {
      const half = way.type === 'float16' ? asHalf(own) : undefined
      return half && { id, data: () => asHalf(own) as Tensor }
    }
    const stored = store(w)
    const made = 'dtype' in stored ? compacted(stored) : stored
    const data = (): Tensor => expanded(made, own, w)
    if (!seen || !hasBias) return { id, data }
    const values = shiftOf(seen.layer, own, data(), seen.gram)
    return { id, data, shift: { output: seen.layer.node.outputs[0] as string, values } }
  }
}

/** The model with some weights and biases replaced. */
export function disturbed(model: Model, all: readonly Disturbed[]): Model {
  if (all.length === 0) return model
  const byId = new Map(all.map((d) => [d.id, d.data]))
  const shifts = new Map(all.flatMap((d) => (d.shift ? [[d.shift.output, d.shift.values] as const] : [])))
  const taken = takenIds(model)
  return mapGraphs(model, (graph) =>
    editGraph(
      graph,
      (d) => {
        for (const v of graph.values.values()) {
          const data = constant(graph, v.id) ? byId.get(v.id) : undefined
          if (data) d.set({ ...v, data: data() })
        }
        if (graph.name === model.graph.name) shiftBiases(d, graph, shifts)
      },
      taken
    )
  )
}

/** e² of every part in every way alone. Throws `E_DATA` where nothing can be measured. */
export async function sensitivities(
  model: Model,
  made: readonly (readonly (readonly Disturbed[])[])[],
  samples: number,
  ctx: Pick<Context, 'measure' | 'signal' | 'progress'>
): Promise<readonly (readonly number[])[]> {
  const { measure } = ctx
  if (!measure)
    throw new PareError('E_DATA', 'mix-precision measures models: it needs samples', { hint: '--data PATH' })
  const total = made.reduce((n, ways) => n + ways.filter((w) => w.length > 0).length, 0)
  const out: number[][] = []
  let done = 0
  for (const ways of made) {
    const errors: number[] = []
    for (const all of ways) {
      stopIfAborted(ctx.signal)
      if (all.length > 0) ctx.progress('measuring layers', done++, total)
      errors.push(all.length === 0 ? 0 : (await measure(disturbed(model, all), { beside: model, samples })).error)
    }
    out.push(errors)
  }
  return out
}

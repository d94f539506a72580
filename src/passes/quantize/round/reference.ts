/** Is a float model the one that a rounded model was made from? Weights tell: codes stand for nearly the same numbers. */
import { constant } from '../../../ir/graph.ts'
import { toNumbers } from '../../../ir/tensor.ts'
import { dequantizedConstant } from '../../../ops/quantized.ts'
import type { Graph, Model } from '../../../types.ts'
import { type Twin, twinsOf } from '../common/twins.ts'
import { codedWeight } from './weight.ts'

export interface Likeness {
  /** Layers with rounded weights that both models have. */
  readonly layers: number
  /** The largest ‖ŵ − w‖ / ‖w‖ of a layer's weight, and that layer; infinite where shapes differ. */
  readonly error: number
  readonly where: string | undefined
}

/** How far the weights of a rounded model are from those of a float model. */
export function likeness(model: Model, reference: Model): Likeness {
  const found = twinsOf(model, reference).flatMap((t) => {
    const error = weightError(model.graph, reference.graph, t)
    return error === undefined ? [] : [{ error, where: t.made.name }]
  })
  const worst = found.reduce((a, b) => (b.error > a.error ? b : a), {
    error: 0,
    where: undefined as string | undefined
  })
  return { layers: found.length, ...worst }
}

/** `undefined` where the weight is not rounded. */
function weightError(graph: Graph, from: Graph, { made, original, rule }: Twin): number | undefined {
  const id = made.inputs[rule.weights.input]
  const values = roundedValues(graph, id)
  if (!values) return undefined
  const data = constant(from, original.inputs[rule.weights.input])
  const weights = data && toNumbers(data)
  if (!weights || weights.length !== values.length) return Number.POSITIVE_INFINITY
  let [off, power] = [0, 0]
  for (let i = 0; i < values.length; i++) {
    off += ((values[i] as number) - (weights[i] as number)) ** 2
    power += (weights[i] as number) ** 2
  }
  return power === 0 ? 0 : Math.sqrt(off / power)
}

/** What the codes of a weight stand for. */
function roundedValues(graph: Graph, id: string | null | undefined): ArrayLike<number> | undefined {
  const from = dequantizedConstant(graph, id)
  if (from) {
    const { layout, scales, zeros } = codedWeight(from, false)
    return Float64Array.from(toNumbers(from.codes), (code, i) => {
      const cell = layout.of(i)
      return (code - (zeros[cell] as number)) * (scales[cell] as number)
    })
  }
  const value = id == null ? undefined : graph.values.get(id)
  return value?.form === 'palette' && value.data ? toNumbers(value.data) : undefined
}

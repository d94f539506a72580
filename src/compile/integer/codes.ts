/** Which values of a model are codes of real numbers, and where codes are made of them again. */
import { constant, isOutput, producer, soleConsumer } from '../../ir/graph.ts'
import { elementCount, toNumbers } from '../../ir/tensor.ts'
import { opFor } from '../../ops/index.ts'
import { viewOf } from '../../ops/infer.ts'
import { isDequantize, isQuantize } from '../../ops/quantized.ts'
import type { Graph, Model, Node, Tensor } from '../../types.ts'
import { allCodes, type Coding, inverse } from '../kernels/recode.ts'
import { nearestEven } from './evaluate.ts'

/** A value that is computed as codes. */
export interface Coded {
  /** Of the codes. */
  readonly id: string
  readonly coding: Coding
  readonly shape: readonly number[]
  readonly signed: boolean
}

/** What a DequantizeLinear of computed codes reads; `undefined` where it is none, or has more than one scale. */
export function codedOf(graph: Graph, id: string | null | undefined): Coded | undefined {
  const node = id == null ? undefined : producer(graph, id)
  if (!node || !isDequantize(node) || constant(graph, node.inputs[0])) return undefined
  return coded(graph, node, node.inputs[0] as string)
}

/** The codes that a QuantizeLinear makes. */
export const madeBy = (graph: Graph, node: Node): Coded | undefined =>
  isQuantize(node) ? coded(graph, node, node.outputs[0] as string) : undefined

function coded(graph: Graph, node: Node, id: string): Coded | undefined {
  const { dtype, shape } = graph.values.get(id) ?? {}
  if (node.domain !== undefined || (dtype !== 'uint8' && dtype !== 'int8')) return undefined
  const scale = single(constant(graph, node.inputs[1]))
  const zero = node.inputs[2] == null ? 0 : single(constant(graph, node.inputs[2]))
  if (scale === undefined || zero === undefined || !shape?.every((d) => typeof d === 'number')) return undefined
  const signed = dtype === 'int8'
  return { id, coding: { scale, zero: signed ? zero + 128 : zero }, shape: shape as readonly number[], signed }
}

const single = (t: Tensor | undefined): number | undefined =>
  t && elementCount(t.shape) === 1 ? toNumbers(t)[0] : undefined

export const sameCoding = (a: Coding, b: Coding): boolean => a.scale === b.scale && a.zero === b.zero

/** How the real numbers of a value become codes. */
export interface Quantized {
  /** The nodes behind it that this takes: clamps, and the QuantizeLinear. */
  readonly nodes: readonly Node[]
  readonly to: Coded
  /** The codes that clamps leave. */
  readonly bounds: { readonly low: number; readonly high: number }
}

/** Where all that becomes of a value is codes, by way of clamps alone. */
export function quantizedBehind(model: Model, id: string): Quantized | undefined {
  const { graph } = model
  const nodes: Node[] = []
  const clamps: { low: number; high: number }[] = []
  let at = id
  for (;;) {
    const next = isOutput(graph, at) ? undefined : soleConsumer(graph, at)
    if (!next) return undefined
    nodes.push(next)
    const to = madeBy(graph, next)
    if (to) return { nodes, to, bounds: codesBetween(to.coding, clamps) }
    const clamp = opFor(next)?.quant?.clamp?.(viewOf(model, graph, next))
    if (!clamp || next.inputs[0] !== at) return undefined
    clamps.push(clamp)
    at = next.outputs[0] as string
  }
}

/** Clamping and then rounding is rounding and then clamping to the codes of the bounds. */
function codesBetween(
  { scale, zero }: Coding,
  clamps: readonly { readonly low: number; readonly high: number }[]
): { low: number; high: number } {
  const hold = (q: number, low: number, high: number): number => Math.min(Math.max(q, low), high)
  const code = (x: number): number =>
    hold(nearestEven(Math.fround(Math.fround(x) * inverse(scale))) + zero, allCodes.low, allCodes.high)
  return clamps.reduce<{ low: number; high: number }>((b, c) => {
    const [low, high] = [code(c.low), code(c.high)]
    return { low: hold(b.low, low, high), high: hold(b.high, low, high) }
  }, allCodes)
}

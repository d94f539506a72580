/** The IR's words for numbers held as codes: QuantizeLinear makes codes of numbers, DequantizeLinear numbers of codes. */

import { allGraphs, constant, producer } from '../ir/graph.ts'
import { toNumbers } from '../ir/tensor.ts'
import type { Graph, Model, Node, Tensor } from '../types.ts'
import { opFor } from './index.ts'

type Maybe = Node | undefined

export const isQuantize = (node: Maybe): boolean => node?.op === 'QuantizeLinear'
export const isDequantize = (node: Maybe): boolean => node?.op === 'DequantizeLinear'
export const isQdq = (node: Maybe): boolean => isQuantize(node) || isDequantize(node)
/** Does a node go from numbers to codes or back, with given or with found scales? */
export const isRounding = (node: Maybe): boolean => isQdq(node) || node?.op === 'DynamicQuantizeLinear'

/** The DequantizeLinear that makes a value; `undefined` where something else does. */
export function dequantizer(graph: Graph, id: string | null | undefined): Node | undefined {
  const node = id == null ? undefined : producer(graph, id)
  return isDequantize(node) ? node : undefined
}

/** Codes, scales and zero points of a DequantizeLinear of constants. */
export interface Dequantized {
  readonly node: Node
  readonly codes: Tensor
  readonly scale: Tensor
  readonly zero: Tensor | undefined
}

/** How a value is made from constant codes; `undefined` where it is not. */
export function dequantizedConstant(graph: Graph, id: string | null | undefined): Dequantized | undefined {
  const node = dequantizer(graph, id)
  if (!node || node.domain !== undefined) return undefined
  const [codes, scale] = [constant(graph, node.inputs[0]), constant(graph, node.inputs[1])]
  const zeroId = node.inputs[2] ?? null
  const zero = constant(graph, zeroId)
  return codes && scale && (zeroId === null || zero) ? { node, codes, scale, zero } : undefined
}

/** The constant that a Cast makes a value of, as a format stores weights in float16; `undefined` where there is none. */
export function castConstant(graph: Graph, id: string | null | undefined): Tensor | undefined {
  const node = id == null ? undefined : producer(graph, id)
  return node?.op === 'Cast' && node.domain === undefined ? constant(graph, node.inputs[0]) : undefined
}

/** The scale of a value that comes out of a DequantizeLinear with one scale; `undefined` where it does not. */
export function activationScale(graph: Graph, id: string | null | undefined): number | undefined {
  const node = dequantizer(graph, id)
  if (!node || constant(graph, node.inputs[0])) return undefined
  const scale = constant(graph, node.inputs[1])
  return scale && scale.shape.length === 0 ? toNumbers(scale)[0] : undefined
}

/** Are values between layers rounded to codes? */
export const hasRoundedValues = ({ graph }: Pick<Model, 'graph'>): boolean =>
  graph.nodes.some((n) => opFor(n)?.codes === 'values')

/** Does a model hold numbers that were rounded to codes: values, or weights? */
export const isRounded = (model: Model): boolean =>
  allGraphs(model).some(
    (graph) =>
      graph.nodes.some((n) => readsCodes(graph, n)) || [...graph.values.values()].some((v) => v.form === 'palette')
  )

/** Of an operator without a record: does it read a constant of at most 8 bits, which must then be codes? */
function readsCodes(graph: Graph, node: Node): boolean {
  const op = opFor(node)
  if (op) return op.codes !== undefined
  return node.inputs.some((id) => /^u?int[248]$/.test(constant(graph, id)?.dtype ?? ''))
}

/**
 * The bias of a linear layer, as its operator tells it: where it is, its numbers, and the graph after a shift was taken
 * off. With y = α·x·W + β·b the bias is β·b; where a new constant takes the place of b, β is in it already.
 */
import { assert } from '../base/errors.ts'
import { attrInt, attrs } from '../ir/attrs.ts'
import type { Draft } from '../ir/edit.ts'
import { type GraphView, graphView, producer } from '../ir/graph.ts'
import { elementCount, isFloat, tensor, toNumbers } from '../ir/tensor.ts'
import { isAdd, linearOf } from '../ops/ask.ts'
import { activationScale, dequantizedConstant } from '../ops/quantized.ts'
import type { Linear } from '../ops/types.ts'
import type { Graph, Node, Tensor } from '../types.ts'

/** Where the bias of a layer is. */
export interface BiasPlace {
  /**
   * `float`: a constant of the node. `codes`: int32 codes behind a DequantizeLinear, b = code · s_x·s_w. `none`: the layer
   * has no bias. `behind`: the operator takes no bias, and the constant of an Add behind the node serves as one.
   */
  readonly kind: 'float' | 'codes' | 'none' | 'behind'
  readonly linear: Linear
  /** Output channels of all groups: the length of a shift. */
  readonly channels: number
}

/**
 * Where the bias of a node is, or why no shift can be taken off it. `behind`: an operator that takes no bias is looked at
 * with the Add behind it.
 */
export function biasPlace(graph: Graph, node: Node, o: { readonly behind?: true } = {}): BiasPlace | string {
  const g = graphView(graph)
  const linear = linearOf(g, node)
  if (!linear) return `${node.op} is not a linear layer of one weight`
  const channels = linear.groups * linear.outputs
  const at = (kind: BiasPlace['kind']): BiasPlace => ({ kind, linear, channels })
  if (!linear.bias && !o.behind) return `${node.op} has no bias`
  if (!linear.bias) return at(addBehind(g, node, linear) ? 'behind' : 'none')
  const stored = dequantizedConstant(graph, node.inputs[linear.bias.input])
  if (stored && !stored.zero) {
    if (linear.bias.beta !== 1) return 'its beta is not 1'
    return isVector(stored.codes, channels) ? at('codes') : `its bias has shape [${stored.codes.shape}]`
  }
  const found = constantBias(g, node, linear)
  return typeof found === 'string' ? found : at(found ? 'float' : 'none')
}

/** β·b of a node whose bias is a float constant, one number per output channel; `undefined` where it has no bias. */
export function constantBias(g: GraphView, node: Node, { bias, ...l }: Linear): Float64Array | string | undefined {
  const id = bias && node.inputs[bias.input]
  if (!bias || id == null) return undefined
  const data = g.constant(id)
  if (!data) return 'its bias is not a constant'
  if (!isFloat(data.dtype)) return `its bias is ${data.dtype}`
  const channels = l.groups * l.outputs
  const isWhole = isVector(data, channels)
  if (!isWhole && elementCount(data.shape) !== 1) return `its bias has shape [${data.shape}]`
  const given = toNumbers(data)
  return Float64Array.from({ length: channels }, (_, c) => bias.beta * (given[isWhole ? c : 0] as number))
}

/** The bias of every output channel, less a shift. A layer without a bias has zeros. */
export function biasNumbers(graph: Graph, node: Node, place: BiasPlace, shift?: ArrayLike<number>): Float64Array {
  const own = ownNumbers(graph, node, place)
  return shift ? own.map((b, c) => b - (shift[c] as number)) : own
}

function ownNumbers(graph: Graph, node: Node, { kind, linear, channels }: BiasPlace): Float64Array {
  const g = graphView(graph)
  if (kind === 'behind') return Float64Array.from(toNumbers(addBehind(g, node, linear)?.data as Tensor))
  const stored = kind === 'codes' && dequantizedConstant(graph, node.inputs[linear.bias?.input ?? -1])
  if (stored) {
    const scale = toNumbers(stored.scale)
    return Float64Array.from(toNumbers(stored.codes), (q, c) => q * (scale[scale.length === 1 ? 0 : c] as number))
  }
  const own = constantBias(g, node, linear)
  assert(typeof own !== 'string', `${node.name}: ${String(own)}`)
  return own ?? new Float64Array(channels)
}

// ---------------------------------------------------------------- writing

/**
 * The bias becomes bias − shift. `graph` is what the draft was opened on; the node may have been replaced since. Returns
 * the node in its new form.
 */
export function shiftBias(d: Draft, graph: Graph, node: Node, place: BiasPlace, shift: ArrayLike<number>): Node {
  if (place.kind !== 'behind')
    return d.replace(node, withBias(node, place.linear, shiftedBias(d, graph, node, place, shift)))
  const found = addBehind(d, node, place.linear)
  assert(found, `no Add of a constant is behind ${node.name}`)
  const values = Float64Array.from(toNumbers(found.data), (b, c) => b - (shift[c] as number))
  const { add, input } = found
  const made = d.addConstant(tensor(found.data.dtype, found.data.shape, values), `${add.inputs[input]}_b`)
  d.replace(add, { ...add, inputs: add.inputs.with(input, made) })
  return node
}

/** Takes shifts off the biases of nodes, named by their first outputs. Each node must have a place for a bias. */
export function shiftBiases(d: Draft, graph: Graph, shifts: ReadonlyMap<string, ArrayLike<number>>): void {
  for (const [output, shift] of shifts) {
    const was = producer(graph, output)
    const node = d.producer(output)
    if (!was || !node) continue
    const place = biasPlace(graph, was)
    assert(typeof place !== 'string', `${was.name}: ${String(place)}`)
    shiftBias(d, graph, node, place, shift)
  }
}

/** The id of a new value that holds bias − shift, for a node that reads its bias itself or is given one. */
export function shiftedBias(d: Draft, graph: Graph, node: Node, place: BiasPlace, shift: ArrayLike<number>): string {
  const { linear, channels } = place
  const id = (linear.bias && node.inputs[linear.bias.input]) ?? null
  if (place.kind === 'codes' && id !== null) return shiftedCodes(d, graph, id, shift)
  const hint = `${id ?? node.outputs[0]}_b`
  const values = biasNumbers(graph, node, place, shift)
  const old = d.constant(id)
  const scales = old ? undefined : biasScales(graph, node, place)
  if (scales) return codesOf(d, values, scales, hint)
  const like = [node.inputs[linear.weight] ?? '', node.outputs[0] ?? ''].map((v) => d.value(v)?.dtype)
  const dtype = old?.dtype ?? like.find((type) => type && isFloat(type)) ?? 'float32'
  return d.addConstant(tensor(dtype, old && isVector(old, channels) ? old.shape : [channels], values), hint)
}

/** The node reading a bias that holds β already. Inputs before it that were not given are left out. */
export function withBias(node: Node, { bias }: Linear, id: string): Node {
  assert(bias, `${node.op} takes no bias`)
  const length = Math.max(node.inputs.length, bias.input + 1)
  const inputs = Array.from({ length }, (_, i) => (i === bias.input ? id : (node.inputs[i] ?? null)))
  const { beta: _, ...attrs } = node.attrs
  return { ...node, inputs, attrs: bias.beta === 1 ? node.attrs : attrs }
}

// ---------------------------------------------------------------- parts

const isVector = (t: Tensor, channels: number): boolean =>
  elementCount(t.shape) === channels && t.shape.at(-1) === channels

/** The Add that alone reads a node's output and adds a constant to its last axis, one number per channel. */
function addBehind(
  g: GraphView,
  node: Node,
  l: Linear
): { readonly add: Node; readonly input: number; readonly data: Tensor } | undefined {
  const add = l.axes.out === -1 ? g.soleConsumer(node.outputs[0] ?? '') : undefined
  if (!add || !isAdd(add)) return undefined
  return add.inputs
    .map((id, input) => ({ add, input, data: g.constant(id) as Tensor }))
    .find(({ data }) => data && isVector(data, l.groups * l.outputs))
}

function shiftedCodes(d: Draft, graph: Graph, id: string, shift: ArrayLike<number>): string {
  const stored = dequantizedConstant(graph, id)
  assert(stored, `${id} is not made from constant codes`)
  const [codes, scale, maker] = [toNumbers(stored.codes), toNumbers(stored.scale), stored.node]
  const at = (c: number): number => scale[scale.length === 1 ? 0 : c] as number
  const made = Float64Array.from(codes, (q, c) => q - (shift[c] as number) / at(c))
  const code = d.addConstant(tensor(stored.codes.dtype, stored.codes.shape, made), maker.inputs[0] as string)
  const output = d.fresh(id)
  const { outputs: _, ...rest } = maker
  d.addNode({ ...rest, name: output, inputs: [code, ...maker.inputs.slice(1)], outputs: [output] })
  return output
}

/** s_x·s_w per channel where both data and weight are dequantized: such a node takes an int32 bias only. */
function biasScales(graph: Graph, node: Node, { linear, channels }: BiasPlace): Float64Array | undefined {
  const x = activationScale(graph, node.inputs[linear.data])
  const w = dequantizedConstant(graph, node.inputs[linear.weight])
  if (x === undefined || !w || attrInt(w.node, 'block_size', 0) !== 0) return undefined
  const scale = toNumbers(w.scale)
  return Float64Array.from({ length: channels }, (_, c) =>
    Math.fround(x * (scale[scale.length === 1 ? 0 : c] as number))
  )
}

function codesOf(d: Draft, values: Float64Array, scales: Float64Array, hint: string): string {
  const codes = values.map((b, c) => b / (scales[c] as number))
  const code = d.addConstant(tensor('int32', [codes.length], codes), hint)
  const scale = d.addConstant(tensor('float32', [scales.length], scales), `${hint}_s`)
  const output = d.fresh(`${hint}_dq`)
  const node = { name: output, op: 'DequantizeLinear', inputs: [code, scale], outputs: [output] }
  d.addNode({ ...node, attrs: attrs({ axis: 0 }) })
  return output
}

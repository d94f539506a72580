/**
 * Takes a shift per output channel away from a node's bias, however the bias is stored: a float constant, int32 codes
 * behind a DequantizeLinear (b = code · s_x·s_w), or none yet.
 */
import { attrFloat, attrInt, attrs } from '../../../ir/attrs.ts'
import type { Draft } from '../../../ir/edit.ts'
import { constant, producer } from '../../../ir/graph.ts'
import { elementCount, tensor, toFloats, toNumbers } from '../../../ir/tensor.ts'
import { activationScale, dequantizedConstant } from '../../../ops/quantized.ts'
import type { Model, Node, QuantRule, Tensor } from '../../../types.ts'

/** Where a bias is, and its numbers as they stand. */
export interface BiasPlace {
  readonly input: number
  readonly kind: 'none' | 'float' | 'codes'
  readonly channels: number
}

/** Where the bias of a layer is, or why it cannot be shifted. */
export function biasPlace(model: Model, node: Node, rule: QuantRule, channels: number): BiasPlace | string {
  const input = rule.bias
  if (input === undefined) return `${node.op} has no bias`
  if (attrFloat(node, 'beta', 1) !== 1) return 'its beta is not 1'
  const id = node.inputs[input] ?? null
  if (id === null) return { input, kind: 'none', channels }
  const isVector = (t: Tensor): boolean => elementCount(t.shape) === channels && t.shape.at(-1) === channels
  const data = constant(model.graph, id)
  if (data) return isVector(data) ? { input, kind: 'float', channels } : `its bias has shape [${data.shape}]`
  const stored = dequantizedConstant(model.graph, id)
  if (!stored || stored.zero) return 'its bias is not a constant'
  return isVector(stored.codes) ? { input, kind: 'codes', channels } : `its bias has shape [${stored.codes.shape}]`
}

/** The bias of `node` becomes bias − shift. Returns the node in its new form. */
export function shiftBias(d: Draft, model: Model, node: Node, place: BiasPlace, shift: ArrayLike<number>): Node {
  const id = node.inputs[place.input] ?? null
  const inputs = [...node.inputs]
  while (inputs.length <= place.input) inputs.push(null)
  inputs[place.input] = shifted(d, model, node, place, shift, id)
  return d.replace(node, { ...node, inputs })
}

function shifted(
  d: Draft,
  model: Model,
  node: Node,
  place: BiasPlace,
  shift: ArrayLike<number>,
  id: string | null
): string {
  const hint = `${id ?? node.outputs[0]}_b`
  if (place.kind === 'codes' && id !== null) return shiftedCodes(d, model, id, shift)
  const old = constant(model.graph, id)
  const own = old ? toFloats(old) : new Float32Array(place.channels)
  const values = Float64Array.from(own, (b, c) => b - (shift[c] as number))
  const scales = old ? undefined : biasScales(model, node, place.channels)
  if (scales) return codesOf(d, values, scales, hint)
  const dtype = old?.dtype ?? d.value(node.outputs[0] as string)?.dtype ?? 'float32'
  return d.addConstant(tensor(dtype, old?.shape ?? [place.channels], values), hint)
}

function shiftedCodes(d: Draft, model: Model, id: string, shift: ArrayLike<number>): string {
  const stored = dequantizedConstant(model.graph, id)
  const maker = producer(model.graph, id)
  if (!stored || !maker) return id
  const [codes, scale] = [toNumbers(stored.codes), toNumbers(stored.scale)]
  const at = (c: number): number => scale[scale.length === 1 ? 0 : c] as number
  const made = Float64Array.from(codes, (q, c) => q - (shift[c] as number) / at(c))
  const code = d.addConstant(tensor(stored.codes.dtype, stored.codes.shape, made), maker.inputs[0] as string)
  const output = d.fresh(id)
  const { outputs: _, ...rest } = maker
  d.addNode({ ...rest, name: output, inputs: [code, ...maker.inputs.slice(1)], outputs: [output] })
  return output
}

/** s_x·s_w per channel where both data and weight are dequantized: such a node takes an int32 bias only. */
function biasScales(model: Model, node: Node, channels: number): Float64Array | undefined {
  const x = activationScale(model.graph, node.inputs[0])
  const w = dequantizedConstant(model.graph, node.inputs[1])
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

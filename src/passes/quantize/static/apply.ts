/**
 * Writes a plan into the model as QuantizeLinear and DequantizeLinear, in the shape that runtimes fuse: every integer node
 * reads dequantized values only and its output is read by one QuantizeLinear only; a bias is int32 under s_x · s_w.
 */

import { assert } from '../../../base/errors.ts'
import { attrs } from '../../../ir/attrs.ts'
import { type Draft, edit, renameReads } from '../../../ir/edit.ts'
import { opName } from '../../../ir/graph.ts'
import { tensor, toFloats } from '../../../ir/tensor.ts'
import { type Parameters, parametersOf, symmetricParameters } from '../../../observe/ranges.ts'
import { opFor } from '../../../ops/index.ts'
import { isDequantize } from '../../../ops/quantized.ts'
import type { Attrs, Model, Node, Tensor } from '../../../types.ts'
import { channelsOf, encodeWeight, scaleTensor } from '../common/codes.ts'
import { once } from '../common/once.ts'
import { nameEveryAxis } from './every-axis.ts'
import { putOnCodes } from './on-codes.ts'
import {
  type BiasPlan,
  biasValues,
  fullLevels,
  type NodePlan,
  planned,
  rangeOf,
  type StaticPlan,
  scaledWeight,
  type WeightNumbers,
  weightKey
} from './plan.ts'

/** The model of a plan. The very same model where the plan is empty. */
export function applyStatic(model: Model, plan: StaticPlan): Model {
  return edit(model, (d) => {
    const s: State = { model, plan, d, made: new Map() }
    if (plan.nodes.length > 0) nameEveryAxis(d, model)
    const renamed = removeClamps(d, plan.clamps)
    const outputs = plan.nodes.map((n) => renamed.get(n.output) ?? n.output)
    for (const [i, n] of plan.nodes.entries()) quantizeConstants(s, n, outputs[i] as string)
    for (const [i, n] of plan.nodes.entries()) if (n.requantized) requantize(s, n, n.requantized, outputs[i] as string)
    quantizeValues(s, outputs)
    for (const [i, n] of plan.nodes.entries()) if (n.onCodes) putOnCodes(d, outputs[i] as string, n)
  })
}

interface State {
  readonly model: Model
  readonly plan: StaticPlan
  readonly d: Draft
  /** Ids of the constants and dequantized constants made so far, by a key of their content. */
  readonly made: Map<string, string>
}

/**
 * Removes the clamps: the node that made the input of a clamp makes its output instead. Returns the old and the new id of
 * each such value.
 */
function removeClamps(d: Draft, clamps: readonly string[]): ReadonlyMap<string, string> {
  const renamed = new Map<string, string>()
  for (const to of clamps) {
    const clamp = d.producer(to)
    assert(clamp, `nothing makes ${to}`)
    const from = clamp.inputs[0] as string
    const maker = d.producer(from)
    assert(maker, `nothing makes ${from}`)
    d.remove(clamp)
    d.replace(maker, { ...maker, outputs: maker.outputs.map((id) => (id === from ? to : id)) })
    for (const [a, b] of renamed) if (b === from) renamed.set(a, to)
    renamed.set(from, to)
  }
  return renamed
}

// ---------------------------------------------------------------- values

function quantizeValues(s: State, outputs: readonly string[]): void {
  const { d, plan } = s
  const integer = new Map<string, NodePlan>()
  for (const [i, n] of plan.nodes.entries())
    for (const id of d.producer(outputs[i] as string)?.outputs ?? []) integer.set(id, n)
  const isInteger = (n: Node): NodePlan | undefined => integer.get(n.outputs[0] as string)
  for (const v of plan.values)
    for (const id of v.ids) {
      const maker = integer.get(id)
      const isMade = maker !== undefined && !maker.givesFloat
      if (!d.producer(id) && !d.inputs.includes(id)) continue
      const readers = d.consumers(id).filter((n) => isMade || readsData(n, isInteger(n), id))
      if (readers.length === 0 && !(isMade && d.isOutput(id))) continue
      const isResult = isMade && d.isOutput(id)
      const from = isResult ? renameOutput(d, id) : isMade ? id : guarded(s, v, id)
      const code = addNode(d, 'QuantizeLinear', [from, ...parameterIds(s, v)], d.fresh(`${id}_q`))
      const dq = d.fresh(`${id}_dq`)
      // The node that made a result may have its name.
      const to = addNode(d, 'DequantizeLinear', [code, ...parameterIds(s, v)], isResult ? id : dq, {}, dq)
      const floats = isMade ? readers.filter((n) => !isInteger(n)) : []
      const inFloat = floats.some((n) => plan.cannotMove.includes(v.dtype) || isMovedInside(d, n))
        ? floored(s, v, id, to)
        : to
      for (const n of readers) {
        const from = isMade && !isInteger(n) ? inFloat : to
        if (from !== id) d.replace(n, isMade ? renameReads(n, id, from) : renameData(n, isInteger(n), id, from))
      }
    }
}

/** Is the node float data movement whose output a graph inside a node reads, by way of further movement too? */
function isMovedInside(d: Draft, node: Node): boolean {
  if (opFor(node)?.quant?.output !== 'same') return false
  return node.outputs.some((id) => d.consumers(id).some((n) => !n.inputs.includes(id) || isMovedInside(d, n)))
}

/**
 * The value behind a Max with the value of its lowest code, which changes no code. ONNX Runtime moves a DequantizeLinear
 * behind float movement of data, also behind a Reshape of its own making, and fails there for types that it cannot move
 * (`cannotMove`), or where a graph inside a node reads the result; it does not move it behind a Max.
 */
function floored(s: State, p: Parameters, id: string, value: string): string {
  const low = ((p.dtype === 'uint8' ? 0 : -128) - p.zeroPoint) * p.scale
  const floor = once(s.made, `floor ${low}`, () => s.d.addConstant(tensor('float32', [], [low]), 'low'))
  return addNode(s.d, 'Max', [value, floor], s.d.fresh(`${id}_max`))
}

/**
 * Keeps a node in float. Some runtimes turn a float operator between DequantizeLinear and QuantizeLinear into an integer
 * kernel by themselves, also where a Relu or Clip lies between, and lose the precision for which the pass left it in float.
 * A Max keeps them from it: it is put before the QuantizeLinear.
 */
function guarded(s: State, p: Parameters, id: string): string {
  const { d } = s
  let maker = d.producer(id)
  while (maker && opFor(maker)?.quant?.clamp && d.soleConsumer(maker.inputs[0] as string) === maker)
    maker = d.producer(maker.inputs[0] as string)
  const data = maker?.inputs[0]
  const isTakenOver = maker !== undefined && s.plan.takesOver.includes(opName(maker))
  if (!isTakenOver || data == null || !isDequantize(d.producer(data))) return id
  return floored(s, p, id, id)
}

const readsData = (n: Node, plan: NodePlan | undefined, id: string): boolean =>
  plan?.data.some((i) => n.inputs[i] === id) ?? false

function renameData(n: Node, plan: NodePlan | undefined, from: string, to: string): Node {
  return { ...n, inputs: n.inputs.map((id, i) => (id === from && plan?.data.includes(i) ? to : id)) }
}

/** Gives the producer's output a fresh id, so that the dequantized value can have the name of the graph output. */
function renameOutput(d: Draft, id: string): string {
  const maker = d.producer(id)
  assert(maker, `nothing makes ${id}`)
  const fresh = d.fresh(`${id}_f`)
  const { data: _, ...type } = d.value(id) ?? { id, type: 'tensor' as const }
  d.replace(maker, { ...maker, outputs: maker.outputs.map((o) => (o === id ? fresh : o)) })
  d.set({ ...type, id: fresh })
  return fresh
}

/** A node is named by the id of its output: a short name that the runtime's optimised graph keeps. */
function addNode(
  d: Draft,
  op: string,
  inputs: readonly string[],
  output: string,
  a: Attrs = {},
  name: string = output
): string {
  d.addNode({ name, op, inputs, outputs: [output], attrs: a })
  return output
}

/** The constants of a scale and a zero point; equal ones are made once. */
function parameterIds(s: State, p: Parameters): string[] {
  const scale = once(s.made, `scale ${p.scale}`, () => s.d.addConstant(tensor('float32', [], [p.scale]), 's'))
  const zero = once(s.made, `zero ${p.dtype} ${p.zeroPoint}`, () =>
    s.d.addConstant(tensor(p.dtype, [], [p.zeroPoint]), 'z')
  )
  return [scale, zero]
}

/**
 * Makes the second set of codes of inputs under another scale than the output's. Runs before values are quantized under
 * their own scale.
 */
function requantize(s: State, n: NodePlan, positions: readonly number[], output: string): void {
  const { d } = s
  const node = d.producer(output)
  assert(node, `nothing makes ${output}`)
  const p = parametersFor(s.plan, n.output)
  const inputs = [...node.inputs]
  for (const i of positions) {
    const from = inputs[i] as string
    inputs[i] = once(s.made, `requantized ${from} ${p.dtype} ${p.scale} ${p.zeroPoint}`, () => {
      const code = addNode(d, 'QuantizeLinear', [from, ...parameterIds(s, p)], d.fresh(`${from}_q`))
      return addNode(d, 'DequantizeLinear', [code, ...parameterIds(s, p)], d.fresh(`${from}_dq`))
    })
  }
  d.replace(node, { ...node, inputs })
}

// ---------------------------------------------------------------- constants

function quantizeConstants(s: State, n: NodePlan, output: string): void {
  const { d } = s
  const node = d.producer(output)
  assert(node, `nothing makes ${output}`)
  const original = planned(s.model, n)
  const inputs = [...node.inputs]
  const shared = n.sharesScale && parametersFor(s.plan, n.output)
  for (const i of n.constants) inputs[i] = constantOf(s, inputs[i] as string, shared)
  let own = node.attrs
  if (n.weight) {
    const numbers = s.plan.weights.find((w) => weightKey(w) === weightKey(n.weight as { id: string }))
    assert(numbers, `no scales of ${n.weight.id}`)
    inputs[n.weight.input] = weightOf(s, numbers, original, n.needsZeroPoint)
    if (n.bias) inputs[n.bias.input] = biasOf(s, n, n.bias, numbers, original)
    own = withoutFactors(own)
  }
  d.replace(node, { ...node, inputs, attrs: own })
}

/** Removes alpha and beta of a Gemm: its planned weight and bias hold them already. */
const withoutFactors = ({ alpha: _a, beta: _b, ...rest }: Attrs): Attrs => rest

/** The codes of a constant operand, under the given scale and zero point or under those of its own range. */
function constantOf(s: State, id: string, given?: Parameters): string {
  return once(s.made, `constant ${id}${given ? ` ${given.scale} ${given.zeroPoint}` : ''}`, () => {
    const data = s.d.constant(id)
    assert(data, `${id} is no constant`)
    const own = s.plan.symmetric ? symmetricParameters : parametersOf
    const p = given ?? own(rangeOf(data), s.plan.values[0]?.dtype ?? 'uint8')
    const codes = tensor(
      p.dtype,
      data.shape,
      toFloats(data).map((x) => x / p.scale + p.zeroPoint)
    )
    const code = s.d.addConstant(codes, `${id}_q`)
    return addNode(s.d, 'DequantizeLinear', [code, ...parameterIds(s, p)], s.d.fresh(`${id}_dq`))
  })
}

function weightOf(s: State, w: WeightNumbers, node: Node, needsZeroPoint = false): string {
  return once(s.made, `weight ${weightKey(w)}`, () => {
    const { tensor: data } = scaledWeight(s.model, w.id, node)
    const scales = Float64Array.from(w.scales)
    const codes = encodeWeight(data, channelsOf(data.shape, w.axis), scales, w.levels ?? fullLevels)
    const sparse = s.d.value(w.id)?.sparse
    const code = s.d.addConstant(codes, `${w.id}_q`)
    // Few distinct codes, or many zeros: the file holds them in the form of the fewest bytes.
    const form = w.bits !== undefined || sparse ? ({ form: 'auto' } as const) : {}
    s.d.set({
      ...{ id: code, type: 'tensor', dtype: 'int8', shape: codes.shape, data: codes },
      ...form,
      ...(sparse ? { sparse } : {})
    })
    const zero = needsZeroPoint ? zeros(s, w.axis === undefined ? [] : [scales.length]) : undefined
    const scale = scaleTensor(scales, w.axis !== undefined, 'float32')
    return dequantized(s, { code, scale, ...(zero === undefined ? {} : { zero }) }, w.id, w.axis)
  })
}

const zeros = (s: State, shape: readonly number[]): string =>
  once(s.made, `zeros int8 ${shape}`, () => s.d.addConstant(tensor('int8', shape, new Int8Array(shape[0] ?? 1)), 'z'))

/** The zero point of a constant is 0; it is spelled out only where the kernel needs it. */
function dequantized(
  s: State,
  c: { readonly code: string; readonly scale: Tensor; readonly zero?: string },
  id: string,
  axis: number | undefined
): string {
  const scale = s.d.addConstant(c.scale, `${id}_s`)
  const inputs = c.zero === undefined ? [c.code, scale] : [c.code, scale, c.zero]
  const a = axis === undefined || axis === 1 ? {} : attrs({ axis })
  return addNode(s.d, 'DequantizeLinear', inputs, s.d.fresh(`${id}_dq`), a)
}

/** int32 codes under the float32 product of the scales of data and weight. */
function biasOf(s: State, n: NodePlan, bias: BiasPlan, w: WeightNumbers, node: Node): string {
  const x = parametersFor(s.plan, node.inputs[n.data[0] as number] as string)
  const id = bias.id ?? `${w.id}_b`
  const key = bias.shift ? `bias of ${n.output}` : `bias ${id} ${x.scale} ${weightKey(w)}`
  return once(s.made, key, () => {
    const values = biasValues(s.model, bias, node)
    const scales = Float64Array.from(w.scales, (sw) => Math.fround(x.scale * sw))
    const codes = values.map((b, c) => b / (scales[scales.length === 1 ? 0 : c] as number))
    const code = s.d.addConstant(tensor('int32', [codes.length], codes), `${id}_q`)
    const axis = w.axis === undefined ? undefined : 0
    return dequantized(s, { code, scale: scaleTensor(scales, axis === 0, 'float32') }, id, axis)
  })
}

function parametersFor(plan: StaticPlan, id: string): Parameters {
  const found = plan.values.find((v) => v.ids.includes(id))
  assert(found, `no parameters of ${id}`)
  return found
}

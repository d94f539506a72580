/**
 * Quantized tensors: operators between DequantizeLinear and QuantizeLinear read and give codes, whose parameters become those of
 * the tensors. What stays of the roundings becomes QUANTIZE and DEQUANTIZE.
 */
import type { Draft } from '../../../ir/edit.ts'
import { ints, isFloat, rangeOf, tensor, toFloats } from '../../../ir/tensor.ts'
import type { DType, Node } from '../../../types.ts'
import { codesOf, domain, isLowered } from '../lower/site.ts'
import { type Kernel, kernelOf } from './kernels.ts'
import {
  biasCodes,
  constantCodes,
  dequantized,
  isPerTensor,
  type Parameters,
  parametersOf,
  sameParameters
} from './parameters.ts'

/** Parameters of the values that are codes. */
export type Codes = Map<string, Parameters>

/** The type that a kernel computes on: int8, in old files uint8, or int16 beside weights of int8. */
const computed: readonly DType[] = ['int8', 'uint8', 'int16']

export function quantizeTensors(draft: Draft): Codes {
  const codes: Codes = new Map()
  for (const node of draft.nodes()) {
    const by = parametersOf(draft, node)
    if (by) codes.set((node.op === 'QuantizeLinear' ? node.outputs[0] : node.inputs[0]) as string, by)
  }
  for (const node of draft.nodes()) {
    const kernel = isLowered(node) ? kernelOf(node.op) : undefined
    const found = kernel && integerForm(draft, node, kernel)
    if (kernel && found) toCodes(draft, node, kernel, found, codes)
  }
  inheritParameters(draft, codes)
  plainPads(draft, codes)
  return codes
}

/** What is rounded around an operator that computes on codes. */
interface Form {
  readonly dtype: DType
  /** By place: what its data is rounded by. */
  readonly inputs: ReadonlyMap<number, Parameters>
  /** By place: the roundings behind it, all alike. */
  readonly outputs: ReadonlyMap<number, { readonly by: Parameters; readonly nodes: readonly Node[] }>
}

const isFloatValue = (draft: Draft, id: string | null): boolean =>
  id !== null && isFloat(draft.value(id)?.dtype ?? 'float32')

function integerForm(draft: Draft, node: Node, kernel: Kernel): Form | undefined {
  const inputs = new Map<number, Parameters>()
  for (const [i, id] of node.inputs.entries()) {
    if (id === null || !isFloatValue(draft, id)) continue
    if (draft.constant(id) || codesOf(draft, id)) continue
    const by = parametersOf(draft, draft.producer(id))
    if (!isPerTensor(by) || i === kernel.weight || i === kernel.bias) return undefined
    inputs.set(i, by)
  }
  const dtype = [...inputs.values()][0]?.dtype
  if (!dtype || !computed.includes(dtype) || [...inputs.values()].some((p) => p.dtype !== dtype)) return undefined
  if (kernel.weight !== undefined && !weightOf(draft, node, kernel.weight)) return undefined
  const outputs = new Map<number, { by: Parameters; nodes: readonly Node[] }>()
  for (const [i, id] of node.outputs.entries()) {
    if (!isFloatValue(draft, id)) continue
    const nodes = draft.consumers(id)
    const all = nodes.map((n) => (n.op === 'QuantizeLinear' ? parametersOf(draft, n) : undefined))
    const [by] = all
    if (!isPerTensor(by) || draft.isOutput(id) || by.dtype !== dtype) return undefined
    if (all.some((p) => !p || !sameParameters(p, by))) return undefined
    outputs.set(i, { by, nodes })
  }
  return { dtype, inputs, outputs }
}

/** Constant codes of a weight with symmetric scales, one for all or for each output; of old files with zero points too. */
function weightOf(draft: Draft, node: Node, place: number): Parameters | undefined {
  const found = codesOf(draft, node.inputs[place] ?? '')
  return found && parametersOf(draft, found.node)
}

function toCodes(draft: Draft, node: Node, kernel: Kernel, form: Form, codes: Codes): void {
  const target = wantedOf(kernel, form)
  const inputs = node.inputs.map((id, i) => {
    if (id === null || !isFloatValue(draft, id)) return id
    const by = form.inputs.get(i)
    if (by) {
      const from = draft.producer(id)?.inputs[0] as string
      return kernel.sameScale && target && !sameParameters(by, target) ? requantized(draft, from, target, codes) : from
    }
    return constantInput(draft, node, i, id, kernel, form, target, codes)
  })
  const outputs = node.outputs.map((id, i) => {
    const behind = form.outputs.get(i)
    if (!behind) return id
    const { by, nodes } = behind
    const [first] = nodes
    const own = kernel.fixed ? fixedOf(kernel.fixed, form.dtype) : kernel.sameScale && target ? target : by
    for (const n of nodes) draft.remove(n)
    const y = first?.outputs[0] as string
    for (const n of nodes.slice(1)) draft.rewire(n.outputs[0] as string, y)
    if (sameParameters(own, by)) return y
    const made = draft.fresh(`${y}_own`)
    draft.set({ type: 'tensor', id: made, dtype: by.dtype, shape: draft.value(y)?.shape ?? [] })
    codes.set(made, own)
    addRounding(draft, made, y)
    return made
  })
  // Those behind it were given another name where two roundings were alike: the node is still the one that is there.
  draft.replace(node, { ...node, inputs, outputs })
}

/** Of operators under one scale: that of several operands is the output's, that of one operand its own. */
function wantedOf(kernel: Kernel, form: Form): Parameters | undefined {
  if (!kernel.sameScale) return undefined
  const [first] = form.inputs.values()
  const [output] = form.outputs.values()
  return form.inputs.size > 1 ? (output?.by ?? first) : first
}

function fixedOf([low, high]: readonly [number, number], dtype: DType): Parameters {
  const { min, max } = rangeOf(dtype)
  if (dtype === 'int16') return { dtype, scale: [Math.max(-low, high) / 2 ** 15], zero: [0] }
  const scale = (high - low) / (max - min + 1)
  return { dtype, scale: [scale], zero: [Math.min(max, Math.round(min - low / scale))] }
}

function requantized(draft: Draft, from: string, to: Parameters, codes: Codes): string {
  const made = draft.fresh(`${from}_same`)
  draft.set({ type: 'tensor', id: made, dtype: to.dtype, shape: draft.value(from)?.shape ?? [] })
  codes.set(made, to)
  addRounding(draft, from, made)
  return made
}

function addRounding(draft: Draft, from: string, to: string): void {
  draft.addNode({
    name: draft.fresh(`${to}_rounded`),
    op: 'QUANTIZE',
    domain,
    inputs: [from],
    outputs: [to],
    attrs: {}
  })
}

/** A constant as codes: of a bias under the scale of its layer, of a weight as it is, of any other under a scale of its own. */
function constantInput(
  draft: Draft,
  node: Node,
  place: number,
  id: string,
  kernel: Kernel,
  form: Form,
  target: Parameters | undefined,
  codes: Codes
): string {
  const found = codesOf(draft, id)
  const by = found && parametersOf(draft, found.node)
  if (place === kernel.bias && kernel.weight !== undefined) {
    const weight = weightOf(draft, node, kernel.weight) as Parameters
    const x = [...form.inputs.values()][0] as Parameters
    if (found && by && form.dtype !== 'int16') return found.node.inputs[0] as string
    const data = draft.constant(id) ?? dequantized(found as NonNullable<typeof found>, by as Parameters)
    const made = biasCodes(data, x, weight)
    const name = draft.addConstant(made.codes, `${id}_codes`)
    codes.set(name, made.by)
    return name
  }
  if (found && by && (place === kernel.weight || !target || sameParameters(by, target)))
    return found.node.inputs[0] as string
  const data = draft.constant(id) ?? dequantized(found as NonNullable<typeof found>, by as Parameters)
  const made = target
    ? { codes: underScale(toFloats(data), data.shape, target), by: target }
    : constantCodes(data, form.dtype)
  const name = draft.addConstant(made.codes, `${id}_codes`)
  codes.set(name, made.by)
  return name
}

const underScale = (values: Float32Array, shape: readonly number[], { dtype, scale, zero }: Parameters) =>
  tensor(
    dtype,
    shape,
    Array.from(values, (v) => v / (scale[0] as number) + (zero[0] as number))
  )

/** Operators on codes that hand them on give them on under the same parameters. */
function inheritParameters(draft: Draft, codes: Codes): void {
  for (let changed = true; changed; ) {
    changed = false
    for (const node of draft.nodes()) {
      if (!isLowered(node) || !kernelOf(node.op)?.sameScale) continue
      const ends = [...node.inputs, ...node.outputs].filter(
        (id): id is string => id !== null && computed.includes(draft.value(id)?.dtype ?? 'float32')
      )
      const by = ends.map((id) => codes.get(id)).find((p) => p !== undefined)
      for (const id of ends)
        if (by && !codes.has(id) && draft.value(id)?.dtype === by.dtype) {
          codes.set(id, by)
          changed = true
        }
    }
  }
}

/** PAD adds zero points by itself, and has the faster kernels. */
function plainPads(draft: Draft, codes: Codes): void {
  for (const node of draft.nodes()) {
    const by = codes.get(node.inputs[0] ?? '')
    const border = isLowered(node) && node.op === 'PADV2' ? draft.constant(node.inputs[2]) : undefined
    if (border && by && ints(border)[0] === by.zero[0])
      draft.replace(node, { ...node, op: 'PAD', inputs: node.inputs.slice(0, 2) })
  }
}

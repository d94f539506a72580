/**
 * DequantizeLinear of a constant in a form that folds, y = (x − z)·s, is spelled Cast → [Sub z] → Mul s in the type of s,
 * which ONNX Runtime folds into a plain float weight when it opens the model (it does not fold DequantizeLinear). Per
 * axis k of r, s and z have the shape [C, 1, …, 1] of rank r − k, which broadcasts at axis k and tells it again. Blocks
 * of B along axis k: x is seen as […, d_k/B, B, …] by a Reshape before and one after, s and z are […, d_k/B, 1, …];
 * where B does not divide d_k, s and z are spread over the elements instead: Expand → Reshape → Slice.
 *
 * Where the nodes that read the DequantizeLinear also read dequantized values, they are integer kernels to be: those want
 * the codes and the DequantizeLinear as they are, and only the codes are stored in the form.
 */
import { PareError } from '../../base/errors.ts'
import { attrInt, attrs } from '../../ir/attrs.ts'
import { codeOfDtype, dtypeOfCode } from '../../ir/dtype-code.ts'
import { elementCount, tensor, toNumbers } from '../../ir/tensor.ts'
import type { DType, Form, Node, Tensor, Value } from '../../types.ts'
import { asHalf } from './elements.ts'
import { packedTypes } from './packed.ts'
import { Variants } from './variants.ts'
import { type Constant, constantValue, type Rewrite, type Whole } from './whole.ts'

/** Types of codes. */
export const codeTypes: readonly DType[] = ['int8', 'uint8', 'int16', 'uint16', ...packedTypes]

/** Forms in which ONNX Runtime folds a constant and its DequantizeLinear away. */
export const foldingForms: readonly Form[] = ['foldable', 'palette', 'gap', 'bitmap', 'blocks', 'auto']

/** Scales and zero points of fewer elements are stored as they are computed with. */
const fewScales = 64
/** Packed zero points of fewer elements are stored as bytes: unpacking takes nodes of its own. */
const fewZeros = 1024

/** A scale or zero point as the file holds it; `cast`: where that is another type than the arithmetic's. */
interface Operand {
  readonly id: string
  readonly stored: Tensor
  readonly form?: Form
  readonly cast: boolean
}

/** Blocks of `size` along `axis`, `count` of them, the last filled where `isWhole`. */
interface Blocks {
  readonly axis: number
  readonly size: number
  readonly count: number
  readonly isWhole: boolean
}

/** A shape with the blocked axis as these lengths. */
const withAxis = (shape: readonly number[], axis: number, lengths: readonly number[]): readonly number[] =>
  shape.flatMap((d, i) => (i === axis ? lengths : [d]))

interface Spelling {
  readonly node: Node
  readonly data: Constant
  readonly scale: Operand
  readonly zero: Operand | undefined
  readonly blocks: Blocks | undefined
}

/** Readers of integer constants in a folding form. Throws `E_UNSUPPORTED` where the form cannot say what the node does. */
export function spellFoldable(whole: Whole): Rewrite {
  const variants = new Variants(whole)
  const byGraph = whole.graphs.map((g) => {
    const all = g.nodes.flatMap((n) => spellingOf(n, whole) ?? [])
    for (const s of all) for (const o of [s.scale, s.zero]) if (o) variants.want(o.id, o.stored, o.form)
    return all
  })
  const replaced = new Map<Node, { nodes: readonly Node[]; values: readonly Value[] }>()
  for (const all of byGraph) {
    const shared = new Map<string, string>()
    for (const s of all) replaced.set(s.node, spelled(s, whole, variants, shared))
  }
  return { replaced, changed: variants.changed }
}

function spellingOf(node: Node, whole: Whole): Spelling | undefined {
  if (node.op !== 'DequantizeLinear' || node.domain !== undefined) return undefined
  const data = whole.constant(node.inputs[0])
  if (!data?.form || !foldingForms.includes(data.form) || isForKernels(node, whole)) return undefined
  const scale = whole.constant(node.inputs[1])
  const zero = whole.constant(node.inputs[2])
  const refuse = (why: string): never => {
    throw new PareError('E_UNSUPPORTED', `form "${data.form}" cannot spell ${data.id}: ${why}`, { where: node.name })
  }
  if (!scale || (node.inputs[2] != null && !zero)) return refuse('its scale or zero point is no constant')
  if (!codeTypes.includes(data.data.dtype)) return refuse(`it is ${data.data.dtype}`)
  const output = attrInt(node, 'output_dtype', 0)
  if (output !== 0 && dtypeOfCode(output) !== scale.data.dtype) return refuse('its output is not of the scale’s type')
  const dims = data.data.shape
  const blocks = blocksOf(node, dims)
  const shape = blocks ? blockedShape(blocks, dims, scale.data.shape) : spelledShape(node, dims, scale.data.shape)
  if (!shape)
    return refuse(`a scale of shape [${scale.data.shape}]${blocks ? ` in blocks of ${blocks.size}` : ''} for [${dims}]`)
  const numbers = zero && Array.from(toNumbers(zero.data))
  if (numbers && numbers.length !== elementCount(shape)) return refuse('its zero point is not of the scale’s shape')
  const isShifted = numbers?.some((z) => z !== 0)
  return {
    node,
    data,
    blocks,
    scale: scaleOperand(scale, shape),
    zero: zero && isShifted ? zeroOperand(zero, shape, scale.data.dtype, numbers) : undefined
  }
}

/** Do all nodes that read a dequantized constant also read a dequantized value? */
function isForKernels(node: Node, whole: Whole): boolean {
  const [made = ''] = node.outputs
  const readers = whole.readers(made)
  const isValue = (id: string | null): boolean => {
    const maker = id === made ? undefined : whole.maker(id)
    return maker?.op === 'DequantizeLinear' && whole.constant(maker.inputs[0]) === undefined
  }
  return readers.length > 0 && readers.every((n) => n.inputs.some(isValue))
}

function scaleOperand(scale: Constant, shape: readonly number[]): Operand {
  const half = elementCount(shape) >= fewScales ? asHalf(scale.data) : undefined
  return { id: scale.id, stored: { ...(half ?? scale.data), shape }, cast: half !== undefined }
}

function zeroOperand(zero: Constant, shape: readonly number[], dtype: DType, numbers: number[] = []): Operand {
  const { id, data } = zero
  if (numbers.length < fewScales) return { id, stored: tensor(dtype, shape, numbers), cast: false }
  if (!packedTypes.includes(data.dtype)) return { id, stored: { ...data, shape }, cast: true }
  if (numbers.length >= fewZeros) return { id, stored: { ...data, shape }, form: 'foldable', cast: true }
  return { id, stored: tensor(data.dtype.startsWith('u') ? 'uint8' : 'int8', shape, numbers), cast: true }
}

/** The scale's shape such that it broadcasts at the node's axis. */
function spelledShape(node: Node, data: readonly number[], scale: readonly number[]): readonly number[] | undefined {
  if (scale.length === 0) return scale
  const at = axisOf(node, data)
  if (scale.length === 1 && scale[0] === data[at] && at >= 0)
    return [scale[0] as number, ...Array<number>(data.length - at - 1).fill(1)]
  return elementCount(scale) === 1 && scale.length <= data.length ? scale : undefined
}

function axisOf(node: Node, data: readonly number[]): number {
  const axis = attrInt(node, 'axis', 1)
  return axis < 0 ? axis + data.length : axis
}

function blocksOf(node: Node, data: readonly number[]): Blocks | undefined {
  const size = attrInt(node, 'block_size', 0)
  const axis = axisOf(node, data)
  const length = data[axis] ?? 0
  return size > 0 ? { axis, size, count: Math.ceil(length / size), isWhole: length % size === 0 } : undefined
}

/** The same in blocks. */
function blockedShape(
  blocks: Blocks,
  data: readonly number[],
  scale: readonly number[]
): readonly number[] | undefined {
  const isBlocked = blocks.size > 1 && String(scale) === String(withAxis(data, blocks.axis, [blocks.count]))
  return isBlocked ? withAxis(data, blocks.axis, [blocks.count, 1]) : undefined
}

function spelled(
  s: Spelling,
  whole: Whole,
  variants: Variants,
  shared: Map<string, string>
): { nodes: readonly Node[]; values: readonly Value[] } {
  const dtype = s.scale.cast ? 'float32' : s.scale.stored.dtype
  const nodes: Node[] = []
  const values: Value[] = []
  const { shape } = s.data.data
  const add = (op: string, inputs: readonly string[], of: readonly number[], to?: DType): string => {
    const id = whole.fresh(`_d${shared.size + nodes.length}`)
    nodes.push({ name: '', op, inputs, outputs: [id], attrs: to ? attrs({ to: codeOfDtype(to) }) : {} })
    values.push({ id, type: 'tensor', dtype, shape: of })
    return id
  }
  const once = (key: string, make: () => string): string => {
    const id = shared.get(key) ?? make()
    shared.set(key, id)
    return id
  }
  const dims = (of: readonly number[]): string =>
    once(`[${of}]`, () => {
      const made = constantValue(whole.fresh('shape'), tensor('int64', [of.length], of))
      values.push(made)
      return made.id
    })
  const operand = (o: Operand): string => {
    const { id, added } = variants.take(o.id, o.stored)
    values.push(...added)
    const wide = o.cast ? once(`${dtype} ${id}`, () => add('Cast', [id], o.stored.shape, dtype)) : id
    if (!s.blocks || s.blocks.isWhole) return wide
    const { axis, size, count } = s.blocks
    const [block, flat] = [withAxis(shape, axis, [count, size]), withAxis(shape, axis, [count * size])]
    const spread = add('Reshape', [add('Expand', [wide, dims(block)], block), dims(flat)], flat)
    return add('Slice', [spread, dims([0]), dims([shape[axis] as number]), dims([axis])], shape)
  }
  const split = s.blocks?.isWhole ? withAxis(shape, s.blocks.axis, [s.blocks.count, s.blocks.size]) : undefined
  let at = once(`${dtype} ${s.data.id}`, () => add('Cast', [s.data.id], shape, dtype))
  if (split) at = add('Reshape', [at, dims(split)], split)
  if (s.zero) at = add('Sub', [at, operand(s.zero)], split ?? shape)
  const scale = operand(s.scale)
  const last = { name: s.node.name, outputs: s.node.outputs, attrs: {} }
  if (split) nodes.push({ ...last, op: 'Reshape', inputs: [add('Mul', [at, scale], split), dims(shape)] })
  else nodes.push({ ...last, op: 'Mul', inputs: [at, scale] })
  return { nodes, values }
}

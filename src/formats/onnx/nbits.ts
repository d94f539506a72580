/**
 * Form `nbits`: DequantizeLinear in blocks along K and MatMul with it are spelled com.microsoft's MatMulNBits, which
 * multiplies by the codes; with Gather, GatherBlockQuantized. For W[K,N] in blocks of B, k = ⌈K/B⌉: codes
 * uint8[N, k, B·bits/8], low first, filled up with 0; scales [N,k]; zero points uint8[N, ⌈k·bits/8⌉], by default the
 * middle. Signed codes are written without zero points, shifted by the middle; unsigned ones with. Source: ONNX
 * Runtime's documentation of its contributed operators.
 */
import { PareError } from '../../base/errors.ts'
import { attrInt, attrs } from '../../ir/attrs.ts'
import { bitsOf, codes, pack, tensorOf, typedValues } from '../../ir/tensor.ts'
import type { DType, Model, Node, Tensor, Value } from '../../types.ts'
import { Variants } from './variants.ts'
import { type Constant, type Rewrite, type Whole, wholeOf } from './whole.ts'

const microsoft = 'com.microsoft'

/** Metadata with the accuracy level of all MatMulNBits: 0 (unset), 1 (float32), 2 (float16), 3 (bfloat16), 4 (int8). */
export const accuracyKey = 'pare.accuracy_level'

const codeTypes: readonly DType[] = ['int4', 'uint4', 'int8', 'uint8', 'int2', 'uint2']

/** A weight as the operator stores it. */
interface Packed {
  readonly data: Tensor
  readonly scales: Tensor
  readonly zeros: Tensor | undefined
}

interface Spelling {
  readonly node: Node
  readonly readers: readonly Node[]
  readonly ids: { readonly data: string; readonly scales: string; readonly zeros: string | undefined }
  readonly packed: Packed
  readonly op: (reader: Node, inputs: readonly (string | null)[]) => Node
}

/** Readers of constants in the form `nbits`. Throws `E_UNSUPPORTED` with the reason where the form cannot say it. */
export function spellNbits(model: Model): Rewrite {
  const whole = wholeOf(model)
  const variants = new Variants(whole)
  const level = model.meta[accuracyKey]
  const all = whole.graphs.flatMap((g) => g.nodes.flatMap((n) => spellingOf(n, whole, level) ?? []))
  for (const { ids, packed } of all) {
    variants.want(ids.data, packed.data)
    variants.want(ids.scales, packed.scales)
    if (ids.zeros !== undefined && packed.zeros) variants.want(ids.zeros, packed.zeros)
  }
  const replaced = new Map<Node, { nodes: readonly Node[]; values: readonly Value[] }>()
  for (const { node, readers, ids, packed, op } of all) {
    const data = variants.take(ids.data, packed.data)
    const scales = variants.take(ids.scales, packed.scales)
    const zeros = ids.zeros !== undefined && packed.zeros ? variants.take(ids.zeros, packed.zeros) : undefined
    const values = [...data.added, ...scales.added, ...(zeros?.added ?? [])]
    replaced.set(node, { nodes: [], values: [] })
    for (const [i, reader] of readers.entries()) {
      const made = op(reader, [data.id, scales.id, ...(zeros ? [zeros.id] : [])])
      replaced.set(reader, { nodes: [made], values: i === 0 ? values : [] })
    }
  }
  return { replaced, changed: variants.changed }
}

function spellingOf(node: Node, whole: Whole, level: Model['meta'][string] | undefined): Spelling | undefined {
  if (node.op !== 'DequantizeLinear' || node.domain !== undefined) return undefined
  const data = whole.constant(node.inputs[0])
  if (data?.form !== 'nbits') return undefined
  const refuse = (why: string): never => {
    throw new PareError('E_UNSUPPORTED', `form "nbits" cannot spell ${data.id}: ${why}`, { where: node.name })
  }
  const [output = ''] = node.outputs
  const readers = whole.readers(output)
  const block = attrInt(node, 'block_size', 0)
  const axis = attrInt(node, 'axis', 1)
  if (data.data.shape.length !== 2 || block < 16 || (block & (block - 1)) !== 0)
    return refuse(`a matrix in blocks of 16, 32, 64 … is wanted, not [${data.data.shape}] in blocks of ${block}`)
  if (readers.length === 0 || readers.length !== whole.readCount(output))
    return refuse('its value is an output, or read twice by one node')
  const constants = constantsOf(node, data, whole)
  if (typeof constants === 'string') return refuse(constants)
  const { scales, zeros } = constants
  const ids = { data: data.id, scales: scales.id, zeros: zeros?.id }
  const isMatMul = readers.every((n) => n.op === 'MatMul' && n.domain === undefined && n.inputs[1] === output)
  if (isMatMul && axis + (axis < 0 ? 2 : 0) === 0) {
    const shared = {
      bits: bitsOf(data.data.dtype),
      block_size: block,
      ...(typeof level === 'string' ? { accuracy_level: Number(level) } : {})
    }
    const [K, N] = data.data.shape as [number, number]
    return {
      node,
      readers,
      ids,
      packed: packMatrix(data.data, scales.data, zeros?.data, block),
      op: (n, weight) => ({
        ...n,
        op: 'MatMulNBits',
        domain: microsoft,
        inputs: [n.inputs[0] ?? null, ...weight],
        attrs: attrs({ K, N, ...shared })
      })
    }
  }
  const isGather = readers.every(
    (n) => n.op === 'Gather' && n.domain === undefined && n.inputs[0] === output && attrInt(n, 'axis', 0) === 0
  )
  if (!isGather || axis + (axis < 0 ? 2 : 0) !== 1)
    return refuse(`${readers.map((n) => n.op)} with blocks along axis ${axis}`)
  if (bitsOf(data.data.dtype) === 2 || data.data.dtype === 'int8')
    return refuse(`there is no Gather of ${data.data.dtype}`)
  return {
    node,
    readers,
    ids,
    packed: { data: data.data, scales: scales.data, zeros: zeros?.data },
    op: (n, [id = null, ...rest]) => ({
      ...n,
      op: 'GatherBlockQuantized',
      domain: microsoft,
      inputs: [id, n.inputs[1] ?? null, ...rest],
      attrs: attrs({ gather_axis: 0, quantize_axis: 1, block_size: block, bits: bitsOf(data.data.dtype) })
    })
  }
}

function constantsOf(
  node: Node,
  data: Constant,
  whole: Whole
): { readonly scales: Constant; readonly zeros: Constant | undefined } | string {
  const scales = whole.constant(node.inputs[1])
  const zeros = whole.constant(node.inputs[2])
  const { dtype } = data.data
  if (!scales || (node.inputs[2] != null && !zeros)) return 'its scale or zero point is no constant'
  if (!codeTypes.includes(dtype)) return `it is ${dtype}`
  const isSigned = !dtype.startsWith('u')
  if (isSigned === (zeros !== undefined))
    return isSigned ? `${dtype} goes without zero points` : `${dtype} needs zero points`
  if (whole.readCount(data.id) !== 1) return 'several nodes dequantize it'
  const wanted = data.data.shape.map((d, i) =>
    i === (attrInt(node, 'axis', 1) + 2) % 2 ? Math.ceil(d / attrInt(node, 'block_size', 1)) : d
  )
  return String(scales.data.shape) === String(wanted) ? { scales, zeros } : `scales of shape [${scales.data.shape}]`
}

// ---------------------------------------------------------------- layout

/** Codes as unsigned numbers; signed ones shifted by the middle. */
function unsignedCodes(t: Tensor): Uint8Array {
  const bits = bitsOf(t.dtype)
  const raw = bits === 8 ? new Uint8Array(t.bytes.slice()) : codes(t)
  if (t.dtype.startsWith('u')) return raw
  const middle = 2 ** (bits - 1)
  return raw.map((c) => c ^ middle)
}

const packBits = (all: Uint8Array, bits: number): Uint8Array => (bits === 8 ? all : pack(all, bits))

function packMatrix(data: Tensor, scales: Tensor, zeros: Tensor | undefined, block: number): Packed {
  const bits = bitsOf(data.dtype)
  const [K, N] = data.shape as [number, number]
  const k = Math.ceil(K / block)
  const all = unsignedCodes(data)
  const moved = new Uint8Array(N * k * block)
  for (let i = 0; i < K; i++) for (let n = 0; n < N; n++) moved[n * k * block + i] = all[i * N + n] as number
  return {
    data: tensorOf('uint8', [N, k, (block * bits) / 8], packBits(moved, bits)),
    scales: transposed(scales),
    zeros: zeros && packedZeros(unsignedCodes(zeros), k, N, bits)
  }
}

/** Every row of N begins at a byte. */
function packedZeros(all: Uint8Array, k: number, N: number, bits: number): Tensor {
  const perByte = 8 / bits
  const width = Math.ceil(k / perByte)
  const moved = new Uint8Array(N * width * perByte)
  for (let i = 0; i < k; i++) for (let n = 0; n < N; n++) moved[n * width * perByte + i] = all[i * N + n] as number
  return tensorOf('uint8', [N, width], packBits(moved, bits))
}

function transposed(t: Tensor): Tensor {
  const [rows, columns] = t.shape as [number, number]
  const from = typedValues(t)
  const to = from.slice()
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) to[j * rows + i] = from[i * columns + j] as never
  return tensorOf(t.dtype, [columns, rows], new Uint8Array(to.buffer, to.byteOffset, to.byteLength))
}

function unpackBits(t: Tensor, bits: number): Uint8Array {
  if (bits === 8) return t.bytes.slice()
  return codes({ dtype: bits === 4 ? 'uint4' : 'uint2', shape: [(t.bytes.length * 8) / bits], bytes: t.bytes })
}

/** The inverse of `packMatrix`; `undefined` where it did not make this. */
function unpackMatrix(
  { data, scales, zeros }: Packed,
  K: number,
  N: number,
  bits: number,
  block: number
): Packed | undefined {
  const k = Math.ceil(K / block)
  const width = Math.ceil((k * bits) / 8)
  const isRight =
    data.dtype === 'uint8' &&
    ['float32', 'float16', 'bfloat16'].includes(scales.dtype) &&
    data.bytes.length === (N * k * block * bits) / 8 &&
    String(scales.shape.length === 1 ? [N, k] : scales.shape) === String([N, k]) &&
    typedValues(scales).length === N * k &&
    (!zeros || (zeros.dtype === 'uint8' && zeros.bytes.length === N * width))
  if (!isRight) return undefined
  const middle = zeros ? 0 : 2 ** (bits - 1)
  const all = unpackBits(data, bits)
  const moved = new Uint8Array(K * N)
  for (let i = 0; i < K; i++) for (let n = 0; n < N; n++) moved[i * N + n] = (all[n * k * block + i] as number) ^ middle
  const dtype = `${zeros ? 'u' : ''}int${bits}` as DType
  const perRow = width * (8 / bits)
  const shifts = zeros && unpackBits(zeros, bits)
  const shift = new Uint8Array(k * N)
  if (shifts)
    for (let i = 0; i < k; i++) for (let n = 0; n < N; n++) shift[i * N + n] = shifts[n * perRow + i] as number
  return {
    data: tensorOf(dtype, [K, N], packBits(moved, bits)),
    scales: transposed({ ...scales, shape: [N, k] }),
    zeros: shifts && tensorOf(dtype, [k, N], packBits(shift, bits))
  }
}

// ---------------------------------------------------------------- recognising

/** MatMulNBits and GatherBlockQuantized of constants as DequantizeLinear and what they replaced. */
export function recogniseNbits(model: Model): { readonly rewrite: Rewrite; readonly level: string | undefined } {
  const whole = wholeOf(model)
  const replaced = new Map<Node, { nodes: readonly Node[]; values: readonly Value[] }>()
  const changed = new Map<string, Value>()
  let level: string | undefined | null = null
  for (const g of whole.graphs)
    for (const n of g.nodes) {
      if (n.domain !== microsoft) continue
      const own = n.attrs['accuracy_level'] ? String(attrInt(n, 'accuracy_level', 0)) : undefined
      const isMatMul = n.op === 'MatMulNBits'
      if (isMatMul && level !== null && own !== level) continue
      const found = isMatMul ? matMulOf(n, whole) : n.op === 'GatherBlockQuantized' ? gatherOf(n, whole) : undefined
      if (!found) continue
      if (isMatMul) level = own
      for (const v of found.changed) changed.set(v.id, v)
      replaced.set(n, { nodes: found.nodes, values: found.values })
    }
  return { rewrite: { replaced, changed }, level: level ?? undefined }
}

interface Restored {
  readonly nodes: readonly Node[]
  readonly values: readonly Value[]
  readonly changed: readonly Value[]
}

/** Constants that only this node reads. */
function own(ids: readonly (string | null | undefined)[], whole: Whole): readonly (Constant | undefined)[] | undefined {
  const all = ids.map((id) => (id == null ? undefined : (whole.constant(id) ?? null)))
  return all.every((v) => v === undefined || (v !== null && whole.readCount(v.id) === 1))
    ? (all as Constant[])
    : undefined
}

function matMulOf(n: Node, whole: Whole): Restored | undefined {
  const [K, N, bits, block] = ['K', 'N', 'bits', 'block_size'].map((name) =>
    attrInt(n, name, name === 'bits' ? 4 : 0)
  ) as [number, number, number, number]
  const isKnown = Object.keys(n.attrs).every((name) =>
    ['K', 'N', 'bits', 'block_size', 'accuracy_level'].includes(name)
  )
  const isPlain = n.inputs.slice(4).every((id) => id === null)
  const constants = own(n.inputs.slice(1, 4), whole)
  const [data, scales, zeros] = constants ?? []
  const isRight = [2, 4, 8].includes(bits) && block >= 16 && (block & (block - 1)) === 0 && K > 0 && N > 0
  if (!isKnown || !isPlain || !isRight || !data || !scales) return undefined
  const made = unpackMatrix({ data: data.data, scales: scales.data, zeros: zeros?.data }, K, N, bits, block)
  if (!made || !isWrittenSo(made, data.data, block)) return undefined
  const matMul = (weight: string): Node => {
    const { domain: _, ...rest } = n
    return { ...rest, op: 'MatMul', inputs: [n.inputs[0] ?? null, weight], attrs: {} }
  }
  return restored({ data, scales, zeros, made, axis: 0, block, reader: matMul }, whole)
}

/** Filled up as it would be written. */
const isWrittenSo = (made: Packed, data: Tensor, block: number): boolean => {
  if ((made.data.shape[0] as number) % block === 0) return true
  const again = packMatrix(made.data, made.scales, made.zeros, block).data.bytes.slice()
  return data.bytes.slice().every((b, i) => b === again[i])
}

function gatherOf(n: Node, whole: Whole): Restored | undefined {
  const [data, scales, zeros] = own([n.inputs[0], ...n.inputs.slice(2, 4)], whole) ?? []
  const block = attrInt(n, 'block_size', 128)
  const bits = attrInt(n, 'bits', 4)
  if (!data || !scales || data.data.shape.length !== 2 || bitsOf(data.data.dtype) !== bits) return undefined
  const axis = attrInt(n, 'quantize_axis', 1)
  const hasZeros = data.data.dtype.startsWith('u')
  if (attrInt(n, 'gather_axis', 0) !== 0 || axis !== 1 || hasZeros !== (zeros !== undefined)) return undefined
  const gather = (weight: string): Node => {
    const { domain: _, ...rest } = n
    return { ...rest, op: 'Gather', inputs: [weight, n.inputs[1] ?? null], attrs: {} }
  }
  const made = { data: data.data, scales: scales.data, zeros: zeros?.data }
  return restored({ data, scales, zeros, made, axis, block, reader: gather }, whole)
}

interface Parts {
  readonly data: Constant
  readonly scales: Constant
  readonly zeros: Constant | undefined
  readonly made: Packed
  readonly axis: number
  readonly block: number
  reader(weight: string): Node
}

/** The weight's own name is the one `quantize-weights` made the names of its codes from. */
function restored({ data, scales, zeros, made, axis, block, reader }: Parts, whole: Whole): Restored {
  const id = whole.fresh(data.id.endsWith('_q') ? data.id.slice(0, -2) : `${data.id}_w`)
  const dequantize: Node = {
    name: whole.fresh(`DequantizeLinear_${id}`),
    op: 'DequantizeLinear',
    inputs: [data.id, scales.id, ...(zeros ? [zeros.id] : [])],
    outputs: [id],
    attrs: attrs({ axis, block_size: block })
  }
  const type = (t: Tensor): Omit<Value, 'id'> => ({ type: 'tensor', dtype: t.dtype, shape: t.shape, data: t })
  return {
    nodes: [dequantize, reader(id)],
    values: [{ id, type: 'tensor', dtype: made.scales.dtype, shape: made.data.shape }],
    changed: [
      { id: data.id, ...type(made.data), form: 'nbits' },
      { id: scales.id, ...type(made.scales) },
      ...(zeros && made.zeros ? [{ id: zeros.id, ...type(made.zeros) }] : [])
    ]
  }
}

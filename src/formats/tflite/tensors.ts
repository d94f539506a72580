/** Tensors of a TensorFlow Lite file: their types, quantization and content. */
import { toArray } from '../../base/bytes.ts'
import { PareError } from '../../base/errors.ts'
import { byteLength, elementCount } from '../../ir/tensor.ts'
import type { Bytes, Dim, DType, Tensor, Value } from '../../types.ts'
import type { FlatModel, FlatTensor } from './model.ts'
import { dense } from './sparse.ts'

const dtypes: Readonly<Record<string, DType>> = {
  FLOAT32: 'float32',
  FLOAT16: 'float16',
  INT32: 'int32',
  UINT8: 'uint8',
  INT64: 'int64',
  STRING: 'string',
  BOOL: 'bool',
  INT16: 'int16',
  COMPLEX64: 'complex64',
  INT8: 'int8',
  FLOAT64: 'float64',
  COMPLEX128: 'complex128',
  UINT64: 'uint64',
  UINT32: 'uint32',
  UINT16: 'uint16',
  INT4: 'int4',
  BFLOAT16: 'bfloat16',
  INT2: 'int2',
  UINT4: 'uint4',
  FLOAT8_E4M3FN: 'float8e4m3fn',
  FLOAT8_E5M2: 'float8e5m2'
}

/** The type that a name of the schema stands for; `undefined` for resources and variants, which are no arrays. */
export const dtypeNamed = (name: unknown): DType | undefined =>
  typeof name === 'string' && Object.hasOwn(dtypes, name) ? dtypes[name] : undefined

export const dtypeOf = (t: FlatTensor): DType | undefined => dtypeNamed(t.type ?? 'FLOAT32')

/** Sizes; -1 where the file leaves one free. */
export function shapeOf(t: FlatTensor): readonly number[] {
  const { shape = [], shape_signature: free } = t
  return free && free.length === shape.length ? free : shape
}

/** The type of an input or output. Free sizes in front are the batch; others are named after the tensor. */
export function endOf(t: FlatTensor, id: string): Value {
  const dtype = dtypeOf(t)
  const named = (d: number, i: number): Dim => (d >= 0 ? d : i === 0 ? 'N' : `${id}_${i}`)
  return { id, type: 'tensor', ...(dtype ? { dtype } : {}), ...(isRanked(t) ? { shape: shapeOf(t).map(named) } : {}) }
}

/** A shape without sizes is a scalar's, or not known; only new files tell these apart. */
const isRanked = (t: FlatTensor): boolean => (t.shape ?? []).length > 0 || t.has_rank === true

/** Codes `q` stand for `scale · (q − zero)`. One scale and zero for all, or one for each position of `axis`. */
export interface Quantization {
  readonly scale: readonly number[]
  readonly zero: readonly number[]
  readonly axis?: number
}

const codeTypes: readonly (DType | undefined)[] = ['int8', 'uint8', 'int16', 'uint16', 'int4', 'uint4', 'int2']

/** How a tensor of codes is quantized; `undefined` for other types, and for integers that are meant as such. */
export function quantizationOf(t: FlatTensor): Quantization | undefined {
  const { scale = [], zero_point = [], quantized_dimension: axis = 0 } = t.quantization ?? {}
  if (!codeTypes.includes(dtypeOf(t)) || scale.length === 0 || scale.every((s) => s === 0)) return undefined
  const zero = scale.map((_, i) => zero_point[i] ?? zero_point[0] ?? 0)
  if (scale.length === 1) return { scale, zero }
  if (shapeOf(t)[axis] !== scale.length)
    throw new PareError(
      'E_FORMAT',
      `a tensor of shape [${shapeOf(t)}] with ${scale.length} scales along axis ${axis}`,
      {
        where: t.name ?? ''
      }
    )
  return { scale, zero, axis }
}

/** A constant of the file. `sparse`: the file stores only what is not 0. */
export interface Held {
  readonly name: string
  readonly data: Tensor
  readonly quantization?: Quantization
  readonly sparse?: true
  /** A DEQUANTIZE of its own widens it when the file is loaded. */
  readonly isWidened?: true
}

/** Does the file hold the content of a tensor? */
export const isConstant = (model: FlatModel, t: FlatTensor): boolean =>
  (model.buffers?.[t.buffer ?? 0]?.data?.length ?? 0) > 0

/** The content of a constant; `undefined` for a tensor that is computed or given. Throws `E_FORMAT` where bytes and shape disagree. */
export function heldIn(model: FlatModel, t: FlatTensor, name: string): Held | undefined {
  const bytes = t.buffer === undefined ? undefined : model.buffers?.[t.buffer]?.data
  if (!bytes || bytes.length === 0) return undefined
  const dtype = dtypeOf(t)
  const shape = t.shape ?? []
  if (!dtype || shape.some((d) => d < 0)) return undefined
  const quantization = quantizationOf(t)
  const made = { name, ...(quantization ? { quantization } : {}) }
  if (dtype === 'string') return { ...made, data: { dtype, shape, bytes: new Uint8Array(0), strings: texts(bytes, t) } }
  if (t.sparsity) return { ...made, data: dense(t.sparsity, dtype, shape, toArray(bytes), name), sparse: true }
  const wanted = byteLength(dtype, elementCount(shape))
  if (bytes.length !== wanted)
    throw new PareError(
      'E_FORMAT',
      `a constant ${dtype}[${shape}] takes ${wanted} bytes, and the file has ${bytes.length}`,
      {
        where: name
      }
    )
  return { ...made, data: { dtype, shape, bytes } }
}

/** Count, offsets of the texts and of their end, texts. */
function texts(bytes: Bytes, t: FlatTensor): readonly string[] {
  const all = toArray(bytes)
  const view = new DataView(all.buffer, all.byteOffset, all.byteLength)
  const at = (i: number): number => (4 * i + 4 <= all.length ? view.getInt32(4 * i, true) : -1)
  const count = at(0)
  if (count !== elementCount(t.shape ?? []) || 4 * (count + 2) > all.length)
    throw new PareError('E_FORMAT', `a constant string[${t.shape}] holds ${count} texts`, { where: t.name ?? '' })
  return Array.from({ length: count }, (_, i) => new TextDecoder().decode(all.subarray(at(i + 1), at(i + 2))))
}

/** TensorProto ⇄ Tensor: every element type, raw, typed and external data. */
import { create } from '@bufbuild/protobuf'
import { type SparseTensorProto, type TensorProto, TensorProto_DataLocation, TensorProtoSchema } from 'onnx-buf'
import { part } from '../../base/bytes.ts'
import { PareError } from '../../base/errors.ts'
import { codeOfDtype, dtypeOfCode } from '../../ir/dtype-code.ts'
import { bitsOf, byteLength, bytesOf, type TypedArray } from '../../ir/tensor.ts'
import type { Bytes, DType, Tensor } from '../../types.ts'

/** What reading a tensor needs around it. */
export interface TensorSource {
  /** The model file, for weights that were left in it. */
  readonly bytes: Bytes
  external(name: string): Bytes
  /** Counts bytes made out of nothing (sparse tensors). Throws `E_LIMIT`. */
  grow(bytes: number): void
}

const maxDensified = 256 * 1024 * 1024

/** A running sum that stops sparse tensors from filling the memory. */
export function growth(): (bytes: number) => void {
  let sum = 0
  return (bytes) => {
    sum += bytes
    if (sum > maxDensified) throw new PareError('E_LIMIT', `sparse tensors of more than ${maxDensified} bytes`)
  }
}

/** Reads a tensor; large or external data stays where it is. Throws `E_FORMAT`, `E_LIMIT`, `E_FILE`. */
export function readTensor(p: TensorProto, source: TensorSource): Tensor {
  const dtype = dtypeOfCode(p.dataType)
  if (!dtype) throw new PareError('E_UNSUPPORTED', `element type ${p.dataType}`, { where: p.name })
  const shape = shapeOf(p.dims, p.name)
  const count = countOf(shape, p.name)
  if (dtype === 'string') {
    if (p.stringData.length !== count) throw wrongCount(p, dtype, shape, `${p.stringData.length} strings`)
    return { dtype, shape, bytes: new Uint8Array(0), strings: p.stringData.map((b) => utf8(b, p.name)) }
  }
  const wanted = byteLength(dtype, count)
  const bytes =
    p.dataLocation === TensorProto_DataLocation.EXTERNAL
      ? externalBytes(p, wanted, source)
      : p.segment
        ? part(source.bytes, Number(p.segment.begin), Number(p.segment.end))
        : (typedData(p, dtype) ?? p.rawData)
  if (bytes.length !== wanted) throw wrongCount(p, dtype, shape, `${bytes.length} bytes, not ${wanted}`)
  return { dtype, shape, bytes }
}

function wrongCount(p: TensorProto, dtype: DType, shape: readonly number[], what: string): PareError {
  return new PareError('E_FORMAT', `a ${dtype}[${shape}] tensor holds ${what}`, { where: p.name })
}

/** Checked dimensions of a tensor that must really be there. */
function shapeOf(dims: readonly bigint[], name: string): number[] {
  return dims.map((d) => {
    if (d < 0n || d > BigInt(Number.MAX_SAFE_INTEGER))
      throw new PareError('E_FORMAT', `a tensor with a dimension of ${d}`, { where: name })
    return Number(d)
  })
}

function countOf(shape: readonly number[], name: string): number {
  if (shape.includes(0)) return 0
  let n = 1
  for (const d of shape) {
    n *= d
    if (n > 2 ** 40) throw new PareError('E_LIMIT', `a tensor of shape [${shape.slice(0, 8)}]`, { where: name })
  }
  return n
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Decodes text. Throws `E_FORMAT` where the bytes are none. */
function utf8(bytes: Uint8Array, name: string): string {
  try {
    return strict.decode(bytes)
  } catch (cause) {
    throw new PareError('E_FORMAT', 'a string that is not UTF-8', { where: name, cause })
  }
}

/** Data in typed fields as little-endian bytes; `undefined` where there is none. */
function typedData(p: TensorProto, dtype: DType): Uint8Array | undefined {
  if (p.floatData.length > 0 && (dtype === 'float32' || dtype === 'complex64'))
    return bytesOf(Float32Array.from(p.floatData))
  if (p.doubleData.length > 0 && (dtype === 'float64' || dtype === 'complex128'))
    return bytesOf(Float64Array.from(p.doubleData))
  if (p.int64Data.length > 0 && dtype === 'int64') return bytesOf(BigInt64Array.from(p.int64Data))
  if (p.uint64Data.length > 0 && dtype === 'uint64') return bytesOf(BigUint64Array.from(p.uint64Data))
  if (p.uint64Data.length > 0 && dtype === 'uint32')
    return bytesOf(Uint32Array.from(p.uint64Data, (x) => Number(BigInt.asUintN(32, x))))
  if (p.int32Data.length > 0 && bitsOf(dtype) <= 32) return bytesOf(narrow(p.int32Data, dtype))
  return undefined
}

/** One code per int32, save sub-byte types: there an int32 holds one byte of packed codes. */
function narrow(data: readonly number[], dtype: DType): TypedArray {
  if (bitsOf(dtype) === 32) return Int32Array.from(data)
  return bitsOf(dtype) === 16 ? Uint16Array.from(data) : Uint8Array.from(data)
}

function externalBytes(p: TensorProto, wanted: number, source: TensorSource): Bytes {
  const entries = new Map(p.externalData.map((e) => [e.key, e.value]))
  const location = entries.get('location')
  if (!location) throw new PareError('E_FORMAT', 'external weights without a location', { where: p.name })
  checkLocation(location)
  const file = source.external(location)
  const offset = wholeNumber(entries.get('offset') ?? '0', p.name)
  const length = wholeNumber(entries.get('length') ?? String(wanted), p.name)
  if (offset + length > file.length)
    throw new PareError('E_FORMAT', `weights reach beyond the end of ${location}`, {
      where: p.name,
      facts: { wanted: `bytes ${offset} … ${offset + length}`, file: `${file.length} bytes` },
      hint: 'was the file cut off while copying?'
    })
  return part(file, offset, offset + length)
}

/** External data lies beside the model: no absolute path, no way up. Throws `E_FORMAT`. */
function checkLocation(location: string): void {
  const steps = location.split(/[\\/]/)
  const isOutside = steps.includes('..') || location.includes('\0') || /^([\\/]|[A-Za-z]:)/.test(location)
  if (isOutside || location.length > 1024)
    throw new PareError('E_FORMAT', `external weights outside the model's folder: ${location.slice(0, 200)}`)
}

function wholeNumber(text: string, name: string): number {
  const n = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(n))
    throw new PareError('E_FORMAT', `external weights at "${text.slice(0, 40)}"`, { where: name })
  return n
}

/** Reads a sparse tensor (indices linear or per axis) into a dense one, within bounds. */
export function readSparse(p: SparseTensorProto, source: TensorSource): Tensor {
  const name = p.values?.name ?? ''
  if (!p.values || !p.indices)
    throw new PareError('E_FORMAT', 'a sparse tensor without values or indices', { where: name })
  const shape = shapeOf(p.dims, name)
  const [values, indices] = [readTensor(p.values, source), readTensor(p.indices, source)]
  if (values.strings || indices.dtype !== 'int64' || bitsOf(values.dtype) % 8 !== 0)
    throw new PareError('E_UNSUPPORTED', `a sparse ${values.dtype} tensor with ${indices.dtype} indices`, {
      where: name
    })
  const count = countOf(shape, name)
  const bytes = byteLength(values.dtype, count)
  source.grow(bytes)
  const size = bitsOf(values.dtype) / 8
  const [n] = values.shape
  const perIndex = indices.shape.length === 2 ? shape.length : 1
  if (
    values.shape.length !== 1 ||
    indices.shape[0] !== n ||
    (indices.shape.length === 2 && indices.shape[1] !== perIndex)
  )
    throw new PareError('E_FORMAT', 'a sparse tensor whose values and indices do not match', { where: name })
  const at = indices.bytes.slice()
  const view = new DataView(at.buffer, at.byteOffset, at.byteLength)
  const from = values.bytes.slice()
  const out = new Uint8Array(bytes)
  for (let i = 0; i < (n ?? 0); i++) {
    let place = 0
    for (let k = 0; k < perIndex; k++) {
      const index = Number(view.getBigInt64((i * perIndex + k) * 8, true))
      const extent = indices.shape.length === 2 ? (shape[k] as number) : count
      if (index < 0 || index >= extent) throw new PareError('E_FORMAT', `sparse index ${index}`, { where: name })
      place = place * extent + index
    }
    for (let k = 0; k < size; k++) out[place * size + k] = from[i * size + k] as number
  }
  return { dtype: values.dtype, shape, bytes: out }
}

/** A tensor without its data, save strings. */
export function tensorHeader(t: Tensor, name: string): TensorProto {
  const encoder = new TextEncoder()
  return create(TensorProtoSchema, {
    name,
    dataType: codeOfDtype(t.dtype),
    dims: t.shape.map(BigInt),
    stringData: (t.strings ?? []).map((s) => encoder.encode(s))
  })
}

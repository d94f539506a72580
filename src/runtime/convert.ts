/** Tensors of ours to and from the engine's. Bytes are shared where alignment allows. */
import { PareError } from '../base/errors.ts'
import { bytesOf, type TypedArray, tensor, tensorOf, typedValues } from '../ir/tensor.ts'
import type { DType, Tensor } from '../types.ts'
import type { OrtModule, OrtTensor, OrtTensorClass } from './engine.ts'

/** Types that cross the border of the engine's JavaScript interface, spelled the same on both sides. */
const crossing: ReadonlySet<string> = new Set<DType>([
  'float32',
  'float64',
  'float16',
  'int64',
  'int32',
  'int16',
  'int8',
  'uint64',
  'uint32',
  'uint16',
  'uint8',
  'bool',
  'string'
])

/** A type name of the engine as ours; `undefined` where Pare cannot hand it over. */
export const dtypeFrom = (type: string | undefined): DType | undefined =>
  type !== undefined && crossing.has(type) ? (type as DType) : undefined

/** Throws `E_RUN` for element types that cannot be handed to the engine (sub-byte, bfloat16, float8, complex). */
export function toEngine(ort: OrtModule, name: string, t: Tensor): OrtTensor {
  if (!crossing.has(t.dtype))
    throw new PareError('E_RUN', `a ${t.dtype} tensor cannot be passed to the runtime`, {
      where: name,
      hint: 'cast it inside the model'
    })
  const dims = [...t.shape]
  const Made = ort.Tensor as OrtTensorClass
  if (t.dtype === 'string') return new Made('string', [...(t.strings ?? [])], dims)
  return new Made(t.dtype, unshared(typedValues(t)), dims)
}

/** The engine refuses memory shared between threads. */
function unshared(values: TypedArray): TypedArray {
  return typeof SharedArrayBuffer !== 'undefined' && values.buffer instanceof SharedArrayBuffer
    ? values.slice()
    : values
}

/** Throws `E_RUN` for results that are not tensors of a type Pare can hold. */
export function fromEngine(name: string, t: OrtTensor | undefined): Tensor {
  const dtype = dtypeFrom(t?.type)
  if (!t || !dtype)
    throw new PareError('E_RUN', `the runtime returned ${t?.type ?? 'nothing'} where a tensor was expected`, {
      where: name
    })
  if (dtype === 'string') return tensor('string', [...t.dims], t.data as string[])
  return tensorOf(dtype, [...t.dims], bytesOf(t.data as TypedArray))
}

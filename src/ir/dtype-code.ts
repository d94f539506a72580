/** Numbers of element types in ONNX (`TensorProto.DataType`), as in Cast's `to`. */
import type { DType } from '../types.ts'

/** In the order of their numbers, which start at 1. */
const order: readonly DType[] = [
  'float32',
  'uint8',
  'int8',
  'uint16',
  'int16',
  'int32',
  'int64',
  'string',
  'bool',
  'float16',
  'float64',
  'uint32',
  'uint64',
  'complex64',
  'complex128',
  'bfloat16',
  'float8e4m3fn',
  'float8e4m3fnuz',
  'float8e5m2',
  'float8e5m2fnuz',
  'uint4',
  'int4',
  'float4e2m1',
  'float8e8m0',
  'uint2',
  'int2'
]

/** The type of an ONNX element type number; `undefined` for none that Pare knows. */
export const dtypeOfCode = (code: number): DType | undefined => order[code - 1]

export const codeOfDtype = (dtype: DType): number => order.indexOf(dtype) + 1

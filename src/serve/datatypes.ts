/** Element types as the Open Inference Protocol (v2) names them. */
import type { DType } from '../types.ts'

const names: Partial<Record<DType, string>> = {
  bool: 'BOOL',
  uint8: 'UINT8',
  uint16: 'UINT16',
  uint32: 'UINT32',
  uint64: 'UINT64',
  int8: 'INT8',
  int16: 'INT16',
  int32: 'INT32',
  int64: 'INT64',
  float16: 'FP16',
  float32: 'FP32',
  float64: 'FP64',
  string: 'BYTES'
}

const types = new Map(Object.entries(names).map(([dtype, name]) => [name, dtype as DType]))

/** The protocol's name; `undefined` for types that it has none for. */
export const datatypeOf = (dtype: DType): string | undefined => names[dtype]

/** The type of a protocol's name. */
export const dtypeNamed = (name: string): DType | undefined => types.get(name)

/**
 * A TensorFlow Lite file as plain objects: what `decode` gives and `encode` takes, under the schema's own names. Absent vectors,
 * strings and tables are absent; absent scalars have their default. Enums are names, or the number of a value without one.
 */
import type { Bytes } from '../../types.ts'

export type Code = string | number

/** Options of an operator, or another union: the table's name and its fields. */
export interface Options {
  readonly table: string
  readonly [field: string]: unknown
}

export interface QuantizationParameters {
  readonly min?: readonly number[]
  readonly max?: readonly number[]
  readonly scale?: readonly number[]
  readonly zero_point?: readonly number[]
  readonly details?: Options
  readonly quantized_dimension?: number
}

export interface DimensionMetadata {
  readonly format?: Code
  readonly dense_size?: number
  readonly array_segments?: Options
  readonly array_indices?: Options
}

export interface SparsityParameters {
  readonly traversal_order?: readonly number[]
  readonly block_map?: readonly number[]
  readonly dim_metadata?: readonly DimensionMetadata[]
}

export interface FlatTensor {
  readonly shape?: readonly number[]
  readonly type?: Code
  readonly buffer?: number
  readonly name?: string
  readonly quantization?: QuantizationParameters
  readonly is_variable?: boolean
  readonly sparsity?: SparsityParameters
  readonly shape_signature?: readonly number[]
  readonly has_rank?: boolean
  readonly variant_tensors?: readonly { readonly shape?: readonly number[]; readonly type?: Code }[]
  readonly external_buffer?: number
}

export interface OperatorCode {
  readonly deprecated_builtin_code?: number
  readonly custom_code?: string
  readonly version?: number
  readonly builtin_code?: Code
}

/** Inputs and outputs are places in the subgraph's `tensors`; -1 is an input left out. */
export interface FlatOperator {
  readonly opcode_index?: number
  readonly inputs?: readonly number[]
  readonly outputs?: readonly number[]
  readonly builtin_options?: Options
  readonly custom_options?: Bytes
  readonly custom_options_format?: Code
  readonly mutating_variable_inputs?: readonly boolean[]
  readonly intermediates?: readonly number[]
  readonly builtin_options_2?: Options
  readonly debug_metadata_index?: number
}

export interface SubGraph {
  readonly tensors?: readonly FlatTensor[]
  readonly inputs?: readonly number[]
  readonly outputs?: readonly number[]
  readonly operators?: readonly FlatOperator[]
  readonly name?: string
  readonly debug_metadata_index?: number
}

export interface TensorMap {
  readonly name?: string
  readonly tensor_index?: number
}

export interface SignatureDef {
  readonly inputs?: readonly TensorMap[]
  readonly outputs?: readonly TensorMap[]
  readonly signature_key?: string
  readonly subgraph_index?: number
}

export interface FlatModel {
  readonly version?: number
  readonly operator_codes?: readonly OperatorCode[]
  readonly subgraphs?: readonly SubGraph[]
  readonly description?: string
  /** `data` also where the file keeps it behind the flatbuffer. The first is empty by custom: it stands for no data. */
  readonly buffers?: readonly { readonly data?: Bytes }[]
  readonly metadata_buffer?: readonly number[]
  readonly metadata?: readonly { readonly name?: string; readonly buffer?: number }[]
  readonly signature_defs?: readonly SignatureDef[]
  readonly external_buffer_groups?: readonly { readonly name?: string }[]
  readonly external_buffers?: readonly Options[]
}

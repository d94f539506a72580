/** TensorFlow Lite files of a single operator, or a few, made for tests. */
import { concat, toArray } from '../src/base/bytes.ts'
import { encode } from '../src/formats/tflite/encode.ts'
import type { FlatModel, FlatOperator, FlatTensor, SubGraph } from '../src/formats/tflite/model.ts'
import { tensor } from '../src/ir/tensor.ts'
import type { DType } from '../src/types.ts'

/** A tensor: its shape and type, numbers where it is a constant, scale and zero point where it is quantized. */
export interface Made {
  readonly shape: readonly number[]
  readonly dtype?: DType
  readonly data?: readonly number[]
  readonly scale?: readonly number[]
  readonly zero?: readonly number[]
  readonly axis?: number
  readonly more?: Partial<FlatTensor>
}

/** An operator on tensors; `null` is an input left out. */
export interface MadeOp {
  readonly op: string
  readonly inputs: readonly (Made | null)[]
  readonly outputs: readonly Made[]
  /** Fields of the options, with the name of their table as `table`. */
  readonly options?: FlatOperator['builtin_options']
}

/** Subgraphs of operators in order, each with its inputs and outputs; the first is the main one. */
export interface MadeGraph {
  readonly ops: readonly MadeOp[]
  readonly inputs: readonly Made[]
  readonly outputs: readonly Made[]
}

/** A file with these subgraphs; a tensor is the same where it is the same object. */
export function flatFile(graphs: readonly MadeGraph[], more: Partial<FlatModel> = {}): Uint8Array {
  const buffers: { data?: Uint8Array }[] = [{}]
  const codes: string[] = []
  const subgraphs = graphs.map(({ ops, inputs, outputs }, k): SubGraph => {
    const all: Made[] = []
    const place = (t: Made): number => (all.includes(t) ? all.indexOf(t) : all.push(t) - 1)
    const operators = ops.map(
      ({ op, inputs: read, outputs: made, options }): FlatOperator => ({
        opcode_index: codes.includes(op) ? codes.indexOf(op) : codes.push(op) - 1,
        inputs: read.map((t) => (t === null ? -1 : place(t))),
        outputs: made.map(place),
        ...(options ? { builtin_options: options } : {})
      })
    )
    const ends = { inputs: inputs.map(place), outputs: outputs.map(place) }
    const tensors = all.map((t, i): FlatTensor => {
      const { shape, dtype = 'float32', data, scale, zero, axis } = t
      if (data) buffers.push({ data: toArray(tensor(dtype, shape, data).bytes) })
      return {
        shape,
        type: dtype.toUpperCase(),
        buffer: data ? buffers.length - 1 : 0,
        name: `t${k}_${i}`,
        ...(scale
          ? { quantization: { scale, zero_point: zero ?? scale.map(() => 0), quantized_dimension: axis ?? 0 } }
          : {}),
        ...t.more
      }
    })
    return { tensors, ...ends, operators, name: `graph_${k}` }
  })
  const operator_codes = codes.map((builtin_code) => ({ builtin_code, deprecated_builtin_code: 0, version: 1 }))
  return concat(encode({ version: 3, operator_codes, subgraphs, buffers, ...more }).map(toArray))
}

/** A file of one operator, whose inputs that are no constants are the file's. */
export const flatOperator = (op: MadeOp): Uint8Array =>
  flatFile([
    {
      ops: [op],
      inputs: op.inputs.filter((t): t is Made => t !== null && !t.data && !t.more?.is_variable),
      outputs: op.outputs
    }
  ])

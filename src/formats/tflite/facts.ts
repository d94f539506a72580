/** Operators of a TensorFlow Lite file as facts: what is known of each from its options and from the tensors around it. */
import { toArray } from '../../base/bytes.ts'
import { greatest } from '../../base/extremes.ts'
import { byteLength } from '../../ir/tensor.ts'
import type { Fact, Feature, FileOperator } from '../../targets/types.ts'
import type { Bytes, DType } from '../../types.ts'
import { decode } from './decode.ts'
import type { FlatModel, FlatOperator, FlatTensor, Options, SubGraph } from './model.ts'
import { fieldsOf } from './schema.ts'

/** Places of operands where they are not the usual ones: data first, no weight. */
interface Places {
  readonly data?: number
  readonly weight?: number
  readonly bias?: number
  /** An operand of whole numbers: axes, pads, sizes or steps. */
  readonly list?: number
}

const layer: Places = { weight: 1, bias: 2 }
const withList: Places = { list: 1 }

const placesOf: Readonly<Record<string, Places>> = {
  CONV_2D: layer,
  DEPTHWISE_CONV_2D: layer,
  FULLY_CONNECTED: layer,
  TRANSPOSE_CONV: { data: 2, weight: 1, bias: 3 },
  BATCH_MATMUL: { weight: 1 },
  MEAN: withList,
  SUM: withList,
  REDUCE_MAX: withList,
  REDUCE_MIN: withList,
  REDUCE_PROD: withList,
  PAD: withList,
  PADV2: withList,
  MIRROR_PAD: withList,
  RESIZE_BILINEAR: withList,
  RESIZE_NEAREST_NEIGHBOR: withList,
  STRIDED_SLICE: { list: 3 },
  SPLIT: { data: 1, list: 0 },
  SPLIT_V: { list: 2 },
  PRELU: { list: 1 },
  GATHER: { list: 1 },
  TRANSPOSE: withList,
  SLICE: withList,
  TILE: withList,
  REVERSE_V2: withList,
  ARG_MAX: withList,
  ARG_MIN: withList,
  REDUCE_ANY: withList,
  REDUCE_ALL: withList,
  SOFTMAX: {}
}

/** A graph in which an operator's tensors are looked up. */
interface Around {
  readonly model: FlatModel
  readonly graph: SubGraph
  /** Tensors that the file holds, or that are made of those alone. */
  readonly held: ReadonlySet<FlatTensor | undefined>
}

/**
 * The operators of the first graph, but for those that only bring constants into another form (weights in float16 or with their
 * zeros left out). Throws `E_FORMAT` for what is no whole file.
 */
export function operatorsOf(bytes: Bytes): readonly FileOperator[] {
  const model = decode(bytes)
  const graph = model.subgraphs?.[0] ?? {}
  const tensors = graph.tensors ?? []
  const held = new Set<FlatTensor | undefined>(
    tensors.filter((t) => (model.buffers?.[t.buffer ?? 0]?.data?.length ?? 0) > 0)
  )
  const around = { model, graph, held }
  const makers = new Map<number, number>()
  const operators = (graph.operators ?? []).filter((op) => {
    const inputs = (op.inputs ?? []).filter((i) => i >= 0)
    if (inputs.length === 0 || !inputs.every((i) => held.has(tensors[i]))) return true
    for (const i of op.outputs ?? []) held.add(tensors[i])
    return false
  })
  for (const [i, op] of operators.entries()) for (const t of op.outputs ?? []) makers.set(t, i)
  return operators.map((op) => {
    const values = [...(op.inputs ?? []), ...(op.outputs ?? [])].flatMap((i) => {
      const t = tensors[i]
      return t && !isConstant(around, t) ? [{ name: t.name ?? `tensor ${i}`, dtype: dtypeOf(t) }] : []
    })
    const macs = macsOf(around, op)
    const reads = new Set((op.inputs ?? []).flatMap((t) => makers.get(t) ?? []))
    return {
      name: tensors[op.outputs?.[0] ?? -1]?.name ?? '',
      op: nameOf(model, op),
      facts: (feature) => readers[feature]?.(operandsOf(around, op)),
      reads: [...reads],
      values,
      ...(macs === undefined ? {} : { macs }),
      ...bytesOf(around, op)
    }
  })
}

/** Bytes of tensors by what they are; nothing where a size is open. */
function bytesOf(around: Around, op: FlatOperator): Pick<FileOperator, 'bytes'> {
  const tensors = around.graph.tensors ?? []
  const sizes = { weights: 0, reads: 0, gives: 0 }
  const add = (i: number, kind: keyof typeof sizes): boolean => {
    const t = tensors[i]
    if (!t) return true
    const dtype = dtypeOf(t)
    const n = product(t.shape ?? [])
    if (dtype === 'other' || dtype === 'string' || (t.shape ?? []).some((d) => d < 0)) return false
    sizes[isConstant(around, t) ? 'weights' : kind] += byteLength(dtype, n)
    return true
  }
  const isKnown = (op.inputs ?? []).every((i) => add(i, 'reads')) && (op.outputs ?? []).every((i) => add(i, 'gives'))
  return isKnown ? { bytes: sizes } : {}
}

/** Files of before 2020 hold a code in a byte of its own; the schema's newer field is 0, ADD, there. */
function nameOf({ operator_codes }: FlatModel, op: FlatOperator): string {
  const code = operator_codes?.[op.opcode_index ?? 0]
  const old = builtinNames[code?.deprecated_builtin_code ?? 0] ?? '?'
  const builtin = code?.builtin_code ?? 0
  if (code?.custom_code !== undefined) return code.custom_code
  return builtin === builtinNames[0] ? old : `${builtin}`
}

const builtinNames: readonly string[] = fieldsOf('OperatorCode').flatMap(({ name, kind }) =>
  name === 'builtin_code' && kind.is === 'scalar' ? (kind.names ?? []) : []
)

// ---------------------------------------------------------------- tensors

const dtypes: Readonly<Record<string, DType>> = {
  FLOAT32: 'float32',
  FLOAT16: 'float16',
  FLOAT64: 'float64',
  BFLOAT16: 'bfloat16',
  INT64: 'int64',
  INT32: 'int32',
  INT16: 'int16',
  INT8: 'int8',
  INT4: 'int4',
  INT2: 'int2',
  UINT64: 'uint64',
  UINT32: 'uint32',
  UINT16: 'uint16',
  UINT8: 'uint8',
  UINT4: 'uint4',
  BOOL: 'bool',
  STRING: 'string'
}

const dtypeOf = ({ type }: FlatTensor): DType | 'other' => dtypes[`${type ?? 'FLOAT32'}`] ?? 'other'
const shapeOf = (t: FlatTensor | undefined): readonly number[] | undefined => t?.shape
const product = (all: readonly number[]): number => all.reduce((n, d) => n * d, 1)
/** Axes behind the leading ones. */
const wide = (shape: readonly number[]): number => shape.length - Math.max(0, leadingOnes(shape))
const leadingOnes = (shape: readonly number[]): number => {
  const first = shape.findIndex((d) => d !== 1)
  return first < 0 ? shape.length : first
}
const isConstant = ({ held }: Around, t: FlatTensor): boolean => held.has(t)
/** A signature may leave the batch open; what runs by default has the sizes of the shape. */
const openAxes = (t: FlatTensor | undefined): number => (t?.shape ?? []).filter((d) => d < 0).length

/** Whole numbers of a constant; absent where it is computed. */
function numbersOf({ model }: Around, t: FlatTensor | undefined): readonly number[] | undefined {
  const data = t && model.buffers?.[t.buffer ?? 0]?.data
  if (!t || !data || data.length === 0) return undefined
  const bytes = toArray(data)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const type = dtypeOf(t)
  if (type === 'int32') return Array.from({ length: bytes.length >> 2 }, (_, i) => view.getInt32(4 * i, true))
  if (type === 'int64')
    return Array.from({ length: bytes.length >> 3 }, (_, i) => Number(view.getBigInt64(8 * i, true)))
  return undefined
}

/** An operator with its tensors by what they are for. */
interface Operands {
  readonly around: Around
  readonly op: FlatOperator
  readonly options: Options | undefined
  readonly inputs: readonly (FlatTensor | undefined)[]
  readonly outputs: readonly (FlatTensor | undefined)[]
  readonly data: FlatTensor | undefined
  readonly weight: FlatTensor | undefined
  readonly bias: FlatTensor | undefined
  readonly list: FlatTensor | undefined
}

function operandsOf(around: Around, op: FlatOperator): Operands {
  const tensors = around.graph.tensors ?? []
  const inputs = (op.inputs ?? []).map((i) => tensors[i])
  const at = placesOf[nameOf(around.model, op)] ?? {}
  const given = (place: number | undefined): FlatTensor | undefined => (place === undefined ? undefined : inputs[place])
  return {
    ...{ around, op, inputs },
    options: op.builtin_options,
    outputs: (op.outputs ?? []).map((i) => tensors[i]),
    data: given(at.data ?? 0),
    weight: given(at.weight),
    bias: given(at.bias),
    list: given(at.list)
  }
}

// ---------------------------------------------------------------- facts

const numberIn = (options: Options | undefined, name: string): number | undefined => {
  const value = options?.[name]
  return typeof value === 'number' ? value : typeof value === 'boolean' ? Number(value) : undefined
}

/** A pair of options, down and across; `undefined` where the operator has no such. */
function pairOf({ options }: Operands, down: string, across: string): readonly [number, number] | undefined {
  const [h, w] = [numberIn(options, down), numberIn(options, across)]
  return h === undefined || w === undefined ? undefined : [h, w]
}

const isOf = (o: Operands, t: FlatTensor | undefined): 'constant' | 'computed' | 'none' =>
  t === undefined ? 'none' : isConstant(o.around, t) ? 'constant' : 'computed'

/** Weights are [out, height, width, in]; of a depthwise convolution [1, height, width, out]. */
function kernelOf(o: Operands): readonly [number, number] | undefined {
  const pool = pairOf(o, 'filter_height', 'filter_width')
  if (pool) return pool
  const [, h, w, last] = shapeOf(o.weight) ?? []
  return h === undefined || w === undefined || last === undefined ? undefined : [h, w]
}

const kernelArea = (o: Operands): number | undefined => {
  const kernel = kernelOf(o)
  return kernel && product(kernel)
}

/** Axes that are reduced, padded or split, counted from the front. */
function axesOf(o: Operands): readonly number[] | undefined {
  const own = numberIn(o.options, 'axis')
  const rank = shapeOf(o.data)?.length ?? 0
  const fromFront = (axes: readonly number[]): readonly number[] => axes.map((a) => (a < 0 ? a + rank : a))
  if (own !== undefined) return fromFront([own])
  const list = numbersOf(o.around, o.list)
  // Pads are pairs of before and after, an axis a row.
  if (list && shapeOf(o.list)?.length === 2) return list.flatMap((n, i) => (n === 0 ? [] : [i >> 1]))
  return list && fromFront(list)
}

/** How the smaller of two operands is read: axes of NHWC that it has beside 1. */
function broadcast({ inputs }: Operands): Fact | undefined {
  const [a, b] = [shapeOf(inputs[0]), shapeOf(inputs[1])]
  if (!a || !b) return undefined
  const [large, small] = product(a) >= product(b) ? [a, b] : [b, a]
  if (product(small) === 1) return product(large) === 1 ? 'nothing' : 'a scalar'
  if (small.length === large.length && small.every((d, i) => d === large[i])) return 'nothing'
  if (small.slice(0, -1).every((d) => d === 1) && small.at(-1) === large.at(-1)) return 'channels'
  return 'other axes'
}

function constants(o: Operands): Fact | undefined {
  const held = o.inputs.filter((t) => t !== undefined && isConstant(o.around, t))
  if (held.length === 0) return 'none'
  const isZero = (t: FlatTensor | undefined): boolean =>
    toArray(o.around.model.buffers?.[t?.buffer ?? 0]?.data ?? new Uint8Array()).every((b) => b === 0)
  return held.every(isZero) ? 'zeros' : 'values'
}

const scaleOf = (t: FlatTensor | undefined): number | undefined => t?.quantization?.scale?.[0]

/** Sizes along axes that are counted from the end: 1 is channels, 2 width, 3 height, 4 the batch. */
const sizeAt = (o: Operands, fromEnd: number): number | undefined =>
  shapeOf(o.data) && (shapeOf(o.data)?.at(-fromEnd) ?? 1)

/** The output over the input, down and across; between the outermost pixels where corners stay corners. */
function scale({ data, outputs, options }: Operands): Fact | undefined {
  const [from, to] = [shapeOf(data), shapeOf(outputs[0])]
  if (from?.length !== 4 || to?.length !== 4) return undefined
  const less = numberIn(options, 'align_corners') ? 1 : 0
  // A single pixel is repeated, whatever the size.
  if (from[1] === 1 && from[2] === 1) return [1, 1]
  return [1, 2].map((axis) => ((to[axis] as number) - less) / ((from[axis] as number) - less))
}

/** Whole numbers that stand for themselves, such as indices. */
const isWhole = (dtype: DType | 'other'): boolean => dtype === 'int32' || dtype === 'int64' || dtype === 'bool'

/** Rows and columns that SAME adds around the data. */
function pads(o: Operands): Fact | undefined {
  const [kernel, stride] = [kernelOf(o), pairOf(o, 'stride_h', 'stride_w')]
  if (o.options?.['padding'] === 'VALID') return 0
  const dilation = pairOf(o, 'dilation_h_factor', 'dilation_w_factor') ?? [1, 1]
  const shape = shapeOf(o.data)
  if (!kernel || !stride || shape?.length !== 4) return undefined
  return [0, 1].map((i) => {
    const [n, s] = [shape[1 + i] as number, stride[i] as number]
    const wide = ((kernel[i] as number) - 1) * (dilation[i] as number) + 1
    return Math.max(0, (Math.ceil(n / s) - 1) * s + wide - n)
  })
}

const yesNo = (is: number | undefined): Fact | undefined => (is === undefined ? undefined : is ? 'yes' : 'no')

/** Sizes along the axes that are reduced. */
function reducedSizes(o: Operands): readonly number[] | undefined {
  const [axes, shape] = [axesOf(o), shapeOf(o.data)]
  return axes && shape && axes.map((a) => shape[a] ?? 1)
}

/** The largest sum of absolute codes among the filters of a weight. */
function weightSum({ around, op, weight }: Operands): number | undefined {
  const shape = shapeOf(weight)
  const data = weight && around.model.buffers?.[weight.buffer ?? 0]?.data
  if (!weight || !shape || !data || !['int8', 'uint8'].includes(dtypeOf(weight))) return undefined
  const bytes = toArray(data)
  const isSigned = dtypeOf(weight) === 'int8'
  const zero = weight.quantization?.zero_point?.[0] ?? 0
  // Filters lie one behind the other, but for depthwise ones, which alternate.
  const filters = (nameOf(around.model, op) === 'DEPTHWISE_CONV_2D' ? shape.at(-1) : shape[0]) ?? 1
  const alternate = nameOf(around.model, op) === 'DEPTHWISE_CONV_2D'
  const each = Math.max(1, bytes.length / filters)
  const sums = new Float64Array(filters)
  for (const [i, byte] of bytes.entries()) {
    const at = alternate ? i % filters : Math.floor(i / each)
    sums[at] = (sums[at] as number) + Math.abs((isSigned ? (byte << 24) >> 24 : byte) - zero)
  }
  return sums.reduce((a, b) => Math.max(a, b), 0)
}

const quantizationOf = (t: FlatTensor): string =>
  `${t.quantization?.scale?.join(' ')} at ${t.quantization?.zero_point?.join(' ') ?? 0}`

/** Inputs of an LSTM that make it more than a plain one, by place. */
const gatesAt = { coupled: [1], peephole: [9, 10, 11], projected: [16, 17], normalized: [20, 21, 22, 23] } as const

const gates = ({ inputs }: Operands): Fact => {
  const found = Object.entries(gatesAt).filter(([kind, places]) =>
    places.some((i) => (inputs[i] === undefined) === (kind === 'coupled'))
  )
  return found.length === 0 ? 'plain' : found.map(([kind]) => kind).join(' ')
}

const readers: Readonly<Partial<Record<Feature, (o: Operands) => Fact | undefined>>> = {
  axes: (o) =>
    axesOf(o)
      ?.toSorted((a, b) => a - b)
      .join(' '),
  axis: axesOf,
  beta: ({ options }) => numberIn(options, 'beta'),
  bias: (o) => isOf(o, o.bias),
  block: ({ options }) => numberIn(options, 'block_size'),
  broadcast,
  constants,
  depthwise: (o) => (nameOf(o.around.model, o.op) === 'DEPTHWISE_CONV_2D' ? 'yes' : 'no'),
  dilation: (o) => pairOf(o, 'dilation_h_factor', 'dilation_w_factor'),
  dilationRatio: (o) => {
    const [h, w] = pairOf(o, 'dilation_h_factor', 'dilation_w_factor') ?? [1, 1]
    return h / w
  },
  dtype: ({ data }) => data && dtypeOf(data),
  elements: ({ data }) => product(shapeOf(data) ?? []),
  from: ({ data }) => data && dtypeOf(data),
  fused: ({ options }) => `${options?.['fused_activation_function'] ?? 'NONE'}`,
  indices: ({ list }) => list && dtypeOf(list),
  indicesRank: ({ list }) => shapeOf(list)?.length,
  inputs: ({ inputs }) => inputs.filter((t) => t !== undefined).length,
  kernelArea,
  masks: ({ options }) =>
    ['ellipsis_mask', 'new_axis_mask', 'shrink_axis_mask'].reduce((n, m) => n + (numberIn(options, m) ?? 0), 0),
  mode: ({ options }) => (options?.['mode'] === undefined ? undefined : `${options['mode']}`),
  openAxes: ({ inputs, outputs }) => [...inputs, ...outputs].reduce((n, t) => n + openAxes(t), 0),
  outputs: ({ outputs }) => outputs.length,
  outputRank: ({ outputs }) => wide(shapeOf(outputs[0]) ?? []),
  rank: ({ data }) => shapeOf(data)?.length ?? 0,
  runtimeInputs: (o) => o.inputs.filter((t) => t !== undefined && !isConstant(o.around, t)).length,
  alignCorners: ({ options }) => yesNo(numberIn(options, 'align_corners')),
  batch: (o) => (shapeOf(o.data)?.length === 4 ? sizeAt(o, 4) : 1),
  channels: (o) => sizeAt(o, 1),
  dataZeroPoint: ({ data }) => data?.quantization?.zero_point ?? 0,
  depthMultiplier: ({ options }) => numberIn(options, 'depth_multiplier'),
  gates,
  halfPixel: ({ options }) => yesNo(numberIn(options, 'half_pixel_centers')),
  height: (o) => sizeAt(o, 3),
  inner: ({ data }) => shapeOf(data)?.at(-1),
  kernel: kernelOf,
  kernelHeight: (o) => kernelOf(o)?.[0],
  kernelWidth: (o) => kernelOf(o)?.[1],
  longest: ({ inputs, outputs }) =>
    greatest(
      [...inputs, ...outputs].flatMap((t) => shapeOf(t) ?? []),
      1
    ),
  outputChannels: ({ outputs }) => shapeOf(outputs[0])?.at(-1) ?? 1,
  padding: ({ options }) => (options?.['padding'] === undefined ? undefined : `${options['padding']}`),
  parameters: (o) => isOf(o, o.list),
  permutation: (o) => numbersOf(o.around, o.list)?.join(' '),
  plane: (o) => (sizeAt(o, 2) ?? 1) * (sizeAt(o, 3) ?? 1),
  quantized: ({ data, weight, outputs }) =>
    [data, weight, ...outputs].every(
      (t) => t === undefined || isWhole(dtypeOf(t)) || (t.quantization?.scale?.length ?? 0) > 0
    )
      ? 'yes'
      : 'no',
  pads,
  reduced: (o) => {
    const sizes = reducedSizes(o)
    return sizes && product(sizes)
  },
  reducedLongest: (o) => {
    const sizes = reducedSizes(o)
    return sizes && greatest(sizes, 1)
  },
  sameScales: (o) => {
    const all = [...o.inputs, ...o.outputs].flatMap((t) => (t && scaleOf(t) !== undefined ? [quantizationOf(t)] : []))
    return new Set(all).size <= 1 ? 'equal' : 'different'
  },
  scale,
  stride: (o) => pairOf(o, 'stride_h', 'stride_w'),
  weightSum,
  width: (o) => sizeAt(o, 2),
  scaleRatio: ({ data, outputs }) => {
    const [from, to] = [scaleOf(data), scaleOf(outputs[0])]
    return from === undefined || !to ? undefined : from / to
  },
  size: (o) => isOf(o, o.list),
  slope: ({ list }) => {
    const shape = shapeOf(list)
    return shape && (shape.slice(0, -1).every((d) => d === 1) ? 'one for each channel' : 'one for each element')
  },
  steps: (o) => numbersOf(o.around, o.list),
  strideArea: (o) => {
    const strides = pairOf(o, 'stride_h', 'stride_w')
    return strides && product(strides)
  },
  weight: (o) => isOf(o, o.weight),
  weightScales: ({ weight }) => {
    const n = weight?.quantization?.scale?.length ?? 0
    return weight === undefined || n === 0 ? 'none' : n === 1 ? 'one' : 'one for each channel'
  },
  weightType: ({ weight }) => (weight === undefined ? 'none' : dtypeOf(weight)),
  weightZeroPoint: ({ weight }) => weight?.quantization?.zero_point ?? [0],
  weightsFormat: ({ options }) => `${options?.['weights_format'] ?? 'DEFAULT'}`,
  wideRank: ({ inputs, outputs }) =>
    Math.max(0, ...[...inputs.slice(0, 1), ...outputs].map((t) => wide(shapeOf(t) ?? [])))
}

// ---------------------------------------------------------------- work

/** Multiply-adds of operators with a weight; of others 0, and nothing where sizes are open. */
function macsOf(around: Around, op: FlatOperator): number | undefined {
  const o = operandsOf(around, op)
  const count = macs[nameOf(around.model, op)]
  if (!count) return around.model.operator_codes?.[op.opcode_index ?? 0]?.custom_code === undefined ? 0 : undefined
  const [x, w, y] = [shapeOf(o.data), shapeOf(o.weight), shapeOf(o.outputs[0])]
  if (!x || !w || !y || [...x, ...w, ...y].some((d) => d < 0)) return undefined
  return count(x, w, y)
}

type Shape = readonly number[]
const perOutput = (_: Shape, w: Shape, y: Shape): number => product(y) * product(w.slice(1))

const macs: Readonly<Record<string, (x: Shape, w: Shape, y: Shape) => number>> = {
  CONV_2D: perOutput,
  CONV_3D: perOutput,
  DEPTHWISE_CONV_2D: (_, w, y) => product(y) * (w[1] ?? 1) * (w[2] ?? 1),
  TRANSPOSE_CONV: (x, w) => product(x) * product(w.slice(0, 3)),
  FULLY_CONNECTED: perOutput,
  BATCH_MATMUL: (x, _, y) => product(y) * (x.at(-1) ?? 1)
}

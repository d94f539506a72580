/** What ONNX Runtime's CPU and WebAssembly providers have in common. */
import type { Form } from '../types.ts'
import type { Condition, Device, DynamicRow, FusedRow, IntegerRow, Target } from './types.ts'

const values: IntegerRow['types'] = [{ values: 'uint8' }, { values: 'int8' }]

/** Kernels with constant weights. */
const weighted = {
  types: [
    { values: 'uint8', weights: 'int8' },
    { values: 'int8', weights: 'int8' },
    { values: 'uint8', weights: 'uint8' }
  ],
  scales: ['channel', 'tensor'],
  fusesWith: ['Relu', 'Clip']
} as const

const computes = (op: string, rest: Partial<IntegerRow> = {}): IntegerRow => ({
  op,
  types: values,
  fusesWith: ['Relu', 'Clip'],
  ...rest
})

/** Data movement, which keeps the codes as they are. */
const moves = (op: string, rest: Partial<IntegerRow> = {}): IntegerRow => ({ op, types: values, ...rest })

/** Data movement that it leaves in float between DequantizeLinear and QuantizeLinear, with a kernel that takes codes. */
const movesCodes = (op: string): IntegerRow => moves(op, { onCodes: true })

/**
 * Operators that it turns, between DequantizeLinear and QuantizeLinear, into an integer kernel or pure data movement, and
 * data movement that can be written on codes.
 * Softmax is left out: 256 codes are too few for probabilities, and it is cheap in float.
 */
export const integerRows: readonly IntegerRow[] = [
  { op: 'Conv', ...weighted, bias: 'int32' },
  { op: 'Gemm', ...weighted, bias: 'int32', needsZeroPoint: true, floatOutput: true },
  { op: 'MatMul', ...weighted, needsZeroPoint: true, floatOutput: true },
  computes('Add'),
  computes('AveragePool', { when: [['dilation', '==', 1]] }),
  computes('Concat'),
  computes('GlobalAveragePool'),
  computes('LeakyRelu'),
  computes('Mul'),
  computes('Sigmoid'),
  computes('Where'),
  moves('DepthToSpace'),
  moves('Expand'),
  moves('Flatten'),
  moves('Gather'),
  moves('Identity'),
  moves('MaxPool', { when: [['outputs', '==', 1]] }),
  moves('Reshape'),
  moves('Resize', { when: [['mode', '==', 'nearest']] }),
  moves('Slice'),
  moves('Split'),
  moves('Squeeze'),
  moves('Tile'),
  moves('Transpose'),
  moves('Unsqueeze'),
  movesCodes('GatherElements'),
  movesCodes('Pad'),
  movesCodes('ReduceMax'),
  movesCodes('ReduceMin'),
  movesCodes('SpaceToDepth')
]

/** ConvInteger with int8 weights does not load everywhere. */
const dynamicRows: readonly DynamicRow[] = [
  { op: 'MatMul', weights: ['int8', 'uint8'] },
  { op: 'Gemm', weights: ['int8', 'uint8'] },
  { op: 'Gather', weights: ['int8', 'uint8'] },
  { op: 'Conv', weights: ['uint8'] },
  { op: 'LSTM', weights: ['int8', 'uint8'] }
]

/**
 * Kernels that stand for several operators. Times are those of `bench/fused-kernels.mjs`, relative to the operators that a
 * kernel stands for. EmbedLayerNormalization has no row and no rule: it takes 1.6 to 2.2 times as long on both.
 */
export const fusedRows: readonly FusedRow[] = [
  { op: 'LayerNormalization' },
  { op: 'SimplifiedLayerNormalization' },
  { op: 'Gelu' },
  { op: 'com.microsoft:QuickGelu', joined: true },
  { op: 'com.microsoft:BiasGelu', joined: true },
  { op: 'com.microsoft:FastGelu', kept: 'its kernel is no faster than Add and Gelu' }
]

/** It quantizes their weights when a session is created, with one scale for all channels. */
const takenOver: readonly string[] = ['Conv', 'ConvTranspose', 'Gemm']

/** Every form that folds to a plain float constant while a session is created. */
const onnxForms: readonly Form[] = ['plain', 'foldable', 'palette', 'gap', 'bitmap', 'blocks', 'qdq', 'nbits', 'auto']

/** What its targets share. */
export const onnxRuntime = {
  format: 'onnx',
  opset: { min: 7, max: 25 },
  operators: 'all',
  elements: 'all',
  integer: integerRows,
  dynamic: dynamicRows,
  takesOver: takenOver,
  cannotMove: ['int8'],
  forms: onnxForms
} as const satisfies Partial<Target>

const rows = { from: 'measured', ref: 'its optimised graphs' } as const
const standard = {
  from: 'documentation',
  ref: 'operators of the CPU provider',
  url: 'https://github.com/microsoft/onnxruntime/blob/main/docs/OperatorKernels.md'
} as const
const quantization = {
  from: 'documentation',
  url: 'https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html'
} as const

/** Alternatives of an operator's rows. */
const conditionsOf = (op: string): true | readonly (readonly Condition[])[] => {
  const all = integerRows.filter((r) => r.op === op).map((r) => r.when ?? [])
  return all.some((when) => when.length === 0) ? true : all
}

/** What its CPU and WebAssembly providers take: all in float, and on integers what has a row. */
export const onnxRuntimeDevice = (rest: Partial<Device>): Device => ({
  read: 'ONNX Runtime 1.30 (2026-08)',
  urls: [standard.url, quantization.url],
  types: [
    {
      ...standard,
      when: [
        ['dtype', 'in', ['float32', 'float16', 'float64', 'int32', 'int64', 'bool', 'string']],
        [
          'weightType',
          'in',
          ['none', 'float32', 'float16', 'float64', 'int8', 'uint8', 'int4', 'uint4', 'int32', 'int64']
        ]
      ]
    },
    {
      ...quantization,
      when: [
        ['dtype', 'in', ['uint8', 'int8']],
        ['weightType', 'in', ['none', 'int8', 'uint8']],
        ['weightZeroPoint', '==', 0]
      ]
    }
  ],
  rules: [],
  operators: [
    { ...rows, of: ['uint8', 'int8'], take: Object.fromEntries(integerRows.map(({ op }) => [op, conditionsOf(op)])) }
  ],
  open: { ...standard, of: ['float32', 'float16', 'float64', 'int32', 'int64', 'bool', 'string'] },
  rest: {
    ...rows,
    to: 'float kernels between DequantizeLinear and QuantizeLinear',
    parts: 'all'
  },
  notes: [],
  ...rest
})

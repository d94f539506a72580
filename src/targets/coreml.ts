import { compiled, integersOf } from './onnx.ts'
import { plainly } from './tflite.ts'
import type { Device, Target } from './types.ts'

const table = {
  from: 'documentation',
  ref: 'table of the Core ML provider, ML programs',
  url: 'https://onnxruntime.ai/docs/execution-providers/CoreML-ExecutionProvider.html'
} as const
const guide = {
  from: 'documentation',
  ref: 'guide of coremltools',
  url: 'https://apple.github.io/coremltools/docs-guides/source/opt-overview.html'
} as const
const issue = {
  from: 'issue',
  ref: 'coremltools#1780',
  url: 'https://github.com/apple/coremltools/issues/1780'
} as const
const community = { from: 'memory', ref: 'lists of the community about the Neural Engine' } as const

const device: Device = {
  read: 'coremltools e0e2f42 (2026-08), ONNX Runtime Core ML provider',
  urls: [table.url, guide.url],
  types: [
    {
      ...guide,
      when: [
        ['dtype', 'in', ['float32', 'float16']],
        ['weightType', 'in', ['none', 'float32', 'float16', 'int8', 'int4', 'uint8']]
      ]
    },
    {
      ...guide,
      ref: 'fast from A17 Pro and M4 on',
      when: [
        ['dtype', '==', 'int8'],
        ['weightType', 'in', ['none', 'int8']]
      ]
    },
    { from: 'memory', when: [['dtype', 'in', ['int32', 'bool']]] }
  ],
  rules: [
    { from: 'memory', when: [['rank', '<=', 5]] },
    { from: 'memory', ref: 'the Neural Engine wants fixed or enumerated sizes', when: [['openAxes', '==', 0]] }
  ],
  operators: [
    {
      ...table,
      take: {
        ...plainly(`
          Add ArgMax Cast Clip Concat Cos DepthToSpace Ceil Div Elu Erf Exp GatherND Gelu GlobalAveragePool
          GlobalMaxPool GroupNormalization HardSigmoid Identity InstanceNormalization LayerNormalization
          LeakyRelu MatMul MaxPool Max Mul Pow PRelu Range Reciprocal ReduceSum ReduceMean ReduceMax Relu
          Reshape Resize Round Shape Sin Softplus Split Sub Sigmoid Softmax Sqrt Squeeze Tanh Transpose
          Unsqueeze`),
        AveragePool: [[['spatial', '==', 2]]],
        Conv: [
          [
            ['spatial', 'in', [1, 2]],
            ['bias', 'in', ['constant', 'none']]
          ]
        ],
        ConvTranspose: [
          [
            ['weight', '==', 'constant'],
            ['autoPad', 'in', ['NOTSET', 'VALID']]
          ]
        ],
        Gemm: [[['weight', '==', 'constant']]],
        GridSample: [[['rank', '==', 4]]],
        Slice: [[['starts', '==', 'constant']]],
        Tile: [[['rank', '<=', 5]]]
      }
    }
  ],
  doubtful: [
    { ...issue, ops: ['LSTM', 'GRU', 'RNN'] },
    { ...community, ops: ['Gather', 'GatherND'] },
    { ...community, when: [['dilation', '<=', 1]] },
    {
      ...community,
      ops: ['AveragePool', 'MaxPool'],
      when: [
        ['kernel', '<=', 13],
        ['stride', '<=', 2]
      ]
    },
    { ...community, ops: ['Resize'], when: [['scale', '<=', 2]] }
  ],
  rest: {
    ...issue,
    to: 'the GPU or the CPU',
    parts: 'all',
    note: 'where an operator runs changes with device, system and size, and Apple publishes no table: MLComputePlan tells it after the fact'
  },
  notes: [
    {
      ...guide,
      says: 'palettes of 1 to 8 bits are the best form for the Neural Engine; int8 weights alone save bytes and no time'
    },
    {
      from: 'documentation',
      ref: 'measured by Apple on an iPhone 15 Pro',
      url: 'https://apple.github.io/coremltools/docs-guides/source/opt-overview-examples.html',
      says: 'int8 weights and activations: MobileNetV2 0.49 to 0.20 ms, ResNet-50 1.38 to 0.77 ms'
    }
  ]
}

/** Apple's Core ML, of which the provider's table is known and the Neural Engine's is not. Nothing here runs it. */
export const coreml: Target = {
  ...compiled,
  name: 'coreml',
  summary: 'Apple Core ML (Neural Engine, GPU, CPU) through ONNX Runtime or coremltools',
  runtime: 'coreml',
  integer: integersOf('int8'),
  channelMultiple: 8,
  device
}

import { compiled, integersOf } from './onnx.ts'
import { plainly } from './tflite.ts'
import type { Device, Target } from './types.ts'

const table = { from: 'documentation', ref: 'table of the NNAPI provider' } as const

const device: Device = {
  read: 'ONNX Runtime 1.2x, documentation of LiteRT (2026-08)',
  urls: ['https://onnxruntime.ai/docs/execution-providers/NNAPI-ExecutionProvider.html'],
  status: 'deprecated',
  types: [
    {
      from: 'documentation',
      when: [
        ['dtype', 'in', ['float32', 'float16']],
        ['weightType', 'in', ['none', 'float32', 'float16']]
      ]
    },
    {
      from: 'source',
      when: [
        ['dtype', '==', 'uint8'],
        ['weightType', 'in', ['none', 'uint8']],
        ['weightScales', 'in', ['none', 'one']]
      ]
    },
    {
      from: 'source',
      when: [
        ['dtype', '==', 'uint8'],
        ['weightType', '==', 'int8'],
        ['weightZeroPoint', '==', 0]
      ]
    },
    { from: 'memory', when: [['dtype', 'in', ['int32', 'bool']]] }
  ],
  rules: [
    { from: 'source', ref: 'NNAPI provider', when: [['rank', '<=', 4]] },
    { from: 'documentation', when: [['openAxes', '==', 0]] }
  ],
  operators: [
    {
      ...table,
      take: {
        ...plainly(`
          Abs Add AveragePool Cast Clip Concat Div Elu Exp Flatten Floor Gather Gemm GlobalAveragePool
          GlobalMaxPool Identity Log MatMul MaxPool Max Min Mul Neg Pow PRelu Relu Reshape Sigmoid Sin Slice
          Softmax Sqrt Squeeze Sub Tanh Transpose Unsqueeze QuantizeLinear DequantizeLinear QLinearConv
          QLinearMatMul`),
        Conv: [
          [
            ['spatial', '==', 2],
            ['weight', '==', 'constant']
          ]
        ],
        DepthToSpace: [[['mode', '==', 'DCR']]],
        Pad: [[['mode', '==', 'constant']]],
        Resize: [[['spatial', '==', 2]]]
      }
    }
  ],
  rest: { from: 'documentation', to: 'the CPU', parts: 'all' },
  notes: [
    {
      from: 'documentation',
      url: 'https://ai.google.dev/edge/litert/android/npu',
      says: 'NNAPI is deprecated: take litert-gpu, qnn-htp or litert-cpu'
    }
  ]
}

/** Android NNAPI, kept to say what to take in its place. Nothing here runs it. */
export const nnapi: Target = {
  ...compiled,
  name: 'nnapi',
  summary: 'Android NNAPI through ONNX Runtime (deprecated)',
  runtime: 'onnxruntime-nnapi',
  integer: integersOf('uint8'),
  channelMultiple: 8,
  device
}

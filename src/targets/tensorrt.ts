import { compiled, integersOf } from './onnx.ts'
import type { Device, Target } from './types.ts'

const docs = {
  from: 'documentation',
  ref: 'onnx-tensorrt operators.md',
  url: 'https://github.com/onnx/onnx-tensorrt/blob/main/docs/operators.md'
} as const
const types = {
  from: 'documentation',
  ref: 'working with quantized types',
  url: 'https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html'
} as const

const device: Device = {
  read: 'onnx-tensorrt 96e7811 (10.1, 2024-07)',
  urls: [docs.url, types.url],
  types: [
    {
      ...types,
      when: [
        ['dtype', '==', 'int8'],
        ['dataZeroPoint', '==', 0],
        ['weightType', 'in', ['none', 'int8']],
        ['weightZeroPoint', '==', 0]
      ]
    },
    {
      ...types,
      when: [
        ['dtype', 'in', ['float32', 'float16', 'bfloat16']],
        ['weightType', 'in', ['none', 'float32', 'float16', 'bfloat16']]
      ]
    },
    {
      ...types,
      when: [
        ['dtype', 'in', ['float32', 'float16']],
        ['weightType', '==', 'int4'],
        ['weightScales', '==', 'blocks']
      ]
    },
    { ...docs, when: [['dtype', 'in', ['int32', 'int64', 'bool']]] }
  ],
  rules: [{ from: 'memory', when: [['rank', '<=', 8]] }],
  operators: [
    {
      ...docs,
      take: {
        AveragePool: [
          [
            ['spatial', 'in', [2, 3]],
            ['dilation', '==', 1]
          ]
        ],
        MaxPool: [
          [
            ['spatial', 'in', [2, 3]],
            ['dilation', '==', 1]
          ]
        ]
      }
    }
  ],
  open: { ...docs, ref: 'nearly the whole standard; the record holds limits only' },
  align: [
    { from: 'memory', of: 'both', multiple: 32, type: 'int8', costs: 'padding, or a slower tactic' },
    { from: 'memory', of: 'both', multiple: 8, type: 'float16', costs: 'padding, or a slower tactic' }
  ],
  rest: {
    ...docs,
    parts: 'all',
    note: 'by itself it runs whole networks only; under ONNX Runtime other providers take the rest'
  },
  notes: [
    {
      ...types,
      says: 'quantization is symmetric and spelled out: QuantizeLinear and DequantizeLinear with zero point 0'
    },
    {
      from: 'documentation',
      url: types.url,
      says: '2:4 zeros along input channels save time from Ampere on, where a layer is bound by arithmetic'
    }
  ]
}

/** NVIDIA TensorRT. Nothing here runs it. */
export const tensorRt: Target = {
  ...compiled,
  name: 'tensorrt',
  summary: 'NVIDIA TensorRT: symmetric int8, whole networks',
  runtime: 'tensorrt',
  integer: integersOf('int8', { symmetric: true }),
  channelMultiple: 32,
  device
}

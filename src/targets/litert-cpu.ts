import { plainly, tfLite } from './tflite.ts'
import type { Device, Target } from './types.ts'

const xnnpack = {
  from: 'source',
  ref: 'XNNPACK delegate',
  url: 'https://github.com/google-ai-edge/LiteRT/tree/main/tflite/delegates/xnnpack'
} as const

const device: Device = {
  read: 'LiteRT f674577 (2026-08)',
  urls: [xnnpack.url],
  types: [
    {
      ...xnnpack,
      when: [
        ['dtype', '==', 'float32'],
        ['weightType', 'in', ['none', 'float32']]
      ]
    },
    {
      ...xnnpack,
      when: [
        ['dtype', '==', 'int8'],
        ['weightType', 'in', ['none', 'int8', 'int4', 'int2']],
        ['weightZeroPoint', 'in', [0, 8]]
      ]
    },
    {
      ...xnnpack,
      when: [
        ['dtype', '==', 'uint8'],
        ['weightType', 'in', ['none', 'uint8']],
        ['weightScales', 'in', ['none', 'one']]
      ]
    },
    {
      from: 'memory',
      ref: 'dynamic-range kernels of fully connected layers and convolutions',
      when: [
        ['dtype', '==', 'float32'],
        ['weightType', 'in', ['int8', 'int4']]
      ]
    }
  ],
  rules: [
    { ...xnnpack, when: [['openAxes', '==', 0]] },
    { ...xnnpack, when: [['fused', 'in', ['NONE', 'RELU', 'RELU_N1_TO_1', 'RELU6']]] }
  ],
  operators: [
    {
      ...xnnpack,
      of: ['float32'],
      take: {
        ...plainly(`
          ABS ADD BATCH_MATMUL CEIL COS DEPTH_TO_SPACE DIV ELU EXP EXPAND_DIMS FLOOR FULLY_CONNECTED GELU HARD_SWISH LEAKY_RELU
          LOG LOGISTIC MAXIMUM MINIMUM MUL NEG PAD QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1 RESHAPE ROUND RSQRT
          SIN SLICE SPACE_TO_DEPTH SQRT SQUARE SQUARED_DIFFERENCE SUB SUM TANH TRANSPOSE DENSIFY`),
        CONV_2D: [
          [
            ['bias', '==', 'constant'],
            ['weight', '==', 'constant']
          ]
        ],
        DEPTHWISE_CONV_2D: [
          [
            ['bias', '==', 'constant'],
            ['weight', '==', 'constant']
          ]
        ],
        TRANSPOSE_CONV: [[['weight', '==', 'constant']]],
        AVERAGE_POOL_2D: [[['kernelArea', '>=', 2]], [['strideArea', '==', 1]]],
        MAX_POOL_2D: [[['kernelArea', '>=', 2]], [['strideArea', '==', 1]]],
        CONCATENATION: [[['inputs', '<=', 4]]],
        SPLIT: [[['outputs', '<=', 4]]],
        MEAN: [
          [
            ['rank', '==', 4],
            ['axes', 'in', ['1 2', '2']]
          ]
        ],
        SOFTMAX: [[['beta', '==', 1]]],
        STRIDED_SLICE: [
          [
            ['steps', '==', 1],
            ['masks', '==', 0]
          ]
        ],
        RESIZE_BILINEAR: [
          [
            ['rank', '==', 4],
            ['size', '==', 'constant']
          ]
        ],
        PRELU: [[['slope', '==', 'one for each channel']]]
      }
    },
    {
      ...xnnpack,
      of: ['int8'],
      take: {
        ...plainly(`
          ADD CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE ELU FULLY_CONNECTED LEAKY_RELU LOGISTIC MAX_POOL_2D MEAN MUL
          PAD RESHAPE RESIZE_BILINEAR SLICE SPACE_TO_DEPTH SUB TANH TRANSPOSE TRANSPOSE_CONV`),
        CONCATENATION: [[['inputs', '<=', 4]]],
        SPLIT: [[['outputs', '<=', 4]]],
        QUANTIZE: [
          [
            ['scaleRatio', '>=', 2 ** -8],
            ['scaleRatio', '<=', 2 ** 7]
          ]
        ]
      }
    }
  ],
  align: [
    { from: 'memory', ref: 'tiles of 8 or 16 by instruction set', of: 'out', multiple: 8, costs: 'padded tiles' }
  ],
  rest: { from: 'source', to: 'the built-in kernels of LiteRT, in the same memory', parts: 'all' },
  notes: [
    {
      from: 'documentation',
      ref: 'XNNPACK delegate README',
      says: 'zeros save time in float32 1×1 convolutions only, and only behind DENSIFY in a network that begins with a 3×3 convolution of stride 2 on 3 channels'
    }
  ]
}

/** LiteRT on a CPU: the kernels of XNNPACK, and LiteRT's own for the rest. */
export const litertCpu: Target = {
  ...tfLite,
  name: 'litert-cpu',
  aliases: ['tflite'],
  summary: 'LiteRT (TensorFlow Lite) on a CPU, with XNNPACK',
  runtime: '@litertjs/core',
  endings: ['.tflite'],
  channelMultiple: 8,
  device
}

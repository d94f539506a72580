import { int8Rows, plainly, tfLite } from './tflite.ts'
import type { Device, Target } from './types.ts'

const table = {
  from: 'documentation',
  ref: 'table of supported operators, coral.ai',
  url: 'https://coral.ai/docs/edgetpu/models-intro/'
} as const
const recalled = { from: 'memory', ref: 'the same table' } as const

const device: Device = {
  read: 'google-coral/edgetpu 5020de9 (2021-10), compiler 16.0, the last',
  urls: ['https://coral.ai/docs/edgetpu/models-intro/', 'https://github.com/google-coral/edgetpu'],
  status: 'frozen',
  as: 'int8',
  types: [
    {
      from: 'documentation',
      when: [
        ['dtype', '==', 'int8'],
        ['weightType', 'in', ['none', 'int8']],
        ['weightZeroPoint', '==', 0]
      ]
    },
    {
      from: 'documentation',
      when: [
        ['dtype', '==', 'uint8'],
        ['weightType', 'in', ['none', 'uint8']],
        ['weightScales', 'in', ['none', 'one']]
      ]
    }
  ],
  rules: [
    { from: 'documentation', ref: 'model requirements: static sizes', when: [['openAxes', '==', 0]] },
    {
      from: 'documentation',
      ref: 'model requirements: only the innermost three axes may be longer than 1',
      when: [['wideRank', '<=', 3]]
    },
    { ...recalled, when: [['fused', 'in', ['NONE', 'RELU', 'RELU6', 'RELU_N1_TO_1', 'TANH']]] }
  ],
  operators: [
    {
      ...table,
      take: {
        ...plainly(`
          ADD LOGISTIC MAXIMUM MINIMUM MUL RELU RELU6 RELU_N1_TO_1 SUB TANH SPACE_TO_DEPTH SQUEEZE L2_NORMALIZATION RESHAPE
          RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR`),
        AVERAGE_POOL_2D: [[['fused', '==', 'NONE']]],
        MAX_POOL_2D: [[['fused', '==', 'NONE']]],
        CONCATENATION: [
          [
            ['fused', '==', 'NONE'],
            ['constants', '==', 'none']
          ],
          [
            ['inputs', '==', 2],
            ['constants', '==', 'zeros']
          ]
        ],
        CONV_2D: [[['dilationRatio', '==', 1]]],
        DEPTHWISE_CONV_2D: [[['dilationRatio', '==', 1]]],
        FULLY_CONNECTED: [
          [
            ['weightsFormat', '==', 'DEFAULT'],
            ['outputRank', '<=', 1]
          ]
        ],
        MEAN: [[['axis', '!=', 0]]],
        PAD: [[['axis', '!=', 0]]]
      }
    },
    {
      ...recalled,
      take: {
        ...plainly(`
          SLICE EXPAND_DIMS PRELU QUANTIZE PACK SUM TRANSPOSE_CONV REDUCE_MAX REDUCE_MIN RSQRT SQUARED_DIFFERENCE TRANSPOSE
          UNIDIRECTIONAL_SEQUENCE_LSTM`),
        SOFTMAX: [
          [
            ['wideRank', '<=', 1],
            ['elements', '<=', 16_000]
          ]
        ],
        STRIDED_SLICE: [
          [
            ['steps', '==', 1],
            ['masks', '==', 0]
          ]
        ],
        SPLIT: [[['axis', '!=', 0]]]
      }
    }
  ],
  absent: {
    from: 'issue',
    ref: 'edgetpu#659',
    url: 'https://github.com/google-coral/edgetpu/issues/659',
    names: ['HARD_SWISH', 'GELU', 'DIV', 'EXP', 'FLOOR_MOD', 'DEQUANTIZE']
  },
  align: [{ from: 'memory', ref: 'an array of 64×64', of: 'both', multiple: 64, costs: 'idle lanes' }],
  memory: [
    {
      from: 'documentation',
      url: 'https://coral.ai/docs/edgetpu/compiler/',
      holds: 'weights',
      bytes: 7_130_316,
      beyond: 'they are sent at every inference'
    }
  ],
  rates: {
    from: 'documentation',
    ref: '4 TOPS',
    url: 'https://coral.ai/docs/edgetpu/models-intro/',
    macsPerSecond: 2e12
  },
  rest: {
    from: 'documentation',
    ref: 'compiler: one subgraph',
    to: 'the CPU',
    parts: 'first',
    note: 'the compiler takes what comes before the first operator that it does not take'
  },
  notes: [
    {
      from: 'documentation',
      says: 'about 8 MB of weights stay on the chip (6.9 to 7.9 MiB in logs); those beyond are sent at every inference'
    },
    { from: 'documentation', says: 'a Reshape of large tensors may stay on the CPU' },
    { from: 'issue', ref: 'edgetpu#461', says: 'a MEAN over 256×128 stayed on the CPU; in parts of 64 rows it did not' }
  ]
}

/** The Coral Edge TPU, whose compiler is no longer developed. Nothing here runs it. */
export const edgeTpu: Target = {
  ...tfLite,
  name: 'edgetpu',
  summary: 'Coral Edge TPU: all int8, static, one part from the input on',
  runtime: 'edgetpu',
  integer: int8Rows(['tensor']),
  channelMultiple: 8,
  device
}

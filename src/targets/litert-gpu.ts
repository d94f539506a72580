import { plainly, tfLite } from './tflite.ts'
import type { Device, Target } from './types.ts'

const source = {
  from: 'source',
  ref: 'gpu_compatibility',
  url: 'https://github.com/google-ai-edge/LiteRT/tree/main/tflite/tools/versioning'
} as const

const device: Device = {
  read: 'LiteRT f674577 (2026-08)',
  urls: [source.url, 'https://ai.google.dev/edge/litert/performance/gpu'],
  types: [{ from: 'documentation', when: [['dtype', 'in', ['float32', 'float16', 'int8', 'uint8', 'int32', 'bool']]] }],
  rules: [
    { from: 'documentation', when: [['openAxes', '==', 0]] },
    { from: 'memory', when: [['rank', '<=', 4]] },
    { ...source, when: [['fused', 'in', ['NONE', 'RELU', 'RELU6', 'RELU_N1_TO_1', 'TANH', 'SIGMOID']]] }
  ],
  operators: [
    {
      ...source,
      take: {
        ...plainly(`
          AVERAGE_POOL_2D BATCH_MATMUL BITCAST CONCATENATION CUMSUM DENSIFY DYNAMIC_UPDATE_SLICE EMBEDDING_LOOKUP HARD_SWISH
          LEAKY_RELU MAX_POOL_2D MUL ONE_HOT PACK PRELU QUANTIZE RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR
          RESIZE_NEAREST_NEIGHBOR REVERSE_V2 SELECT SELECT_V2 SPLIT SPLIT_V TILE TOPK_V2 TRANSPOSE TRANSPOSE_CONV ABS CEIL COS
          ELU EXP FLOOR GELU LOG LOGISTIC NEG ROUND RSQRT SIGN SIN SQRT SQUARE TANH ATAN2 DIV EQUAL GREATER GREATER_EQUAL LESS
          LESS_EQUAL LOGICAL_AND MAXIMUM MINIMUM NOT_EQUAL POW SUB SQUARED_DIFFERENCE PAD PADV2`),
        ADD: [
          [
            ['inputs', '==', 2],
            ['broadcast', 'in', ['nothing', 'a scalar', 'channels']]
          ]
        ],
        ADD_N: [[['inputs', '==', 2]]],
        CONV_2D: [[['runtimeInputs', 'in', [1, 2]]]],
        DEPTHWISE_CONV_2D: [[['rank', '==', 4]]],
        FULLY_CONNECTED: [[['weightsFormat', '==', 'DEFAULT']]],
        CAST: [[['from', 'in', ['bool', 'float32', 'int32']]]],
        DEQUANTIZE: [[['dtype', '!=', 'int16']]],
        DEPTH_TO_SPACE: [[['block', '>=', 2]]],
        SPACE_TO_DEPTH: [[['block', '>=', 2]]],
        GATHER: [
          [
            ['indicesRank', '==', 1],
            ['indices', '==', 'int32']
          ]
        ],
        MEAN: [[['size', '==', 'constant']]],
        SUM: [[['size', '==', 'constant']]],
        REDUCE_MAX: [[['size', '==', 'constant']]],
        REDUCE_MIN: [[['size', '==', 'constant']]],
        REDUCE_PROD: [[['size', '==', 'constant']]],
        SOFTMAX: [[['beta', '==', 1]]],
        SLICE: [[['rank', 'in', [3, 4]]]],
        STRIDED_SLICE: [
          [
            ['rank', 'in', [3, 4]],
            ['masks', '==', 0]
          ]
        ],
        MIRROR_PAD: [[['mode', '==', 'REFLECT']]]
      }
    }
  ],
  absent: {
    ...source,
    names: ['ARG_MAX', 'ARG_MIN', 'GATHER_ND', 'UNPACK', 'NON_MAX_SUPPRESSION_V4', 'NON_MAX_SUPPRESSION_V5']
  },
  align: [
    {
      from: 'documentation',
      url: 'https://ai.google.dev/edge/litert/performance/gpu',
      of: 'both',
      multiple: 4,
      costs: 'slices of 4 channels: 5 cost as much as 8'
    }
  ],
  rest: {
    from: 'issue',
    ref: 'tensorflow#27622, LiteRT#66',
    url: 'https://github.com/tensorflow/tensorflow/issues/27622',
    to: 'the CPU',
    parts: 'largest',
    note: 'only the largest part runs on the GPU by default; a network in several parts is often slower than one that runs on the CPU'
  },
  notes: [
    {
      from: 'documentation',
      says: 'it computes in float16 whatever the file holds: integers make the file smaller, not faster'
    },
    { from: 'documentation', says: 'channels are held in slices of 4: 5 cost as much as 8' }
  ]
}

/** LiteRT's GPU delegate. Nothing here runs it. */
export const litertGpu: Target = {
  ...tfLite,
  name: 'litert-gpu',
  summary: 'LiteRT on a mobile GPU (OpenCL, OpenGL, Metal), which computes in float16',
  runtime: 'litert-gpu',
  integer: [],
  channelMultiple: 4,
  device
}

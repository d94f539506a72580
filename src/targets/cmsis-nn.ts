import { int8Rows, plainly, tfLite } from './tflite.ts'
import type { Device, DeviceOperators, Target } from './types.ts'

const micro = {
  from: 'source',
  ref: 'kernels of TensorFlow Lite Micro',
  url: 'https://github.com/tensorflow/tflite-micro'
} as const
const cmsis = { from: 'source', ref: 'CMSIS-NN', url: 'https://github.com/ARM-software/CMSIS-NN' } as const

/** The kernels that come with TensorFlow Lite Micro itself. */
export const microKernels: DeviceOperators = {
  ...micro,
  kernels: 'reference',
  take: plainly(`
        ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_ARGS BROADCAST_TO
        CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS CUMSUM DEPTH_TO_SPACE DEPTHWISE_CONV_2D DEQUANTIZE DIV ELU EMBEDDING_LOOKUP
        EQUAL EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH IF
        L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG LOG_SOFTMAX LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC MAXIMUM
        MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE READ_VARIABLE REDUCE_MAX RELU RELU6
        RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX SPACE_TO_BATCH_ND
        SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF TANH TRANSPOSE
        TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK VAR_HANDLE WHILE ZEROS_LIKE`)
}

const device: Device = {
  read: 'CMSIS-NN 99f736a (2026-07), tflite-micro 90b983c (2026-08)',
  urls: [cmsis.url, micro.url],
  as: 'int8',
  types: [
    {
      from: 'source',
      when: [
        ['dtype', '==', 'int8'],
        ['weightType', 'in', ['none', 'int8', 'int4']],
        ['weightZeroPoint', '==', 0]
      ]
    },
    {
      from: 'source',
      when: [
        ['dtype', '==', 'int16'],
        ['weightType', 'in', ['none', 'int8']]
      ]
    },
    {
      from: 'source',
      when: [
        ['dtype', '==', 'float32'],
        ['weightType', 'in', ['none', 'float32', 'int8']]
      ]
    },
    { from: 'source', when: [['dtype', 'in', ['int32', 'int64', 'bool', 'uint8']]] }
  ],
  rules: [{ from: 'documentation', when: [['openAxes', '==', 0]] }],
  operators: [
    {
      ...cmsis,
      of: ['int8'],
      take: plainly(`
        ADD AVERAGE_POOL_2D BATCH_MATMUL CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED MAXIMUM MAX_POOL_2D MINIMUM MUL PAD SOFTMAX SVDF
        TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM`)
    },
    {
      ...cmsis,
      of: ['int16'],
      take: plainly(`
        ADD AVERAGE_POOL_2D BATCH_MATMUL CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED MAX_POOL_2D MUL SOFTMAX
        UNIDIRECTIONAL_SEQUENCE_LSTM`)
    },
    microKernels
  ],
  fast: [
    {
      ...cmsis,
      op: 'DEPTHWISE_CONV_2D',
      when: [
        ['depthMultiplier', '==', 1],
        ['dilation', '==', 1],
        ['batch', '==', 1]
      ],
      costs: 'the kernel for any shape'
    }
  ],
  align: [
    {
      from: 'memory',
      ref: 'DSP extension; 16 with vectors (MVE)',
      of: 'both',
      multiple: 4,
      costs: 'single numbers at the end of rows'
    }
  ],
  rest: { from: 'source', parts: 'all', note: 'an operator without a kernel is an error when the model starts' },
  notes: [
    { from: 'documentation', says: 'activations are in an arena in SRAM, weights in flash' },
    {
      from: 'source',
      says: 'convolutions are fastest at 1×1 with stride 1, and depthwise ones at one output per channel'
    }
  ]
}

/** Arm Cortex-M under TensorFlow Lite Micro. Nothing here runs it. */
export const cmsisNn: Target = {
  ...tfLite,
  name: 'cmsis-nn',
  summary: 'Arm Cortex-M: TensorFlow Lite Micro with CMSIS-NN',
  runtime: 'tflite-micro',
  integer: int8Rows(['tensor']),
  channelMultiple: 4,
  device
}

/** Arm Ethos-U55, U65 and U85, by the rules of Arm's compiler, Vela 5.2.0 (vela --supported-ops-report). */
import { int8Rows, plainly, tfLite } from './tflite.ts'
import type { Condition, Device, DeviceOperators, DeviceRates, Target } from './types.ts'

const vela = {
  from: 'source',
  ref: 'Vela 5.2.0, SUPPORTED_OPS',
  url: 'https://gitlab.arm.com/artificial-intelligence/ethos-u/ethos-u-vela'
} as const
const cycles = { ...vela, ref: 'Vela 3.10, cycle model' } as const

const constantBias: Condition = ['bias', 'in', ['constant', 'none']]
const bytes = ['int8', 'uint8'] as const
/** Sums of absolute codes of a filter, which the accumulator holds. */
const weighted: readonly Condition[] = [
  ['weight', '==', 'constant'],
  constantBias,
  ['weightType', 'in', bytes],
  ['weightSum', '<=', 8_323_072]
]

const fixed: Condition = ['parameters', '==', 'constant']
const sameScales: Condition = ['sameScales', '==', 'equal']
const pooled: readonly Condition[] = [
  ['kernelHeight', '<=', 256],
  ['kernelArea', '<=', 65_536]
]

const averagePool: readonly (readonly Condition[])[] = [
  [['padding', '==', 'VALID'], ...pooled],
  [
    ['padding', '==', 'SAME'],
    ['kernel', '<=', 8],
    ['stride', '<=', 3]
  ]
]
const mean = (dtype: string, most: number): readonly Condition[] => [
  ['dtype', '==', dtype],
  ['reduced', '<=', most],
  ['reducedLongest', '<=', 4096],
  ['batch', '==', 1],
  fixed
]

/** What all three take alike. */
const common: DeviceOperators['take'] = {
  ...plainly(`
    ADD CONCATENATION EXPAND_DIMS LEAKY_RELU LOGISTIC MUL NEG PACK PRELU QUANTIZE RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 RESHAPE
    SPLIT SPLIT_V SQUARED_DIFFERENCE SQUEEZE SUB TANH UNPACK REDUCE_MAX REDUCE_MIN SUM`),
  FULLY_CONNECTED: [weighted],
  DEPTHWISE_CONV_2D: [[...weighted, ['stride', '<=', 3]]],
  MEAN: [mean('int8', 16_777_216), mean('uint8', 8_388_608), mean('int16', 65_536)],
  MAXIMUM: [[sameScales]],
  MINIMUM: [[sameScales]],
  MIRROR_PAD: [[fixed]],
  PAD: [[fixed]],
  PADV2: [[fixed]],
  SLICE: [[fixed]],
  STRIDED_SLICE: [[['steps', '>=', 1]]],
  SOFTMAX: [[['plane', '<=', 65_535]]],
  ELU: [[['dtype', '==', 'int8']]],
  GELU: [[['dtype', 'in', bytes]]],
  LOG: [[['dtype', 'in', ['int8', 'int16']]]],
  RSQRT: [[['dtype', 'in', ['int8', 'int16']]]],
  UNIDIRECTIONAL_SEQUENCE_LSTM: [[['gates', '==', 'plain']]]
}

const narrow: DeviceOperators = {
  ...vela,
  take: {
    ...common,
    ...plainly('ABS TILE'),
    HARD_SWISH: [[['dtype', 'in', bytes]]],
    EXP: [[['dtype', 'in', ['int8', 'int16']]]],
    CONV_2D: [
      [...weighted, ['stride', '<=', 3]],
      [...weighted, ['dilation', '==', 1], ['pads', '==', 0]]
    ],
    AVERAGE_POOL_2D: averagePool,
    MAX_POOL_2D: [
      [...pooled, ['stride', '<=', 3]],
      [...pooled, ['pads', '==', 0]]
    ],
    TRANSPOSE_CONV: [
      [...weighted, ['stride', 'in', [1]]],
      [...weighted, ['stride', 'in', [2]]],
      [...weighted, ['height', '==', 1], ['kernelHeight', '==', 1], ['stride', '<=', 2]],
      [...weighted, ['width', '==', 1], ['kernelWidth', '==', 1], ['stride', '<=', 2]]
    ],
    ARG_MAX: [
      [
        ['channels', '<=', 127],
        ['axis', '==', 3]
      ]
    ],
    BATCH_MATMUL: [
      [
        ['dtype', '==', 'int8'],
        ['inner', '<=', 65_536]
      ]
    ],
    RESIZE_BILINEAR: [
      [
        ['scale', 'in', [1, 2, 4, 8]],
        ['halfPixel', '==', 'no']
      ],
      [
        ['scale', 'in', [1, 2]],
        ['halfPixel', '==', 'yes']
      ]
    ],
    RESIZE_NEAREST_NEIGHBOR: [[['scale', 'in', [1, 2, 4, 8]]]],
    TRANSPOSE: [[['longest', '<=', 65_536], fixed]]
  }
}

const powers = Array.from({ length: 11 }, (_, i) => 2 ** i)

const wide: DeviceOperators = {
  ...vela,
  take: {
    ...common,
    ...plainly(`
      ABS ARG_MAX BATCH_MATMUL CAST DIV EQUAL GREATER GREATER_EQUAL LESS LESS_EQUAL LOGICAL_AND LOGICAL_NOT LOGICAL_OR NOT_EQUAL
      REDUCE_ALL REDUCE_ANY SELECT SELECT_V2 TILE HARD_SWISH EXP`),
    CONV_2D: [weighted],
    TRANSPOSE_CONV: [weighted],
    AVERAGE_POOL_2D: [
      [['padding', '==', 'VALID'], ...pooled],
      [
        ['padding', '==', 'SAME'],
        ['kernel', '<=', 8]
      ]
    ],
    MAX_POOL_2D: [pooled],
    RESIZE_BILINEAR: [[['scale', 'in', powers]]],
    RESIZE_NEAREST_NEIGHBOR: [[['scale', '<=', 1024]]],
    TRANSPOSE: [[['rank', '<=', 8], fixed]]
  }
}

const shared = {
  read: 'Vela 5.2.0 (2026-08) for rules, 3.10 for cycles',
  urls: [vela.url, 'https://pypi.org/project/ethos-u-vela/'],
  as: 'int8',
  rules: [
    { ...vela, when: [['openAxes', '==', 0]] },
    { ...vela, ref: 'Vela 5.2.0: all tensors need quantization', when: [['quantized', '==', 'yes']] },
    { ...vela, when: [['fused', 'in', ['NONE', 'LOGISTIC', 'RELU', 'RELU6', 'RELU_N1_TO_1', 'RELU_0_TO_1', 'TANH']]] }
  ],
  align: [
    { ...cycles, of: 'both', multiple: 16, costs: 'feature maps are in bricks of 16 channels: 30 cost as much as 32' },
    { ...cycles, of: 'in', multiple: 8, costs: 'products are taken of 8 channels at once' }
  ],
  rest: {
    from: 'documentation',
    url: vela.url,
    to: 'the CPU (TensorFlow Lite Micro, with CMSIS-NN)',
    parts: 'all'
  }
} as const satisfies Partial<Device>

const values: Device['types'] = [
  {
    ...vela,
    when: [
      ['dtype', '==', 'int8'],
      ['weightType', 'in', ['none', 'int8']]
    ]
  },
  {
    ...vela,
    when: [
      ['dtype', '==', 'uint8'],
      ['weightType', 'in', ['none', 'uint8', 'int8']]
    ]
  },
  {
    ...vela,
    when: [
      ['dtype', '==', 'int16'],
      ['weightType', 'in', ['none', 'int8']]
    ]
  }
]

/** Of which operators take int32; the others take 8 and 16 bits. */
const narrowDevice = (rates: DeviceRates, memory: Device['memory'] = []): Device => ({
  ...shared,
  types: values,
  operators: [narrow, { ...vela, of: ['int32'], take: plainly('ADD MUL SUB SHAPE MIRROR_PAD TRANSPOSE') }],
  rates,
  memory,
  notes: [
    { ...cycles, says: 'a depthwise convolution uses an eighth of the array at best: its work is dear' },
    { ...vela, says: 'fully connected layers are bound by reading weights: their bytes cost, not their multiply-adds' }
  ]
})

const target = (name: string, summary: string, device: Device): Target => ({
  ...tfLite,
  name,
  summary,
  runtime: 'vela',
  integer: int8Rows(['channel', 'tensor']),
  channelMultiple: 16,
  device
})

/** Arm Ethos-U55. Nothing here runs it. */
export const ethosU55 = target(
  'ethos-u55',
  'Arm Ethos-U55 microNPU beside a Cortex-M: all int8',
  narrowDevice({
    ...cycles,
    macsPerSecond: 128e9,
    depthwiseShare: 0.125,
    bytesPerSecond: 4e9,
    weightBytesPerSecond: 0.5e9,
    configuration: '256 multiply-adds at 500 MHz, weights in flash'
  })
)

/** Arm Ethos-U65. Nothing here runs it. */
export const ethosU65 = target(
  'ethos-u65',
  'Arm Ethos-U65 microNPU: all int8',
  narrowDevice(
    {
      ...cycles,
      macsPerSecond: 512e9,
      depthwiseShare: 0.125,
      bytesPerSecond: 16e9,
      weightBytesPerSecond: 3.75e9,
      configuration: '512 multiply-adds at 1 GHz, weights in DRAM'
    },
    [{ ...vela, ref: 'Dedicated_Sram', holds: 'activations', bytes: 393_216, beyond: 'they go through DRAM' }]
  )
)

/** Arm Ethos-U85. Nothing here runs it. */
export const ethosU85 = target('ethos-u85', 'Arm Ethos-U85 microNPU: all int8, more operators', {
  ...shared,
  types: [...values, { ...vela, when: [['dtype', 'in', ['int32', 'int64', 'bool']]] }],
  operators: [wide],
  rates: { ...cycles, macsPerSecond: 2048e9, configuration: '2048 multiply-adds at 1 GHz' },
  notes: [
    { ...cycles, says: '2:4 zeros along input channels of int8 weights halve the cycles of multiply-adds' },
    {
      from: 'issue',
      ref: 'executorch#21459',
      url: 'https://github.com/pytorch/executorch/issues/21459',
      says: 'the compiler’s version counts for more than its rules: one layer took 94,000 cycles by Vela 5.0, 12,900 by 5.1'
    }
  ]
})

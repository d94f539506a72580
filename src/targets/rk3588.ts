import { compiled, integersOf } from './onnx.ts'
import { plainly } from './tflite.ts'
import type { Condition, Device, Target } from './types.ts'

const list = {
  from: 'documentation',
  ref: 'RKNN compiler support list 2.3.2, RK3588',
  url: 'https://github.com/airockchip/rknn-toolkit2/tree/master/doc'
} as const

const pool: readonly Condition[] = [
  ['kernel', '<=', 7],
  ['stride', '<=', 8],
  ['pads', '<=', 7],
  ['ceilMode', '==', 0],
  ['channels', '<=', 8192],
  ['height', '<=', 8192],
  ['width', '<=', 8192]
]
const recurrent: readonly Condition[] = [
  ['hidden', '<=', 8192],
  ['sequence', 'multiple', 4],
  ['hidden', 'multiple', 8]
]
const upsampling = ['half_pixel', 'pytorch_half_pixel', 'align_corners']

/** Rows of Transpose, once for each type: `step` is what the height must be a multiple of. */
const turns = (dtypes: readonly string[], step: number, widest: number): readonly (readonly Condition[])[] => [
  [
    ['dtype', 'in', dtypes],
    ['permutation', 'in', ['0 1 3 2', '0 3 2 1']],
    ['height', 'multiple', step],
    ['plane', '<=', 4095]
  ],
  [
    ['dtype', 'in', dtypes],
    ['permutation', '==', '0 2 1 3'],
    ['height', 'multiple', step],
    ['plane', '<=', 4095],
    ['channelsWidth', '<=', 8191]
  ],
  [
    ['dtype', 'in', dtypes],
    ['permutation', '==', '0 2 3 1'],
    ['channels', '<=', 8191],
    ['plane', 'multiple', 8],
    ['channelsWidth', '<=', widest - 1]
  ]
]

const device: Device = {
  read: 'rknn-toolkit2 59a913d (2.3.2), operator list of 2025-03',
  urls: [list.url],
  types: [
    {
      ...list,
      when: [
        ['dtype', '==', 'int8'],
        ['weightType', 'in', ['none', 'int8']]
      ]
    },
    {
      ...list,
      when: [
        ['dtype', 'in', ['float16', 'float32']],
        ['weightType', 'in', ['none', 'float16', 'float32']]
      ]
    },
    { from: 'memory', when: [['dtype', 'in', ['int32', 'int64', 'bool']]] }
  ],
  rules: [
    { ...list, when: [['rank', '<=', 4]] },
    { from: 'memory', ref: 'sizes are given when the model is converted', when: [['openAxes', '==', 0]] }
  ],
  operators: [
    {
      ...list,
      take: {
        ...plainly(`
          Add BatchNormalization Concat Div Hardmax LeakyRelu Max Min Mul Pad Relu Clip PRelu Reshape Split
          Sub Tile Sigmoid Tanh Softplus HardSigmoid HardSwish Elu Mish Gelu Where Expand`),
        Pow: [[['exponent', 'in', [0, 1, 2, 3, 0.5, -0.5]]]],
        Conv: [
          [
            ['groups', '==', 1],
            ['kernel', '<=', 31],
            ['stride', '<=', 7],
            ['pads', '<=', 15],
            ['dilation', '<=', 31],
            ['width', '<=', 16_382]
          ],
          [
            ['depthwise', '==', 'yes'],
            ['kernel', '<=', 8],
            ['stride', '<=', 7]
          ]
        ],
        ConvTranspose: [
          [
            ['groups', '==', 1],
            ['kernel', '<=', 31],
            ['stride', 'in', [1, 2, 4, 8]]
          ],
          [
            ['depthwise', '==', 'yes'],
            ['kernel', '<=', 31],
            ['stride', 'in', [1, 2, 4, 8]]
          ]
        ],
        MaxPool: [pool],
        AveragePool: [pool],
        MatMul: [[['inner', '<=', 8192]]],
        Softmax: [[['axis', 'in', [1, 3]]]],
        Resize: [
          [
            ['mode', 'in', ['nearest', 'linear']],
            ['scale', 'in', [1, 2, 3, 4, 5, 6, 7, 8]],
            ['coordinates', 'in', upsampling]
          ],
          [
            ['mode', 'in', ['nearest', 'linear']],
            ['height', '==', 1],
            ['width', '==', 1]
          ]
        ],
        Slice: [[['steps', '==', 1]]],
        LayerNormalization: [
          [
            ['dtype', 'in', ['float16', 'float32']],
            ['axes', 'in', ['1', '1 2 3']]
          ]
        ],
        Gather: [[['indicesRank', '==', 1]]],
        LSTM: [recurrent],
        GRU: [recurrent],
        Transpose: [
          [['permutation', '==', '0 1 2 3']],
          ...turns(['int8'], 16, 131_072),
          ...turns(['float16', 'float32'], 8, 65_536),
          [
            ['permutation', '==', '0 3 1 2'],
            ['plane', '<=', 8191],
            ['width', '<=', 8191],
            ['channelsHeight', '<=', 8191]
          ]
        ]
      }
    },
    {
      from: 'memory',
      ref: 'larger windows than the 7×7 of the list are common in models that run: the toolkit splits them',
      take: plainly('GlobalAveragePool GlobalMaxPool')
    }
  ],
  absent: {
    ...list,
    names: [
      'Abs',
      'Acos',
      'Acosh',
      'Asin',
      'Asinh',
      'Atan',
      'Atanh',
      'CumSum',
      'Einsum',
      'GatherND',
      'GridSample',
      'GroupNormalization',
      'Neg',
      'NonZero',
      'Not',
      'OneHot',
      'Or',
      'QLinearConv',
      'QLinearMatMul',
      'Reciprocal',
      'ReduceL1',
      'ReduceL2',
      'Range',
      'Loop',
      'NonMaxSuppression'
    ]
  },
  align: [
    {
      from: 'memory',
      ref: 'as the rules of Transpose',
      of: 'both',
      multiple: 16,
      type: 'int8',
      costs: 'padded channels'
    },
    { from: 'memory', of: 'both', multiple: 8, type: 'float16', costs: 'padded channels' }
  ],
  rates: { from: 'memory', ref: '6 TOPS of three cores', macsPerSecond: 3e12, configuration: 'three cores' },
  rest: {
    from: 'issue',
    ref: 'rknn-toolkit2#145',
    url: 'https://github.com/airockchip/rknn-toolkit2/issues/145',
    to: 'the CPU, in the runtime',
    parts: 'all',
    note: 'RV1103 and RV1106 have no CPU path: there the conversion fails'
  },
  notes: [
    {
      ...list,
      says: 'Relu, Clip, PRelu, LeakyRelu and Add are fused on all three cores; Sigmoid, HardSwish and Mish on one only'
    }
  ]
}

/** Rockchip's NPU. Nothing here runs it. */
export const rk3588: Target = {
  ...compiled,
  name: 'rk3588',
  summary: 'Rockchip RK3588 NPU, through RKNN-Toolkit2',
  runtime: 'rknn',
  opset: { min: 12, max: 19 },
  integer: integersOf('int8'),
  channelMultiple: 16,
  device
}

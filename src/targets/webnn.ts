import { compiled, integersOf } from './onnx.ts'
import { plainly } from './tflite.ts'
import type { Device, Target } from './types.ts'

const provider = {
  from: 'source',
  ref: 'map_info of the WebNN provider, 01a9611',
  url: 'https://github.com/microsoft/onnxruntime/blob/main/js/web/docs/webnn-operators.md'
} as const
const standard = { from: 'documentation', ref: 'Web Neural Network API', url: 'https://www.w3.org/TR/webnn/' } as const

const device: Device = {
  read: 'webnn c515210 (2026-06), ONNX Runtime WebNN provider 01a9611',
  urls: [standard.url, provider.url],
  types: [
    {
      ...standard,
      when: [
        ['dtype', 'in', ['float32', 'float16']],
        ['weightType', 'in', ['none', 'float32', 'float16', 'int4', 'uint4', 'int8']]
      ]
    },
    {
      ...standard,
      when: [
        ['dtype', 'in', ['int8', 'uint8']],
        ['weightType', 'in', ['none', 'int8', 'uint8']]
      ]
    },
    { ...standard, when: [['dtype', 'in', ['int32', 'int64', 'uint32', 'bool']]] }
  ],
  rules: [{ ...standard, ref: 'free sizes must be fixed', when: [['openAxes', '==', 0]] }],
  operators: [
    {
      ...provider,
      take: {
        ...plainly(`
          Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Clip Concat ConvTranspose Cos
          CumSum DequantizeLinear Div Dropout Elu Equal Erf Exp Expand Flatten Floor GRU Gather GatherElements
          GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual HardSigmoid
          HardSwish Identity InstanceNormalization IsInf IsNaN LSTM LayerNormalization LeakyRelu Less
          LessOrEqual Log LpPool MatMul Max MaxPool Min Mul Neg Not Or PRelu Pad Pow QuantizeLinear Reciprocal
          ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
          ReduceSumSquare Relu Reshape Round ScatterElements ScatterND Shape Sigmoid Sign Sin Slice Softmax
          Softplus Softsign Split Sqrt Squeeze Sub Tan Tanh Tile Transpose Trilu Unsqueeze Where Xor`),
        Conv: [[['spatial', 'in', [1, 2]]]],
        Resize: [
          [
            ['rank', '==', 4],
            ['mode', 'in', ['nearest', 'linear']]
          ]
        ]
      }
    },
    {
      ...provider,
      ref: 'map_info of the WebNN provider, spelled as several operators',
      take: plainly(`
        ConvInteger DepthToSpace DynamicQuantizeLinear Einsum GroupNormalization LRN LpNormalization
        MatMulInteger com.microsoft:MatMulNBits com.microsoft:MultiHeadAttention
        com.microsoft:GroupQueryAttention RotaryEmbedding SimplifiedLayerNormalization
        com.microsoft:SkipLayerNormalization com.microsoft:SkipSimplifiedLayerNormalization
        com.microsoft:GatherBlockQuantized`)
    }
  ],
  rest: {
    from: 'documentation',
    url: provider.url,
    to: 'the WebAssembly provider',
    parts: 'all',
    note: 'data is copied to and from it'
  },
  notes: [
    {
      ...standard,
      says: 'types and axes of each operator differ by browser: MLContext.opSupportLimits() tells them where it runs'
    }
  ]
}

/** The browser's own neural networks, through onnxruntime-web. Nothing here runs it. */
export const webNn: Target = {
  ...compiled,
  name: 'webnn',
  summary: 'WebNN in the browser (NPU, GPU or CPU) through onnxruntime-web',
  runtime: 'onnxruntime-web-webnn',
  integer: integersOf('uint8'),
  channelMultiple: 8,
  device
}

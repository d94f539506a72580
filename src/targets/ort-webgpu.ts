import { compiled } from './onnx.ts'
import { plainly } from './tflite.ts'
import type { Device, Target } from './types.ts'

const table = {
  from: 'documentation',
  ref: 'table of operators of 2023, a lower bound',
  url: 'https://github.com/microsoft/onnxruntime/blob/main/js/web/docs/webgpu-operators.md'
} as const

const device: Device = {
  read: 'webgpu-operators.md 0182dd3 (2023-10)',
  urls: [table.url],
  types: [
    {
      ...table,
      when: [
        ['dtype', 'in', ['float32', 'float16']],
        ['weightType', 'in', ['none', 'float32', 'float16']]
      ]
    },
    { from: 'memory', when: [['dtype', 'in', ['int32', 'uint32', 'int64', 'bool']]] }
  ],
  rules: [],
  operators: [
    {
      ...table,
      take: {
        ...plainly(`
          Abs Acos Acosh Add Asin Asinh Atan Atanh AveragePool Ceil Clip Concat Cos Cosh Div Elu Erf Exp
          Expand Floor Gemm GlobalAveragePool GlobalMaxPool LeakyRelu MatMul MaxPool Mul Neg Pow Reciprocal
          ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
          ReduceSumSquare Relu Sigmoid Sin Sinh Split Sqrt Sub Tan ThresholdedRelu Transpose ConvTranspose`),
        Conv: [[['spatial', 'in', [1, 2]]]]
      }
    },
    { ...table, take: plainly('Reshape Shape Squeeze Unsqueeze Flatten') },
    {
      from: 'memory',
      ref: 'later versions',
      take: plainly(`
        Softmax LayerNormalization InstanceNormalization Resize Slice Gather Pad Where Tile Gelu
        com.microsoft:QuickGelu com.microsoft:MatMulNBits Attention com.microsoft:MultiHeadAttention
        DequantizeLinear Cast Equal Greater Less Not Range CumSum Einsum DepthToSpace BatchNormalization`)
    }
  ],
  absent: { from: 'memory', names: ['QLinearConv', 'ConvInteger', 'QLinearMatMul'] },
  align: [{ from: 'memory', of: 'both', multiple: 4, costs: 'shaders of single numbers instead of four' }],
  rest: {
    from: 'documentation',
    url: table.url,
    to: 'the WebAssembly provider',
    parts: 'all',
    note: 'data is copied, and the queue is waited for'
  },
  notes: [
    { from: 'memory', says: 'no convolution computes on integers: int8 saves bytes and no time' },
    {
      from: 'issue',
      ref: 'transformers.js#1512, #1728',
      url: 'https://github.com/huggingface/transformers.js/issues/1512',
      says: 'wrong results without an error are known: compare with ort-wasm before trusting it'
    }
  ]
}

/** ONNX Runtime's WebGPU provider. Nothing here runs it. */
export const ortWebGpu: Target = {
  ...compiled,
  name: 'ort-webgpu',
  summary: 'ONNX Runtime in the browser on the GPU (WebGPU)',
  runtime: 'onnxruntime-web-webgpu',
  integer: [],
  channelMultiple: 4,
  device
}

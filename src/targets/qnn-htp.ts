import { compiled, integersOf } from './onnx.ts'
import { plainly } from './tflite.ts'
import type { Device, Target } from './types.ts'

const provider = 'https://onnxruntime.ai/docs/execution-providers/QNN-ExecutionProvider.html'
const builders = {
  from: 'source',
  ref: 'operator builders of the QNN provider',
  url: 'https://github.com/microsoft/onnxruntime/tree/main/onnxruntime/core/providers/qnn/builder/opbuilder'
} as const
const executorch = {
  from: 'source',
  ref: 'ExecuTorch, 8a4w and 16a4w',
  url: 'https://github.com/pytorch/executorch/tree/main/backends/qualcomm'
} as const

const device: Device = {
  read: 'ONNX Runtime QNN provider 1.2x, ExecuTorch cff6f4d (2026-08)',
  urls: [provider, executorch.url],
  types: [
    {
      from: 'documentation',
      url: provider,
      when: [
        ['dtype', 'in', ['uint8', 'uint16']],
        ['weightType', 'in', ['none', 'int8', 'uint8', 'uint16']],
        ['weightZeroPoint', '==', 0]
      ]
    },
    {
      ...executorch,
      when: [
        ['dtype', 'in', ['uint8', 'uint16']],
        ['weightType', '==', 'int4'],
        ['weightScales', 'in', ['one for each channel', 'blocks']]
      ]
    },
    {
      from: 'documentation',
      url: provider,
      when: [
        ['dtype', 'in', ['float32', 'float16']],
        ['weightType', 'in', ['none', 'float32', 'float16']]
      ]
    },
    { from: 'memory', when: [['dtype', 'in', ['int32', 'int64', 'bool']]] }
  ],
  rules: [
    { from: 'memory', when: [['rank', '<=', 5]] },
    { from: 'documentation', url: provider, when: [['openAxes', '==', 0]] }
  ],
  operators: [
    {
      ...builders,
      take: {
        ...plainly(`
          Add Asin Atan Mul Abs And Ceil Cos Sign Div Equal Exp Floor Greater GreaterOrEqual LeakyRelu Less
          LessOrEqual Log Max Min Neg Not Or Pow PRelu Relu Gelu Elu Round Where ScatterND Sigmoid Sin Sqrt
          Sub Sum Tanh Concat QuantizeLinear DequantizeLinear HardSwish HardSigmoid DepthToSpace SpaceToDepth
          GridSample ScatterElements Softmax LogSoftmax Cast ReduceMax ReduceMean ReduceMin ReduceProd
          ReduceSum ReduceL2 Conv ConvTranspose GlobalAveragePool AveragePool MaxPool GlobalMaxPool Reshape
          Flatten Squeeze Unsqueeze Gemm Gather GatherElements GatherND ArgMax ArgMin Clip Slice Split Resize
          Upsample TopK Tile InstanceNormalization BatchNormalization LayerNormalization RMSNormalization LRN
          Transpose Reciprocal Pad Expand Einsum MatMul Mean LSTM CumSum RandomUniformLike Mod ThresholdedRelu
          STFT com.microsoft:Inverse`),
        LpNormalization: [[['norm', '==', 2]]]
      }
    }
  ],
  absent: { from: 'documentation', url: provider, names: ['Loop', 'If', 'Scan'] },
  align: [{ from: 'memory', of: 'both', multiple: 32, costs: 'padded blocks' }],
  memory: [
    {
      from: 'source',
      ref: 'chip table of ExecuTorch; 4 MB on SM8350, 2 MB on small chips',
      url: executorch.url,
      holds: 'activations',
      bytes: 8_388_608,
      beyond: 'tiles beyond it go through main memory'
    }
  ],
  rest: {
    from: 'issue',
    ref: 'onnxruntime#22821, #26739',
    url: 'https://github.com/microsoft/onnxruntime/issues/22821',
    to: 'the CPU',
    parts: 'all',
    note: 'session.disable_cpu_ep_fallback = 1 turns what runs on the CPU into an error that names the node'
  },
  notes: [
    { from: 'documentation', url: provider, says: 'networks in float run as float16 (v69 and later)' },
    {
      from: 'documentation',
      url: provider,
      says: 'a uint16 Sigmoid needs scale 1/65536 and zero point 0, a uint16 Tanh 1/32768 and 32768'
    }
  ]
}

/** Qualcomm's Hexagon tensor processor. Nothing here runs it. */
export const qnnHtp: Target = {
  ...compiled,
  name: 'qnn-htp',
  summary: 'Qualcomm Hexagon NPU through ONNX Runtime (QNN)',
  runtime: 'onnxruntime-qnn',
  integer: integersOf('uint8'),
  channelMultiple: 32,
  device
}

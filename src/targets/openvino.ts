import { compiled, integersOf } from './onnx.ts'
import type { Device, Target } from './types.ts'

const docs = {
  from: 'documentation',
  ref: 'OpenVINO documentation',
  url: 'https://docs.openvino.ai/2025/openvino-workflow/running-inference/inference-devices-and-modes.html'
} as const

const floats = {
  ...docs,
  when: [
    ['dtype', 'in', ['float32', 'float16', 'bfloat16']],
    ['weightType', 'in', ['none', 'float32', 'float16', 'bfloat16', 'int4', 'int8', 'uint8']]
  ]
} as const
const integers = {
  ...docs,
  when: [
    ['dtype', 'in', ['uint8', 'int8']],
    ['weightType', 'in', ['none', 'int8']],
    ['weightZeroPoint', '==', 0]
  ]
} as const
const others = { from: 'memory', when: [['dtype', 'in', ['int32', 'int64', 'bool']]] } as const

const shared = {
  read: 'OpenVINO documentation, 2026.4.1 (2026-08)',
  urls: [docs.url],
  types: [floats, integers, others],
  operators: [],
  unlisted: { ...docs, ref: 'no list of operators is published; query_model tells' }
} as const

const cpu: Device = {
  ...shared,
  rules: [],
  align: [{ from: 'memory', ref: 'blocked layout', of: 'out', multiple: 16, costs: 'padded blocks' }],
  rest: { from: 'memory', to: 'reference kernels', parts: 'all' },
  notes: [
    {
      from: 'documentation',
      ref: 'NNCF, overflow fix',
      url: 'https://github.com/openvinotoolkit/nncf',
      says: 'without VNNI sums of products of uint8 and int8 saturate'
    }
  ]
}

const npu: Device = {
  ...shared,
  rules: [{ ...docs, ref: 'feature table of 2025', when: [['openAxes', '==', 0]] }],
  rest: {
    ...docs,
    parts: 'all',
    note: 'nothing else takes over: one operator that it does not take, and no model runs'
  },
  notes: [{ ...docs, says: 'the compiler is in the driver: the same file may behave differently with another version' }]
}

const both = { ...compiled, integer: integersOf('uint8'), channelMultiple: 16 } as const

/** Nothing here runs it. */
export const openVinoCpu: Target = {
  ...both,
  name: 'openvino-cpu',
  summary: 'OpenVINO on an x86 CPU',
  runtime: 'openvino',
  device: cpu
}

/** Intel's NPU. Nothing here runs it. */
export const openVinoNpu: Target = {
  ...both,
  name: 'openvino-npu',
  summary: 'Intel NPU (Core Ultra) through OpenVINO: fixed sizes, whole networks',
  runtime: 'openvino',
  device: npu
}

import { onnxRuntimeDevice } from './onnxruntime.ts'
import { ortCpu } from './ort-cpu.ts'
import type { Target } from './types.ts'

/** The same on Arm64, where kernels take int8 activations as well. Nothing here runs it. */
export const ortCpuArm: Target = {
  ...ortCpu,
  endings: [],
  name: 'ort-cpu-arm',
  summary: 'ONNX Runtime on an Arm64 CPU with dot products (dotprod, i8mm)',
  runtime: 'onnxruntime-node-arm64',
  fusesLike: ['onnxruntime-node'],
  device: onnxRuntimeDevice({
    align: [
      {
        from: 'memory',
        ref: 'dot products of 4, of 8 with i8mm',
        of: 'in',
        multiple: 4,
        type: 'uint8',
        costs: 'padded ends'
      }
    ]
  })
}

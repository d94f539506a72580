import type { Target } from '../types.ts'
import { onnxRuntime } from './onnxruntime.ts'

/** ONNX Runtime's CPU provider on a machine with dot-product instructions (VNNI, ARM dotprod). */
export const ortCpu: Target = {
  ...onnxRuntime,
  name: 'ort-cpu',
  summary: 'ONNX Runtime on a CPU with int8 dot products (x86 VNNI, ARM dotprod)',
  runtime: 'onnxruntime-node',
  fusesLike: [],
  endings: ['.onnx', '.txt'],
  saturates: false,
  assumesDotProducts: true
}

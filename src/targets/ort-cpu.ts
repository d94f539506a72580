import type { Target } from '../types.ts'
import { intBits, integerOps, onnxForms } from './onnxruntime.ts'

/** ONNX Runtime's CPU provider on a machine with dot-product instructions (VNNI, ARM dotprod). */
export const ortCpu: Target = {
  name: 'ort-cpu',
  summary: 'ONNX Runtime on a CPU with int8 dot products (x86 VNNI, ARM dotprod)',
  format: 'onnx',
  runtime: 'onnxruntime-node',
  fusesLike: [],
  opset: { min: 7, max: 25 },
  integerOps,
  forms: onnxForms,
  dtypes: ['float32', ...intBits],
  saturates: false,
  assumesDotProducts: true
}

import type { Target } from '../types.ts'
import { dynamicRows, integerRows, onnxForms, takenOver } from './onnxruntime.ts'

/** ONNX Runtime's CPU provider on a machine with dot-product instructions (VNNI, ARM dotprod). */
export const ortCpu: Target = {
  name: 'ort-cpu',
  summary: 'ONNX Runtime on a CPU with int8 dot products (x86 VNNI, ARM dotprod)',
  format: 'onnx',
  runtime: 'onnxruntime-node',
  fusesLike: [],
  endings: ['.onnx', '.txt'],
  opset: { min: 7, max: 25 },
  operators: 'all',
  elements: 'all',
  integer: integerRows,
  dynamic: dynamicRows,
  takesOver: takenOver,
  forms: onnxForms,
  saturates: false,
  assumesDotProducts: true
}

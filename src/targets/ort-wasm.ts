import type { Target } from '../types.ts'
import { dynamicRows, integerRows, onnxForms, takenOver } from './onnxruntime.ts'

/** ONNX Runtime's WebAssembly provider, in browsers. */
export const ortWasm: Target = {
  name: 'ort-wasm',
  aliases: ['ort-web'],
  summary: 'ONNX Runtime in the browser (WebAssembly)',
  format: 'onnx',
  runtime: 'onnxruntime-web',
  // The selectors of both packages' CPU provider are the same.
  fusesLike: ['onnxruntime-node'],
  opset: { min: 7, max: 25 },
  operators: 'all',
  elements: 'all',
  integer: integerRows,
  dynamic: dynamicRows,
  takesOver: takenOver,
  forms: onnxForms,
  saturates: false,
  assumesDotProducts: false
}

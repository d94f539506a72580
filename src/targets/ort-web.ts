import type { Target } from '../types.ts'
import { intBits, integerOps, onnxForms } from './onnxruntime.ts'

/** ONNX Runtime's WebAssembly provider, in browsers. */
export const ortWeb: Target = {
  name: 'ort-web',
  summary: 'ONNX Runtime in the browser (WebAssembly)',
  format: 'onnx',
  runtime: 'onnxruntime-web',
  // The selectors of both packages' CPU provider are the same.
  fusesLike: ['onnxruntime-node'],
  opset: { min: 7, max: 25 },
  integerOps,
  forms: onnxForms,
  dtypes: ['float32', ...intBits],
  saturates: false,
  assumesDotProducts: false
}

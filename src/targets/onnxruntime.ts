/** What ONNX Runtime's CPU and WebAssembly providers have in common. */
import type { Form } from '../types.ts'

/**
 * Operators that it turns, between DequantizeLinear and QuantizeLinear, into an integer kernel or pure data movement.
 * Softmax is left out: 256 codes are too few for probabilities, and it is cheap in float.
 */
export const integerOps: readonly string[] = [
  'Add',
  'AveragePool',
  'Concat',
  'Conv',
  'DepthToSpace',
  'Expand',
  'Flatten',
  'Gather',
  'Gemm',
  'GlobalAveragePool',
  'Identity',
  'LeakyRelu',
  'MatMul',
  'MaxPool',
  'Mul',
  'Reshape',
  'Resize',
  'Sigmoid',
  'Slice',
  'Split',
  'Squeeze',
  'Tile',
  'Transpose',
  'Unsqueeze',
  'Where'
]

/** Every form that folds to a plain float constant while a session is created. */
export const onnxForms: readonly Form[] = [
  'plain',
  'foldable',
  'palette',
  'gap',
  'bitmap',
  'blocks',
  'qdq',
  'nbits',
  'auto'
]

import type { Reader } from '../types.ts'
import { formatName } from './meta.ts'
import { readOnnx } from './read.ts'
import { looksLikeModel } from './scan.ts'

/** Reading of ONNX alone. It infers no shapes: Softmax of opset 12 and below may stay spelled in three nodes. */
export const onnxReader: Reader = {
  name: formatName,
  title: 'ONNX',
  extensions: ['.onnx', '.ort'],
  detect: looksLikeModel,
  read: readOnnx
}

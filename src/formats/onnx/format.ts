import type { Format } from '../../types.ts'
import { readOnnx } from './read.ts'
import { looksLikeModel } from './scan.ts'
import { writeOnnx } from './write.ts'

/** The ONNX format. */
export const onnx: Format = {
  name: 'onnx',
  extensions: ['.onnx'],
  detect: looksLikeModel,
  read: readOnnx,
  write: writeOnnx
}

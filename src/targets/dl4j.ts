import { onnxRuntime } from './onnxruntime.ts'
import type { Target } from './types.ts'

/** DeepLearning4J itself, which computes with floats only. What it can say of a network is told by its format. */
export const deepLearning4J: Target = {
  name: 'dl4j',
  aliases: ['deeplearning4j'],
  summary: 'DeepLearning4J on a JVM: numbers and widths may change, and nothing else',
  format: 'dl4j',
  runtime: 'deeplearning4j',
  fusesLike: [],
  opset: onnxRuntime.opset,
  operators: 'all',
  elements: 'all',
  integer: [],
  dynamic: [],
  takesOver: [],
  cannotMove: [],
  forms: ['plain', 'palette', 'gap', 'bitmap', 'auto'],
  saturates: false,
  channelMultiple: 1,
  assumesDotProducts: false
}

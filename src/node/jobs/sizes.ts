/** Bytes of a model's files, also compressed, and the model's own counts. */

import { allGraphs } from '../../ir/graph.ts'
import { bitsOf, elementCount, isFloat, isInteger } from '../../ir/tensor.ts'
import { parametersOf, sizeOf } from '../../measure/size.ts'
import { costOf, type Shapes } from '../../ops/cost.ts'
import type { Measurement, Model } from '../../types.ts'
import { fileBytes } from '../files.ts'
import { brotliLength } from '../measure.ts'

/** Files above this are not compressed for a look: it would take longer than the rest of the command. */
const compressedMost = 64 * 1024 * 1024
/** Weights above this are not read to count their zeros. */
const countedMost = 128 * 1024 * 1024

/** A file's size is `bytes`, weights beside it included; work is that of inputs of the given shapes. */
export function sizedModel(path: string, model: Model, bytes: number, shapes?: Shapes): Omit<Measurement, 'metrics'> {
  const file = fileBytes(path)
  const alone = bytes === file.length && bytes <= compressedMost
  const { gzipBytes, brotliBytes } = alone ? sizeOf([file], brotliLength) : {}
  return {
    bytes,
    ...(gzipBytes === undefined ? {} : { gzipBytes }),
    ...(brotliBytes === undefined ? {} : { brotliBytes }),
    ...countsOf(model, bytes, shapes)
  }
}

/** Parameters and MACs; zeros are counted where that does not read more than 128 MB. */
export function countsOf(
  model: Model,
  bytes: number,
  shapes?: Shapes
): Pick<Measurement, 'parameters' | 'nonzeroParameters' | 'macs'> {
  const macs = costOf(model, shapes).total ?? ('?' as const)
  return bytes <= countedMost ? { ...parametersOf(model), macs } : { parameters: largeParameters(model), macs }
}

/** Elements of float and small integer constants with a shape, unread. */
function largeParameters(model: Model): number {
  let n = 0
  for (const graph of allGraphs(model))
    for (const { data } of graph.values.values())
      if (data && data.shape.length > 0 && (isFloat(data.dtype) || (isInteger(data.dtype) && bitsOf(data.dtype) <= 8)))
        n += elementCount(data.shape)
  return n
}

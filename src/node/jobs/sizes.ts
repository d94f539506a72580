/** Bytes of a model's files, also compressed, and the model's own counts. */

import { adaptiveOf } from '../../data/adaptive.ts'
import { type CostModel, predict } from '../../measure/cost-model.ts'
import { parameterCount, parametersOf, sizeOf } from '../../measure/size.ts'
import { stageMacs } from '../../measure/stages.ts'
import { costOf, type Shapes } from '../../ops/cost.ts'
import type { Measurement, Model } from '../../types.ts'
import { fileBytes } from '../files.ts'
import { brotliLength } from '../measure.ts'

/** Files above this are not compressed for a look: it would take longer than the rest of the command. */
const compressedMost = 64 * 1024 * 1024
/** Weights above this are not read to count their zeros. */
const countedMost = 128 * 1024 * 1024

/** How closely a model is looked at: `quick` reads its bytes and weights no second time. */
export type Look = 'quick' | 'whole'

/** A file's size is `bytes`, weights beside it included; work is that of inputs of the given shapes, and so is the time that a cost model predicts. */
export function sizedModel(
  path: string,
  model: Model,
  bytes: number,
  {
    shapes,
    cost,
    look = 'whole'
  }: { readonly shapes?: Shapes; readonly cost?: CostModel | undefined; readonly look?: Look } = {}
): Omit<Measurement, 'metrics'> {
  const file = fileBytes(path)
  const isCompressed = look === 'whole' && bytes === file.length && bytes <= compressedMost
  const { gzipBytes, brotliBytes } = isCompressed ? sizeOf([file], brotliLength) : {}
  return {
    bytes,
    ...(gzipBytes === undefined ? {} : { gzipBytes }),
    ...(brotliBytes === undefined ? {} : { brotliBytes }),
    ...(cost ? { predictedMs: predict(model, cost, shapes).ms } : {}),
    ...countsOf(model, bytes, { ...(shapes ? { shapes } : {}), look })
  }
}

/** Parameters and MACs; in a whole look also zeros, where that does not read more than 128 MB. */
export function countsOf(
  model: Model,
  bytes: number,
  { shapes, look = 'whole' }: { readonly shapes?: Shapes; readonly look?: Look } = {}
): Pick<Measurement, 'parameters' | 'nonzeroParameters' | 'macs'> {
  const macs = workOf(model, shapes) ?? ('?' as const)
  const isCounted = look === 'whole' && bytes <= countedMost
  return isCounted ? { ...parametersOf(model), macs } : { parameters: parameterCount(model), macs }
}

/** Of a model that answers easy samples early, the work of a sample that goes through all stages. */
function workOf(model: Model, shapes?: Shapes): number | undefined {
  const adaptive = adaptiveOf(model)
  return (adaptive && stageMacs(model, adaptive, shapes)?.at(-1)) ?? costOf(model, shapes).total
}

/** The list of all passes. */
import { PareError } from '../base/errors.ts'
import { nearest } from '../base/suggest.ts'
import { fuse } from './fuse/index.ts'
import type { AnyPass } from './pass.ts'
import { castFloat } from './quantize/cast-float.ts'
import { correctBias } from './quantize/correct-bias.ts'
import { equalize } from './quantize/equalize.ts'
import { mixPrecision } from './quantize/mix-precision.ts'
import { quantizeDynamic } from './quantize/quantize-dynamic.ts'
import { quantizeNf4 } from './quantize/quantize-nf4.ts'
import { quantizeStatic } from './quantize/quantize-static.ts'
import { quantizeWeights } from './quantize/quantize-weights.ts'
import { round } from './quantize/round.ts'
import { smooth } from './quantize/smooth.ts'
import { toQoperator } from './quantize/to-qoperator.ts'
import { simplify } from './simplify/index.ts'
import { distill } from './train/distill.ts'
import { finetune } from './train/finetune.ts'
import { train } from './train/train.ts'
import { trainQuantized } from './train/train-quantized.ts'

/** Every pass, in the order in which they are usually applied. */
export const passes: readonly AnyPass[] = [
  simplify,
  fuse,
  train,
  distill,
  finetune,
  equalize,
  smooth,
  trainQuantized,
  quantizeStatic,
  quantizeDynamic,
  quantizeWeights,
  quantizeNf4,
  mixPrecision,
  round,
  correctBias,
  castFloat,
  toQoperator
]

/** The pass of a name. Throws `E_USAGE` with suggestions. */
export function passFor(name: string): AnyPass {
  const found = passes.find((p) => p.name === name)
  if (found) return found
  const names = passes.map((p) => p.name)
  const close = nearest(name, names)
  throw new PareError('E_USAGE', `there is no pass ${name}`, {
    where: name,
    facts: { passes: names.join(', ') },
    ...(close ? { hint: `did you mean ${close}?` } : {})
  })
}

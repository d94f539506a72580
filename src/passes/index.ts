/** The list of all passes. */
import { PareError } from '../base/errors.ts'
import { nearest } from '../base/suggest.ts'
import { cascade } from './adaptive/cascade.ts'
import { earlyExit } from './adaptive/early-exit.ts'
import { factorize } from './factorize/factorize.ts'
import { fixSizes } from './fix-sizes.ts'
import { fuseTransformer } from './fuse/fuse-transformer.ts'
import { fuse } from './fuse/index.ts'
import type { AnyPass } from './pass.ts'
import { pruneBlocks } from './prune/prune-blocks.ts'
import { pruneChannels } from './prune/prune-channels.ts'
import { pruneRows } from './prune/prune-rows.ts'
import { pruneWeights } from './prune/prune-weights.ts'
import { correctBias } from './quantize/bias/correct-bias.ts'
import { castFloat } from './quantize/cast/cast-float.ts'
import { quantizeDynamic } from './quantize/dynamic/quantize-dynamic.ts'
import { equalize } from './quantize/equalize/equalize.ts'
import { smooth } from './quantize/equalize/smooth.ts'
import { mixPrecision } from './quantize/mix/mix-precision.ts'
import { round } from './quantize/round/round.ts'
import { quantizeStatic } from './quantize/static/quantize-static.ts'
import { toQoperator } from './quantize/to-qoperator.ts'
import { quantizeNf4 } from './quantize/weights/quantize-nf4.ts'
import { quantizeWeights } from './quantize/weights/quantize-weights.ts'
import { simplify } from './simplify/index.ts'
import { distill } from './train/distill.ts'
import { finetune } from './train/finetune.ts'
import { train } from './train/train.ts'
import { trainQuantized } from './train/train-quantized.ts'

/** Every pass, in the order in which they are usually applied. */
export const passes: readonly AnyPass[] = [
  fixSizes,
  simplify,
  fuse,
  train,
  pruneBlocks,
  pruneChannels,
  pruneRows,
  factorize,
  pruneWeights,
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
  toQoperator,
  fuseTransformer,
  cascade,
  earlyExit
]

/** The pass of a name, of `own` before Pare's. Throws `E_USAGE` with suggestions. */
export function passFor(name: string, own: readonly AnyPass[] = []): AnyPass {
  const known = [...own, ...passes]
  const found = known.find((p) => p.name === name)
  if (found) return found
  const names = known.map((p) => p.name)
  const close = nearest(name, names)
  throw new PareError('E_USAGE', `there is no pass ${name}`, {
    where: name,
    facts: { passes: names.join(', ') },
    ...(close ? { hint: `did you mean ${close}?` } : {})
  })
}

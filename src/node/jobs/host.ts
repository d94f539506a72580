/** What the processor under a measurement does to the figures. */
import { listed } from '../../base/listed.ts'
import { saturatingNodes } from '../../passes/quantize/common/saturation.ts'
import type { Candidate } from '../../report/types.ts'
import { targets } from '../../targets/index.ts'
import type { Target } from '../../targets/types.ts'
import type { Model } from '../../types.ts'
import { machine } from '../machine.ts'

interface Processor {
  readonly arch: string
  readonly vnni: boolean | undefined
}

const thisOne = (): Processor => ({ arch: process.arch, vnni: machine().vnni })

const missing = ({ name }: Target): string =>
  `this processor has no 8-bit dot products (VNNI), which target ${name} means`

/** Names the target for processors like this one. */
function advice({ runtime }: Target): string {
  const other = targets.find((t) => t.runtime === runtime && t.saturates)
  return other ? `; --target ${other.name} keeps them from it` : ''
}

/** Does the target mean instructions that this processor lacks, so that int8 sums saturate here and not there? */
const isWeaker = (target: Target, { arch, vnni }: Processor): boolean =>
  target.assumesDotProducts && arch === 'x64' && vnni === false

/** A note where int8 sums of this model can saturate on this processor, though its target is one on which they cannot. */
export function saturationNotes(model: Model, target: Target, here: Processor = thisOne()): string[] {
  const nodes = isWeaker(target, here) ? saturatingNodes(model, target) : []
  if (nodes.length === 0) return []
  return [`${missing(target)}: sums of ${listed(nodes)} can saturate here${advice(target)}`]
}

/** The same for candidates in int8 that are judged here. */
export function candidateNotes(
  candidates: readonly Candidate[],
  target: Target,
  here: Processor = thisOne()
): string[] {
  const isInteger = candidates.some((c) => c.recipe.some(([pass]) => pass === 'quantize-static'))
  return isInteger && isWeaker(target, here)
    ? [`${missing(target)}: candidates in int8 were judged by sums that can saturate${advice(target)}`]
    : []
}

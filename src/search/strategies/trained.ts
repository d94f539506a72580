/**
 * Candidates that train, where training data is given: the model fine-tuned, then with fewer blocks or channels, taught by what
 * it was, in the form that did best without training. Of each structure half the multiply-adds go first; then more where that
 * kept the bound, and less where it did not.
 */
import { inferShapes } from '../../ops/infer.ts'
import { findBlocks } from '../../passes/prune/blocks.ts'
import { blockOf } from '../../passes/prune/choose.ts'
import { channelGroups } from '../../passes/prune/groups.ts'
import { freeGroups } from '../../passes/prune/narrow.ts'
import { taskOf } from '../../passes/train/task.ts'
import { choose } from '../choose.ts'
import type { Problem } from '../strategy.ts'
import { type Measured, measuredOf, standing, type Trial } from '../trial.ts'
import type { Variant } from './variants.ts'

/** Times that the training data is seen: longer training is for recipes of the user's own. */
const epochs = 3

/** What goes, and the shares of the multiply-adds of which the next is tried after one. */
const structures = ['blocks', 'channels'] as const
const [half, more, less] = [0.5, 0.7, 0.3]

type Structure = (typeof structures)[number]

/** What of a model can go, channels in steps that the target is fast at. */
export function structuresOf({ model, target }: Problem): readonly Structure[] {
  const typed = inferShapes(model)
  const has = {
    blocks: () => findBlocks(typed).blocks.length > 1,
    channels: () => freeGroups(channelGroups(typed)).some((g) => g.channels > blockOf(g, target.channelMultiple))
  }
  return structures.filter((s) => has[s]())
}

/** Can the model be trained on classes? */
export const isTrainable = (problem: Problem): boolean =>
  problem.isTrained === true && problem.isCalibrated && taskOf(problem.model)?.kind === 'classes'

/** The next candidate that trains. `forms`: those without training, of which the best is taken. */
export function trainedForm(
  problem: Problem,
  structures: readonly Structure[],
  forms: readonly Variant[],
  history: readonly Trial[],
  asked: ReadonlySet<string>
): Variant | undefined {
  const form = bestForm(problem, forms, history, asked)
  const plain: Variant = { name: `fine-tuned, ${form.name}`, tail: [['finetune', { epochs }], ...form.tail] }
  if (!asked.has(plain.name)) return plain
  for (const what of structures) {
    const tried = (share: number): Variant => pruned(what, share, form)
    const first = tried(half)
    if (!asked.has(first.name)) return first
    const trial = measuredOf(history).find((t) => t.proposal.name === first.name)
    const next = tried(trial !== undefined && isKept(problem, trial) ? more : less)
    if (trial !== undefined && !asked.has(next.name)) return next
  }
  return undefined
}

const pruned = (what: Structure, share: number, form: Variant): Variant => ({
  name: `${100 * share} % less work by ${what}, taught again, ${form.name}`,
  tail: [['finetune', { epochs, teacher: 'itself', prune: { what, to: share, schedule: 'once' } }], ...form.tail]
})

const isKept = ({ metric, maxDrop }: Problem, trial: Measured): boolean =>
  maxDrop === undefined || (trial.drop[metric]?.value ?? 0) <= maxDrop

/** The form of the best candidate before any that trained: trained ones take the form that was asked for with the first. */
function bestForm(
  { metric, bytes, objective, maxDrop }: Problem,
  forms: readonly Variant[],
  history: readonly Trial[],
  asked: ReadonlySet<string>
): Variant {
  const begun = forms.find((f) => asked.has(`fine-tuned, ${f.name}`))
  if (begun) return begun
  const own = measuredOf(history).filter((t) => forms.some((f) => f.name === t.proposal.name))
  const { winner } = choose(
    own.map((t) => standing(t, metric, bytes)),
    objective,
    maxDrop
  )
  const name = winner === undefined ? undefined : own[winner]?.proposal.name
  return forms.find((f) => f.name === name) ?? { name: 'in float', tail: [] }
}

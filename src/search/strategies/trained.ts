/**
 * Candidates that train, where training data is given: the model fine-tuned; then with fewer blocks or channels, taught by what it
 * was, and with layers split by low rank, in the form that did best without training. Of each half the multiply-adds go first;
 * then more where that kept the bound, and less where it did not.
 */
import { inferShapes } from '../../ops/infer.ts'
import { findBlocks } from '../../passes/prune/blocks.ts'
import { blockOf } from '../../passes/prune/choose.ts'
import { channelGroups } from '../../passes/prune/groups.ts'
import { freeGroups } from '../../passes/prune/narrow.ts'
import { taskOf } from '../../passes/train/task.ts'
import type { Recipe } from '../../passes/types.ts'
import type { Problem } from '../strategy.ts'
import type { Trial } from '../trial.ts'
import { hasLargeLayer } from './low-rank.ts'
import { bestForm, stepped } from './steps.ts'
import type { Variant } from './variants.ts'

/** Times that the training data is seen: longer training is for recipes of the user's own. */
const epochs = 3

/** What goes. */
const structures = ['blocks', 'channels', 'low rank'] as const

type Structure = (typeof structures)[number]

/** Layers of fewer inputs or outputs are computed no faster in two. */
const leastSide = 64

/** What of a model can go, channels in steps that the target is fast at. */
export function structuresOf({ model, target }: Problem): readonly Structure[] {
  const typed = inferShapes(model)
  const has = {
    blocks: () => findBlocks(typed).blocks.length > 1,
    channels: () => freeGroups(channelGroups(typed)).some((g) => g.channels > blockOf(g, target.channelMultiple)),
    'low rank': () => hasLargeLayer(typed, leastSide)
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
  const plain = (form: Variant): Variant => ({
    name: `fine-tuned, ${form.name}`,
    tail: [['finetune', { epochs }], ...form.tail]
  })
  const form = bestForm(problem, forms, (f) => plain(f).name, history, asked)
  if (!asked.has(plain(form).name)) return plain(form)
  for (const what of structures) {
    const next = stepped(problem, (share) => smaller(what, share, form), history, asked)
    if (next) return next
  }
  return undefined
}

const smaller = (what: Structure, share: number, form: Variant): Variant => ({
  name: `${100 * share} % less work by ${what}, taught again, ${form.name}`,
  tail: [...taught(what, share), ...form.tail]
})

/** A model of low rank has another shape than its teacher: it learns from the labels alone. */
const taught = (what: Structure, share: number): Recipe =>
  what === 'low rank'
    ? [
        ['factorize', { macs: Number((1 - share).toFixed(1)) }],
        ['finetune', { epochs }]
      ]
    : [['finetune', { epochs, teacher: 'itself', prune: { what, to: share, schedule: 'once' } }]]

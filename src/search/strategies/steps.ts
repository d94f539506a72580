/** How much of a model goes, candidate by candidate, and in which form what is left is stored. */
import { choose } from '../choose.ts'
import type { Problem } from '../strategy.ts'
import { type Measured, measuredOf, standing, type Trial } from '../trial.ts'
import type { Variant } from './variants.ts'

/** Shares of the work or of the weights that go, of which the next is tried after one. */
export const half = 0.5
const [more, less] = [0.7, 0.3]

/** Half goes first; then more where that kept the bound, or less where it did not. */
export function stepped(
  problem: Problem,
  made: (share: number) => Variant,
  history: readonly Trial[],
  asked: ReadonlySet<string>
): Variant | undefined {
  const first = made(half)
  if (!asked.has(first.name)) return first
  const trial = measuredOf(history).find((t) => t.proposal.name === first.name)
  if (trial === undefined) return undefined
  const next = made(isKept(problem, trial) ? more : less)
  return asked.has(next.name) ? undefined : next
}

const isKept = ({ metric, maxDrop }: Problem, trial: Measured): boolean =>
  maxDrop === undefined || (trial.drop[metric]?.value ?? 0) <= maxDrop

/**
 * Of some forms, the one of the best candidate so far. `first` names the first candidate that is made of it: once that was asked
 * for, its form stays.
 */
export function bestForm(
  { metric, bytes, objective, maxDrop }: Problem,
  forms: readonly Variant[],
  first: (form: Variant) => string,
  history: readonly Trial[],
  asked: ReadonlySet<string>
): Variant {
  const begun = [...forms, inFloat].find((f) => asked.has(first(f)))
  if (begun) return begun
  const own = measuredOf(history).filter((t) => forms.some((f) => f.name === t.proposal.name))
  const { winner } = choose(
    own.map((t) => standing(t, metric, bytes)),
    objective,
    maxDrop
  )
  const name = winner === undefined ? undefined : own[winner]?.proposal.name
  return forms.find((f) => f.name === name) ?? inFloat
}

const inFloat: Variant = { name: 'in float', tail: [] }

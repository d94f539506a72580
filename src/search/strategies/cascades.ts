/**
 * Cascades of what another strategy found: once that is done, the fastest of its candidates answers what it is sure of, also one
 * that loses too much by itself, and the original or the best form of it the rest.
 */
import { choose } from '../choose.ts'
import type { Problem, Strategy } from '../strategy.ts'
import { isMeasured, type Measured, measuredOf, type Proposal, standing, type Trial } from '../trial.ts'

/** A first stage that takes more of the original's time saves nothing worth a second model in the file. */
const mostLatency = 0.6

/** What is promised against the last stage where nothing else is asked for. */
const usualPromise = 0.01

/** Can a cascade be promised anything by this metric, and does the target run one? Rows that depend on the data are ONNX's alone. */
export const mayCascade = ({ metric, isCalibrated, target }: Problem): boolean =>
  isCalibrated &&
  target.format === 'onnx' &&
  target.operators === 'all' &&
  promiseOf(metric, usualPromise) !== undefined

/** The promise of a cascade in the words of its pass. */
function promiseOf(metric: string, most: number): Readonly<Record<string, number>> | undefined {
  if (metric === 'top1') return { maxDrop: most }
  return metric === 'agreement' ? { maxDisagreement: most } : undefined
}

/** The strategy, and cascades behind it. */
export const withCascades = (inner: Strategy, problem: Problem): Strategy => ({
  next(history, pending, rng) {
    const own = history.filter((t) => !isCascade(t.proposal))
    const asked = [...history.map((t) => t.proposal), ...pending]
    if (!asked.some(isCascade)) {
      const next = inner.next(own, pending, rng)
      if (next !== 'done') return next
      if (pending.length > 0) return 'done'
    }
    return cascades(problem, own).find((c) => !asked.some((p) => p.name === c.name)) ?? 'done'
  }
})

const isCascade = ({ recipe }: Proposal): boolean => recipe.at(-1)?.[0] === 'cascade'

function cascades(problem: Problem, history: readonly Trial[]): readonly Proposal[] {
  const { metric, bytes, objective, maxDrop } = problem
  const measured = measuredOf(history)
  const small = measured
    .filter((t) => (t.timing?.ratio.median ?? 1) <= mostLatency)
    .reduce<Measured | undefined>((a, b) => (a && ratioOf(a) <= ratioOf(b) ? a : b), undefined)
  const promise = promiseOf(metric, maxDrop ?? usualPromise)
  if (!small || !promise) return []
  const { winner } = choose(
    measured.map((t) => standing(t, metric, bytes)),
    objective,
    maxDrop
  )
  const base = history.find(isMeasured)
  const larger = [base, winner === undefined ? undefined : measured[winner]].filter(
    (t): t is Measured => t !== undefined && t !== small && ratioOf(t) > ratioOf(small)
  )
  return [...new Set(larger)].map((big) => ({
    name: `cascade: ${small.proposal.name}, then ${big.proposal.name}`,
    recipe: [...big.recipe, ['cascade', { small: small.recipe, ...promise }]]
  }))
}

const ratioOf = (t: Measured): number => t.timing?.ratio.median ?? 1

/**
 * Thresholds of confidence that keep a promise, for models that answer easy samples early.
 *
 * A sample leaves at the first exit whose confidence is at least t. For t from the safest value down, H(t): "the risk at t is
 * above the bound" is tested at level δ on samples that nothing was fitted to; the walk ends at the first t whose H(t) stands,
 * and the t before it is taken. The list of t is fixed beforehand, so that all tests of the walk together keep the level
 * (fixed-sequence testing: Angelopoulos et al., Learn then Test, 2021), whether the risk is monotone in t or not.
 *
 *   disagreement  P(the answer is not that of the last stage): Clopper-Pearson bound of the count at δ
 *   drop          P(lost) − P(won) of right answers against the last stage: bounds of both counts at δ/2 each
 *
 * What is promised holds for samples drawn as these were, with probability 1 − δ over the draw.
 */
import { binomialLower, binomialUpper } from '../base/binomial.ts'
import { PareError } from '../base/errors.ts'
import { noLabel } from './labels.ts'

/** What stages say of samples, sample by sample. */
export interface Routes {
  readonly n: number
  /** Confidence of every exit, in order. */
  readonly confidence: readonly Float32Array[]
  /** Class that every exit answers, then that of the last stage. */
  readonly answers: readonly Int32Array[]
  /** Classes; of samples without one `noLabel`. */
  readonly labels?: Int32Array
}

/** What may be lost against the last stage: a share of samples that get another answer, or of right answers. */
export interface Promised {
  readonly kind: 'disagreement' | 'drop'
  readonly most: number
  /** δ: how often a threshold may be chosen that does not keep it. */
  readonly risk: number
}

/** How samples fare at a threshold. */
export interface Routing {
  readonly threshold: number
  /** Samples that leave at each exit, then those that reach the last stage. */
  readonly counts: readonly number[]
  /** Answers other than the last stage's. */
  readonly changed: number
  /** Right answers; of `labelled` samples. */
  readonly right: number
  /** Right where the last stage is wrong, and the other way round. */
  readonly won: number
  readonly lost: number
  readonly labelled: number
}

/** A threshold that keeps a promise. */
export interface Kept extends Routing {
  /** The risk lies below it with probability 1 − δ. */
  readonly bound: number
}

/** From 1 − e⁻¹⁶ in even steps of the logarithm down to 1/`classes`, which no confidence is below; at last 0, where all leave at once. */
export function thresholdsFor(classes: number): readonly number[] {
  const out: number[] = []
  for (let i = 320; i > 0; i--) {
    const t = Math.fround(1 - Math.exp(-i / 20))
    if (t > 1 / classes && t !== out.at(-1)) out.push(t)
  }
  return [...out, 0]
}

/** Above every confidence: nothing leaves early. */
export const never = 2

/** The exit of a sample; the number of exits where it reaches the last stage. NaN is never confident. */
export function exitOf({ confidence }: Routes, sample: number, threshold: number): number {
  let exit = 0
  while (exit < confidence.length && !((confidence[exit]?.[sample] as number) >= threshold)) exit++
  return exit
}

/** How samples fare. */
export function routed(r: Routes, threshold: number): Routing {
  const exits = r.confidence.length
  const last = r.answers[exits] as Int32Array
  const counts = new Array<number>(exits + 1).fill(0)
  const sums = { changed: 0, right: 0, won: 0, lost: 0, labelled: 0 }
  for (let i = 0; i < r.n; i++) {
    const exit = exitOf(r, i, threshold)
    counts[exit] = (counts[exit] as number) + 1
    const [answer, final] = [r.answers[exit]?.[i], last[i]]
    if (answer !== final) sums.changed++
    const label = r.labels?.[i] ?? noLabel
    if (label === noLabel) continue
    sums.labelled++
    if (answer === label) sums.right++
    if (answer === label && final !== label) sums.won++
    if (answer !== label && final === label) sums.lost++
  }
  return { threshold, counts, ...sums }
}

/** The bound that the risk at a threshold lies below with probability 1 − δ. */
export function riskBound(of: Pick<Routing, 'counts' | 'changed' | 'won' | 'lost' | 'labelled'>, p: Promised): number {
  const n = of.counts.reduce((a, b) => a + b, 0)
  if (p.kind === 'disagreement') return binomialUpper(of.changed, n, p.risk)
  return binomialUpper(of.lost, of.labelled, p.risk / 2) - binomialLower(of.won, of.labelled, p.risk / 2)
}

/** The lowest threshold that a walk down the list reaches; `undefined` where not even the first can be promised. */
export function lowestKept(r: Routes, p: Promised, thresholds: readonly number[]): Kept | undefined {
  let kept: Kept | undefined
  for (const t of thresholds) {
    const routing = routed(r, t)
    const isSame = kept && kept.changed === routing.changed && kept.lost === routing.lost && kept.won === routing.won
    const bound = kept && isSame ? kept.bound : riskBound(routing, p)
    if (!(bound <= p.most)) break
    kept = { ...routing, bound }
  }
  return kept
}

/** Samples of which none may differ for a promise to hold at all. */
export const leastSamples = ({ kind, most, risk }: Promised): number =>
  Math.ceil(Math.log(kind === 'drop' ? risk / 2 : risk) / Math.log1p(-most))

/** Why nothing can be promised. */
export function nothingKept(r: Routes, p: Promised): PareError {
  const n = p.kind === 'drop' && r.labels ? r.labels.filter((l) => l !== noLabel).length : r.n
  const least = leastSamples(p)
  const what = p.kind === 'drop' ? 'a drop' : 'a disagreement'
  const percent = (x: number): string => `${Number((100 * x).toPrecision(3))} %`
  return new PareError('E_CONSTRAINT', `no threshold promises ${what} of at most ${percent(p.most)}`, {
    facts: {
      samples: String(n),
      'needed at least': `${least}, with no sample that differs`,
      'sure in': percent(1 - p.risk)
    },
    hint: n < least ? 'give more samples, or allow more' : 'allow more, or a first stage that is right more often'
  })
}

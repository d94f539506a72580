/**
 * The ladder: simplify and fuse; every form that the target can run; where a form loses too much, or is slow in some layers,
 * what `mix-precision` finds by measurement; for `size`, the mixture of the fewest bits; products split by low rank; with training
 * data, models pruned by structure or split, and trained again.
 */
import type { Recipe } from '../../passes/types.ts'
import { choose, type Standing, tie } from '../choose.ts'
import type { Problem, StrategyRecord } from '../strategy.ts'
import { isMeasured, type Measured, measuredOf, type Proposal, standing, type Trial } from '../trial.ts'
import { isSplit, lowRankForm } from './low-rank.ts'
import { isTrainable, structuresOf, trainedForm } from './trained.ts'
import {
  bytesLeft,
  fewBitInteger,
  fewestBits,
  integer,
  isCoded,
  isDynamic,
  isInteger,
  lastPasses,
  mixedBitInteger,
  partlyCoded,
  partlyInteger,
  savedByFewBits,
  searchedCost,
  smoothed,
  type Variant,
  variants
} from './variants.ts'

const base: Proposal = {
  name: 'float, simplified',
  recipe: [
    ['simplify', {}],
    ['fuse', {}]
  ]
}

/** What the variants begin with, the first that is not proven slower than the original. Only what is fused is also fused last. */
const bases: readonly Proposal[] = [
  base,
  { name: 'float, simplified but not fused', recipe: [['simplify', {}]] },
  { name: 'float, as it is', recipe: [] }
]

/** What a variant's own passes stand between. */
interface Frame {
  readonly from: Recipe
  readonly last: Recipe
}

/** The base that was found, or the one to be tried next. */
function baseOf(history: readonly Trial[], last: Recipe): { readonly frame: Frame } | { readonly next: Proposal } {
  const plain: Frame = { from: [], last: [] }
  for (const b of bases) {
    const frame: Frame = { from: b.recipe, last: b === base ? last : [] }
    const trial = history.find((t) => t.proposal.name === b.name)
    if (!trial) return { next: proposal(frame, { name: b.name, tail: [] }) }
    if (!isMeasured(trial)) return { frame: plain }
    // Not slower, or not told apart from that.
    if ((trial.timing?.ratio.low ?? 1) <= tie) return { frame }
  }
  return { frame: plain }
}

export const ladder: StrategyRecord = {
  name: 'ladder',
  summary: 'forms that the target can run, then mixtures of them by layer where one form does not suit all',
  make: (problem) => {
    const forms = variants(problem)
    const last = lastPasses(problem)
    const hasLowRank = isSplit(problem)
    const structures = isTrainable(problem) ? structuresOf(problem) : undefined
    return {
      next(history, pending) {
        const asked = new Set([...history.map((t) => t.proposal), ...pending].map((p) => p.name))
        const found = baseOf(history, last)
        if ('next' in found) return asked.has(found.next.name) ? 'done' : found.next
        const { frame } = found
        const whole = forms.find((f) => !asked.has(f.name) && !isHopeless(problem, f, history))
        if (whole) return proposal(frame, whole)
        if (pending.length > 0 || !problem.isCalibrated) return 'done'
        const few = fewerBits(problem, history, asked) ?? smoother(problem, history, asked)
        if (few) return proposal(frame, few)
        const known = [...forms, fewBitInteger, mixedBitInteger(problem.maxDrop)]
        const form =
          mixture(problem, forms, history, asked) ??
          smallest(problem, asked) ??
          (hasLowRank ? lowRankForm(problem, known, history, asked) : undefined)
        if (form) return proposal(frame, form)
        const searched = foundBySearch(problem, frame, asked)
        if (searched) return searched
        const trained = structures && trainedForm(problem, structures, known, history, asked)
        return trained ? proposal(frame, trained) : 'done'
      }
    }
  }
}

/** Channels and types that a search finds: within a limit of time alone, behind all forms that are known beforehand. */
function foundBySearch(problem: Problem, { from, last }: Frame, asked: ReadonlySet<string>): Proposal | undefined {
  const { maxDrop, target, isTimed, objective } = problem
  const least = searchedCost(objective)
  const isOpen = isTimed && maxDrop !== undefined && target.forms.includes('palette')
  if (!isOpen || !least || asked.has(searchedName)) return undefined
  return { name: searchedName, recipe: [...from, ...last], search: { behind: from.length, least, maxDrop } }
}

const searchedName = 'channels and types that a search found'

const proposal = ({ from, last }: Frame, { name, tail }: Variant): Proposal => ({
  name,
  recipe: [...from, ...tail, ...last]
})

/** Can a form that computes in float not win over the integer models that were measured, even if it loses nothing? */
function isHopeless(problem: Problem, { name, floatBits }: Variant, history: readonly Trial[]): boolean {
  const integers = measuredOf(history).filter((t) => isDynamic(t) || isInteger(t))
  if (floatBits === undefined || integers.length === 0) return false
  const { model, metric, bytes, objective, maxDrop } = problem
  const latency = { median: leastFloat, low: leastFloat, high: leastFloat }
  const bytesRatio = bytesLeft(model, bytes, floatBits)
  const promised: Standing = { name, bytesRatio, latency, macs: '?', drop: 0, error: 0 }
  const all = integers.map((t) => standing(t, metric, bytes))
  return choose([promised, ...all], objective, maxDrop).winner !== 0
}

/** Latency that float kernels over smaller weights reach at best. */
const leastFloat = 0.95

/** Dynamic int8 smoothed first, where it loses much of what is allowed. */
function smoother(problem: Problem, history: readonly Trial[], asked: ReadonlySet<string>): Variant | undefined {
  const { metric, maxDrop } = problem
  const plain = measuredOf(history).find(isDynamic)
  if (!plain || (maxDrop !== undefined && (plain.drop[metric]?.value ?? 0) <= maxDrop / 4)) return undefined
  const form = smoothed(problem)
  return form && !asked.has(form.name) ? form : undefined
}

/** Integer kernels over fewer bits, where 8 bits lose little: 4 bits, and where those lose too much those that each layer needs. */
function fewerBits(problem: Problem, history: readonly Trial[], asked: ReadonlySet<string>): Variant | undefined {
  if (problem.maxDrop === undefined || !problem.target.forms.includes('palette')) return undefined
  const measured = measuredOf(history)
  const whole = measured.find((t) => t.proposal.name === integer.name)
  if (!whole || savedByFewBits(problem.model) < leastSaved * whole.bytes) return undefined
  if (isLossy(problem, whole)) return undefined
  if (!asked.has(fewBitInteger.name)) return fewBitInteger
  const few = measured.find((t) => t.proposal.name === fewBitInteger.name)
  const mixed = mixedBitInteger(problem.maxDrop)
  return few && isLossy(problem, few) && !asked.has(mixed.name) ? mixed : undefined
}

/** Share of the bytes of the int8 model that fewer bits must save to be tried. */
const leastSaved = 0.1

const isLossy = ({ metric, maxDrop }: Problem, trial: Measured): boolean =>
  maxDrop !== undefined && (trial.drop[metric]?.value ?? 0) > maxDrop

/** The next mixture that may win. Those before one that was asked for have had their turn. */
function mixture(
  problem: Problem,
  forms: readonly Variant[],
  history: readonly Trial[],
  asked: ReadonlySet<string>
): Variant | undefined {
  const smooth = smoothed(problem)
  const whole = new Set([base.name, ...forms.map((f) => f.name), ...(smooth ? [smooth.name] : [])])
  const trials = measuredOf(history)
  const small = smallestOf(problem)
  if (small && asked.has(small.name)) return undefined
  const all = trials
    .filter((t) => whole.has(t.proposal.name))
    .map((trial) => ({ trial, form: mended(problem, trial, trials) }))
  const last = all.findLastIndex(({ form }) => form !== undefined && asked.has(form.name))
  return all.slice(last + 1).find(({ trial, form }) => form !== undefined && isHopeful(problem, trial, trials))?.form
}

function smallest(problem: Problem, asked: ReadonlySet<string>): Variant | undefined {
  const form = smallestOf(problem)
  return form && !asked.has(form.name) ? form : undefined
}

const smallestOf = ({ objective, target, maxDrop }: Problem): Variant | undefined =>
  objective === 'size' ? fewestBits(target, maxDrop) : undefined

/** How a form that loses too much, or that some layers make slow, is mixed with others layer by layer; `undefined` where nothing is wrong. */
function mended(problem: Problem, trial: Measured, trials: readonly Measured[]): Variant | undefined {
  const { maxDrop } = problem
  if (isDynamic(trial))
    return isLossy(problem, trial) && !isServed(problem, trials) ? partlyInteger(problem) : undefined
  if (isInteger(trial)) {
    const isSlow = (trial.timing?.ratio.median ?? 0) > slowInteger
    return isLossy(problem, trial) || isSlow ? partlyInteger(problem) : undefined
  }
  return isLossy(problem, trial) && isCoded(trial) ? partlyCoded(maxDrop) : undefined
}

/** Is there a fast integer model that loses little enough? */
const isServed = (problem: Problem, trials: readonly Measured[]): boolean =>
  trials.some(
    (t) => (isDynamic(t) || isInteger(t)) && !isLossy(problem, t) && (t.timing?.ratio.median ?? 1) <= slowInteger
  )

/** Integer models that gain less than this are slow in some of their layers. */
const slowInteger = 0.8

/** Could the mixture win, with the loss mended and no layer slowed down? */
function isHopeful(
  { metric, bytes, objective, maxDrop }: Problem,
  trial: Measured,
  trials: readonly Measured[]
): boolean {
  const own = standing(trial, metric, bytes)
  const latency = isInteger(trial) || isDynamic(trial) ? { median: 0, low: 0, high: 0 } : own.latency
  const mended = { ...own, drop: 0, ...(latency ? { latency } : {}) }
  const { winner } = choose([...trials.map((t) => standing(t, metric, bytes)), mended], objective, maxDrop)
  return winner === trials.length
}

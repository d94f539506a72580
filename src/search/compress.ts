/**
 * The ladder: what `compress` does when it is given no recipe.
 *
 * Measure the original; simplify and fuse; make every candidate that the target can run; score each on the parts that
 * choose and time it against the original; where a form loses too much, or is slow in some layers, let `mix-precision` find
 * by measurement the layers that do it and treat those otherwise; choose by the objective; measure the choice on the test part, which nothing chose by.
 */
import { PareError } from '../base/errors.ts'
import { agreementBeside } from '../data/metrics.ts'
import { metricDrops, metricIntervals } from '../measure/evaluate.ts'
import { parametersOf } from '../measure/size.ts'
import { costOf } from '../ops/cost.ts'
import { inferShapes } from '../ops/infer.ts'
import type { Candidate, Report } from '../report/types.ts'
import type { Interval, Measurement, Model, Ratios, Recipe, Session } from '../types.ts'
import { choose, isKept, type Objective, type Standing } from './choose.ts'
import type { CompressInput, Staged } from './input.ts'

import { fewestBits, isCoded, isInteger, type Proposal, partlyCoded, partlyInteger, proposals } from './proposals.ts'
import { type Failed, type Made, make, open, score, scoreOn, staged, type Trial, time } from './trial.ts'

export { type Objective, objectives } from './choose.ts'

export interface CompressResult {
  /** Absent when no candidate keeps the promise. */
  readonly chosen?: { readonly model: Model; readonly staged: Staged }
  readonly report: Pick<Report, 'before' | 'candidates' | 'steps' | 'refusals' | 'notes' | 'recipe' | 'curves'> &
    Partial<Pick<Report, 'after' | 'ratios' | 'drop' | 'agreement' | 'constraint'>>
}

/** Seconds that a candidate is timed for while choosing, and that the choice is timed for at the end. */
const trialSeconds = 1
const finalSeconds = 3

/** Compresses a model. Throws `E_RUN` when the original itself does not run. */
export async function compress(input: CompressInput): Promise<CompressResult> {
  const original = await open(input, input.original)
  try {
    const { trials, failed } = await tryAll(input, original)
    const { winner, verdicts } = choose(
      trials.map((t) => standing(input, t)),
      objectiveOf(input),
      input.maxDrop
    )
    const candidates = [
      ...trials.map((t, i) => candidateOf(input, t, i === winner, verdicts[i]?.why ?? '')),
      ...failed.map((f) => failedCandidate(f))
    ]
    const best = winner === undefined ? undefined : trials[winner]
    return best ? await prove(input, original, best, candidates) : await giveUp(input, original, trials, candidates)
  } finally {
    await original.close()
  }
}

/** A recipe that the user gave is not in a race: it is taken unless it loses too much. */
const objectiveOf = (input: CompressInput): Objective => (input.recipe ? 'size' : input.objective)

interface Tried {
  readonly trials: readonly Trial[]
  readonly failed: readonly Failed[]
}

async function tryAll(input: CompressInput, original: Session): Promise<Tried> {
  const trials: Trial[] = []
  const failed: Failed[] = []
  const start = { recipe: [], model: input.model, steps: [], refusals: [], notes: [] }
  const attempt = async (
    from: Omit<Made, 'name' | 'staged'>,
    name: string,
    tail: Recipe
  ): Promise<Trial | undefined> => {
    const which = { name, recipe: [...from.recipe, ...tail], isAlone: from === start }
    const trial = await survive(which, failed, async () =>
      measured(input, original, await score(input, original, await make(input, from, name, tail)))
    )
    if (!trial) return undefined
    trials.push(trial)
    input.onCandidate?.(candidateOf(input, trial, false, ''))
    return trial
  }
  if (input.recipe) {
    await attempt(start, 'the given recipe', input.recipe)
    return { trials, failed }
  }
  const base = await attempt(start, 'float, simplified', [
    ['simplify', {}],
    ['fuse', {}]
  ])
  if (!base) return { trials, failed }
  for (const { name, tail } of proposals(input.target, !input.synthetic)) await attempt(base, name, tail)
  for (const trial of [...trials]) {
    const other = input.synthetic ? undefined : mixtureFor(input, trial)
    if (other && isHopeful(input, trial, trials)) await attempt(base, other.name, other.tail)
  }
  const small = input.synthetic || input.objective !== 'size' ? undefined : fewestBits(input.target, input.maxDrop)
  if (small) await attempt(base, small.name, small.tail)
  return { trials, failed }
}

/**
 * What goes wrong with one candidate is put down as its failure; the others go on. Where there are none (`isAlone`: a given
 * recipe, or the model that all candidates are made from), only what the runtime or a bound refuses is.
 */
async function survive<T>(
  { isAlone, ...which }: Omit<Failed, 'reason'> & { readonly isAlone: boolean },
  failed: Failed[],
  run: () => Promise<T>
): Promise<T | undefined> {
  try {
    return await run()
  } catch (e) {
    if (!(e instanceof PareError) || e.code === 'E_ABORTED' || e.code === 'E_INTERNAL') throw e
    if (isAlone && e.code !== 'E_RUN' && e.code !== 'E_CONSTRAINT') throw e
    failed.push({ ...which, reason: `${e.code === 'E_RUN' ? 'does not run' : 'failed'}: ${e.message}` })
    return undefined
  }
}

/** How a form that loses too much, or that some layers make slow, is mixed with others layer by layer; `undefined` where nothing is wrong. */
function mixtureFor(input: CompressInput, trial: Trial): Proposal | undefined {
  const isLossy = losesTooMuch(input, trial)
  if (isInteger(trial)) {
    const isSlow = (trial.timing?.ratio.median ?? 0) > slowInteger
    return isLossy || isSlow ? partlyInteger(input.maxDrop) : undefined
  }
  return isLossy && isCoded(trial) ? partlyCoded(input.maxDrop) : undefined
}

/** Integer models that gain less than this are slow in some of their layers. */
const slowInteger = 0.8

/** Could the mixture win, with the loss mended and no layer slowed down? */
function isHopeful(input: CompressInput, trial: Trial, trials: readonly Trial[]): boolean {
  const own = standing(input, trial)
  const latency = isInteger(trial) ? { median: 0, low: 0, high: 0 } : own.latency
  const mended = { ...own, drop: 0, ...(latency ? { latency } : {}) }
  const { winner } = choose([...trials.map((t) => standing(input, t)), mended], input.objective, input.maxDrop)
  return winner === trials.length
}

function losesTooMuch(input: CompressInput, t: Trial): boolean {
  return input.maxDrop !== undefined && (t.drop[input.metrics[0].name]?.value ?? 0) > input.maxDrop
}

async function measured(input: CompressInput, original: Session, trial: Trial): Promise<Trial> {
  input.progress(`timing ${trial.name}`, 0, undefined)
  const timing = await time(input, original, trial, trialSeconds)
  return { ...trial, ...(timing ? { timing } : {}) }
}

function standing(input: CompressInput, t: Trial): Standing {
  return {
    name: t.name,
    bytesRatio: t.staged.bytes / input.original.bytes,
    ...(t.timing ? { latency: t.timing.ratio } : {}),
    macs: costOf(inferShapes(t.model)).total ?? '?',
    drop: t.drop[input.metrics[0].name]?.value ?? 0,
    error: t.error
  }
}

function candidateOf(input: CompressInput, t: Trial, chosen: boolean, why: string): Candidate {
  return {
    name: t.name,
    recipe: t.recipe,
    measurement: {
      bytes: t.staged.bytes,
      metrics: metricIntervals(t.scores[1], input.metrics),
      ...(t.timing ? { latencyMs: t.timing.after } : {})
    },
    ratios: {
      bytes: t.staged.bytes / input.original.bytes,
      ...(t.timing ? { latency: t.timing.ratio } : {})
    },
    drop: t.drop,
    chosen,
    why
  }
}

const failedCandidate = (f: Failed): Candidate => ({
  name: f.name,
  recipe: f.recipe,
  measurement: { bytes: 0, metrics: {} },
  ratios: { bytes: 0 },
  chosen: false,
  why: f.reason
})

/** Measures the choice on the test part, and checks the promise there. */
async function prove(
  input: CompressInput,
  original: Session,
  best: Trial,
  candidates: readonly Candidate[]
): Promise<CompressResult> {
  const timing = await time(input, original, best, finalSeconds)
  const session = await open(input, best.staged)
  try {
    const beside = input.synthetic ? [] : agreementBeside(original.outputs, input.metrics)
    const [was, is] = await scoreOn(
      staged(input, 'proving on the test part'),
      [original, session],
      [input.data.test],
      [...input.metrics, ...beside]
    )
    const same = beside.length > 0 ? metricIntervals(is, beside)['agreement'] : undefined
    const drop = metricDrops(was, is, input.metrics)
    const before = await measurement(input, input.original, input.model, metricIntervals(was, input.metrics))
    const after = await measurement(input, best.staged, best.model, metricIntervals(is, input.metrics))
    const promised = drop[input.metrics[0].name]
    const kept = input.maxDrop === undefined || !promised || isKept(promised, input.maxDrop)
    const notes = [...best.notes]
    if (input.maxDrop !== undefined && promised && kept) notes.push(...doubts(promised, input.maxDrop))
    return {
      ...(kept ? { chosen: { model: best.model, staged: best.staged } } : {}),
      report: {
        before: { ...before, ...(timing ? { latencyMs: timing.before } : {}) },
        after: { ...after, ...(timing ? { latencyMs: timing.after } : {}) },
        ratios: ratiosOf(input, best, before, after, timing?.ratio),
        drop,
        ...(same ? { agreement: { value: same.value, n: same.n } } : {}),
        ...constraintOf(input, kept),
        candidates,
        steps: best.steps,
        refusals: best.refusals,
        notes,
        recipe: best.recipe,
        curves: {}
      }
    }
  } finally {
    await session.close()
  }
}

/** What the samples cannot tell of a promise that counts as kept. */
function doubts(drop: Interval, maxDrop: number): string[] {
  if (drop.value > maxDrop)
    return [`the measured drop is above the bound, but its interval contains none: ${drop.n} test samples cannot tell`]
  if (drop.high <= maxDrop) return []
  return [`${drop.n} test samples cannot rule out a drop of ${(100 * drop.high).toFixed(1)} points; more would tell`]
}

async function giveUp(
  input: CompressInput,
  original: Session,
  trials: readonly Trial[],
  candidates: readonly Candidate[]
): Promise<CompressResult> {
  const [was] = await scoreOn(
    staged(input, 'measuring the original'),
    [original, original],
    [input.data.test],
    input.metrics
  )
  const before = await measurement(input, input.original, input.model, metricIntervals(was, input.metrics))
  const timing = trials[0]?.timing
  return {
    report: {
      before: { ...before, ...(timing ? { latencyMs: timing.before } : {}) },
      ...constraintOf(input, false),
      candidates,
      steps: [],
      refusals: trials.flatMap((t) => t.refusals),
      notes: [],
      recipe: [],
      curves: {}
    }
  }
}

function constraintOf(input: CompressInput, met: boolean): Pick<CompressResult['report'], 'constraint'> {
  const { maxDrop } = input
  return maxDrop === undefined ? {} : { constraint: { metric: input.metrics[0].name, maxDrop, met } }
}

async function measurement(
  input: CompressInput,
  staged: Staged,
  model: Model,
  metrics: Measurement['metrics']
): Promise<Measurement> {
  const { source: _, ...sizes } = staged
  const process = await input.process?.(staged.source)
  return { ...sizes, ...parametersOf(model), macs: costOf(inferShapes(model)).total ?? '?', metrics, ...process }
}

function ratiosOf(
  input: CompressInput,
  best: Trial,
  before: Measurement,
  after: Measurement,
  latency: Ratios['latency']
): Ratios {
  const over = (a: number | undefined, b: number | undefined): number | undefined =>
    a === undefined || !b ? undefined : a / b
  const loadMs = over(after.loadMs, before.loadMs)
  const peakBytes = over(after.peakBytes, before.peakBytes)
  return {
    bytes: best.staged.bytes / input.original.bytes,
    ...(latency ? { latency } : {}),
    ...(loadMs === undefined ? {} : { loadMs }),
    ...(peakBytes === undefined ? {} : { peakBytes })
  }
}

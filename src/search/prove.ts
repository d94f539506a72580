/** The choice measured on samples that nothing chose by, and the promise checked there. */
import { within } from '../base/deadline.ts'
import { agreementBeside } from '../data/metrics.ts'
import { metricDrops, metricIntervals } from '../measure/evaluate.ts'
import { worstPart } from '../measure/judging.ts'
import { parametersOf } from '../measure/size.ts'
import { costOf } from '../ops/cost.ts'
import { inferShapes } from '../ops/infer.ts'
import type { Report } from '../report/types.ts'
import type { Session } from '../runtime/types.ts'
import type { Interval, Measurement, Model, Ratios } from '../types.ts'
import { type Made, open, scoreOn, staged, time } from './attempt.ts'
import { isKept } from './choose.ts'
import type { CompressInput, Staged } from './input.ts'
import type { Measured } from './trial.ts'

export interface CompressResult {
  /** Samples had to be run one by one, although the inputs take several. */
  readonly isSingly?: true
  /** Time that the original takes for a sample, in ms; absent where nothing bounds the search. */
  readonly sampleMs?: number
  /** Absent when no candidate keeps the promise. */
  readonly chosen?: { readonly model: Model; readonly staged: Staged }
  readonly report: Pick<Report, 'before' | 'candidates' | 'steps' | 'refusals' | 'notes' | 'recipe' | 'curves'> &
    Partial<Pick<Report, 'after' | 'ratios' | 'drop' | 'agreement' | 'constraint'>>
}

/** What is known of it once the choice is measured. */
export type Proven = Omit<CompressResult, 'isSingly' | 'sampleMs'>

/** What the search came to beside the choice. */
type Found = Pick<Report, 'candidates' | 'notes'>

/** Seconds that the choice is timed for. */
const finalSeconds = 3

/** Measures the choice on the test part, and checks the promise there. */
export async function prove(
  input: CompressInput,
  original: Session,
  best: Measured & Made,
  { candidates, notes: said }: Found
): Promise<Proven> {
  const timing = await time(input, original, best, finalSeconds)
  const session = await open(input, best.staged)
  try {
    const beside = input.synthetic ? [] : agreementBeside(original.outputs, input.metrics)
    const parts = input.metrics[0].parts ?? []
    const [was = {}, is = {}] = await scoreOn(
      staged(input, 'proving on the test part'),
      [original, session],
      [input.data.test],
      [...input.metrics, ...beside, ...parts]
    )
    const same = beside.length > 0 ? metricIntervals(is, beside)['agreement'] : undefined
    const drop = metricDrops(was, is, input.metrics)
    const before = await measurement(input, input.original, input.model, metricIntervals(was, input.metrics))
    const after = await measurement(input, best.staged, best.model, metricIntervals(is, input.metrics))
    const promised = drop[input.metrics[0].name]
    const kept = input.maxDrop === undefined || !promised || isKept(promised, input.maxDrop)
    const notes = [...said, ...best.notes, ...worstPart(input.metrics[0], metricDrops(was, is, parts))]
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

/** The original alone, where no candidate is in the race. */
export async function giveUp(
  input: CompressInput,
  original: Session,
  trials: readonly Measured[],
  { candidates, notes }: Found
): Promise<Proven> {
  const [was = {}] = await scoreOn(
    staged(input, 'measuring the original'),
    [original],
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
      notes,
      recipe: [],
      curves: {}
    }
  }
}

function constraintOf(input: CompressInput, met: boolean): Pick<CompressResult['report'], 'constraint'> {
  const { maxDrop } = input
  return maxDrop === undefined ? {} : { constraint: { metric: input.metrics[0].name, maxDrop, met } }
}

/** Part of the time that is left that fresh processes of one model may take: what takes longer is left out. */
const processShare = 0.3

async function measurement(
  input: CompressInput,
  staged: Staged,
  model: Model,
  metrics: Measurement['metrics']
): Promise<Measurement> {
  const { source: _, sha256: __, ...sizes } = staged
  const process = await within(input.timeLeft && processShare * input.timeLeft(), input.signal, async (signal) =>
    input.process?.(staged.source, signal)
  )
  return {
    ...sizes,
    ...parametersOf(model),
    macs: costOf(inferShapes(model), input.shapes).total ?? '?',
    metrics,
    ...process
  }
}

function ratiosOf(
  input: CompressInput,
  best: Measured,
  before: Measurement,
  after: Measurement,
  latency: Ratios['latency']
): Ratios {
  const over = (a: number | undefined, b: number | undefined): number | undefined =>
    a === undefined || !b ? undefined : a / b
  const loadMs = over(after.loadMs, before.loadMs)
  const peakBytes = over(after.peakBytes, before.peakBytes)
  return {
    bytes: best.bytes / input.original.bytes,
    ...(latency ? { latency } : {}),
    ...(loadMs === undefined ? {} : { loadMs }),
    ...(peakBytes === undefined ? {} : { peakBytes })
  }
}

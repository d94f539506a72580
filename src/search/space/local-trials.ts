/** Trials in this process, one at a time: the point becomes a model, which runs on the samples beside the original's outputs. */
import { PareError, stopIfAborted } from '../../base/errors.ts'
import { metricFor } from '../../data/metrics.ts'
import { compacted } from '../../ir/compact.ts'
import type { Spreads } from '../../passes/prune/repair.ts'
import type { Context } from '../../passes/types.ts'
import { batching, runOf, runOn, runs } from '../../runtime/batches.ts'
import type { Runner, Session } from '../../runtime/types.ts'
import type { Batch, Dataset, Metric, Model, Tensor } from '../../types.ts'
import { built } from './build.ts'
import { choicesOf, type Material } from './material.ts'
import { packed, type TrialJob, type Trials } from './trial.ts'
import type { Maker } from './weights.ts'

export interface LocalOptions {
  readonly problem: string
  readonly original: Model
  readonly material: Material
  readonly maker: Maker
  /** Means and deviations that narrow models are given back; absent where there are no samples for it. */
  readonly spreads: Spreads | undefined
  /** Samples of the rungs, in order. */
  readonly data: Dataset
  readonly metric: Metric
  /** What scores. */
  readonly runner: Runner
  readonly threads: number
  readonly ctx: Pick<Context, 'engine' | 'signal' | 'progress'>
}

interface Seen {
  readonly batch: Batch
  readonly reference: Readonly<Record<string, Tensor>>
}

const samplesPerRun = 32
/** Batches that take more bytes are read again each time. */
const mostHeld = 512 * 2 ** 20
const faithfulness = metricFor('relativeError')

/** Opens the original once; closes with `close`. */
export async function localTrials(o: LocalOptions): Promise<Trials> {
  const original = await o.runner.open(o.original, { threads: o.threads, plansMemory: false })
  const held = new Map<string, readonly Seen[]>()
  const room = { bytes: mostHeld }
  let last: { readonly key: string; readonly session: Session } | undefined
  const sessionOf = async (job: TrialJob): Promise<Session> => {
    const key = job.point.join()
    if (last?.key === key) return last.session
    await last?.session.close()
    last = undefined
    const quiet = { ...o.ctx, progress: () => {} }
    const model = await built(o.material, o.maker, job.point, o.spreads, quiet)
    last = { key, session: await o.runner.open(model, { threads: o.threads, plansMemory: false }) }
    return last.session
  }
  return {
    slots: 1,
    run: async (job, signal) => {
      refuseOthers(job, o)
      const began = performance.now()
      const session = await sessionOf(job)
      const losses = new Float32Array(job.to - job.from)
      const drop = { sum: 0, squares: 0 }
      const sign = o.metric.better === 'lower' ? -1 : 1
      let at = 0
      for await (const { batch, reference } of seenBy(o, original, held, room, job)) {
        stopIfAborted(signal)
        const outputs = await runOn(session, runOf(batch, batching([session], batch.n)))
        for (const error of faithfulness.scores(outputs, batch, reference)) losses[at++] = error * error
        const after = o.metric.scores(outputs, batch, reference)
        for (const [i, before] of o.metric.scores(reference, batch, reference).entries()) {
          const by = sign * (before - (after[i] as number))
          drop.sum += by
          drop.squares += by * by
        }
      }
      return { losses: packed(losses), drop, ms: performance.now() - began }
    },
    close: async () => {
      await last?.session.close()
      await original.close()
    }
  }
}

/** Throws `E_DATA` for a job of another problem, or one that this one cannot have. */
function refuseOthers({ problem, point, from, to }: TrialJob, o: LocalOptions): void {
  const sizes = choicesOf(o.material)
  const isPoint =
    point.length === sizes.length && point.every((c, i) => Number.isInteger(c) && c >= 0 && c < (sizes[i] as number))
  const isRange = Number.isInteger(from) && Number.isInteger(to) && from >= 0 && from < to && to <= o.data.size
  if (problem === o.problem && isPoint && isRange) return
  throw new PareError('E_DATA', 'this trial is of another search', {
    facts: { problem: `${problem}, here ${o.problem}`, samples: `${from} to ${to} of ${o.data.size}` }
  })
}

/** Batches of a job's samples with the outputs of the original. */
async function* seenBy(
  o: LocalOptions,
  original: Session,
  held: Map<string, readonly Seen[]>,
  room: { bytes: number },
  { from, to }: TrialJob
): AsyncGenerator<Seen> {
  const key = `${from} ${to}`
  const known = held.get(key)
  if (known) return yield* known
  const kept: Seen[] = []
  const indices = Array.from({ length: to - from }, (_, i) => from + i)
  let bytes = 0
  for await (const run of runs(o.data, batching([original], samplesPerRun), { rest: 'fill', indices })) {
    const reference = await runOn(original, run)
    const inputs = Object.fromEntries(Object.entries(run.batch.inputs).map(([name, t]) => [name, compacted(t)]))
    bytes += [...Object.values(inputs), ...Object.values(reference)].reduce((n, t) => n + t.bytes.length, 0)
    if (bytes <= room.bytes) kept.push({ batch: { ...run.batch, inputs }, reference })
    yield { batch: run.batch, reference }
  }
  if (bytes > room.bytes) return
  room.bytes -= bytes
  held.set(key, kept)
}

/** Models that answer easy samples early: their stages run and timed on samples that their threshold was not chosen on. */
import { adaptiveOf, hasStages, sharesOf } from '../../data/adaptive.ts'
import { never } from '../../data/thresholds.ts'
import { unfoldStages, withThresholds } from '../../ir/stages.ts'
import { interleave } from '../../measure/latency.ts'
import { stageMacs, stagesOn } from '../../measure/stages.ts'
import { routesOf } from '../../observe/routes.ts'
import type { Shapes } from '../../ops/cost.ts'
import type { InspectedStages } from '../../report/inspection.ts'
import type { Stages } from '../../report/types.ts'
import { batching, firstRun, timedRun } from '../../runtime/batches.ts'
import type { Session } from '../../runtime/types.ts'
import type { Dataset, Model } from '../../types.ts'
import type { JobHooks } from '../job.ts'
import { scorer } from '../runtimes.ts'
import type { Opened } from './open.ts'
import { shapesOn } from './synthetic.ts'

/** What a job tells of stages. */
export interface Told {
  readonly stages?: Stages
  readonly notes: readonly string[]
}

const changedNote =
  'the model says that it answers easy samples early, but its stages were changed since and cannot be told apart'

/** `original`: open, in the terms of the job's model; it is timed beside the stages. */
export async function stagesTold(
  o: Opened,
  model: Model,
  original: Session | undefined,
  data: Dataset,
  hooks: JobHooks,
  seconds: number
): Promise<Told> {
  if (!hasStages(model)) return { notes: [] }
  const a = adaptiveOf(model)
  const unfolded = a && unfoldStages(model, a.exits)
  if (!a || !unfolded) return { notes: [changedNote] }
  const ctx = { engine: o.engine, signal: hooks.signal, progress: hooks.progress, stage: 'running all stages' }
  const { routes, scores } = await routesOf(unfolded.model, unfolded, data, ctx)
  const macs = stageMacs(model, a, await shapesOn(o, data))
  const timed = await stageTimes(o, model, original, data, hooks, seconds)
  const { originalMs, ms } = timed ?? {}
  const costs = { ...(ms ? { ms } : {}), ...(macs ? { macs } : {}) }
  const stages = stagesOn(routes, a, costs, scores[0]?.classes ?? 2)
  return {
    stages: { ...stages, ...(originalMs === undefined ? {} : { originalMs }) },
    notes: [...slowNotes(stages, originalMs), ...shareNotes(stages, a.guarantee.n)]
  }
}

/** Median ms of one sample that leaves at each stage, made to by thresholds; nothing without the target's runtime. */
async function stageTimes(
  o: Opened,
  model: Model,
  original: Session | undefined,
  data: Dataset,
  hooks: JobHooks,
  seconds: number
): Promise<{ readonly ms: readonly number[]; readonly originalMs?: number } | undefined> {
  const a = adaptiveOf(model)
  if (!o.measured || !a) return undefined
  const open: Session[] = []
  try {
    for (const i of a.stages.keys()) {
      const forced = withThresholds(
        model,
        a.exits,
        a.exits.map((_, k) => (k < i ? never : -1))
      )
      open.push(await scorer(o).open(forced, { threads: o.threads }))
    }
    const all = [...(original ? [original] : []), ...open]
    const run = await firstRun(data, batching(all, 1))
    const timed = await interleave(
      all.map((s, i) => timedRun(`stage ${i}`, s, run)),
      o.rng.fork('time stages'),
      {
        minSeconds: seconds,
        signal: hooks.signal,
        progress: (_, done, total) => hooks.progress('timing the stages', done, total)
      }
    )
    const ms = timed.map((t) => t.latency.p50)
    return original ? { originalMs: ms[0] as number, ms: ms.slice(1) } : { ms }
  } finally {
    for (const s of open) await s.close()
  }
}

/** Stages that do not pay. `originalMs`: median of one sample, timed beside. */
export function slowNotes(
  { chosen, kind }: Pick<Stages, 'chosen' | 'kind'>,
  originalMs: number | undefined
): readonly string[] {
  if (originalMs === undefined || chosen.ms === undefined || chosen.ms <= originalMs) return []
  const ms = (x: number): string => `${Number(x.toPrecision(3))} ms`
  const what = kind === 'cascade' ? 'the cascade' : 'the model with exits'
  return [
    `${what} is slower than the original: ${ms(chosen.ms)} a sample on average, and the original takes ${ms(originalMs)}`
  ]
}

/** Samples that leave early in other shares than expected are drawn otherwise, and then nothing is promised. */
function shareNotes({ stages, n }: Stages, calibrated: number): readonly string[] {
  const last = stages.at(-1)
  if (!last) return []
  const p = (last.share * n + last.expected * calibrated) / (n + calibrated)
  const spread = Math.sqrt(p * (1 - p) * (1 / n + 1 / calibrated))
  if (Math.abs(last.share - last.expected) <= 3.3 * spread) return []
  const percent = (x: number): string => `${(100 * x).toFixed(1)} %`
  return [
    `${percent(last.share)} of these samples reach the last stage, and ${percent(last.expected)} did where the threshold was chosen: they are drawn otherwise, and the promise does not hold for them`
  ]
}

/** What a file tells of its stages. */
export function inspectedStages(model: Model, shapes: Shapes): { readonly stages?: InspectedStages } {
  const a = adaptiveOf(model)
  if (!a) return {}
  const [shares, macs] = [sharesOf(a), stageMacs(model, a, shapes)]
  const stages = a.stages.map((name, i) => ({
    ...{ name, share: shares[i] ?? 0 },
    ...(macs?.[i] === undefined ? {} : { macs: macs[i] as number })
  }))
  return { stages: { stages, threshold: a.threshold, guarantee: a.guarantee } }
}

/** Why a file's stages cannot be told. */
export const stageNotes = (model: Model): readonly string[] => {
  const a = adaptiveOf(model)
  return hasStages(model) && !(a && unfoldStages(model, a.exits)) ? [changedNote] : []
}

/** What is timed: one sample, or where samples cost differently, several. */
import { adaptiveOf } from '../data/adaptive.ts'
import { type Batching, firstRun, type Run, timedRun } from '../runtime/batches.ts'
import type { Session } from '../runtime/types.ts'
import type { Dataset, Model } from '../types.ts'
import type { TimedRun } from './latency.ts'

/** Samples that stand for all where they cost differently. */
export const samplesTimed = 16

/** Do samples cost differently in one of the models? */
export const costsVary = (models: readonly Model[]): boolean => models.some((m) => adaptiveOf(m) !== undefined)

/** The runs that are timed together: one, or evenly spaced ones over the data. */
export async function runsTimed(data: Dataset, how: Batching, varies: boolean): Promise<readonly Run[]> {
  if (!varies) return [await firstRun(data, how)]
  const count = Math.max(1, Math.min(samplesTimed, Math.floor(data.size / how.size)))
  const runs: Run[] = []
  for (let i = 0; i < count; i++) {
    const from = Math.floor((i * (data.size - how.size)) / Math.max(1, count - 1))
    const indices = Array.from({ length: how.size }, (_, k) => Math.max(0, from) + k).filter((k) => k < data.size)
    runs.push(await firstRun(data, how, indices))
  }
  return runs
}

/** A session on these runs as an entry of what is timed interleaved; times are those of a run on average. */
export function timedOver(name: string, session: Session, runs: readonly Run[]): TimedRun {
  const entries = runs.map((run) => timedRun(name, session, run))
  if (entries.length === 1) return entries[0] as TimedRun
  const clock = session.spentMs ?? (() => performance.now())
  return {
    name,
    run: async () => {
      for (const e of entries) await e.run()
    },
    spentMs: () => clock() / entries.length
  }
}

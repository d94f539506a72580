/** What a server is doing, as plain data: the page shows it, and `GET /stats` gives it. */
import { percentiles } from '../../serve/statistics.ts'
import { version } from '../version.ts'
import { bytesOf, type Stage, waitingIn } from './model.ts'
import type { Pool } from './pool.ts'
import type { Repository } from './repository.ts'

export function snapshot(pool: Pool, models: Repository, isReady: boolean, wanted: number): object {
  return {
    server: {
      name: 'pare',
      version,
      ready: isReady,
      uptime_s: Math.round(process.uptime()),
      rss_bytes: process.memoryUsage.rss()
    },
    workers: { wanted, alive: pool.alive, busy: pool.busy },
    models: models.entries.map(({ name, version, state, reason, checked, served }) => {
      if (!served) return { name, version, state, reason }
      const { statistics: s, stages, active } = served
      const [p50, p90, p99] = percentiles(s, [0.5, 0.9, 0.99])
      return {
        ...{ name, version, state, reason, checked },
        stages: stages.map(stageJson),
        bytes: bytesOf(served),
        ...{ requests: s.phases.success.count, failed: s.phases.fail.count, samples: s.samples, runs: s.runs },
        run_ns: s.phases.compute_infer.ns,
        queue_ns: s.phases.queue.ns,
        ...{ waiting: waitingIn(served), active },
        latency_ms: { p50, p90, p99 }
      }
    })
  }
}

/** One of several stages, or the only one, which answers all. */
const stageJson = ({ name, tuning, done, queues, route }: Stage): object => ({
  name,
  batch: { size: tuning.size, why: tuning.why, ms_by_samples: Object.fromEntries(tuning.times) },
  load_ms: tuning.loadMs,
  ...{ ...done, answered: route?.answered ?? done.samples, waiting: queues.samples }
})

/** Figures of a server for Prometheus: counters under Triton's names, and histograms of its own. */
import { counter, exposition, type Family, histogram, type Labels, type Sample } from '../../serve/exposition.ts'
import type { Reason } from '../../serve/queue.ts'
import type { Stat, Statistics } from '../../serve/statistics.ts'
import { bytesOf, type Served } from './model.ts'
import type { Pool } from './pool.ts'
import type { Repository } from './repository.ts'

export interface Metrics {
  ran(model: Served, samples: number, waited: readonly number[], reason: Reason): void
  /** A request's end; `status` as HTTP has it, 499 where the client had gone. */
  ended(model: Served, ms: number, status: number): void
  text(models: Pick<Repository, 'ready'>, workers: Pick<Pool, 'alive' | 'busy'>): string
}

/** s. */
const seconds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]
const sizes = [1, 2, 4, 8, 16, 32, 64]

const us = (...stats: readonly Stat[]): number => stats.reduce((sum, s) => sum + s.ns, 0) / 1000

/** What every model version counts already, under Triton's names. */
const counted: Readonly<Record<string, readonly [help: string, value: (s: Statistics) => number]>> = {
  nv_inference_request_success: ['Number of successful inference requests', (s) => s.phases.success.count],
  nv_inference_count: ['Number of inferences performed', (s) => s.samples],
  nv_inference_exec_count: ['Number of model executions performed', (s) => s.runs],
  nv_inference_request_duration_us: [
    'Cumulative inference request duration in microseconds',
    (s) => us(s.phases.success, s.phases.fail)
  ],
  nv_inference_queue_duration_us: ['Cumulative inference queuing duration in microseconds', (s) => us(s.phases.queue)],
  nv_inference_compute_input_duration_us: [
    'Cumulative compute input duration in microseconds',
    (s) => us(s.phases.compute_input)
  ],
  nv_inference_compute_infer_duration_us: [
    'Cumulative compute inference duration in microseconds',
    (s) => us(s.phases.compute_infer)
  ],
  nv_inference_compute_output_duration_us: [
    'Cumulative inference compute output duration in microseconds',
    (s) => us(s.phases.compute_output)
  ]
}

const failures: Readonly<Record<number, string>> = { 499: 'CANCELED', 500: 'BACKEND', 503: 'REJECTED' }

const labelsOf = ({ name, version }: Served): Labels => ({ model: name, version })

export function metrics(): Metrics {
  const [failed, dispatched] = [counter(), counter()]
  const [whole, queue, batch] = [histogram(seconds), histogram(seconds), histogram(sizes)]
  return {
    ran: (model, samples, waited, reason) => {
      const labels = labelsOf(model)
      for (const ms of waited) queue.see(labels, ms / 1000)
      batch.see(labels, samples)
      dispatched.add({ ...labels, reason })
    },
    ended: (model, ms, status) => {
      const labels = labelsOf(model)
      whole.see(labels, ms / 1000)
      if (status !== 200) failed.add({ ...labels, reason: failures[status] ?? 'OTHER' })
    },
    text: ({ ready }, { alive, busy }) => {
      const each = (value: (m: Served) => number): Sample[] => ready.map((m) => [labelsOf(m), value(m)])
      const gauge = (name: string, help: string, samples: readonly Sample[]): Family => ({
        name,
        help,
        type: 'gauge',
        samples
      })
      return exposition([
        ...Object.entries(counted).map(
          ([name, [help, value]]): Family => ({
            name,
            help,
            type: 'counter',
            samples: each((m) => value(m.statistics))
          })
        ),
        failed.family('nv_inference_request_failure', 'Number of failed inference requests'),
        gauge(
          'nv_inference_pending_request_count',
          'Requests that have not been answered',
          each((m) => m.active)
        ),
        gauge('pare_loaded_bytes', 'Memory that a copy of the model took when it was loaded', each(bytesOf)),
        {
          ...{ name: 'pare_stage_samples_total', type: 'counter' },
          help: 'Samples by the stage that answered them, of models that answer easy ones early',
          samples: ready.flatMap((m) =>
            m.stages.flatMap(({ name, route }) => (route ? [[{ ...labelsOf(m), stage: name }, route.answered]] : []))
          )
        },
        gauge('pare_workers', 'Workers that answer', [[{}, alive]]),
        gauge('pare_worker_busy', 'Workers that compute', [[{}, busy]]),
        whole.family('pare_request_seconds', 'Time from the arrival of a request to its reply'),
        queue.family('pare_queue_seconds', 'Time that requests wait to be run'),
        batch.family('pare_batch_samples', 'Samples of a run'),
        dispatched.family('pare_dispatch_total', 'Runs by why they were begun')
      ])
    }
  }
}

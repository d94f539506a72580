/** Counts of a model version in the form of the statistics extension (v2): cumulative, times in ns. */

export interface Stat {
  count: number
  ns: number
}

export const phases = [
  'success',
  'fail',
  'queue',
  'compute_input',
  'compute_infer',
  'compute_output',
  'cache_hit',
  'cache_miss'
] as const
export type Phase = (typeof phases)[number]

/** Of one size of batch. */
interface BatchStat {
  readonly compute_input: Stat
  readonly compute_infer: Stat
  readonly compute_output: Stat
}

export interface Statistics {
  /** ms since 1970; 0: never. */
  last: number
  samples: number
  runs: number
  readonly phases: Readonly<Record<Phase, Stat>>
  readonly batches: Map<number, BatchStat>
  /** ms of the last requests that were answered, in a ring. */
  readonly recent: { readonly ms: Float64Array; count: number }
}

const kept = 1024

const zero = (): Stat => ({ count: 0, ns: 0 })

/** Nothing counted yet. */
export const statistics = (): Statistics => ({
  last: 0,
  samples: 0,
  runs: 0,
  phases: Object.fromEntries(phases.map((p) => [p, zero()])) as Record<Phase, Stat>,
  batches: new Map(),
  recent: { ms: new Float64Array(kept), count: 0 }
})

const add = (stat: Stat, ms: number, count = 1): void => {
  stat.count += count
  stat.ns += Math.round(ms * 1e6)
}

/** Times of one run, ms. */
export interface RunTimes {
  readonly input: number
  readonly infer: number
  readonly output: number
}

/** What a run was of: samples that are run again by a later stage were counted by the first. */
export interface RunSize {
  readonly samples: number
  readonly isFirst: boolean
  readonly requests: number
}

/** Counts a run. */
export function countRun(s: Statistics, { samples, isFirst, requests }: RunSize, ms: RunTimes, now: number): void {
  s.last = now
  if (isFirst) s.samples += samples
  s.runs++
  const batch = s.batches.get(samples) ?? { compute_input: zero(), compute_infer: zero(), compute_output: zero() }
  s.batches.set(samples, batch)
  for (const [name, t] of [
    ['compute_input', ms.input],
    ['compute_infer', ms.infer],
    ['compute_output', ms.output]
  ] as const) {
    add(s.phases[name], t * requests, requests)
    add(batch[name], t)
  }
}

/** Counts the end of a request that took `ms` in all, of which it waited `queued`. */
export function countRequest(s: Statistics, isAnswered: boolean, ms: number, queued: number): void {
  add(s.phases[isAnswered ? 'success' : 'fail'], ms)
  if (!isAnswered) return
  add(s.phases.queue, queued)
  s.recent.ms[s.recent.count++ % kept] = ms
}

/** Shares of the last requests took at most so many ms; `undefined` where there were none. */
export function percentiles({ recent }: Statistics, shares: readonly number[]): readonly (number | undefined)[] {
  const sorted = recent.ms.slice(0, Math.min(kept, recent.count)).sort()
  return shares.map((share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))])
}

/** One entry of `model_stats`. */
export const statisticsJson = (name: string, version: string, s: Statistics, bytes: number): object => ({
  name,
  version,
  last_inference: s.last,
  inference_count: s.samples,
  execution_count: s.runs,
  inference_stats: s.phases,
  response_stats: {},
  batch_stats: [...s.batches].toSorted(([a], [b]) => a - b).map(([batch_size, stats]) => ({ batch_size, ...stats })),
  memory_usage: [{ type: 'CPU', id: 0, byte_size: bytes }]
})

/** Learning rates over a run, as a fraction of the base rate: rising over the warm-up, then by the schedule. */

export interface Schedule {
  readonly kind: 'constant' | 'cosine' | 'step'
  /** Steps of rising rate; default 0. */
  readonly warmup?: number
  /** `step`: multiplied by `factor` (default 0.1) at each of these fractions of the run (default ½ and ¾). */
  readonly at?: readonly number[]
  readonly factor?: number
  /** `cosine`: what is left at the end, as a fraction; default 0. */
  readonly floor?: number
}

/** The factor of the base rate at step `t` of `total`, t from 0. */
export function scheduled(s: Schedule, t: number, total: number): number {
  const warmup = Math.min(s.warmup ?? 0, total)
  if (t < warmup) return (t + 1) / warmup
  if (s.kind === 'constant') return 1
  const progress = (t - warmup) / Math.max(1, total - warmup)
  if (s.kind === 'step') return (s.factor ?? 0.1) ** (s.at ?? [0.5, 0.75]).filter((at) => progress >= at).length
  const floor = s.floor ?? 0
  return floor + ((1 - floor) * (1 + Math.cos(Math.PI * progress))) / 2
}

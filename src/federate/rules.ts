/**
 * How the mean D of a round's differences changes the server's model w.
 *   fedavg   w ← w + η·D                                                   (McMahan 2017, with η = 1)
 *   fedavgm  v ← β·v + D;  w ← w + η·v                                       (Hsu 2019)
 *   fedadam  m ← β₁·m + (1 − β₁)·D;  v ← β₂·v + (1 − β₂)·D²;                  w ← w + η·m / (√v + τ)
 *   fedyogi  the same with  v ← v − (1 − β₂)·D²·sign(v − D²)                    (both Reddi 2021; v₀ = τ², no bias correction)
 * FedProx is a term of the clients' loss: `LocalOptions.proximal`.
 */
import type { ServerRule } from './types.ts'

/** What the server carries from round to round. All of it is one model in size. */
export interface ServerState {
  readonly model: Float32Array
  /** First moment, or momentum. */
  readonly first?: Float32Array
  readonly second?: Float32Array
}

/** Rules with what they do where nothing else is said. */
export const serverRules: readonly ServerRule[] = [
  { rule: 'fedavg', rate: 1 },
  { rule: 'fedavgm', rate: 1, momentum: 0.9 },
  { rule: 'fedadam', rate: 0.01, betas: [0.9, 0.99], tau: 0.001 },
  { rule: 'fedyogi', rate: 0.01, betas: [0.9, 0.99], tau: 0.001 }
]

/** The state after a round whose mean difference is `mean`. */
export function serverStep(rule: ServerRule, state: ServerState, mean: Float32Array): ServerState {
  const { model } = state
  const n = model.length
  const moved = (by: (i: number) => number): Float32Array =>
    Float32Array.from({ length: n }, (_, i) => (model[i] as number) + rule.rate * by(i))
  if (rule.rule === 'fedavg') return { model: moved((i) => mean[i] as number) }
  const old = state.first ?? new Float32Array(n)
  if (rule.rule === 'fedavgm') {
    const first = mean.map((d, i) => rule.momentum * (old[i] as number) + d)
    return { model: moved((i) => first[i] as number), first }
  }
  const [b1, b2] = rule.betas
  const before = state.second ?? new Float32Array(n).fill(rule.tau ** 2)
  const first = mean.map((d, i) => b1 * (old[i] as number) + (1 - b1) * d)
  const isYogi = rule.rule === 'fedyogi'
  const second = mean.map((d, i) => {
    const v = before[i] as number
    return isYogi ? v - (1 - b2) * d * d * Math.sign(v - d * d) : b2 * v + (1 - b2) * d * d
  })
  return { model: moved((i) => (first[i] as number) / (Math.sqrt(second[i] as number) + rule.tau)), first, second }
}

/**
 * Optimizers as graph nodes, on whole chunks. With gradient g, rate η, decay λ:
 *   sgd    m ← μ·m + g + λ·p;  p ← p − η·m  (Nesterov: p − η·(g + λ·p + μ·m))
 *   adam   m ← β₁·m + (1 − β₁)·g;  v ← β₂·v + (1 − β₂)·g²;  p ← p − η·m̂ / (√v̂ + ε)   (Kingma and Ba 2015)
 *   adamw  the same, and p ← p − η·λ·p beside it (Loshchilov and Hutter 2019); adam adds λ·p to g instead.
 * m̂ = m / (1 − β₁ᵗ), v̂ = v / (1 − β₂ᵗ): the two factors are inputs, so that the graph is the same at every step.
 */
import { bytesOf, scalar, tensorOf } from '../ir/tensor.ts'
import { algebra } from '../ops/grad.ts'
import type { GradBuilder, Ref } from '../ops/types.ts'
import type { Tensor } from '../types.ts'

export interface Sgd {
  readonly kind: 'sgd'
  /** Default 0.9. */
  readonly momentum?: number
  readonly nesterov?: boolean
  readonly weightDecay?: number
}

export interface Adam {
  readonly kind: 'adam' | 'adamw'
  /** Default 0.9 and 0.999. */
  readonly betas?: readonly [number, number]
  /** Default 1e-8. */
  readonly epsilon?: number
  readonly weightDecay?: number
}

export type Optimizer = Sgd | Adam

/** Kinds of state an optimizer keeps beside the parameters, each as large as they are. */
export const statesOf = (o: Optimizer): readonly ('m' | 'v')[] => {
  if (o.kind !== 'sgd') return ['m', 'v']
  return (o.momentum ?? 0.9) === 0 ? [] : ['m']
}

/** What a step is given beside the gradient. */
export interface Rates {
  readonly rate: Ref
  /** Factors of m and of √v; for Adam. */
  readonly corrections: readonly Ref[]
}

export interface Updated {
  readonly parameter: Ref
  readonly states: readonly Ref[]
}

/** The update of one chunk. */
export function update(
  g: GradBuilder,
  o: Optimizer,
  c: { readonly parameter: Ref; readonly gradient: Ref; readonly states: readonly Ref[]; readonly decays: boolean },
  rates: Rates
): Updated {
  const a = algebra(g)
  const decay = c.decays ? (o.weightDecay ?? 0) : 0
  const isDecoupled = o.kind === 'adamw'
  const gradient = decay > 0 && !isDecoupled ? a.add(c.gradient, a.mul(c.parameter, decay)) : c.gradient
  const kept = decay > 0 && isDecoupled ? a.mul(c.parameter, a.sub(1, a.mul(rates.rate, decay))) : c.parameter
  const { step, states } = o.kind === 'sgd' ? sgd(g, o, gradient, c.states) : adam(g, o, gradient, c.states, rates)
  return { parameter: a.sub(kept, a.mul(step, rates.rate)), states }
}

interface Direction {
  readonly step: Ref
  readonly states: readonly Ref[]
}

function sgd(g: GradBuilder, o: Sgd, gradient: Ref, [m]: readonly Ref[]): Direction {
  const a = algebra(g)
  const momentum = o.momentum ?? 0.9
  if (!m) return { step: gradient, states: [] }
  const next = a.add(a.mul(m, momentum), gradient)
  return { step: o.nesterov ? a.add(gradient, a.mul(next, momentum)) : next, states: [next] }
}

function adam(g: GradBuilder, o: Adam, gradient: Ref, [m, v]: readonly Ref[], { corrections }: Rates): Direction {
  const a = algebra(g)
  const [beta1, beta2] = o.betas ?? defaultBetas
  const mean = a.add(a.mul(m as Ref, beta1), a.mul(gradient, 1 - beta1))
  const square = a.add(a.mul(v as Ref, beta2), a.mul(a.mul(gradient, gradient), 1 - beta2))
  const [first, second] = corrections as [Ref, Ref]
  const size = a.add(a.mul(a.sqrt(square), second), o.epsilon ?? 1e-8)
  return { step: a.div(a.mul(mean, first), size), states: [mean, square] }
}

const defaultBetas = [0.9, 0.999] as const

/** The factors 1/(1 − β₁ᵗ) and 1/√(1 − β₂ᵗ) at step t = 1, 2, …; none for SGD. */
export function correctionsAt(o: Optimizer, t: number): readonly Tensor[] {
  if (o.kind === 'sgd') return []
  const [beta1, beta2] = o.betas ?? defaultBetas
  return [scalar('float32', 1 / (1 - beta1 ** t)), scalar('float32', 1 / Math.sqrt(1 - beta2 ** t))]
}

/** What states begin with. */
export const zeroState = (size: number): Tensor => tensorOf('float32', [size], bytesOf(new Float32Array(size)))

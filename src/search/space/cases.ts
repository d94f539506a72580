/** Spaces whose best points are known, for tests. */
import { rng } from '../../base/random.ts'
import type { Load, Space, Unit } from './space.ts'

/** Units of different size and sensitivity; neighbours share products, as channels and weights do. */
export function madeSpace(count: number, choices: number, seed: number): Space {
  const random = rng(`space ${seed}`)
  const sizes = Array.from({ length: count }, () => Math.exp(random.normal()))
  const units = sizes.map((size, i): Unit => {
    const sensitivity = size * Math.exp(random.normal())
    const harm = Array.from({ length: choices }, (_, c) => sensitivity * (4 ** (-c / 2) - 4 ** (-(choices - 1) / 2)))
    return { id: `unit ${i}`, kind: i % 2 ? 'type' : 'keep', choices: harm.map((_, c) => String(c)), harm }
  })
  const table = Array.from({ length: choices }, (_, c) => (c + 1) / choices)
  const one = (unit: number) => ({ base: 0, terms: [{ unit, table }] })
  const loads = sizes.flatMap((size, i): Load[] => [
    { cost: 'bytes', size, factors: [one(i), one((i + 1) % count)] },
    ...(i % 2 === 0 ? [{ cost: 'macs' as const, size: 3 * size, factors: [one(i)] }] : [])
  ])
  const all = sizes.reduce((a, b) => a + b, 0)
  const even = sizes.reduce((a, b, i) => a + (i % 2 === 0 ? 3 * b : 0), 0)
  return {
    units,
    loads,
    fixed: { bytes: 0.02 * all, macs: 0, latency: 0 },
    original: { bytes: 1.02 * all, macs: even }
  }
}

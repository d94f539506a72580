/**
 * The tree-structured Parzen estimator (Bergstra et al., 2011) with the rules of Optuna 5: good are the best ⌈n/10⌉, at most
 * 25; each set is a mixture of products of truncated normals, one kernel a trial and one for the prior; 24 candidates from
 * the mixture of the good, the one of greatest log l − log g is taken. Trials still measured count as bad (constant liar).
 * Choices in order are numbers a step of 1 apart: a kernel's mass on a choice is that of its cell. The prior's kernel lies
 * at the uniform ratio. Models are of projected points.
 */
import { greatest } from '../../../base/extremes.ts'
import type { Rng } from '../../../base/random.ts'
import { type ExplorerRecord, keysOf, type SeenPoint, startAt, type Task } from '../explorer.ts'
import { encoded } from '../space.ts'
import { drawn } from './random.ts'

const candidates = 24
const leastRandom = 10
/** Trials of full weight; older ones weigh less. */
const fullWeight = 25
const mostGood = 25

export const tpe: ExplorerRecord = {
  name: 'tpe',
  summary: 'the tree-structured Parzen estimator with the rules of Optuna 5; choices in order are numbers',
  make: (task) => {
    const random = Math.max(leastRandom, Math.ceil(task.space.units.length / 2))
    const sizes = task.space.units.map((u) => u.choices.length)
    const prior = task.project(task.starts[0] ?? sizes.map(() => 0.5))
    return {
      next(history, pending, rng) {
        const start = startAt(task, history, pending)
        if (start) return start
        if (history.length < random) return drawn(task, rng)
        const order = history.toSorted(
          (a, b) => Number(b.isWhole) - Number(a.isWhole) || a.score - b.score || a.k - b.k
        )
        const n = Math.min(mostGood, Math.ceil(0.1 * order.length))
        const byTime = (some: readonly SeenPoint[]): number[][] =>
          some.toSorted((a, b) => a.k - b.k).map((s) => [...s.point])
        const good = mixture(byTime(order.slice(0, n)), sizes, prior)
        const bad = mixture([...byTime(order.slice(n)), ...pending.map((p) => [...p.point])], sizes, prior)
        return best(task, good, bad, keysOf(history, pending), rng)
      }
    }
  }
}

function best(task: Task, good: Mixture, bad: Mixture, known: ReadonlySet<string>, rng: Rng): readonly number[] {
  const drawnPoints = Array.from({ length: candidates }, () => sample(good, rng))
  const scored = drawnPoints.map((p) => ({ p, score: logDensity(good, p) - logDensity(bad, p) }))
  scored.sort((a, b) => b.score - a.score)
  for (const { p } of scored) {
    const raw = encoded(task.space, p)
    if (!known.has(task.project(raw).join())) return raw
  }
  return drawn(task, rng)
}

// ---------------------------------------------------------------- mixtures

interface Mixture {
  readonly sizes: readonly number[]
  readonly weights: readonly number[]
  /** Masses of the choices, by kernel and then by unit. */
  readonly masses: readonly (readonly Float64Array[])[]
  /** Their logarithms. */
  readonly logs: readonly (readonly Float64Array[])[]
}

function mixture(points: readonly (readonly number[])[], sizes: readonly number[], prior: readonly number[]): Mixture {
  const centres = [...points, prior]
  const n = points.length
  const weights = Array.from({ length: n }, (_, i) => weightOf(i, n))
  const columns = sizes.map((size, d) =>
    spreads(
      centres.map((c) => c[d] as number),
      size
    )
  )
  const total = weights.reduce((a, b) => a + b, 0) + 1
  const masses = centres.map((c, k) =>
    sizes.map((size, d) => massesOf(size, c[d] as number, columns[d]?.[k] as number))
  )
  return {
    sizes,
    weights: [...weights, 1].map((w) => w / total),
    masses,
    logs: masses.map((all) => all.map((one) => one.map((m) => Math.log(Math.max(m, tiny)))))
  }
}

/** 1 for the latest trials; a ramp from 1/n to 1 for those before. */
function weightOf(i: number, n: number): number {
  const old = n - fullWeight
  if (old <= 0 || i >= old) return 1
  return old === 1 ? 1 / n : 1 / n + ((1 - 1 / n) * i) / (old - 1)
}

/** Each kernel's deviation: the wider gap to its neighbours, between range / min(100, 2 + n) and the range; the prior's is the range. */
function spreads(values: readonly number[], size: number): number[] {
  const range = Math.max(1, size)
  const least = range / Math.min(100, 1 + values.length)
  const order = [...values.keys()].sort((a, b) => (values[a] as number) - (values[b] as number) || a - b)
  const out = new Array<number>(values.length).fill(range)
  for (const [at, i] of order.entries()) {
    const now = values[i] as number
    const left = at > 0 ? now - (values[order[at - 1] as number] as number) : 0
    const right = at < order.length - 1 ? (values[order[at + 1] as number] as number) - now : 0
    out[i] = Math.min(range, Math.max(least, left, right))
  }
  out[values.length - 1] = range
  return out
}

function sample({ sizes, weights, masses }: Mixture, rng: Rng): number[] {
  const k = drawnFrom(weights, rng)
  return sizes.map((_, d) => drawnFrom(masses[k]?.[d] as Float64Array, rng))
}

/** An index by its mass; masses sum to 1. */
function drawnFrom(masses: ArrayLike<number>, rng: Rng): number {
  let left = rng.next()
  let k = 0
  while (k < masses.length - 1 && left >= (masses[k] as number)) left -= masses[k++] as number
  return k
}

function logDensity({ sizes, weights, logs }: Mixture, p: readonly number[]): number {
  const all = weights.map((w, k) =>
    sizes.reduce((sum, _, d) => sum + (logs[k]?.[d]?.[p[d] as number] as number), Math.log(w))
  )
  const most = greatest(all)
  return most + Math.log(all.reduce((sum, l) => sum + Math.exp(l - most), 0))
}

const tiny = 1e-300

/** Of a normal that is cut off at the ends of the range, in the cell of each choice. */
function massesOf(size: number, mu: number, sigma: number): Float64Array {
  const edges = Float64Array.from({ length: size + 1 }, (_, x) => phi((x - 0.5 - mu) / sigma))
  const all = (edges[size] as number) - (edges[0] as number)
  return Float64Array.from({ length: size }, (_, x) => ((edges[x + 1] as number) - (edges[x] as number)) / all)
}

/** Distribution function of the standard normal (Abramowitz and Stegun 7.1.26, error below 1.5e-7). */
function phi(z: number): number {
  const x = Math.abs(z) / Math.SQRT2
  const t = 1 / (1 + 0.3275911 * x)
  const tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
  const erf = 1 - tail * Math.exp(-x * x)
  return 0.5 * (1 + Math.sign(z) * erf)
}

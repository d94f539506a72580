/** What was chosen and why, as plain data for the report, and in words. */
import type { Comparison, Context } from '../../types.ts'
import type { Point } from './knapsack.ts'
import type { Part } from './types.ts'
import type { Measured } from './walk.ts'

export interface Explained {
  readonly parts: readonly Part[]
  /** e² of every part alone in every way. */
  readonly errors: readonly (readonly number[])[]
  readonly front: readonly Point[]
  readonly point: Point
  readonly measured: Comparison
  readonly seen: readonly Measured[]
}

/** One part's choice. */
export interface ChoicePlan {
  readonly nodes: readonly string[]
  readonly elements: number
  readonly type: string
  readonly bytes: number
  /** e² with this part alone in that type. */
  readonly error: number
  readonly why: string
  readonly ways: readonly { readonly type: string; readonly bytes: number; readonly error: number }[]
}

export interface MixPlan {
  readonly layers: readonly ChoicePlan[]
  readonly predicted: { readonly bytes: number; readonly error: number }
  readonly measured: Comparison
  readonly curves: Readonly<Record<string, readonly (readonly [x: number, y: number])[]>>
}

/** Hands the plan over, and the front in a few lines. */
export function explain(e: Explained, ctx: Pick<Context, 'plan' | 'note'>): void {
  const plan = planOf(e)
  ctx.plan(plan)
  const counts = new Map<string, number>()
  for (const l of plan.layers) counts.set(l.type, (counts.get(l.type) ?? 0) + 1)
  ctx.note(
    `mix-precision: ${[...counts].map(([type, n]) => `${n} × ${type}`).join(', ')}; ${e.measured.metric} drop ${points(e.measured.drop.value)} on ${e.measured.drop.n} samples that chose`
  )
  const rows = e.seen.map((m) => `${kilobytes(m.point.cost)} ${points(m.drop.value)} (e² ${m.error.toExponential(1)})`)
  ctx.note(`mix-precision: bytes of weights and loss along the front, as measured: ${rows.join(' · ')}`)
}

function planOf({ parts, errors, front, point, measured, seen }: Explained): MixPlan {
  const rate = marginalRate(parts, errors, point)
  return {
    layers: parts.map((part, l) => {
      const at = point.picks[l] as number
      const way = part.ways[at]
      const ways = part.ways.map((w, t) => ({ type: w.type, bytes: w.bytes, error: errors[l]?.[t] as number }))
      return {
        nodes: part.nodes,
        elements: part.elements,
        type: way?.type ?? 'float',
        bytes: way?.bytes ?? 0,
        error: errors[l]?.[at] as number,
        why: why(ways, at, rate),
        ways
      }
    }),
    predicted: { bytes: point.cost, error: point.harm },
    measured,
    curves: {
      'bytes of weights against predicted change of the output (e²)': thinned(front).map(
        (p) => [p.cost, p.harm] as const
      ),
      [`bytes of weights against measured drop of ${measured.metric}`]: seen
        .toSorted((a, b) => a.point.cost - b.point.cost)
        .map((m) => [m.point.cost, m.drop.value] as const)
    }
  }
}

interface Sized {
  readonly type: string
  readonly bytes: number
  readonly error: number
}

/** The way of the least harm per byte saved from `at` on to smaller ones. */
function nextSmaller(ways: readonly Sized[], at: number): { readonly way: Sized; readonly rate: number } | undefined {
  const own = ways[at] as Sized
  return ways
    .filter((w) => w.bytes < own.bytes)
    .map((way) => ({ way, rate: Math.max(0, way.error - own.error) / (own.bytes - way.bytes) }))
    .sort((a, b) => a.rate - b.rate)[0]
}

/** Harm per byte of the dearest step that was taken: from here on, steps were not worth it. */
function marginalRate(parts: readonly Part[], errors: readonly (readonly number[])[], point: Point): number {
  let rate = 0
  for (const [l, part] of parts.entries()) {
    const at = point.picks[l] as number
    const ways = part.ways.map((w, t) => ({ type: w.type, bytes: w.bytes, error: errors[l]?.[t] as number }))
    const own = ways[at] as Sized
    const steps = ways
      .filter((w) => w.bytes > own.bytes)
      .map((w) => Math.max(0, own.error - w.error) / (w.bytes - own.bytes))
    if (steps.length > 0) rate = Math.max(rate, Math.min(...steps))
  }
  return rate
}

function why(ways: readonly Sized[], at: number, rate: number): string {
  const next = nextSmaller(ways, at)
  if (!next) return 'the smallest type there is'
  const own = ways[at] as Sized
  const cost = `${next.way.type} would save ${kilobytes(own.bytes - next.way.bytes)} and change the output by ${next.rate.toExponential(1)} (e²) a byte`
  return next.rate > rate
    ? `${cost}; steps that were taken cost up to ${rate.toExponential(1)}`
    : `${cost}; the bound was reached before`
}

const mostPoints = 200

/** A front of at most so many points, evenly spread. */
function thinned(front: readonly Point[]): readonly Point[] {
  const step = Math.ceil(front.length / mostPoints)
  return front.filter((_, i) => i % step === 0 || i === front.length - 1)
}

const kilobytes = (bytes: number): string => `${(bytes / 1000).toFixed(1)} kB`
const points = (x: number): string => `${(100 * x).toFixed(1)} points`

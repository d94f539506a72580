/**
 * Outputs cut into parts whose numbers have like ranges, from what the original gave for some samples. Boxes in pixels
 * (0 to 800) beside scores (0 to 1) in one tensor are two parts: in one norm over both, the scores would vanish.
 *
 * Along an axis whose size is the same for all samples, each position has a range, the greatest |value|. Sorted, ranges that
 * differ by `gap` or more are cut. Positions that stay within [0, 1] are probabilities, one unit however small they are,
 * and stay together. Positions below 1e-6 of the greatest range are dead, and a part below the first needs 2 % of the
 * positions: a rare small channel by itself would have an error that nobody means.
 */
import { isFloat } from '../ir/tensor.ts'
import { isNumeric, type Outputs, type Row, rowsOf } from './rows.ts'

/** Outputs of the original for `n` samples, samples first. */
export interface Seen {
  readonly n: number
  readonly outputs: Outputs
}

/** An output, or positions along one axis of it, counted without the axis of samples. */
export interface Part {
  readonly output: string
  readonly channels?: { readonly axis: number; readonly size: number; readonly which: readonly number[] }
}

const gap = 16
const dead = 1e-6
const leastShare = 0.02
const mostPositions = 4096

/** The parts of every numeric output. */
export function partsOf(seen: readonly Seen[]): readonly Part[] {
  const first = seen[0]
  if (!first) return []
  return Object.entries(first.outputs)
    .filter(([, t]) => isNumeric(t))
    .flatMap(([output, t]) => {
      const cuts = isFloat(t.dtype) ? t.shape.slice(1).map((_, axis) => cutAlong(output, axis, seen)) : []
      const best = cuts.reduce((a, b) => (b.ratio > a.ratio ? b : a), whole)
      return best.groups.length < 2
        ? [{ output }]
        : best.groups.map((which) => ({ output, channels: { axis: best.axis, size: best.size, which } }))
    })
}

interface Cut {
  readonly axis: number
  readonly size: number
  readonly groups: readonly (readonly number[])[]
  /** The largest ratio of ranges on both sides of a cut. */
  readonly ratio: number
}
const whole: Cut = { axis: 0, size: 0, groups: [], ratio: 1 }

/** What is known of the positions along an axis. */
export interface Positions {
  readonly range: Float64Array
  /** Within [0, 1] on all samples. */
  readonly isShare: readonly boolean[]
}

/** Ranges along an axis of the samples; `undefined` where samples differ in its size. */
export function positionsAlong(output: string, axis: number, seen: readonly Seen[]): Positions | undefined {
  const size = seen[0]?.outputs[output]?.shape[axis + 1]
  if (size === undefined || size < 1 || size > mostPositions) return undefined
  const range = new Float64Array(size)
  const isShare = new Array<boolean>(size).fill(true)
  for (const { n, outputs } of seen) {
    const t = outputs[output]
    if (!t || t.shape[axis + 1] !== size) return undefined
    const { values, length, shape } = rowsOf(output, t, n)
    const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1)
    for (let k = 0; k < length * n; k++) {
      const at = Math.floor(k / inner) % size
      const v = values[k] as number
      if (Math.abs(v) > (range[at] as number)) range[at] = Math.abs(v)
      if (v < -1e-3 || v > 1.001) isShare[at] = false
    }
  }
  return { range, isShare }
}

function cutAlong(output: string, axis: number, seen: readonly Seen[]): Cut {
  const known = positionsAlong(output, axis, seen)
  if (!known || known.range.length < 2) return whole
  const { range, isShare } = known
  const size = range.length
  const sorted = Array.from(range.keys()).sort((a, b) => (range[b] as number) - (range[a] as number) || a - b)
  const greatest = range[sorted[0] as number] as number
  const groups: number[][] = []
  let ratio = 1
  for (const at of sorted) {
    const [now, last] = [groups.at(-1), groups.at(-1)?.at(-1)]
    const step = last === undefined ? 1 : (range[last] as number) / (range[at] as number)
    const isOneUnit = last !== undefined && isShare[last] && isShare[at]
    if (now && (step < gap || isOneUnit || (range[at] as number) < dead * greatest)) now.push(at)
    else {
      groups.push([at])
      if (last !== undefined) ratio = Math.max(ratio, step)
    }
  }
  const kept = merged(groups, Math.ceil(size * leastShare))
  return { axis, size, ratio: kept.length < 2 ? 1 : ratio, groups: kept.map((g) => g.sort((a, b) => a - b)) }
}

/** Groups behind the first that are too small go to the one before. */
function merged(groups: readonly number[][], least: number): number[][] {
  const kept: number[][] = []
  for (const g of groups) {
    const before = kept.at(-1)
    if (before && g.length < least) before.push(...g)
    else kept.push(g)
  }
  return kept
}

/** The numbers of a row that belong to a part; all where the row has another size along the axis. */
export function within(values: Row, shape: readonly number[], { channels }: Part): Row {
  if (!channels || shape[channels.axis] !== channels.size) return values
  const inner = shape.slice(channels.axis + 1).reduce((a, b) => a * b, 1)
  const outer = values.length / (inner * channels.size)
  const taken = new Float64Array(outer * channels.which.length * inner)
  let k = 0
  for (let o = 0; o < outer; o++)
    for (const c of channels.which)
      for (let i = 0; i < inner; i++) taken[k++] = values[(o * channels.size + c) * inner + i] as number
  return taken
}

/** `y`, or `y, positions 4 to 8 of axis 1`. */
export function partName({ output, channels }: Part): string {
  if (!channels) return output
  const runs: string[] = []
  for (let i = 0; i < channels.which.length; ) {
    let j = i
    while (channels.which[j + 1] === (channels.which[j] as number) + 1) j++
    const [from, to] = [channels.which[i], channels.which[j]]
    runs.push(from === to ? `${from}` : `${from} to ${to}`)
    i = j + 1
  }
  const shown = runs.length > 4 ? [...runs.slice(0, 4), '…'] : runs
  return `${output}, positions ${shown.join(', ')} of axis ${channels.axis + 1}`
}

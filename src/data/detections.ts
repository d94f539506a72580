/**
 * Detections: boxes with scores beside them, before and after. A detection is a box whose greatest score reaches the
 * threshold; its class is that score's. A detection is kept where the other model has a box that overlaps with IoU ≥ 0.5 and
 * whose score of that class reaches nine tenths of the threshold: scores of a twentieth around it say as much before as after.
 * Boxes are matched one to one, the surest first. A sample scores F1 = (kept of before + kept of after) / (before + after),
 * 1 where neither model finds anything.
 *
 * Boxes and scores lie in one tensor, [4 + classes, boxes] or [boxes, 4 + classes], or in two: [boxes, 4] and
 * [boxes, classes], [classes, boxes] or [boxes]. Corners (x1, y1, x2, y2) are told from centre and size by the boxes.
 */

import { PareError } from '../base/errors.ts'
import { greatest } from '../base/extremes.ts'
import { isFloat } from '../ir/tensor.ts'
import type { Metric } from '../types.ts'
import { positionsAlong, type Seen } from './parts.ts'
import { counterpart, type Outputs, type Row, referenced, row, rowsOf, spell } from './rows.ts'

/** Where numbers of a box lie in a row: `first + c·channel + i·box` for channel c of box i. */
interface Place {
  readonly output: string
  readonly first: number
  readonly channel: number
  readonly box: number
}

/** How a model says what it found. */
export interface Layout {
  readonly count: number
  readonly boxes: Place
  readonly scores: Place & { readonly classes: number }
  /** Corners, or centre and size. */
  readonly form: 'corners' | 'centre'
  /** A class that wins in most boxes of scores that add up to 1: nothing is there. */
  readonly background?: number
  readonly threshold: number
}

type Found = Pick<Layout, 'count' | 'boxes' | 'scores'>

const thresholds = [0.5, 0.25, 0.1, 0.05]
const sameObject = 0.5
/** Share of the threshold that the score of a detection may fall to in the other model. */
const nearly = 0.9
const mostMatched = 1000

/** Shape of a row without axes of 1, and what is left of the axes. */
interface Plane {
  readonly output: string
  readonly shape: readonly number[]
  readonly axes: readonly number[]
}

/**
 * How detections are laid out in what the original gave, and why that is believed; `undefined` where the outputs may mean
 * something else. `isMeant`: the user says that they are detections.
 */
export function layoutOf(seen: readonly Seen[], isMeant = false): Layout | undefined {
  const planes = Object.entries(seen[0]?.outputs ?? {})
    .filter(([, t]) => isFloat(t.dtype))
    .map(([output, t]): Plane => {
      const axes = t.shape.slice(1).flatMap((d, i) => (d === 1 ? [] : [i]))
      return { output, axes, shape: axes.map((i) => t.shape[i + 1] as number) }
    })
  const found = planes.flatMap((p) => inOne(p, seen, isMeant) ?? [])[0] ?? inTwo(planes, seen)
  if (!found) return undefined
  const withBackground = { ...found, ...backgroundIn(found, seen) }
  const form = formOf(withBackground, seen)
  if (!form && !isMeant) return undefined
  const layout = { ...withBackground, form: form ?? 'centre' }
  const threshold = thresholds.find((t) => countAbove({ ...layout, threshold: t }, seen) * 2 >= samplesIn(seen))
  return threshold === undefined ? undefined : { ...layout, threshold }
}

const samplesIn = (seen: readonly Seen[]): number => seen.reduce((n, s) => n + s.n, 0)

/** Four channels that are no probabilities before channels that all are. */
function inOne({ output, shape, axes }: Plane, seen: readonly Seen[], isMeant: boolean): Found | undefined {
  const [a = 0, b = 0] = shape
  if (shape.length !== 2) return undefined
  const order = a <= b ? [0, 1] : [1, 0]
  for (const at of order) {
    const [channels, count] = at === 0 ? [a, b] : [b, a]
    const known = channels < 5 ? undefined : positionsAlong(output, axes[at] as number, seen)
    const areScores = known?.isShare.slice(4).every(Boolean)
    const areBoxes = isMeant || known?.isShare.slice(0, 4).every((s) => !s)
    if (!areScores || !areBoxes) continue
    const [channel, box] = at === 0 ? [count, 1] : [1, channels]
    const scores = { output, first: 4 * channel, channel, box, classes: channels - 4 }
    return { count, boxes: { output, first: 0, channel, box }, scores }
  }
  return undefined
}

/** Boxes of four numbers in one output, as many scores or rows of scores in another. */
function inTwo(planes: readonly Plane[], seen: readonly Seen[]): Found | undefined {
  for (const boxes of planes) {
    const [count = 0, four] = boxes.shape
    if (boxes.shape.length !== 2 || four !== 4) continue
    for (const { output, shape, axes } of planes) {
      const at = shape.indexOf(count)
      if (output === boxes.output || at < 0 || shape.length > 2) continue
      const all = positionsAlong(output, axes[at] as number, seen)
      if (!all?.isShare.every(Boolean)) continue
      const classes = shape.length === 1 ? 1 : (shape[1 - at] as number)
      const [channel, box] = at === 0 ? [1, classes] : [count, 1]
      return {
        count,
        boxes: { output: boxes.output, first: 0, channel: 1, box: 4 },
        scores: { output, first: 0, channel, box, classes }
      }
    }
  }
  return undefined
}

/** The winner of more than half of all boxes, where scores of a box add up to 1. */
function backgroundIn({ count, scores }: Found, seen: readonly Seen[]): { readonly background?: number } {
  if (scores.classes < 2) return {}
  const wins = new Float64Array(scores.classes)
  for (const values of rowsIn(scores.output, seen))
    for (let i = 0; i < count; i++) {
      let sum = 0
      for (let c = 0; c < scores.classes; c++) sum += at(values, scores, i, c)
      if (Math.abs(sum - 1) > 0.01) return {}
      const { best } = surest(values, scores, i, undefined)
      wins[best] = (wins[best] as number) + 1
    }
  const most = wins.indexOf(greatest(wins))
  return (wins[most] as number) * 2 > count * samplesIn(seen) ? { background: most } : {}
}

function* rowsIn(output: string, seen: readonly Seen[]): Generator<Row> {
  for (const { n, outputs } of seen) {
    const rows = rowsOf(output, counterpart(outputs, output), n)
    for (let i = 0; i < n; i++) yield row(rows, i)
  }
}

const at = (values: Row, p: Place, i: number, c: number): number =>
  values[p.first + c * p.channel + i * p.box] as number

function surest(values: Row, p: Layout['scores'], i: number, background: number | undefined) {
  let [best, score] = [-1, Number.NEGATIVE_INFINITY]
  for (let c = 0; c < p.classes; c++) {
    const v = at(values, p, i, c)
    if (c !== background && v > score) {
      best = c
      score = v
    }
  }
  return { best, score }
}

/** Which form makes boxes of the surest; `undefined` where neither does for 95 % of them. */
function formOf(found: Found & { readonly background?: number }, seen: readonly Seen[]): Layout['form'] | undefined {
  let [boxes, corners, sized] = [0, 0, 0]
  for (const { n, outputs } of seen)
    for (let s = 0; s < n; s++) {
      const b = row(rowsOf(found.boxes.output, counterpart(outputs, found.boxes.output), n), s)
      const values = row(rowsOf(found.scores.output, counterpart(outputs, found.scores.output), n), s)
      for (let i = 0; i < found.count; i++) {
        if (surest(values, found.scores, i, found.background).score < (thresholds.at(-1) as number)) continue
        const [x, y, z, w] = [0, 1, 2, 3].map((c) => at(b, found.boxes, i, c)) as [number, number, number, number]
        boxes++
        if (z > x && w > y) corners++
        if (z > 0 && w > 0) sized++
      }
    }
  if (boxes === 0) return undefined
  if (corners >= 0.95 * boxes) return 'corners'
  return sized >= 0.95 * boxes ? 'centre' : undefined
}

/** Left, top, right, bottom. */
type Box = readonly [number, number, number, number]

interface Detection {
  readonly kind: number
  readonly score: number
  readonly box: Box
}

/** What a model says of a sample. */
interface Said {
  /** What is found, the surest first. */
  readonly found: readonly Detection[]
  /** Boxes whose score of a class nearly reaches the threshold, the surest first. */
  near(kind: number): readonly Detection[]
}

function said(o: Layout, boxes: Row, scores: Row): Said {
  const boxAt = (i: number): Box => {
    const [a, b, c, d] = [0, 1, 2, 3].map((k) => at(boxes, o.boxes, i, k)) as [number, number, number, number]
    const [x1, y1, x2, y2] = o.form === 'corners' ? [a, b, c, d] : [a - c / 2, b - d / 2, a + c / 2, b + d / 2]
    return [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)]
  }
  const list = (pick: (i: number) => { readonly kind: number; readonly score: number }, least: number) => {
    const all: Detection[] = []
    for (let i = 0; i < o.count; i++) {
      const { kind, score } = pick(i)
      if (score >= least) all.push({ kind, score, box: boxAt(i) })
    }
    return all.sort((p, q) => q.score - p.score)
  }
  const known = new Map<number, readonly Detection[]>()
  return {
    found: list((i) => {
      const { best, score } = surest(scores, o.scores, i, o.background)
      return { kind: best, score }
    }, o.threshold).slice(0, mostMatched),
    near: (kind) => {
      const scored = (i: number) => ({ kind, score: at(scores, o.scores, i, kind) })
      const made = known.get(kind) ?? list(scored, nearly * o.threshold).slice(0, 2 * mostMatched)
      known.set(kind, made)
      return made
    }
  }
}

const countAbove = (o: Layout, seen: readonly Seen[]): number => {
  let n = 0
  for (const values of rowsIn(o.scores.output, seen))
    for (let i = 0; i < o.count; i++) if (surest(values, o.scores, i, o.background).score >= o.threshold) n++
  return n
}

function overlap(a: Box, b: Box): number {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0])
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1])
  if (!(width >= 0 && height >= 0)) return 0
  const shared = width * height
  const sum = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
  return sum > 0 ? shared / sum : a.every((x, i) => x === b[i]) ? 1 : 0
}

/** How many detections of one model the other has too. */
function kept(of: Said, by: Said): number {
  const free = new Map<number, Set<Detection>>()
  let n = 0
  for (const { kind, box } of of.found) {
    const left = free.get(kind) ?? new Set(by.near(kind))
    free.set(kind, left)
    let [best, most]: [Detection | undefined, number] = [undefined, sameObject]
    for (const e of left) {
      const iou = overlap(box, e.box)
      if (iou >= most && (iou > most || !best)) [best, most] = [e, iou]
    }
    if (best && left.delete(best)) n++
  }
  return n
}

function agreeing(before: Said, after: Said): number {
  const all = before.found.length + after.found.length
  return all === 0 ? 1 : (kept(before, after) + kept(after, before)) / all
}

/** The metric for a layout; without one, the layout is taken from the reference of each batch. */
export function detections(known?: Layout): Metric {
  const name = 'detections'
  return {
    name,
    better: 'higher',
    needs: { labels: false, reference: true },
    scale: 'real',
    scores(outputs, { n }, reference) {
      const original = referenced(name, reference)
      const layout = known ?? layoutOf([{ n, outputs: original }], true)
      if (!layout) throw noDetections(original)
      const of = (given: Outputs) => {
        const boxes = rowsOf(layout.boxes.output, counterpart(given, layout.boxes.output), n)
        const scores = rowsOf(layout.scores.output, counterpart(given, layout.scores.output), n)
        return (i: number) => said(layout, row(boxes, i), row(scores, i))
      }
      const [before, after] = [of(original), of(outputs)]
      return Array.from({ length: n }, (_, i) => agreeing(before(i), after(i)))
    }
  }
}

/** The error of outputs in which nothing can be found. */
export const noDetections = (outputs: Outputs): PareError =>
  new PareError('E_OPTION', 'detections needs boxes of 4 numbers beside scores in [0, 1], some of them above 0.05', {
    facts: { outputs: spell(outputs) },
    hint: '--metric relativeError compares the numbers themselves'
  })

/** `boxes (centre and size) beside 5 scores in y; a score from 0.5 on is a detection`. */
export function layoutText({ boxes, scores, form, background, threshold }: Layout): string {
  const where = boxes.output === scores.output ? `in ${boxes.output}` : `in ${boxes.output} and ${scores.output}`
  const kind = form === 'corners' ? 'corners' : 'centre and size'
  const none = background === undefined ? '' : `, score ${background} for nothing`
  return `boxes (${kind}) beside ${scores.classes} score${scores.classes === 1 ? '' : 's'} each ${where}${none}; a score of ${threshold} or more is a detection`
}

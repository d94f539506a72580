/**
 * What got worse since an earlier report. Of metrics: the difference of the compressed models' scores, paired by sample where
 * both reports hold the scores of the same samples, else of two independent means, whose half intervals add as squares. Of
 * times: the ratio of two ratios to the original, each measured interleaved, so that two machines or two days compare; their
 * intervals add as squares of logarithms. Of bytes: exact.
 */
import { metrics as known } from '../data/metrics.ts'
import type { Gate, GateRow, Report, SampleScores } from '../report/types.ts'
import type { Interval, Metric, Ratio } from '../types.ts'
import { pairedDrop } from './intervals.ts'

/** How much worse each may be: of metrics the drop, of the others the growth, as fractions. Absent: any. */
export interface GateBounds {
  readonly maxDrop?: number
  readonly maxBytes?: number
  readonly maxLatency?: number
}

/** A metric's scores, one a sample, as text: a bit each where they are 0 or 1, else float32. */
export function packScores(
  scores: ArrayLike<number>,
  { scale, better }: Pick<Metric, 'scale' | 'better'>
): SampleScores {
  const n = scores.length
  const bytes = scale === 'binary' ? new Uint8Array(Math.ceil(n / 8)) : new Uint8Array(Float32Array.from(scores).buffer)
  if (scale === 'binary')
    for (let i = 0; i < n; i++) if (scores[i]) bytes[i >> 3] = (bytes[i >> 3] as number) | (1 << (i & 7))
  return { scale, better, n, data: btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join('')) }
}

/** The scores again; `undefined` where the text is not that of `n` scores. */
export function unpackScores({ scale, n, data }: SampleScores): ArrayLike<number> | undefined {
  let bytes: Uint8Array
  try {
    bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0))
  } catch {
    return undefined
  }
  if (bytes.length !== (scale === 'binary' ? Math.ceil(n / 8) : 4 * n)) return undefined
  if (scale === 'binary') return Array.from({ length: n }, (_, i) => ((bytes[i >> 3] as number) >> (i & 7)) & 1)
  return new Float32Array(bytes.buffer)
}

/** Compares a report with an earlier one. `baseline`: what the earlier one is called. */
export function gateOf(baseline: string, was: Report, is: Report, bounds: GateBounds = {}): Gate {
  const rows = [
    ...metricRows(was, is, bounds.maxDrop),
    bytesRow(was, is, bounds.maxBytes),
    latencyRow(was, is, bounds.maxLatency)
  ]
  const apart = rows.some((r) => r.change?.paired === false)
  const notes = [
    ...notesOf(was, is),
    ...(apart
      ? ['metrics are compared as of independent samples: the reports do not both hold scores of the same ones']
      : [])
  ]
  return { baseline, rows, failed: rows.some((r) => r.failed), notes }
}

// ---------------------------------------------------------------- metrics

function metricRows(was: Report, is: Report, bound: number | undefined): GateRow[] {
  const [before, after] = [was.after?.metrics ?? {}, is.after?.metrics ?? {}]
  const names = Object.keys(after).filter((name) => Object.hasOwn(before, name))
  if (names.length === 0)
    return [row({ what: 'metric', kind: 'metric' }, undefined, bound, 'the reports have no metric in common')]
  // What may be lost is said of the first metric; the others are shown.
  return names.map((name, i) => {
    const [a, b] = [before[name] as Interval, after[name] as Interval]
    const { change, why } = metricChange(name, was, is, a, b)
    return row(
      { what: name, kind: 'metric', before: a.value, after: b.value },
      change,
      i === 0 ? bound : undefined,
      why
    )
  })
}

function metricChange(
  name: string,
  was: Report,
  is: Report,
  a: Interval,
  b: Interval
): { readonly change?: Interval & { readonly paired: boolean }; readonly why?: string } {
  const [old, now] = [was.scores?.[name], is.scores?.[name]]
  const better = now?.better ?? old?.better ?? (Object.hasOwn(known, name) ? known[name]?.better : undefined)
  if (!better) return { why: 'neither report says whether more or less of it is better' }
  // Data without an identity (of a module) counts as the same under the same path: pairs that are none only widen the interval.
  const sameData =
    was.data?.sha256 === is.data?.sha256 && (is.data?.sha256 !== undefined || was.data?.path === is.data?.path)
  const scores = old && now && old.n === now.n && old.scale === now.scale && sameData && [old, now].map(unpackScores)
  const [x, y] = scores || []
  if (now && x && y) return { change: { ...pairedDrop(x, y, { ...now, name }), paired: true } }
  const value = better === 'higher' ? a.value - b.value : b.value - a.value
  const half = Math.hypot((a.high - a.low) / 2, (b.high - b.low) / 2)
  return { change: { value, low: value - half, high: value + half, n: Math.min(a.n, b.n), paired: false } }
}

// ---------------------------------------------------------------- bytes and time

function bytesRow(was: Report, is: Report, bound: number | undefined): GateRow {
  const [before, after] = [was.after?.bytes, is.after?.bytes]
  if (!before || after === undefined)
    return row({ what: 'bytes', kind: 'bytes' }, undefined, bound, 'a report has no bytes of a compressed model')
  const value = after / before - 1
  return row({ what: 'bytes', kind: 'bytes', before, after }, { value, low: value, high: value }, bound)
}

/** Times are ratios to the original, which has to be the same. */
function latencyRow(was: Report, is: Report, bound: number | undefined): GateRow {
  const [a, b] = [was.ratios?.latency, is.ratios?.latency]
  const head = {
    what: 'latency',
    kind: 'ratio' as const,
    ...(a ? { before: a.median } : {}),
    ...(b ? { after: b.median } : {})
  }
  if (!a || !b) return row(head, undefined, bound, 'a report has no times')
  if (was.model.sha256 !== is.model.sha256)
    return row(head, undefined, bound, 'the originals that times are ratios to differ')
  if (was.target !== is.target || was.threads !== is.threads)
    return row(head, undefined, bound, 'the reports are of different targets or threads')
  const ratio = Math.log(b.median / a.median)
  const below = Math.hypot(spread(b.median, b.low), spread(a.high, a.median))
  const above = Math.hypot(spread(b.high, b.median), spread(a.median, a.low))
  const [value, low, high] = [ratio, ratio - below, ratio + above].map((x) => Math.exp(x) - 1) as [
    number,
    number,
    number
  ]
  return row(head, { value, low, high }, bound)
}

const spread = (high: number, low: number): number => Math.log(Math.max(high / low, 1))

// ---------------------------------------------------------------- verdicts

function row(
  head: Pick<GateRow, 'what' | 'kind' | 'before' | 'after'>,
  change:
    | (Pick<Ratio, 'low' | 'high'> & { readonly value: number; readonly paired?: boolean; readonly n?: number })
    | undefined,
  bound: number | undefined,
  why?: string
): GateRow {
  const given = bound === undefined ? {} : { bound }
  if (!change) return { ...head, ...given, verdict: 'unknown', failed: bound !== undefined, ...(why ? { why } : {}) }
  const verdict = change.low > 0 ? 'worse' : change.high < 0 ? 'better' : 'same'
  // A change whose interval holds none at all is no failure, as with every promise of Pare.
  const failed = bound !== undefined && change.value > bound && change.low > 0
  return { ...head, change, ...given, verdict, failed }
}

function notesOf(was: Report, is: Report): string[] {
  const machine = (r: Report): string => `${r.machine.cpu}, ${r.machine.cores} cores`
  return [
    ...(was.model.sha256 === is.model.sha256 ? [] : ['the originals are different files']),
    ...(was.data?.sha256 === is.data?.sha256 ? [] : ['the data is not the same']),
    ...(was.data?.synthetic || is.data?.synthetic ? ['inputs were random: they say nothing of accuracy'] : []),
    ...(machine(was) === machine(is) ? [] : [`measured on ${machine(was)} and on ${machine(is)}`]),
    ...(was.pare === is.pare ? [] : [`made by Pare ${was.pare} and ${is.pare}`])
  ]
}

/**
 * Numbers as people read them: units, directions in words (3.5 × smaller), intervals in brackets, `?` for unknown.
 * Sizes are decimal (1 MB = 1,000,000 bytes).
 */
import type { Interval, Measurement, Ratio } from '../types.ts'
import type { Report, RuntimeVersion } from './types.ts'

const minus = '−'

/** Text from a model or a file, safe for a terminal and a page: control and direction-changing characters become `·`. */
export function plain(text: string, longest = 200): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is taken out
  const clean = text.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, '·')
  return clean.length > longest ? `${clean.slice(0, longest - 1)}…` : clean
}

const longestName = 40

/** Names of nodes in a line: of long ones the end, which tells them apart; those that then look alike once, with their number. */
export function shortNames(names: readonly string[]): string[] {
  const counts = new Map<string, number>()
  for (const name of names) {
    const clean = plain(name, Number.POSITIVE_INFINITY)
    const short = clean.length > longestName ? `…${clean.slice(1 - longestName)}` : clean
    counts.set(short, (counts.get(short) ?? 0) + 1)
  }
  return [...counts].map(([name, n]) => (n > 1 ? `${name} ×${n}` : name))
}

/** `5,000` */
export const whole = (n: number): string => {
  const text = String(Math.round(n))
  return text.includes('e') ? text : text.replace(/\B(?=(\d{3})+$)/g, ',')
}

/** About three digits: `0.27`, `40.8`, `1,090`. */
export function digits(x: number): string {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? '?' : x > 0 ? '∞' : `${minus}∞`
  const size = Math.abs(x)
  const text = size >= 100 ? whole(size) : size >= 10 ? size.toFixed(1).replace(/\.0$/, '') : size.toFixed(2)
  return x < 0 && Number(text) !== 0 ? minus + text : text
}

/** Significant digits for values of any size, such as errors: `0.00123`. */
export function significant(x: number, n = 3): string {
  if (!Number.isFinite(x)) return digits(x)
  const text = Number(x.toPrecision(n)).toString()
  return text.replace('-', minus)
}

/** Values that differ by less than this are the same but for rounding; they set no scale. */
export const exactDb = 150

/** Decibels without their unit: `39.6`, or `exact`. */
export const dbWords = (db: number): string => (db >= exactDb ? 'exact' : db.toFixed(1).replace('-', minus))

/** `39.6 dB`, or `exact`. */
export const dbText = (db: number): string => (db >= exactDb ? 'exact' : `${dbWords(db)} dB`)

interface Unit {
  readonly name: string
  readonly size: number
}

const sizes: readonly Unit[] = [
  { name: 'GB', size: 1e9 },
  { name: 'MB', size: 1e6 },
  { name: 'kB', size: 1e3 }
]

function unitFor(units: readonly Unit[], largest: number, from: number): Unit | undefined {
  return units.find((u) => largest >= u.size * from)
}

/** `1.09 MB`; several sizes shown together get the unit of the largest through `like`. */
export function bytesText(bytes: number | undefined, like = bytes ?? 0): string {
  if (bytes === undefined) return '?'
  const unit = unitFor(sizes, Math.abs(like), like >= 1e5 ? 0.1 : 1)
  return unit ? `${digits(bytes / unit.size)} ${unit.name}` : `${whole(bytes)} B`
}

/** `0.27 M`, `86` */
export function countText(n: number | '?' | undefined): string {
  if (n === undefined || n === '?') return '?'
  if (n >= 1e11) return `${digits(n / 1e12)} T`
  if (n >= 1e9) return `${digits(n / 1e9)} G`
  if (n >= 1e5) return `${digits(n / 1e6)} M`
  return whole(n)
}

/** `0.56 ms`, `1.2 s` */
export function msText(ms: number | undefined): string {
  if (ms === undefined) return '?'
  if (ms >= 60_000) return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`
  if (ms >= 1000) return `${digits(ms / 1000)} s`
  return `${ms < 0.1 ? ms.toFixed(3) : digits(ms)} ms`
}

/** Metrics that are shares and read as percent; all others are plain numbers. */
const shares = new Set(['top1', 'top5', 'agreement', 'ctcText', 'detections'])
/** Does a metric read as percent? */
export const isShare = (metric: string): boolean => shares.has(metric)

const metricNames: Readonly<Record<string, string>> = {
  top1: 'top-1',
  top5: 'top-5',
  relativeError: 'relative error',
  reconstruction: 'reconstruction error',
  cosine: 'cosine similarity',
  ctcText: 'text agreement'
}
/** A metric as people write it: `top-1`. */
export const metricName = (metric: string): string => metricNames[metric] ?? plain(metric, 40)

/** `81.0 %`, or a plain number for metrics that are not shares. */
export const metricText = (metric: string, value: number): string =>
  isShare(metric) ? `${(value * 100).toFixed(1)} %` : significant(value, 4)

const signed = (x: number, text: string): string => (Number(text) === 0 ? text : x > 0 ? `+${text}` : minus + text)

/** A drop (positive is worse) as the change a reader expects: `−0.1` points; errors that grow: `+0.01`. */
export function changeText(metric: string, drop: number): string {
  if (isShare(metric)) return signed(-drop, Math.abs(drop * 100).toFixed(1))
  return drop === 0 ? '0' : drop > 0 ? `${significant(drop)} worse` : `${significant(-drop)} better`
}

/** `−0.1 points` */
export const dropText = (metric: string, drop: number): string =>
  isShare(metric) ? `${changeText(metric, drop)} points` : changeText(metric, drop)

/** `[−0.4, +0.2]`, of a drop's interval turned into a change's. */
export function dropInterval(metric: string, d: Interval): string {
  if (isShare(metric)) return `[${changeText(metric, d.high)}, ${changeText(metric, d.low)}]`
  return `[${significant(d.low)}, ${significant(d.high)}]`
}

/** `0.5 points` */
export const allowedText = (metric: string, maxDrop: number): string =>
  isShare(metric) ? `${significant(maxDrop * 100)} ${maxDrop === 0.01 ? 'point' : 'points'}` : significant(maxDrop)

const closeToOne = 0.005

const times = (x: number): string => (x >= 100 ? whole(x) : x >= 10 ? x.toFixed(0) : x.toFixed(x < 1.095 ? 2 : 1))

/** `3.5 × smaller`, `same size`; `ratio` is after / before. */
export function ratioText(ratio: number | undefined, less: string, more: string, same: string): string {
  if (ratio === undefined || !Number.isFinite(ratio) || ratio <= 0) return '?'
  if (Math.abs(ratio - 1) < closeToOne) return same
  return ratio < 1 ? `${times(1 / ratio)} × ${less}` : `${times(ratio)} × ${more}`
}

/** `3.5 × smaller` */
export const sizeWords = (ratio: number | undefined): string => ratioText(ratio, 'smaller', 'larger', 'same size')
/** `1.9 × faster` */
export const speedWords = (ratio: number | undefined): string => ratioText(ratio, 'faster', 'slower', 'same speed')
/** `1.1 × less` */
export const memoryWords = (ratio: number | undefined): string => ratioText(ratio, 'less', 'more', 'the same')

/** The interval of a latency ratio in the words' direction: `[1.88, 1.97]` times faster (or slower). */
export function ratioInterval(r: Ratio): string {
  const [low, high] = r.median <= 1 ? [1 / r.high, 1 / r.low] : [r.low, r.high]
  return `[${low.toFixed(2)}, ${high.toFixed(2)}]`
}

/** `0.29 ×` */
export const factor = (ratio: number | undefined): string => (ratio ? `${ratio.toFixed(2)} ×` : '?')

/** The metric that decides: the constraint's, else the first that has a drop, else the first measured. */
export function mainMetric(report: Report): string | undefined {
  return report.constraint?.metric ?? Object.keys(report.drop ?? {})[0] ?? Object.keys(report.before.metrics)[0]
}

/** One sentence that says it all: `3.5 × smaller, 1.9 × faster, −0.1 points on 3,000 unseen samples`. */
export function headline(report: Report): string {
  const { ratios, drop, after, output } = report
  if (!ratios)
    return `${plain(fileName((output ?? report.model).path), 60)}, ${bytesText((after ?? report.before).bytes)}`
  const parts = [sizeWords(ratios.bytes)]
  if (ratios.latency) parts.push(speedWords(ratios.latency.median))
  const metric = mainMetric(report)
  const worst = metric === undefined ? undefined : drop?.[metric]
  if (metric !== undefined && worst)
    parts.push(`${metricName(metric)} ${dropText(metric, worst.value)} ${onSamples(worst.n, report.data)}`)
  return parts.join(', ')
}

/** `on 3,000 unseen samples`; unseen only where others were used to calibrate and choose. */
export function onSamples(n: number, data: Report['data']): string {
  const kind = data?.synthetic ? 'synthetic ' : data && data.calibrationN + data.selectionN > 0 ? 'unseen ' : ''
  return `on ${whole(n)} ${kind}sample${n === 1 ? '' : 's'}`
}

/** The last part of a path, in either slash. */
export const fileName = (path: string): string => path.split(/[\\/]/).at(-1) ?? path

/** `0.27 M parameters · 40.8 M MACs · 1.09 MB` */
export function measurementText(m: Measurement): string {
  const parts = m.parameters === undefined ? [] : [`${countText(m.parameters)} parameters`]
  if (m.macs !== undefined) parts.push(`${countText(m.macs)} MACs`)
  return [...parts, bytesText(m.bytes)].join(' · ')
}

/** `test.npz · 5,000 samples: 512 calibration, 1,488 selection, 3,000 test` */
export function dataText(data: NonNullable<Report['data']>): string {
  const parts = [
    [data.calibrationN, 'calibration'],
    [data.selectionN, 'selection'],
    [data.testN, 'test']
  ] as const
  const total = parts.reduce((n, [k]) => n + k, 0)
  const used = parts.filter(([k]) => k > 0)
  const split = used.length > 1 ? `: ${used.map(([k, what]) => `${whole(k)} ${what}`).join(', ')}` : ''
  const name = data.synthetic ? 'synthetic inputs' : plain(fileName(data.path), 60)
  return `${name} · ${whole(total)} sample${total === 1 ? '' : 's'}${split}`
}

/** `onnxruntime-node 1.30.0`, and what measured beside it where that is another. */
export function runtimesText({ machine: { engine, measured, other } }: Pick<Report, 'machine'>): string {
  const named = ({ name, version }: RuntimeVersion): string => `${name} ${version}`
  if (!measured) return `${named(engine)}, nothing is timed`
  if (other) return `measured in ${named(measured)}, the second model in ${named(other)}`
  return measured.name === engine.name ? named(engine) : `measured in ${named(measured)}, made with ${named(engine)}`
}

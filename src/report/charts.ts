/**
 * The pictures of the report as SVG. Positions are percentages of the picture's width and its height is fixed, so that
 * text and marks keep their size on a phone; colours are the page's CSS variables; every mark has its `<title>`.
 */
import { greatest, least } from '../base/extremes.ts'
import type { Refusal } from '../passes/types.ts'
import type { Interval } from '../types.ts'
import { html, type Markup, percent } from './markup.ts'
import type { Candidate, Layer } from './types.ts'
import {
  allowedText,
  bytesText,
  changeText,
  countText,
  dbText,
  dropInterval,
  dropText,
  exactDb,
  factor,
  isShare,
  metricName,
  msText,
  significant
} from './words.ts'

/** Round numbers that divide [low, high] in about `count` steps: 1, 2 or 5 times a power of ten. */
export function ticks(low: number, high: number, count = 5): number[] {
  const span = high - low
  if (!(span > 0) || !Number.isFinite(span)) return [low]
  const power = 10 ** Math.floor(Math.log10(span / count))
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => span / s <= count) ?? power * 10
  const first = Math.ceil(low / step - 1e-9)
  const last = Math.floor(high / step + 1e-9)
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)))
}

// ---------------------------------------------------------------- accuracy against what is allowed

/** The change of one metric with its interval; what lies beyond the allowed drop is shaded. Left is worse. */
export function dropChart(metric: string, drop: Interval, maxDrop: number | undefined): Markup {
  const xs = [0, -drop.value, -drop.low, -drop.high, ...(maxDrop === undefined ? [] : [-maxDrop])]
  const [lowest, most] = [least(xs), greatest(xs)]
  const margin = Math.max((most - lowest) * 0.18, 1e-6)
  const [from, to] = [lowest - margin, most + margin]
  const x = (v: number): string => percent((v - from) / (to - from))
  const label = `${metricName(metric)}: ${dropText(metric, drop.value)}, 95 % interval ${dropInterval(metric, drop)}`
  const allowed =
    maxDrop === undefined
      ? undefined
      : html`<rect class="beyond" x="0" y="8" width="${x(-maxDrop)}" height="44"/><line class="limit" x1="${x(-maxDrop)}" x2="${x(-maxDrop)}" y1="4" y2="56"><title>allowed: −${allowedText(metric, maxDrop)}</title></line>`
  const axis = ticks(from, to, 6).map(
    (t) =>
      html`<line class="grid" x1="${x(t)}" x2="${x(t)}" y1="8" y2="52"/><text class="tick" x="${x(t)}" y="70">${changeText(metric, -t)}</text>`
  )
  const isOver = maxDrop !== undefined && drop.value > maxDrop
  return html`<svg class="chart" width="100%" height="76" role="img" aria-label="${label}">${axis}${allowed}<line class="zero" x1="${x(0)}" x2="${x(0)}" y1="4" y2="56"/><g class="${isOver ? 'over' : 'within'}"><line class="whisker" x1="${x(-drop.high)}" x2="${x(-drop.low)}" y1="30" y2="30"/><circle cx="${x(-drop.value)}" cy="30" r="6"><title>${label}</title></circle></g></svg>`
}

// ---------------------------------------------------------------- candidates

/** Bounds between the colours of drops: at most the first is the best colour, beyond the last the worst. */
export function dropBounds(metric: string, candidates: readonly Candidate[], maxDrop: number | undefined): number[] {
  const largest = greatest(
    candidates.map((c) => c.drop?.[metric]?.value ?? 0),
    0
  )
  const base = maxDrop ?? (isShare(metric) ? 0.01 : largest / 2)
  return [0, base / 2, base, base * 2]
}

/** The colour class of a drop. */
export function dropClass(drop: number | undefined, bounds: readonly number[]): string {
  if (drop === undefined) return 'd-unknown'
  const at = bounds.findIndex((b) => drop <= b + 1e-12)
  return `d${at < 0 ? bounds.length : at}`
}

/** File × latency of every candidate that has both; numbers are rows of the table, the winner is ringed. */
export function candidateChart(
  candidates: readonly Candidate[],
  metric: string | undefined,
  maxDrop: number | undefined
): Markup {
  const placed = candidates.flatMap((c, i) =>
    c.ratios.latency ? [{ c, number: i + 1, file: c.ratios.bytes, time: c.ratios.latency.median }] : []
  )
  const right =
    greatest(
      placed.map((p) => p.file),
      1
    ) * 1.1
  const top =
    greatest(
      placed.map((p) => p.time),
      1
    ) * 1.12
  const x = (v: number): string => percent(0.09 + (v / right) * 0.9)
  const y = (v: number): number => Math.round(300 - (v / top) * 276)
  const bounds = metric === undefined ? [] : dropBounds(metric, candidates, maxDrop)
  const grid = [
    ...ticks(0, right, 6).map(
      (t) =>
        html`<line class="grid" x1="${x(t)}" x2="${x(t)}" y1="24" y2="300"/><text class="tick" x="${x(t)}" y="318">${significant(t)} ×</text>`
    ),
    ...ticks(0, top, 5).map(
      (t) =>
        html`<line class="grid" x1="9%" x2="99%" y1="${y(t)}" y2="${y(t)}"/><text class="tick end" x="8%" y="${y(t) + 4}">${significant(t)}</text>`
    )
  ]
  const original = html`<g class="original"><line x1="${x(1)}" x2="${x(1)}" y1="24" y2="300"/><line x1="9%" x2="99%" y1="${y(1)}" y2="${y(1)}"/><circle cx="${x(1)}" cy="${y(1)}" r="4"><title>the original</title></circle></g>`
  const marks = apart(
    placed.sort((a, b) => Number(b.c.chosen) - Number(a.c.chosen)),
    right,
    y
  )
    .reverse()
    .map(({ c, number, file, time, shift }) => {
      const drop = metric === undefined ? undefined : c.drop?.[metric]?.value
      const told = `${number}. ${c.name}: file ${factor(file)}, time ${factor(time)}${metric !== undefined && drop !== undefined ? `, ${dropText(metric, drop)}` : ''}. ${c.why}\n${JSON.stringify(c.recipe).slice(0, 600)}`
      const ring = c.chosen ? html`<circle class="ring" cx="${x(file)}" cy="${y(time)}" r="16"/>` : undefined
      return html`<g class="mark ${dropClass(drop, bounds)}" transform="translate(${shift} 0)">${ring}<circle cx="${x(file)}" cy="${y(time)}" r="10.5"/><text x="${x(file)}" y="${y(time) + 4}">${number}</text><title>${told}</title></g>`
    })
  return html`<svg class="chart" width="100%" height="344" role="img" aria-label="Candidates by file size and latency; the numbers are in the table below"><text class="axis" x="9%" y="14">time, original = 1 ↑</text><text class="axis end" x="99%" y="338">file, original = 1 →</text>${grid}${original}${marks}</svg>`
}

/** Moves marks that would hide each other to the right by whole pixels, as seen on a page of 700. The first stays. */
function apart<P extends { readonly file: number; readonly time: number }>(
  placed: readonly P[],
  right: number,
  y: (time: number) => number
): (P & { readonly shift: number })[] {
  const taken: { x: number; y: number }[] = []
  return placed.map((p) => {
    const at = { x: (p.file / right) * 630, y: y(p.time) }
    let shift = 0
    while (taken.some((t) => Math.abs(t.x - at.x - shift) < 24 && Math.abs(t.y - at.y) < 16)) shift += 6
    taken.push({ x: at.x + shift, y: at.y })
    return { ...p, shift }
  })
}

// ---------------------------------------------------------------- layers

const integerKernel =
  /^(com\.microsoft:)?(QLinear|QGemm|QAttention|ConvInteger|MatMulInteger|DynamicQuantize|QuantizeLinear)|\(integer\)/

/** The kind of number that a layer really computes with: by its kernel where that is known, else by its weights' type. */
export function ranIn(l: Layer): 'float32' | 'float16' | 'int8' | 'int4' | 'unknown' {
  const { kernel, dtype } = l
  if (kernel !== undefined && integerKernel.test(kernel)) return 'int8'
  if (dtype === 'float16' || dtype === 'bfloat16') return 'float16'
  if (kernel === '?') return 'unknown'
  if (kernel !== undefined) return kernel.includes('NBits') ? 'int4' : 'float32'
  if (dtype === undefined) return 'unknown'
  if (dtype.startsWith('float')) return dtype === 'float32' || dtype === 'float64' ? 'float32' : 'float16'
  return /int[24]$/.test(dtype) ? 'int4' : 'int8'
}

/** Widths of layers in a unit; only their ratios matter. */
export interface Widths {
  readonly unit: 'ms' | 'macs' | 'bytes' | 'layers'
  readonly of: readonly number[]
}

/** How wide each layer is drawn: by milliseconds, else work, else bytes, whichever is known for most. */
export function layerWidths(layers: readonly Layer[]): Widths {
  for (const unit of ['ms', 'macs', 'bytes'] as const) {
    const known = layers.filter((l) => (l[unit] ?? 0) > 0).length
    if (known * 2 >= layers.length) return { unit, of: layers.map((l) => l[unit] ?? 0) }
  }
  return { unit: 'layers', of: layers.map(() => 1) }
}

/** Left edge and width of every layer as shares of the picture; none thinner than a fifth of an even share. */
function spans(widths: Widths): { x: number; w: number }[] {
  const sum = widths.of.reduce((a, b) => a + b, 0) || 1
  const least = 0.2 / widths.of.length
  const raw = widths.of.map((v) => Math.max(least, v / sum))
  const total = raw.reduce((a, b) => a + b, 0)
  let x = 0
  return raw.map((v) => {
    const at = { x, w: v / total }
    x += at.w
    return at
  })
}

const layerTitle = (l: Layer, refused: string | undefined): string => {
  const facts = [
    `${l.node} (${l.op})`,
    `${l.kernel ?? '?'}${l.dtype === undefined ? '' : `, weights ${l.dtype}`}`,
    ...(l.ms === undefined ? [] : [msText(l.ms)]),
    ...(l.macs === undefined ? [] : [`${countText(l.macs)} MACs`]),
    ...(l.bytes === undefined ? [] : [bytesText(l.bytes)]),
    ...(l.sqnrDb === undefined ? [] : [`own ${dbText(l.sqnrDb)}`]),
    ...(l.accumulatedSqnrDb === undefined ? [] : [`accumulated ${dbText(l.accumulatedSqnrDb)}`]),
    ...(refused === undefined ? [] : [`left as it was: ${refused}`])
  ]
  return facts.join('\n')
}

/** The network as a strip above the error of every layer, on one axis. */
export function layerChart(layers: readonly Layer[], refusals: readonly Refusal[]): Markup {
  const widths = layerWidths(layers)
  const at = spans(widths)
  const reasons = new Map(refusals.map((r) => [r.node, r.reason]))
  const rects = layers.map((l, i) => {
    const { x, w } = at[i] ?? { x: 0, w: 0 }
    const reason = reasons.get(l.node)
    const mark =
      reason === undefined ? undefined : html`<text class="refused" x="${percent(x + w / 2)}" y="12">▾</text>`
    return html`<g><rect class="layer t-${ranIn(l)}" x="${percent(x)}" width="${percent(w)}" y="16" height="34"/>${mark}<title>${layerTitle(l, reason)}</title></g>`
  })
  const strip = html`<div class="plot"><span></span><svg class="chart" width="100%" height="52" role="img" aria-label="The network, layer by layer; numbers in the table of layers">${rects}</svg></div>`
  const known = layers.some((l) => l.sqnrDb !== undefined || l.accumulatedSqnrDb !== undefined)
  return known ? html`${strip}${errorChart(layers, at)}` : strip
}

const plotHeight = 150

function errorChart(layers: readonly Layer[], at: readonly { x: number; w: number }[]): Markup {
  const values = layers.flatMap((l) => [l.sqnrDb ?? 0, l.accumulatedSqnrDb ?? 0]).filter((db) => db < exactDb)
  const top = Math.min(120, Math.max(40, Math.ceil(greatest(values, 0) / 20) * 20))
  const y = (db: number): number =>
    Number((plotHeight - (Math.min(Math.max(db, 0), top) / top) * (plotHeight - 8)).toFixed(1))
  const levels = ticks(0, top, 4)
  const grid = levels.map((t) => html`<line class="grid" x1="0" x2="100%" y1="${y(t)}" y2="${y(t)}"/>`)
  const bars = layers.map((l, i) => {
    const { x, w } = at[i] ?? { x: 0, w: 0 }
    if (l.sqnrDb === undefined) return undefined
    return html`<rect class="own t-${ranIn(l)}" x="${percent(x + w * 0.12)}" width="${percent(w * 0.76)}" y="${y(l.sqnrDb)}" height="${Number((plotHeight - y(l.sqnrDb)).toFixed(1))}"><title>${layerTitle(l, undefined)}</title></rect>`
  })
  const steps = layers.flatMap((l, i) => {
    const { x, w } = at[i] ?? { x: 0, w: 0 }
    if (l.accumulatedSqnrDb === undefined) return []
    const here = y(l.accumulatedSqnrDb)
    const before = layers[i - 1]?.accumulatedSqnrDb
    const rise =
      before === undefined
        ? undefined
        : html`<line class="sum" x1="${percent(x)}" x2="${percent(x)}" y1="${y(before)}" y2="${here}"/>`
    return [html`${rise}<line class="sum" x1="${percent(x)}" x2="${percent(x + w)}" y1="${here}" y2="${here}"/>`]
  })
  const labels = levels.map((t) => html`<text class="tick end" x="100%" y="${y(t) + 4}">${t}</text>`)
  return html`<div class="plot"><svg class="gutter" width="100%" height="${plotHeight + 8}" aria-hidden="true">${labels}</svg><svg class="chart" width="100%" height="${plotHeight + 8}" role="img" aria-label="Error of every layer in decibels, higher is better; numbers in the table of layers">${grid}${bars}${steps}</svg></div>`
}

// ---------------------------------------------------------------- curves

/** A curve such as loss over steps. */
export function curveChart(name: string, points: readonly (readonly [number, number])[]): Markup {
  const xs = points.map((p) => p[0])
  const ys = points.map((p) => p[1]).filter(Number.isFinite)
  const [x0, x1, y0, y1] = [least(xs), greatest(xs), least(ys), greatest(ys)]
  const x = (v: number): string => percent(0.09 + ((v - x0) / (x1 - x0 || 1)) * 0.9)
  const y = (v: number): number => Number((140 - ((v - y0) / (y1 - y0 || 1)) * 124).toFixed(1))
  const grid = ticks(y0, y1, 4).map(
    (t) =>
      html`<line class="grid" x1="9%" x2="99%" y1="${y(t)}" y2="${y(t)}"/><text class="tick end" x="8%" y="${y(t) + 4}">${significant(t)}</text>`
  )
  const axis = ticks(x0, x1, 6).map((t) => html`<text class="tick" x="${x(t)}" y="158">${significant(t)}</text>`)
  const lines = points
    .slice(1)
    .map(
      ([px, py], i) =>
        html`<line class="sum" x1="${x(points[i]?.[0] ?? px)}" y1="${y(points[i]?.[1] ?? py)}" x2="${x(px)}" y2="${y(py)}"/>`
    )
  return html`<svg class="chart" width="100%" height="164" role="img" aria-label="${name}">${grid}${axis}${lines}</svg>`
}

/** The parts of the page on the network's layers. */

import { layerChart, layerWidths, ranIn } from './charts.ts'
import { html, type Markup, percent, section } from './markup.ts'
import type { Layer, Report } from './types.ts'
import { bytesText, countText, dbWords, msText, whole } from './words.ts'

const widthWords = { ms: 'milliseconds', macs: 'multiply-accumulates', bytes: 'bytes', layers: 'one each' } as const

/** The network as a strip, above the error of every layer. */
export function layerSection(report: Report): Markup | undefined {
  const { layers, refusals } = report
  if (layers.length === 0) return undefined
  const types = [...new Set(layers.map(ranIn))]
  const nodes = new Set(layers.map((l) => l.node))
  const marked = refusals.some((r) => nodes.has(r.node))
  const hasError = layers.some((l) => l.sqnrDb !== undefined || l.accumulatedSqnrDb !== undefined)
  return section(
    'The network, layer by layer',
    html`<p class="about">From input to output; the width of a layer is its share of ${widthWords[layerWidths(layers).unit]}, its colour the type that really ran.${hasError ? ' Below, how faithful each layer is, in decibels: higher is better, and 6 dB are one bit. Bars: with only its own change; line: with every change before it.' : ''}</p>`,
    layerChart(layers, refusals),
    html`<ul class="legend">${types.map((t) => html`<li><span class="dot t-${t}"></span>${t}</li>`)}${marked ? html`<li><span class="worse">▾</span> left as it was</li>` : undefined}${hasError ? html`<li><span class="rule"></span>accumulated</li>` : undefined}</ul>`
  )
}

/** Sum of a figure by kind of layer, largest first. */
export function byKind(
  layers: readonly Layer[],
  of: (l: Layer) => number | undefined
): { kind: string; value: number }[] {
  const sums = new Map<string, number>()
  for (const l of layers) {
    const value = of(l)
    if (value !== undefined && value > 0) sums.set(l.kind ?? l.op, (sums.get(l.kind ?? l.op) ?? 0) + value)
  }
  return [...sums].map(([kind, value]) => ({ kind, value })).sort((a, b) => b.value - a.value)
}

/** A sum over few of the layers would mislead. */
const isMostlyKnown = (layers: readonly Layer[], of: (l: Layer) => number | undefined): boolean =>
  layers.filter((l) => of(l) !== undefined).length * 2 >= layers.length

/** Where the bytes, the time and the work are, by kind of layer. */
export function places(report: Report): Markup | undefined {
  const charts = [
    kindBars(
      'bytes',
      byKind(report.layers, (l) => l.bytes),
      bytesText
    ),
    kindBars(
      'milliseconds',
      isMostlyKnown(report.layers, (l) => l.ms) ? byKind(report.layers, (l) => l.ms) : [],
      msText
    ),
    kindBars(
      'multiply-accumulates',
      byKind(report.layers, (l) => l.macs),
      countText
    )
  ].filter((c) => c !== undefined)
  if (charts.length === 0) return undefined
  return section(
    report.after ? 'Where the bytes and the time are now' : 'Where the bytes and the work are',
    html`<div class="two">${charts}</div>`
  )
}

function kindBars(
  title: string,
  all: readonly { kind: string; value: number }[],
  text: (n: number) => string
): Markup | undefined {
  if (all.length === 0) return undefined
  const shown = all.slice(0, 8)
  const rest = all.slice(8).reduce((n, s) => n + s.value, 0)
  const most = all[0]?.value ?? 1
  const rows = [...shown, ...(rest > 0 ? [{ kind: 'all others', value: rest }] : [])].map(
    ({ kind, value }) =>
      html`<tr><th scope="row">${kind}</th><td class="bar"><i style="width:${percent(Math.min(1, value / most))}"></i></td><td class="n">${text(value)}</td></tr>`
  )
  return html`<div><h3>${title}</h3><table class="bars"><tbody>${rows}</tbody></table></div>`
}

/** Every layer with its figures; sorted by a click. */
export function layerTable(report: Report): Markup | undefined {
  const { layers } = report
  if (layers.length === 0) return undefined
  const columns: { head: string; of: (l: Layer) => number | undefined; text: (n: number) => string }[] = [
    { head: 'output dB', of: (l: Layer) => l.outputSqnrDb, text: (n: number) => dbWords(n) },
    { head: 'own dB', of: (l: Layer) => l.sqnrDb, text: (n: number) => dbWords(n) },
    { head: 'sum dB', of: (l: Layer) => l.accumulatedSqnrDb, text: (n: number) => dbWords(n) },
    { head: 'file', of: (l: Layer) => l.bytes, text: (n: number) => bytesText(n) },
    { head: 'MACs', of: (l: Layer) => l.macs, text: (n: number) => countText(n) },
    { head: 'time', of: (l: Layer) => l.ms, text: (n: number) => msText(n) }
  ].filter((c) => layers.some((l) => c.of(l) !== undefined))
  const ran = layers.some((l) => l.kernel !== undefined || l.dtype !== undefined)
  const rows = (layers as readonly Layer[]).map((l) => {
    const cells = columns.map((c) => {
      const v = c.of(l)
      return html`<td class="n" data-v="${v === undefined ? '' : String(v)}">${v === undefined ? '?' : c.text(v)}</td>`
    })
    const kernel = ran
      ? html`<td class="ran"><span class="dot t-${ranIn(l)}"></span>${l.kernel?.replace(/^com\.microsoft:/, '') ?? l.dtype ?? '?'}</td>`
      : undefined
    return html`<tr><th scope="row">${l.node}</th><td>${l.kind ?? l.op}</td>${kernel}${cells}</tr>`
  })
  const table = html`<div class="table"><table class="sortable"><thead><tr><th>layer</th><th>kind</th>${ran ? html`<th>ran as</th>` : undefined}${columns.map((c) => html`<th class="n">${c.head}</th>`)}</tr></thead><tbody>${rows}</tbody></table></div>`
  return section(
    'Layers',
    html`<details${{ markup: layers.length <= 24 ? ' open' : '' }}><summary>${whole(layers.length)} layers; click a column’s head to sort</summary>${table}</details>`
  )
}

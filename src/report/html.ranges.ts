/** The parts of the page on what codes cover, and on engines. */

import { greatest } from '../base/extremes.ts'
import { engineWords, shareText, spanText, worstFirst } from './layers-text.ts'
import { html, type Markup, section } from './markup.ts'
import type { Coverage, Layer, Report } from './types.ts'
import { dbText, metricText, significant, whole } from './words.ts'

/** What the codes of every layer's output and weight cover, pictured; the worst layer first, sorted by a click. */
export function rangeSection(report: Report): Markup | undefined {
  const layers = worstFirst(report.layers)
  const tables = [
    rangeTable('Outputs', layers, (l) => l.activation),
    rangeTable('Weights', layers, (l) => l.weight)
  ].filter((t) => t !== undefined)
  if (tables.length === 0) return undefined
  return section(
    'What the codes cover',
    html`<p class="about">Band: what the codes can stand for; line: the values before rounding, red where they are cut off; tick: zero. Beside it, how the values spread over the codes, lowest to highest, and the share at either end: a pile at the highest code is a range that is too narrow, an empty half one that is too wide. At the lowest code of an output behind a Relu are its zeros.</p>`,
    ...tables
  )
}

const open = 16

function rangeTable(
  title: string,
  layers: readonly Layer[],
  of: (l: Layer) => Coverage | undefined
): Markup | undefined {
  const rows = layers.flatMap((l) => {
    const c = of(l)
    return c ? [rangeRow(l, c)] : []
  })
  if (rows.length === 0) return undefined
  return html`<h3>${title}</h3><details${{ markup: rows.length <= open ? ' open' : '' }}><summary>${whole(rows.length)} tensors; click a column’s head to sort</summary><div class="table"><table class="sortable ranges"><thead><tr><th>layer</th><th>codes</th><th class="n">range</th><th class="n">values</th><th class="n">spread</th><th class="n">lowest</th><th class="n">highest</th><th class="n">cut off</th></tr></thead><tbody>${rows}</tbody></table></div></details>`
}

function rangeRow(l: Layer, c: Coverage): Markup {
  const share = (s: number | undefined): Markup =>
    html`<td class="n" data-v="${s === undefined ? '' : String(s)}">${shareText(s)}</td>`
  return html`<tr><th scope="row">${l.node}</th><td>${c.dtype}</td><td class="n" data-v="${c.covered.high - c.covered.low}">${rangePicture(c)}</td><td class="n" data-v="${c.range.max - c.range.min}">${spanText(c.range.min, c.range.max)}</td><td class="n" data-v="${c.codes.filter((s) => s > 0).length}">${spread(c)}</td>${share(c.saturation.low)}${share(c.saturation.high)}${share(c.clipped)}</tr>`
}

const fixed = (n: number): number => Number(n.toFixed(1))

/** Band and line on one axis, which is the wider of both. */
function rangePicture({ range, covered }: Coverage): Markup {
  const [low, high] = [Math.min(range.min, covered.low), Math.max(range.max, covered.high)]
  const x = (v: number): number => fixed(1 + ((v - low) / (high - low || 1)) * 108)
  const line = (from: number, to: number, mark: string): Markup | undefined =>
    to > from ? html`<line class="${mark}" x1="${x(from)}" x2="${x(to)}" y1="8" y2="8"/>` : undefined
  const zero = low <= 0 && high >= 0 ? html`<line class="zero" x1="${x(0)}" x2="${x(0)}" y1="1" y2="15"/>` : undefined
  const inside = line(Math.max(range.min, covered.low), Math.min(range.max, covered.high), 'within')
  const title = `values ${spanText(range.min, range.max)}\ncodes ${spanText(covered.low, covered.high)}`
  return html`<svg class="span" width="110" height="16" role="img" aria-label="${title}"><title>${title}</title><rect class="cover" x="${x(covered.low)}" width="${fixed(Math.max(1, x(covered.high) - x(covered.low)))}" y="3" height="10"/>${inside}${line(range.min, Math.min(covered.low, range.max), 'over')}${line(Math.max(covered.high, range.min), range.max, 'over')}${zero}</svg>`
}

/** Heights go by the square root, so that few values are seen beside many. */
function spread({ codes }: Coverage): Markup {
  const most = greatest(codes) || 1
  const w = 96 / codes.length
  const bars = codes.map((s, i) => {
    const h = s > 0 ? Math.max(0.6, Math.sqrt(s / most) * 16) : 0
    return h > 0 ? `M${fixed(i * w)} 18h${fixed(w * 0.86)}v${-fixed(h)}h${-fixed(w * 0.86)}z` : ''
  })
  return html`<svg class="spread" width="96" height="18" role="img" aria-label="values by code, lowest to highest"><path d="${bars.join('')}"/></svg>`
}

/** Two engines on the same models. */
export function engineSection(report: Report): Markup | undefined {
  const { engines } = report
  if (!engines) return undefined
  const [first, second] = engines.names
  const rows = engines.models.flatMap((m) =>
    m.outputs.map(
      (o) =>
        html`<tr><th scope="row">${m.model}</th><td>${o.name}</td><td class="n">${significant(o.difference * 100, 2)} %</td><td class="n">${o.sqnrDb === undefined ? '?' : dbText(o.sqnrDb)}</td><td class="n">${o.agreement === undefined ? '' : metricText('agreement', o.agreement)}</td></tr>`
    )
  )
  const said = engines.models.map(
    (m) =>
      html`<li><strong>${m.model}</strong>: <span class="${m.agrees ? 'good' : 'worse'}">${engineWords(m)}</span></li>`
  )
  return section(
    'The same in another engine?',
    html`<p class="about">${first} and ${second} on the same ${whole(engines.n)} samples. The difference is the largest one of any element, as a share of the largest value.</p>`,
    html`<ul class="plain">${said}</ul>`,
    rows.length === 0
      ? undefined
      : html`<div class="table"><table><thead><tr><th>model</th><th>output</th><th class="n">difference</th><th class="n">SQNR</th><th class="n">same answer</th></tr></thead><tbody>${rows}</tbody></table></div>`
  )
}

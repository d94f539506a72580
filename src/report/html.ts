/** The Report as one self-contained page: no request, no script needed, every word of a model escaped. */
import type { Measurement } from '../types.ts'
import { candidateChart, curveChart, dropBounds, dropChart, dropClass } from './charts.ts'
import { type CostLine, costLines } from './costs.ts'
import { layerSection, layerTable, places } from './html.layers.ts'
import { engineSection, rangeSection } from './html.ranges.ts'
import { stageSection as stagesSection } from './html.stages.ts'
import { script, scriptSha256, style } from './html.style.ts'
import { escapeText, html, type Markup, percent, scriptJson, section } from './markup.ts'
import { searchSection } from './search-page.ts'
import { groupRefusals } from './text.ts'
import type { Report } from './types.ts'
import { hasNoWinner, unmet } from './unmet.ts'
import {
  allowedText,
  bytesText,
  changeText,
  countText,
  dataText,
  dropInterval,
  dropText,
  factor,
  fileName,
  headline,
  isShare,
  mainMetric,
  measurementText,
  metricName,
  metricText,
  msText,
  runtimesText,
  whole
} from './words.ts'

const policy = `default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-${scriptSha256}'; base-uri 'none'; form-action 'none'`

/** The page. `replay`: the command that does it again with the recipe of this page. */
export function printPage(report: Report, replay?: string): string {
  const title = `${fileName(report.output?.path ?? report.model.path)} · Pare`
  const body = [
    opening(report),
    cards(report),
    accuracy(report),
    stagesSection(report),
    searchSection(report.search),
    tried(report),
    layerSection(report),
    places(report),
    layerTable(report),
    rangeSection(report),
    engineSection(report),
    words(report),
    curves(report),
    stepSection(report),
    figures(report),
    origin(report, replay)
  ]
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${{ markup: policy }}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
<style>${{ markup: style }}</style>
</head>
<body>
<main>
${body}
</main>
${scripts(report)}
</body>
</html>
`.markup
}

/** The Report for programs, and the script of the tables; spelled outside a template, which must not hold a closing script tag. */
const scripts = (report: Report): Markup => ({
  markup: `<script type="application/json" id="report">${scriptJson(report).markup}</script>\n<script>${script}</script>`
})

// ---------------------------------------------------------------- opening

function opening(report: Report): Markup {
  const { constraint } = report
  const isUnmet = constraint?.met === false || hasNoWinner(report)
  const said = isUnmet ? unmet(report) : headline(report)
  const verdict =
    constraint === undefined
      ? undefined
      : constraint.met
        ? html`<p class="verdict">✓ within ${allowedText(constraint.metric, constraint.maxDrop)}</p>`
        : html`<p class="verdict bad">✗ not within ${allowedText(constraint.metric, constraint.maxDrop)}</p>`
  const facts = [`target ${report.target}, ${report.threads} thread${report.threads === 1 ? '' : 's'}`]
  if (report.objective) facts.push(`objective ${report.objective}`)
  if (report.data) facts.push(dataText(report.data))
  return html`<header>
<p class="kicker">Pare report</p>
<h1>${unbroken(said.charAt(0).toUpperCase() + said.slice(1))}</h1>
<p class="lead"><strong>${fileName(report.model.path)}</strong>${report.output ? html` → <strong>${fileName(report.output.path)}</strong>` : undefined} · ${measurementText(report.before)}</p>
<p class="lead">${facts.join(' · ')}</p>
${verdict}
</header>
`
}

/** Numbers keep to their units when a line is broken. */
const unbroken = (text: string): string =>
  text
    .replaceAll(' × ', '\u00a0×\u00a0')
    .replace(/(\d) (points?|samples)/g, '$1\u00a0$2')
    .replaceAll('top-', 'top\u2011')

// ---------------------------------------------------------------- before and after

const cardTitles: Readonly<Record<string, string>> = {
  file: 'File',
  'latency p50': 'Latency, median of one sample',
  'first load': 'First load',
  'peak memory': 'Peak memory'
}

function cards(report: Report): Markup | undefined {
  const all = costLines(report).flatMap((l) => {
    const title = cardTitles[l.label]
    return title === undefined || l.before === undefined || l.after === undefined
      ? []
      : [card(title, l, l.before, l.after)]
  })
  return all.length === 0 ? undefined : html`<div class="cards">${all}</div>\n`
}

function card(title: string, l: CostLine, before: number, after: number): Markup {
  const most = Math.max(before, after) || 1
  const bar = (name: string, value: number, mark: string): Markup =>
    html`<dt>${name}</dt><dd class="track"><i class="${mark}" style="width:${percent(value / most)}"></i></dd><dd>${l.text(value, most)}</dd>`
  const tone = l.verdict === 'worse' ? 'worse' : l.verdict === 'better' ? 'good' : ''
  return html`<figure class="card"><figcaption>${title}</figcaption><p class="big ${tone}">${l.words || '?'} <small>${l.interval}</small></p><dl class="pair">${bar('before', before, '')}${bar('after', after, 'now')}</dl></figure>`
}

// ---------------------------------------------------------------- accuracy

function accuracy(report: Report): Markup | undefined {
  const { before, after, drop, constraint, agreement } = report
  const names = Object.keys(before.metrics)
  if (names.length === 0) return undefined
  const limit = (name: string): number | undefined => (constraint?.metric === name ? constraint.maxDrop : undefined)
  const charts = names.flatMap((name) => {
    const d = drop?.[name]
    return d
      ? [
          html`<h3>${metricName(name)}: ${dropText(name, d.value)} <span class="small">${dropInterval(name, d)}</span></h3>${dropChart(name, d, limit(name))}`
        ]
      : []
  })
  const range = (m: Measurement | undefined, name: string): Markup => {
    const i = m?.metrics[name]
    if (!i) return html`?`
    return html`${metricText(name, i.value)} <span class="range">[${metricText(name, i.low).replace(' %', '')}, ${metricText(name, i.high).replace(' %', '')}]</span>`
  }
  const rows = names.map((name) => {
    const d = drop?.[name]
    const n = (d ?? before.metrics[name])?.n ?? 0
    return html`<tr><th scope="row">${metricName(name)}</th><td class="n">${range(before, name)}</td>${after ? html`<td class="n">${range(after, name)}</td><td class="n">${d ? html`${dropText(name, d.value)} <span class="range">${dropInterval(name, d)}</span>` : '?'}</td>` : undefined}<td class="n">${whole(n)}</td></tr>`
  })
  const agreed = agreement
    ? html`<p class="small">Both models give the same answer on ${metricText('agreement', agreement.value)} of ${whole(agreement.n)} samples.</p>`
    : undefined
  const kept = limit(mainMetric(report) ?? '')
  return section(
    'Accuracy',
    after
      ? html`<p class="about">The change on samples that no decision looked at, with its 95 % interval; each sample is compared with itself.${kept === undefined ? '' : ` The dashed line is the allowed drop of ${allowedText(constraint?.metric ?? '', kept)}.`}</p>`
      : undefined,
    ...charts,
    html`<div class="table"><table><thead><tr><th>metric</th><th class="n">before</th>${after ? html`<th class="n">after</th><th class="n">change</th>` : undefined}<th class="n">samples</th></tr></thead><tbody>${rows}</tbody></table></div>`,
    agreed
  )
}

// ---------------------------------------------------------------- candidates

function tried(report: Report): Markup | undefined {
  const { candidates, constraint } = report
  if (candidates.length === 0) return undefined
  const metric = mainMetric(report)
  const maxDrop = constraint?.maxDrop
  const bounds = metric === undefined ? [] : dropBounds(metric, candidates, maxDrop)
  const rows = candidates.map((c, i) => {
    const d = metric === undefined ? undefined : c.drop?.[metric]
    return html`<tr class="${c.chosen ? 'won' : ''}"><td class="n">${i + 1}</td><th scope="row"><span class="dot ${dropClass(d?.value, bounds)}"></span>${c.name}</th><td class="n">${factor(c.ratios.bytes)}</td><td class="n">${factor(c.ratios.latency?.median)}</td><td class="n">${d && metric !== undefined ? changeText(metric, d.value) : '?'}</td><td class="why">${c.chosen ? 'Chosen: ' : ''}${c.why}</td></tr>`
  })
  const isPlaced = candidates.some((c) => c.ratios.latency)
  return section(
    'What was tried',
    html`<p class="about">Every candidate, measured against the original in one interleaved run${report.objective ? `; the objective was ${report.objective}` : ''}. Further left is smaller, further down is faster; the ring marks what was chosen.</p>`,
    isPlaced ? candidateChart(candidates, metric, maxDrop) : undefined,
    metric === undefined ? undefined : dropLegend(metric, bounds),
    html`<div class="table"><table class="tried"><thead><tr><th class="n">#</th><th>candidate</th><th class="n">file</th><th class="n">time</th><th class="n">${metric === undefined ? 'drop' : metricName(metric)}</th><th>why</th></tr></thead><tbody>${rows}</tbody></table></div>`
  )
}

function dropLegend(metric: string, bounds: readonly number[]): Markup {
  const text = (b: number): string => allowedText(metric, b).replace(/ points?$/, '')
  const labels = [
    'nothing lost',
    ...bounds.slice(1).map((b) => `up to ${text(b)}`),
    `more than ${text(bounds.at(-1) ?? 0)}`
  ]
  const unit = isShare(metric) ? ' points' : ''
  return html`<ul class="legend">${labels.map((l, i) => html`<li><span class="dot d${i}"></span>${l}${i === 0 ? '' : unit}</li>`)}</ul>`
}

// ---------------------------------------------------------------- words

function words(report: Report): Markup | undefined {
  const groups = groupRefusals(report)
  const refused = groups.map(
    ({ reason, nodes, bytes }) =>
      html`<li><strong>${reason}</strong><br><span class="small">${whole(nodes.length)} ${nodes.length === 1 ? 'node' : 'nodes'}${bytes > 0 ? `, ${bytesText(bytes)} in float` : ''}: ${nodes.slice(0, 12).join(', ')}${nodes.length > 12 ? ', …' : ''}</span></li>`
  )
  const notes = report.notes.map((n) => html`<li>${n}</li>`)
  if (refused.length + notes.length === 0) return undefined
  return html`${refused.length > 0 ? section('Left as it was, and why', html`<ul class="plain">${refused}</ul>`) : undefined}${notes.length > 0 ? section('Notes', html`<ul class="plain">${notes}</ul>`) : undefined}`
}

function curves(report: Report): Markup | undefined {
  const all = Object.entries(report.curves).filter(([, points]) => points.length > 1)
  if (all.length === 0) return undefined
  return section(
    'Curves',
    ...all.map(
      ([name, points]) =>
        html`<h3>${name}</h3>${curveChart(name, points)}<details><summary>numbers</summary><pre>${points.map(([x, y]) => `${x}\t${y}`).join(' · ')}</pre></details>`
    )
  )
}

function stepSection(report: Report): Markup | undefined {
  if (report.steps.length === 0) return undefined
  const rows = report.steps.map(
    (s) =>
      html`<tr><th scope="row">${s.pass}</th><td class="n">${whole(s.before.nodes)} → ${whole(s.after.nodes)}</td><td class="n">${bytesText(s.before.bytes)} → ${bytesText(s.after.bytes)}</td><td class="n">${msText(s.ms)}</td></tr>`
  )
  return section(
    'Steps',
    html`<div class="table"><table><thead><tr><th>pass</th><th class="n">nodes</th><th class="n">weights</th><th class="n">took</th></tr></thead><tbody>${rows}</tbody></table></div>`
  )
}

function figures(report: Report): Markup {
  const { before: a, after: b } = report
  const rows: [string, (m: Measurement) => string][] = [
    ['file', (m) => `${whole(m.bytes)} bytes`],
    ['gzip', (m) => (m.gzipBytes === undefined ? '' : bytesText(m.gzipBytes))],
    ['brotli', (m) => (m.brotliBytes === undefined ? '' : bytesText(m.brotliBytes))],
    ['parameters', (m) => (m.parameters === undefined ? '' : whole(m.parameters))],
    ['of them not zero', (m) => (m.nonzeroParameters === undefined ? '' : whole(m.nonzeroParameters))],
    ['MACs for one sample', (m) => (m.macs === undefined ? '' : countText(m.macs))],
    ['latency p50', (m) => (m.latencyMs ? msText(m.latencyMs.p50) : '')],
    ['latency predicted', (m) => (m.predictedMs === undefined ? '' : msText(m.predictedMs))],
    ['latency p90', (m) => (m.latencyMs ? msText(m.latencyMs.p90) : '')],
    ['latency p99', (m) => (m.latencyMs ? msText(m.latencyMs.p99) : '')],
    ['runs timed', (m) => (m.latencyMs ? whole(m.latencyMs.n) : '')],
    ['first load', (m) => (m.loadMs === undefined ? '' : msText(m.loadMs))],
    ['peak memory', (m) => (m.peakBytes === undefined ? '' : bytesText(m.peakBytes))]
  ]
  const body = rows
    .filter(([, text]) => text(a) !== '' || (b && text(b) !== ''))
    .map(
      ([name, text]) =>
        html`<tr><th scope="row">${name}</th><td class="n">${text(a) || '?'}</td>${b ? html`<td class="n">${text(b) || '?'}</td>` : undefined}</tr>`
    )
  return section(
    'All figures',
    html`<div class="table"><table><thead><tr><th></th><th class="n">before</th>${b ? html`<th class="n">after</th>` : undefined}</tr></thead><tbody>${body}</tbody></table></div>`
  )
}

// ---------------------------------------------------------------- where it comes from

function origin(report: Report, replay: string | undefined): Markup {
  const { machine, model, output, data } = report
  const facts: [string, string | undefined][] = [
    ['original', `${model.path}\nsha256 ${model.sha256}`],
    ['written', output && `${output.path}\nsha256 ${output.sha256}`],
    ['data', data && `${data.path}${data.sha256 ? `\nsha256 ${data.sha256}` : ''}`],
    ['seed', String(report.seed)],
    ['machine', `${machine.cpu}, ${machine.cores} core${machine.cores === 1 ? '' : 's'}`],
    ['versions', `Pare ${report.pare}, Node ${machine.node}, ${runtimesText(report)}`]
  ]
  const rows = facts
    .filter((f): f is [string, string] => f[1] !== undefined)
    .map(
      ([name, text]) =>
        html`<tr><th scope="row">${name}</th><td style="overflow-wrap:anywhere">${text.split('\n').map((line, i) => (i > 0 ? html`<br><span class="small">${line}</span>` : html`${line}`))}</td></tr>`
    )
  const recipe =
    report.recipe.length > 0
      ? html`<h3>The recipe</h3><pre>${{ markup: lines(JSON.stringify(report.recipe.map((s) => s)).replaceAll('],[', '],\n [')) }}</pre>`
      : undefined
  const again = replay ?? report.command
  return html`${section(
    'Again, and where it comes from',
    html`<h3>The command</h3><pre>${again}</pre>`,
    recipe,
    html`<div class="table"><table><tbody>${rows}</tbody></table></div>`
  )}<details><summary>The whole report as JSON</summary><pre>${{ markup: lines(JSON.stringify(report, null, 1)) }}</pre></details>
<footer>Made by Pare ${report.pare}. Sizes are decimal; intervals are 95 %; ratios are after against before on this machine.</footer>`
}

/** Escaped text that keeps its line ends. */
const lines = (text: string): string =>
  text
    .split('\n')
    .map((line) => escapeText(line, Number.POSITIVE_INFINITY))
    .join('\n')

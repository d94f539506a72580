/** The section of a search in the report page, and its lines on the terminal. */
import { html, type Markup, section } from './markup.ts'
import type { SearchComparison, SearchReport, SearchRun } from './search.ts'
import { choicesChart, frontChart, importanceChart, progressChart, strategyLegend } from './search-charts.ts'
import { significant } from './words.ts'

const drop = ({ fresh }: SearchRun): string =>
  fresh ? `${(100 * fresh.drop).toFixed(1)} ± ${(196 * fresh.dropError).toFixed(1)}` : '?'

const harm = (x: number | undefined): string => (x === undefined ? '?' : significant(x))

/** `0.71 × the harm of random (95 %: 0.62 to 0.81, 3 seeds)` */
export function comparisonText({ strategy, what, ratio, low, high, seeds, verdict }: SearchComparison): string {
  if (ratio === undefined) return `${strategy}: not compared with random`
  const times = `${strategy}: ${significant(ratio)} × the ${what} of random`
  if (low === undefined || high === undefined) return `${times}, under one seed: luck cannot be told`
  const says = verdict === 'same' ? 'not shown to be better than random' : `${verdict} than random`
  return `${times} (95 % of ${seeds} seeds: ${significant(low)} to ${significant(high)}): ${says}`
}

/** What was searched, what won, and pictures; `undefined` where there was no search. */
export function searchSection(search: SearchReport | undefined): Markup | undefined {
  if (!search) return undefined
  const rows = search.runs.map(
    (r) =>
      html`<tr><th scope="row">${r.strategy}</th><td class="n">${r.seed}</td><td class="n">${r.trials}</td><td class="n">${r.whole}</td><td class="n">${harm(r.harm)}</td><td class="n">${harm(r.fresh?.harm)}</td><td class="n">${drop(r)}</td><td class="n">${(r.msPerTrial / 1000).toFixed(2)} s</td></tr>`
  )
  const { edge, maxDrop = 0 } = search
  const what = edge?.cost ?? 'harm'
  const under = edge
    ? `for the least ${edge.cost} at a drop of at most ${100 * maxDrop} points, which is a harm of ${significant(edge.harm)} by models measured beforehand; the additive guess alone reaches ${significant(edge.share)} of the ${edge.cost}`
    : `under ${Object.entries(search.budgets)
        .map(([name, share]) => `${name} ≤ ${share}`)
        .join(', ')}`
  const [cost] = (['bytes', 'macs', 'latency'] as const).filter((n) =>
    search.points.some((p) => p.costs[n] !== undefined)
  )
  const chosen = Object.entries(search.chosen).map(
    ([id, choice]) => html`<tr><th scope="row">${id}</th><td>${choice}</td></tr>`
  )
  return section(
    'What was searched',
    html`<p class="about">${search.units.length} units ${under}. Harm is e² of the outputs: of each run’s best on the samples of trials, and on ${search.freshN} samples that no trial saw; drops are of these. Trials raced on ${search.rungs.join(', ')} samples.</p>`,
    html`<div class="table"><table><thead><tr><th>strategy</th><th class="n">seed</th><th class="n">trials</th><th class="n">on all samples</th><th class="n">harm</th><th class="n">on fresh ones</th><th class="n">drop, points</th><th class="n">a trial</th></tr></thead><tbody>${rows}</tbody></table></div>`,
    html`<ul class="plain">${search.comparisons.map((c) => html`<li>${comparisonText(c)}</li>`)}</ul>`,
    strategyLegend(search),
    html`<h3>Least ${what} so far, by trials</h3>`,
    progressChart(search),
    cost ? html`<h3>Harm against ${cost}; random beneath in grey</h3>` : undefined,
    cost ? frontChart(search, cost) : undefined,
    html`<h3>Choices of the best trials, cheapest at the bottom</h3>`,
    choicesChart(search),
    html`<h3>What mattered for being among the best tenth</h3>`,
    importanceChart(search),
    html`<details><summary>what the best one chose</summary><div class="table"><table><tbody>${chosen}</tbody></table></div></details>`
  )
}

/** Rows for the terminal: every run, then how strategies compare with random. */
export function searchLines(search: SearchReport): readonly string[] {
  const runs = search.runs.map(
    (r) =>
      `    ${`${r.strategy}, seed ${r.seed}`.padEnd(22)} ${String(r.trials).padStart(5)} trials   harm ${harm(r.harm).padStart(8)}   fresh ${harm(r.fresh?.harm).padStart(8)}   drop ${drop(r)} points`
  )
  return ['  searched', ...runs]
}

/** The part of the page on stages: who answers what, and the curve of score against mean cost. */
import { greatest, least } from '../base/extremes.ts'
import { html, type Markup, percent, section } from './markup.ts'
import { dealtAtRandom, gainText, keptText, promiseText, shareWords, stageRows } from './stages.ts'
import type { Report, StagePoint, Stages } from './types.ts'
import { countText, metricName, metricText, msText } from './words.ts'

export function stageSection({ stages: s }: Report): Markup | undefined {
  if (!s) return undefined
  const cost = (p: { readonly ms?: number; readonly macs?: number }): Markup =>
    html`<td class="n">${p.ms === undefined ? '?' : msText(p.ms)}</td><td class="n">${p.macs === undefined ? '?' : countText(p.macs)}</td>`
  const facts = s.stages.map(
    (f) =>
      html`<tr><th scope="row">${f.name}</th><td class="n">${shareWords(f.share)}</td><td class="n">${shareWords(f.expected)}</td>${cost(f)}</tr>`
  )
  const rows = stageRows(s).map(
    ([name, p]) =>
      html`<tr><th scope="row">${name}</th><td class="n">${metricText(s.metric, p.score)}</td>${cost(p)}</tr>`
  )
  const points = s.curve.map(
    (p) =>
      html`<tr><td class="n">${String(Number(p.threshold.toPrecision(6)))}</td><td class="n">${shareWords(p.share)}</td><td class="n">${metricText(s.metric, p.score)}</td>${cost(p)}</tr>`
  )
  return section(
    'Stages',
    html`<p class="about">Easy samples are answered early. Promised: ${promiseText(s)}. Judged: ${keptText(s)}. ${gainText(s)}</p>`,
    html`<div class="table"><table><thead><tr><th>stage</th><th class="n">answers</th><th class="n">expected</th><th class="n">time</th><th class="n">MACs</th></tr></thead><tbody>${facts}</tbody></table></div>`,
    html`<h3>${metricName(s.metric)} against mean cost</h3>`,
    chart(s),
    html`<div class="table"><table><thead><tr><th>mean of a sample</th><th class="n">${metricName(s.metric)}</th><th class="n">time</th><th class="n">MACs</th></tr></thead><tbody>${rows}</tbody></table></div>`,
    html`<details><summary>all thresholds</summary><div class="table"><table><thead><tr><th class="n">threshold</th><th class="n">reach the last stage</th><th class="n">${metricName(s.metric)}</th><th class="n">time</th><th class="n">MACs</th></tr></thead><tbody>${points}</tbody></table></div></details>`
  )
}

/** The curve, the line between its ends that samples dealt at random lie on, and the point that was chosen. */
function chart(s: Stages): Markup | undefined {
  const costOf = s.curve.every((p) => p.ms !== undefined)
    ? (p: StagePoint): number => p.ms as number
    : s.curve.every((p) => p.macs !== undefined)
      ? (p: StagePoint): number => p.macs as number
      : (p: StagePoint): number => p.share
  const all = [...s.curve, s.chosen]
  const [x0, x1] = [0, greatest(all.map(costOf))]
  const [y0, y1] = [least(all.map((p) => p.score)), greatest(all.map((p) => p.score))]
  const x = (p: StagePoint): string => percent(0.09 + ((costOf(p) - x0) / (x1 - x0 || 1)) * 0.9)
  const y = (p: StagePoint): number => Number((140 - ((p.score - y0) / (y1 - y0 || 1)) * 124).toFixed(1))
  const line = (a: StagePoint, b: StagePoint, kind: string): Markup =>
    html`<line class="${kind}" x1="${x(a)}" y1="${y(a)}" x2="${x(b)}" y2="${y(b)}"/>`
  const [late, early] = [s.curve[0], s.curve.at(-1)]
  const random = dealtAtRandom(s)
  const dot = (p: StagePoint, name: string): Markup =>
    html`<circle cx="${x(p)}" cy="${y(p)}" r="4"><title>${name}: ${metricText(s.metric, p.score)}</title></circle>`
  const ends = [y0, y1].map(
    (v, i) => html`<text class="tick end" x="8%" y="${i === 0 ? 144 : 20}">${metricText(s.metric, v)}</text>`
  )
  return html`<svg class="chart" width="100%" height="164" role="img" aria-label="${metricName(s.metric)} against mean cost; straight: samples dealt at random">${ends}${late && early ? line(late, early, 'grid') : undefined}${s.curve.slice(1).map((p, i) => line(s.curve[i] as StagePoint, p, 'sum'))}${early ? dot(early, 'first stage alone') : undefined}${late ? dot(late, 'all stages for every sample') : undefined}${random ? dot(random, 'dealt at random') : undefined}${dot(s.chosen, 'as it is')}</svg>`
}

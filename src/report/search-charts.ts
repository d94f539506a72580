/** The pictures of a search as SVG: the front, the best so far, choices side by side, and what mattered. */
import { greatest, least } from '../base/extremes.ts'
import { html, type Markup, percent } from './markup.ts'
import type { SearchPoint, SearchReport } from './search.ts'
import { significant } from './words.ts'

const height = 220

/** Colours of strategies by the order of their names in the report; random is grey. */
const palette = ['#2f6fdf', '#d2691e', '#2e8b57', '#8a4fbf', '#c23b5a', '#b8860b']
const colourOf = (names: readonly string[], strategy: string): string =>
  strategy === 'random'
    ? '#8a8f98'
    : (palette[names.filter((n) => n !== 'random').indexOf(strategy) % palette.length] ?? '#2f6fdf')

const strategiesOf = ({ runs }: SearchReport): readonly string[] => [...new Set(runs.map((r) => r.strategy))]

/** What the colours mean. */
export function strategyLegend(report: SearchReport): Markup {
  const names = strategiesOf(report)
  const items = names.map(
    (n) =>
      html`<li><svg width="12" height="12" aria-hidden="true"><circle cx="6" cy="6" r="5" fill="${colourOf(names, n)}"/></svg> ${n}</li>`
  )
  return html`<ul class="legend">${items}</ul>`
}

interface Scale {
  at(value: number): number
  readonly ticks: readonly number[]
}

/** Positions from 0 to 1 by the logarithm, with a tick at 1, 2 and 5 times each power of ten. */
function logScale(values: readonly number[]): Scale {
  const positive = values.filter((v) => v > 0 && Number.isFinite(v))
  const [low, high] = [Math.log10(least(positive)), Math.log10(greatest(positive))]
  const margin = Math.max(0.02, (high - low) * 0.08)
  const [from, to] = [low - margin, high + margin]
  const ticks: number[] = []
  for (let power = Math.floor(from); power <= to; power++)
    for (const step of [1, 2, 5]) ticks.push(Number((step * 10 ** power).toPrecision(3)))
  return {
    at: (v) => (Math.log10(v) - from) / (to - from),
    ticks: ticks.filter((t) => Math.log10(t) > from && Math.log10(t) < to)
  }
}

const y = (scale: Scale, v: number): number => Math.round((1 - scale.at(v)) * (height - 30) + 6)

const rowsOf = (scale: Scale): readonly Markup[] =>
  scale.ticks.map(
    (t) =>
      html`<line class="grid" x1="0" x2="100%" y1="${y(scale, t)}" y2="${y(scale, t)}"/><text class="tick" x="0" y="${y(scale, t) - 3}" text-anchor="start">${significant(t)}</text>`
  )

/** Cost of trials against their harm: random beneath in grey, what was dropped on few samples hollow. */
export function frontChart(report: SearchReport, cost: 'bytes' | 'macs' | 'latency'): Markup | undefined {
  const points = report.points.filter((p) => p.harm > 0 && Number.isFinite(p.harm) && (p.costs[cost] ?? 0) > 0)
  if (points.length < 2) return undefined
  const names = strategiesOf(report)
  const [xs, ys] = [logScale(points.map((p) => p.costs[cost] as number)), logScale(points.map((p) => p.harm))]
  const order = points.toSorted((a, b) => Number(b.strategy === 'random') - Number(a.strategy === 'random'))
  const mark = (p: SearchPoint): Markup => {
    const colour = colourOf(names, p.strategy)
    const title = `${p.strategy}, seed ${p.seed}, trial ${p.k}: ${significant(p.costs[cost] as number)} of the ${cost}, harm ${significant(p.harm)}${p.isWhole ? '' : ', dropped on few samples'}`
    return html`<circle cx="${percent(xs.at(p.costs[cost] as number))}" cy="${y(ys, p.harm)}" r="3.5" fill="${p.isWhole ? colour : 'none'}" stroke="${colour}"><title>${title}</title></circle>`
  }
  const columns = xs.ticks.map(
    (t) => html`<text class="tick" x="${percent(xs.at(t))}" y="${height - 4}">${significant(t)}</text>`
  )
  return html`<svg class="chart" width="100%" height="${height}" role="img" aria-label="${cost} against harm">${rowsOf(ys)}${columns}${order.map(mark)}</svg>`
}

/** Least so far of what is minimised against trials, a line for every run. */
export function progressChart(report: SearchReport): Markup | undefined {
  const runs = report.runs.filter((r) => r.curve.length > 0)
  if (runs.length === 0) return undefined
  const names = strategiesOf(report)
  const scale = logScale(runs.flatMap((r) => r.curve.map(([, h]) => h)))
  const most = greatest(
    runs.map((r) => r.trials),
    1
  )
  const lines = runs.flatMap((r) => {
    const colour = colourOf(names, r.strategy)
    const title = `${r.strategy}, seed ${r.seed}: ${significant(r.curve.at(-1)?.[1] ?? 0)} after ${r.trials} trials`
    return r.curve.map(([k, harm], i) => {
      const [end, next] = [r.curve[i + 1]?.[0] ?? r.trials, r.curve[i + 1]?.[1] ?? harm]
      const [x1, x2] = [percent(k / most), percent(end / most)]
      return html`<g stroke="${colour}" stroke-width="1.5"><line x1="${x1}" x2="${x2}" y1="${y(scale, harm)}" y2="${y(scale, harm)}"><title>${title}</title></line><line x1="${x2}" x2="${x2}" y1="${y(scale, harm)}" y2="${y(scale, next)}"/></g>`
    })
  })
  const columns = [0.25, 0.5, 0.75, 1].map(
    (at) => html`<text class="tick" x="${percent(at * 0.98)}" y="${height - 4}">${Math.round(at * most)}</text>`
  )
  return html`<svg class="chart" width="100%" height="${height}" role="img" aria-label="least ${report.edge?.cost ?? 'harm'} so far against trials">${rowsOf(scale)}${columns}${lines}</svg>`
}

/** Axes of units, at most: those that mattered most, in the order of the model. */
const mostAxes = 20

/** Choices of the best trials, a line each across the units; the darker, the less harm. */
export function choicesChart(report: SearchReport): Markup | undefined {
  const byWeight = [...report.units.keys()].sort(
    (a, b) => (report.units[b]?.importance ?? 0) - (report.units[a]?.importance ?? 0) || a - b
  )
  const axes = byWeight.slice(0, mostAxes).sort((a, b) => a - b)
  const best = report.points
    .filter((p) => p.isWhole)
    .toSorted((a, b) => a.harm - b.harm)
    .slice(0, 40)
  if (axes.length < 2 || best.length < 2) return undefined
  const x = (i: number): string => percent((i + 0.5) / axes.length)
  const at = (unit: number, p: SearchPoint): number => {
    const top = (report.units[unit]?.choices.length ?? 1) - 1
    return Math.round((1 - (top > 0 ? (p.point[unit] as number) / top : 1)) * (height - 30) + 8)
  }
  const verticals = axes.map((unit, i) => {
    const { id, choices } = report.units[unit] as SearchReport['units'][number]
    return html`<line class="grid" x1="${x(i)}" x2="${x(i)}" y1="8" y2="${height - 22}"><title>${id}: ${choices.join(', ')}</title></line><text class="tick" x="${x(i)}" y="${height - 4}">${i + 1}</text>`
  })
  const lines = best.toReversed().flatMap((p, rank) => {
    const strength = (0.15 + (0.85 * (rank + 1)) / best.length).toFixed(2)
    return axes.slice(1).map((unit, i) => {
      const before = axes[i] as number
      return html`<line x1="${x(i)}" x2="${x(i + 1)}" y1="${at(before, p)}" y2="${at(unit, p)}" stroke="#2f6fdf" stroke-opacity="${strength}"><title>${p.strategy} ${p.k}: harm ${significant(p.harm)}</title></line>`
    })
  })
  const names = axes.map((unit, i) => html`<li>${i + 1}: ${report.units[unit]?.id}</li>`)
  return html`<svg class="chart" width="100%" height="${height}" role="img" aria-label="choices of the best trials">${verticals}${lines}</svg><details><summary>axes</summary><ul class="plain">${names}</ul></details>`
}

/** Bars of the units that mattered most for being among the best. */
export function importanceChart(report: SearchReport): Markup | undefined {
  const units = report.units
    .filter((u) => (u.importance ?? 0) > 0)
    .toSorted((a, b) => (b.importance ?? 0) - (a.importance ?? 0))
    .slice(0, 12)
  const [first] = units
  if (!first) return undefined
  const rows = units.map((u) => {
    const share = u.importance as number
    return html`<tr><th scope="row">${u.id}</th><td><svg width="100%" height="12" aria-hidden="true"><rect width="${percent(share / (first.importance as number))}" height="12" fill="#2f6fdf"/></svg></td><td class="n">${(100 * share).toFixed(1)} %</td></tr>`
  })
  return html`<div class="table"><table><tbody>${rows}</tbody></table></div>`
}

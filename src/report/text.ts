/** The Report for a terminal: calm, aligned, units and direction in words, `?` for what is unknown. */
import { listed } from '../base/listed.ts'
import type { Interval } from '../types.ts'
import { costLines } from './costs.ts'
import { engineLines, layerLines } from './layers-text.ts'
import { searchLines } from './search-page.ts'
import { stageLines } from './stages.ts'
import { type Cell, cell, columns, right, type Style } from './table.ts'
import type { Candidate, Report } from './types.ts'
import { hasNoWinner, unmet } from './unmet.ts'
import {
  allowedText,
  bytesText,
  changeText,
  dataText,
  dropInterval,
  dropText,
  factor,
  fileName,
  mainMetric,
  measurementText,
  metricName,
  metricText,
  msText,
  onSamples,
  plain,
  runtimesText,
  shortNames,
  whole
} from './words.ts'

/** What the last lines tell beside the Report. */
export interface Ending {
  /** Did this command write the Report's output? */
  readonly wrote?: boolean
  /** Wall time of the command. */
  readonly ms?: number
  /** A command worth running next. */
  readonly next?: string
  /** Print the table of layers. */
  readonly layers?: boolean
}

/** Opening lines: the model, the data, the target. `facts` says what a Report does not hold (format, nodes). */
export function printOpening(report: Report, style: Style, facts?: string): string {
  const rows: Cell[][] = [
    [cell(plain(fileName(report.model.path), 40), style.bold), cell(facts ?? measurementText(report.before))]
  ]
  if (report.data) rows.push([cell('data'), cell(dataText(report.data))])
  const { engine, measured } = report.machine
  const runtimes = measured?.name === engine.name ? [] : [runtimesText(report)]
  rows.push([
    cell('target'),
    cell([plain(report.target), `${report.threads} thread${report.threads === 1 ? '' : 's'}`, ...runtimes].join(' · '))
  ])
  return `\n${columns(rows, 2, 3, [12]).join('\n')}\n`
}

/** All tables of the Report, then what became of it. */
export function printReport(report: Report, style: Style, ending: Ending = {}): string {
  const blocks = [
    report.search ? [...searchLines(report.search)] : [],
    candidates(report, style),
    beforeAfter(report, style),
    stageLines(report, style),
    ending.layers ? layerLines(report, style) : [],
    engineLines(report, style),
    refusals(report, style),
    report.notes.length > 0 ? report.notes.map((n) => `  ${style.dim('note')}  ${plain(n, 400)}`) : [],
    conclusion(report, style, ending)
  ].filter((b) => b.length > 0)
  return `\n${blocks.map((b) => b.join('\n')).join('\n\n')}\n`
}

// ---------------------------------------------------------------- candidates

function candidates(report: Report, style: Style): string[] {
  if (report.candidates.length === 0) return []
  const metric = mainMetric(report)
  const head = ['tried', 'file', 'time', metric === undefined ? '' : metricName(metric)].map((t, i) =>
    i === 0 ? cell(t, style.bold) : right(t, style.dim)
  )
  const rows = report.candidates.map((c): Cell[] => [
    cell(`  ${plain(c.name, 44)}`),
    right(factor(c.ratios.bytes)),
    right(factor(c.ratios.latency?.median)),
    right(candidateDrop(c, metric)),
    c.chosen ? cell(`← ${plain(c.why, 100)}`, style.good) : cell(plain(c.why, 100), style.dim)
  ])
  return columns([head, ...rows])
}

function candidateDrop(c: Candidate, metric: string | undefined): string {
  const drop = metric === undefined ? undefined : c.drop?.[metric]
  return drop && metric !== undefined ? changeText(metric, drop.value) : '?'
}

// ---------------------------------------------------------------- before and after

type Row = readonly [
  label: string,
  before: string | undefined,
  after: string | undefined,
  words: string,
  interval: string,
  good?: boolean
]

function beforeAfter(report: Report, style: Style): string[] {
  const rows = [...costRows(report), ...metricRows(report)]
  if (rows.length === 0) return []
  const paired = report.after !== undefined && report.ratios !== undefined
  const head = [cell(''), right(paired ? 'before' : '', style.dim), right(paired ? 'after' : '', style.dim)]
  const body = rows.map(([label, before, after, words, interval, good]): Cell[] => [
    cell(label),
    right(before ?? '?'),
    ...(paired ? [right(after ?? '?')] : []),
    cell(words, good === undefined ? undefined : good ? style.good : style.bad),
    cell(interval, style.dim)
  ])
  return columns(paired ? [head, ...body] : body, 2, 4, [14])
}

function costRows(report: Report): Row[] {
  return costLines(report).map((l) => {
    const like = Math.max(l.before ?? 0, l.after ?? 0)
    const isGood = l.verdict === undefined ? [] : [l.verdict === 'better']
    return [l.label, l.text(l.before, like), l.text(l.after, like), l.words, l.interval, ...(isGood as [] | [boolean])]
  })
}

function metricRows({ before, after, drop, agreement, data, constraint }: Report): Row[] {
  const rows: Row[] = []
  for (const [name, a] of Object.entries(before.metrics)) {
    const b = after?.metrics[name]
    const d = drop?.[name]
    const seen = onSamples((d ?? a).n, data)
    const isMet = constraint?.metric === name ? [constraint.met] : []
    rows.push([
      metricName(name),
      metricText(name, a.value),
      b ? metricText(name, b.value) : undefined,
      d ? dropText(name, d.value) : after ? '' : intervalText(name, a),
      d ? `${dropInterval(name, d)} ${seen}` : seen,
      ...(isMet as [] | [boolean])
    ])
  }
  if (agreement && before.metrics['agreement'] === undefined)
    rows.push(['agreement', '', metricText('agreement', agreement.value), '', `on ${whole(agreement.n)} samples`])
  return rows
}

const intervalText = (metric: string, i: Interval): string =>
  `[${metricText(metric, i.low).replace(' %', '')}, ${metricText(metric, i.high).replace(' %', '')}]`

// ---------------------------------------------------------------- endings

const refusalsShown = 6

/** Nodes left as they were for one reason. `bytes`: of what stays in float there; 0 where that is not known. */
interface RefusalGroup {
  readonly reason: string
  readonly nodes: readonly string[]
  readonly bytes: number
}

/** Refusals by reason, each node once; those of the most bytes come first. */
export function groupRefusals(report: Report): readonly RefusalGroup[] {
  const groups = new Map<string, { nodes: Set<string>; bytes: number }>()
  for (const r of report.refusals) {
    const group = groups.get(r.reason) ?? { nodes: new Set(), bytes: 0 }
    groups.set(r.reason, group)
    group.nodes.add(r.node || r.op)
    group.bytes += r.bytes ?? 0
  }
  const all = [...groups].map(([reason, { nodes, bytes }]) => ({ reason, nodes: [...nodes], bytes }))
  return all.sort((a, b) => b.bytes - a.bytes)
}

function refusals(report: Report, style: Style): string[] {
  const groups = groupRefusals(report)
  if (groups.length === 0) return []
  const lines = groups.slice(0, refusalsShown).map(({ reason, nodes, bytes }) => {
    const size = bytes > 0 ? ` (${bytesText(bytes)})` : ''
    return [cell(`  ${listed(shortNames(nodes))}`), cell(plain(reason, 200) + size, style.dim)]
  })
  const rest = groups.length - refusalsShown
  return [
    `  ${style.bold('left as it was')}`,
    ...columns(lines),
    ...(rest > 0 ? [style.dim(`    and ${rest} more reasons (--report FILE.html shows all)`)] : [])
  ]
}

function conclusion(report: Report, style: Style, ending: Ending): string[] {
  const lines: string[] = []
  const { constraint } = report
  if (constraint?.met) lines.push(`  ${style.good('✓')} within ${allowedText(constraint.metric, constraint.maxDrop)}`)
  else if (constraint || hasNoWinner(report)) lines.push(`  ${style.bad('✗')} ${unmet(report)}`)
  const parts = [report.output && ending.wrote ? `wrote ${plain(report.output.path)}` : '']
  if (ending.ms !== undefined) parts.push(style.dim(msText(ending.ms)))
  if (ending.next !== undefined) parts.push(style.dim(plain(ending.next, 400)))
  const line = parts.filter(Boolean).join('      ')
  return line ? [...lines, `  ${line}`] : lines
}

/** What got worse since an earlier report, for a terminal and as Markdown for the page of a CI job. */
import { type Cell, cell, columns, right, type Style } from './table.ts'
import type { Gate, GateRow } from './types.ts'
import { allowedText, bytesText, changeText, dropText, factor, metricName, metricText, plain } from './words.ts'

const names: Readonly<Record<string, string>> = { bytes: 'file', latency: 'latency, of the original’s' }
const nameOf = ({ what, kind }: GateRow): string => (kind === 'metric' ? metricName(what) : (names[what] ?? what))

function valueText({ what, kind }: GateRow, value: number | undefined): string {
  if (value === undefined) return '?'
  if (kind === 'metric') return metricText(what, value)
  return kind === 'bytes' ? bytesText(value) : factor(value)
}

/** `+1.2 %` */
const growth = (x: number): string => {
  const text = Math.abs(100 * x).toFixed(1)
  return `${Number(text) === 0 ? '' : x < 0 ? '−' : '+'}${text} %`
}

const changed = ({ what, kind, change }: GateRow): string =>
  !change ? '?' : kind === 'metric' ? dropText(what, change.value) : growth(change.value)

function intervalText({ what, kind, change }: GateRow): string {
  if (!change || change.low === change.high) return ''
  if (kind !== 'metric') return `[${growth(change.low)}, ${growth(change.high)}]`
  return `[${changeText(what, change.high)}, ${changeText(what, change.low)}]`
}

const boundText = ({ what, kind, bound }: GateRow): string =>
  bound === undefined ? '' : kind === 'metric' ? `${allowedText(what, bound)} lost` : growth(bound)

/** `worse`, `same`; with a bound also whether it is kept. */
function verdictText(row: GateRow): string {
  if (row.verdict === 'unknown') return `unknown: ${row.why ?? 'not measured'}`
  if (row.bound === undefined) return row.verdict
  return row.failed ? `${row.verdict}, beyond ${boundText(row)}` : `${row.verdict}, within ${boundText(row)}`
}

const conclusion = ({ failed, rows }: Gate): string => {
  if (failed)
    return `${rows
      .filter((r) => r.failed)
      .map(nameOf)
      .join(' and ')}: beyond the bound`
  const worse = rows.filter((r) => r.verdict === 'worse').map(nameOf)
  if (!rows.some((r) => r.bound !== undefined))
    return worse.length > 0 ? `worse: ${worse.join(', ')}; no bound was given` : 'nothing got worse'
  return worse.length > 0 ? `within the bounds; worse: ${worse.join(', ')}` : 'within the bounds; nothing got worse'
}

/** The text for a terminal. */
export function printGate(gate: Gate, style: Style): string {
  const head = ['', 'before', 'now', 'change', '', ''].map((t): Cell => right(t, style.dim))
  const rows = gate.rows.map((r): Cell[] => [
    cell(nameOf(r)),
    right(valueText(r, r.before)),
    right(valueText(r, r.after)),
    right(changed(r)),
    cell(intervalText(r), style.dim),
    cell(verdictText(r), r.failed ? style.bad : style.dim)
  ])
  const mark = gate.failed ? style.bad('✗') : style.good('✓')
  return [
    '',
    `  ${style.bold(`since ${plain(gate.baseline)}`)}`,
    ...columns([head, ...rows], 4),
    ...gate.notes.map((n) => `  ${style.dim('note')}  ${plain(n, 400)}`),
    '',
    `  ${mark} ${conclusion(gate)}`,
    ''
  ].join('\n')
}

const escaped = (text: string): string => plain(text, 400).replace(/[\\|<>`*_[\]]/g, (c) => `\\${c}`)

/** The same as Markdown, for the summary of a CI job. */
export function summaryOf(gate: Gate): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  const rows = gate.rows.map((r) => {
    const interval = intervalText(r)
    return line(
      [
        nameOf(r),
        valueText(r, r.before),
        valueText(r, r.after),
        interval === '' ? changed(r) : `${changed(r)} ${interval}`,
        verdictText(r)
      ].map(escaped)
    )
  })
  return [
    `### ${gate.failed ? '❌' : '✅'} ${escaped(conclusion(gate))}`,
    '',
    line(['', 'before', 'now', 'change (95 % interval)', '']),
    line(['---', '--:', '--:', '---', '---']),
    ...rows,
    '',
    `Since ${escaped(gate.baseline)}.${gate.notes.map((n) => ` Note: ${escaped(n)}.`).join('')}`,
    ''
  ].join('\n')
}

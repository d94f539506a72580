/** The terminal's page of what becomes of a model's operators on a device. */
import { cell, columns, type Style } from './table.ts'
import type { Change, OperatorVerdict, Preflight, Reason } from './types.ts'
import { plain, whole } from './words.ts'

const words: Readonly<Record<OperatorVerdict['verdict'], string>> = {
  runs: 'run on it',
  slow: 'run on it, slowly',
  behind: 'would run on it, and do not',
  elsewhere: 'run elsewhere',
  blocks: 'keep the model from loading',
  unknown: 'cannot be told'
}

/** Verdicts in the order that they are told in. */
const order = Object.keys(words) as readonly OperatorVerdict['verdict'][]

/** A line a verdict, then a line for each kind of operator and reason. */
export function printPreflight(p: Preflight, style: Style): string {
  const lines = ['', `  ${style.bold(`on ${p.target}`)}   ${headline(p)}`, '']
  for (const verdict of order) {
    const all = p.operators.filter((o) => o.verdict === verdict)
    if (all.length === 0) continue
    lines.push(`  ${mark(verdict, style)} ${whole(all.length)} ${words[verdict]}`)
    lines.push(
      ...columns(
        [...grouped(all)].map(([, same]) => rowOf(same, style)),
        4
      )
    )
  }
  for (const { op, operators } of p.gains)
    lines.push(`    without ${plain(op)}: ${whole(operators)} of ${whole(p.operators.length)} would run on it`)
  for (const c of p.changes)
    lines.push(
      `    ${style.accent('→')} ${plain(c.what)}${at(c, style)}: ${plain(c.why.says)}${sourceText(c.why, style)}`
    )
  for (const m of p.memory) lines.push(`    ${plain(m.says)}${sourceText(m, style)}`)
  for (const note of p.notes) lines.push(`    ${plain(note.says)}${sourceText(note, style)}`)
  lines.push(style.dim(`    facts: ${p.read} ${p.urls.join(' ')}`))
  return `${lines.join('\n')}\n`
}

function headline({ operators, parts, share, as, estimate }: Preflight): string {
  const on = operators.filter((o) => o.verdict === 'runs' || o.verdict === 'slow').length
  const of = `${whole(on)} of ${whole(operators.length)} operators`
  const work =
    share === undefined ? '' : ` · ${(100 * share).toFixed(share === 1 || share === 0 ? 0 : 1)} % of the multiply-adds`
  const split = parts > 1 ? ` · ${parts} parts` : ''
  const time = estimate === undefined ? '' : ` · about ${ms(estimate.ms)} ms, within a factor of two`
  return `${of}${work}${split}${time}${as ? ` · as ${as}, once it is quantized` : ''}`
}

const ms = (x: number): string => x.toPrecision(2)

/** Where a change is to be made. */
const at = ({ op, names }: Change, style: Style): string =>
  ` ${style.dim(
    `(${names.length} × ${plain(op, 32)}: ${names
      .slice(0, shown)
      .map((n) => plain(n, 28))
      .join(', ')}${names.length > shown ? ', …' : ''})`
  )}`

const mark = (verdict: OperatorVerdict['verdict'], style: Style): string =>
  verdict === 'runs' || verdict === 'slow' ? style.accent('●') : style.bad('●')

/** Operators of one name and reason. */
function grouped(all: readonly OperatorVerdict[]): ReadonlyMap<string, readonly OperatorVerdict[]> {
  const groups = new Map<string, OperatorVerdict[]>()
  for (const o of all) {
    const key = `${o.op} ${o.reasons.map((r) => r.says).join('; ')}`
    groups.set(key, [...(groups.get(key) ?? []), o])
  }
  return groups
}

const shown = 2

function rowOf(same: readonly OperatorVerdict[], style: Style): ReturnType<typeof cell>[] {
  const [first] = same
  const reasons = first?.reasons ?? []
  const names = same.slice(0, shown).map((o) => plain(o.name, 28))
  const at = first?.verdict === 'runs' ? '' : `${names.join(', ')}${same.length > shown ? ', …' : ''}`
  const why = reasons.map((r) => `${plain(r.says)}${sourceText(r, style)}`).join('; ')
  return [cell(`${same.length} × ${plain(first?.op ?? '', 32)}`), cell(why), cell(at, style.dim)]
}

const from = {
  source: 'source',
  documentation: 'documentation',
  issue: 'issue',
  memory: 'unverified',
  measured: 'measured'
} as const

const sourceText = (r: Reason, style: Style): string =>
  r.from === undefined ? '' : style.dim(` [${from[r.from]}${r.ref === undefined ? '' : `: ${r.ref}`}]`)

/** What `inspect` shows beside the Report: where bytes and work are by kind of layer, and what could be saved. */
import { greatest } from '../base/extremes.ts'
import { promiseText, shareWords } from './stages.ts'
import type { Style } from './table.ts'
import { bar, type Cell, cell, columns, pad, right, width } from './table.ts'
import type { Stages } from './types.ts'
import { bytesText, countText, plain } from './words.ts'

/** What one kind of layer holds of the whole. */
export interface Share {
  readonly kind: string
  /** Bytes or MACs; `undefined`: unknown. */
  readonly value: number | undefined
  readonly layers: number
}

/** Something worth doing to the model. */
export interface Saving {
  readonly what: string
  readonly effect: string
  /** The command that does it. */
  readonly command: string
}

/** Of a model that answers easy samples early, as its file tells it. */
export interface InspectedStages {
  /** Share of samples that it answers, where the threshold was chosen; MACs of a sample that leaves there. */
  readonly stages: readonly { readonly name: string; readonly share: number; readonly macs?: number }[]
  readonly threshold: number
  readonly guarantee: Stages['guarantee']
}

/** All that `inspect` shows. */
export interface Inspection {
  readonly name: string
  /** `ONNX 13 · 0.48 M parameters · 41 M MACs · 1.92 MB` */
  readonly facts: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly bytes: readonly Share[]
  readonly work: readonly Share[]
  readonly savings: readonly Saving[]
  readonly warnings: readonly string[]
  readonly stages?: InspectedStages
}

const shown = 8

/** The terminal's page of `pare inspect`. */
export function printInspection(i: Inspection, style: Style): string {
  const lines = ['', `  ${style.bold(plain(i.name, 60))}   ${i.facts}`, '']
  const ends = [
    ...i.inputs.map((t) => [cell('in', style.dim), cell(plain(t))]),
    ...i.outputs.map((t) => [cell('out', style.dim), cell(plain(t))])
  ]
  for (const line of columns(ends, 4)) lines.push(line)
  lines.push('')
  const left = shares(i.bytes, 'where the bytes are', (n) => bytesText(n), style)
  const rightSide = shares(i.work, 'where the work is', (n) => `${countText(n)} MACs`, style)
  const wide = Math.max(0, ...left.map((l) => l.width)) + 4
  for (let row = 0; row < Math.max(left.length, rightSide.length); row++) {
    const a = left[row] ?? { text: '', width: 0 }
    lines.push(`  ${a.text}${' '.repeat(wide - a.width)}${rightSide[row]?.text ?? ''}`.trimEnd())
  }
  for (const line of i.stages ? ['', ...stageLines(i.stages, style)] : []) lines.push(line)
  if (i.savings.length > 0)
    lines.push(
      '',
      `  ${style.bold('what could be saved')}`,
      ...columns(
        i.savings.map((s): Cell[] => [
          cell(plain(s.what, 60)),
          cell(plain(s.effect, 60)),
          cell(s.command, style.accent)
        ]),
        4
      )
    )
  for (const w of i.warnings) lines.push(`    ${style.bad('watch out:')} ${plain(w)}`)
  return `${lines.join('\n')}\n`
}

function stageLines({ stages, threshold, guarantee }: InspectedStages, style: Style): string[] {
  const known = stages.flatMap((s) => (s.macs === undefined ? [] : [s.macs * s.share]))
  const mean = known.length === stages.length ? known.reduce((a, b) => a + b, 0) : undefined
  const rows = stages.map((s): Cell[] => [
    cell(plain(s.name, 40)),
    right(`${shareWords(s.share)} of samples`),
    right(s.macs === undefined ? '? MACs' : `${countText(s.macs)} MACs`)
  ])
  return [
    `  ${style.bold('easy samples are answered early')}`,
    ...columns(rows, 4),
    `    ${mean === undefined ? '?' : countText(mean)} MACs a sample on average; confidence of at least ${Number(threshold.toPrecision(6))} leaves`,
    `    promised: ${promiseText({ guarantee })}`
  ]
}

interface Line {
  readonly text: string
  readonly width: number
}

function shares(all: readonly Share[], title: string, unit: (n: number) => string, style: Style): Line[] {
  const known = all.filter((s) => s.value !== undefined && s.value > 0)
  const unknown = all.filter((s) => s.value === undefined)
  const rows = known.slice(0, shown)
  const rest = known.slice(shown)
  const most = greatest(
    known.map((s) => s.value ?? 0),
    1
  )
  const names = rows.map((s) => plain(s.kind, 28))
  const wide = greatest(names.map(width), 12)
  const values = rows.map((s) => unit(s.value ?? 0))
  const valueWide = greatest(values.map(width), 0)
  const out: Line[] = [{ text: style.bold(title), width: width(title) }]
  for (const [k, s] of rows.entries()) {
    const drawn = pad(bar((s.value ?? 0) / most, 16), 16)
    const value = pad(values[k] ?? '', valueWide, 'right')
    const name = pad(names[k] ?? '', wide)
    out.push({ text: `  ${name}  ${style.accent(drawn)} ${value}`, width: 2 + wide + 2 + 16 + 1 + valueWide })
  }
  const dim = (text: string): void => void out.push({ text: style.dim(text), width: width(text) })
  if (rest.length > 0) dim(`  and ${rest.length} more kinds, ${unit(rest.reduce((n, s) => n + (s.value ?? 0), 0))}`)
  if (unknown.length > 0)
    dim(
      `  unknown (?): ${unknown
        .slice(0, 4)
        .map((s) => plain(s.kind, 20))
        .join(', ')}${unknown.length > 4 ? ', …' : ''}`
    )
  if (out.length === 1) dim('  nothing')
  return out
}

/** A family of files for a terminal: one row a file, by model, and why one was not written. */

import { type Cell, cell, columns, right, type Style } from './table.ts'
import type { Family, FamilyFile, Report } from './types.ts'
import { bytesText, factor, msText, plain } from './words.ts'

/** Below, less than half of the digits that int8 leaves are right: more is lost than rounding explains. */
const poorDb = 10

/** All files of a Report's family, then what became of them. */
export function printFamily(report: Report, family: Family, style: Style, ms: number): string {
  const blocks = [
    ...[...new Set(family.files.map((f) => f.model))].map((name) => modelRows(name, family, style)),
    failures(family, style),
    notes(report, family).map((n) => `  ${style.dim('note')}  ${plain(n, 2000)}`),
    conclusion(family, style, ms)
  ].filter((b) => b.length > 0)
  return `\n${blocks.map((b) => b.join('\n')).join('\n\n')}\n`
}

function modelRows(name: string, family: Family, style: Style): string[] {
  const files = family.files.filter((f) => f.model === name)
  const engines = [...new Set(files.flatMap((f) => f.runs.map((r) => r.engine)))]
  const head = [
    cell(plain(name, 40), style.bold),
    cell(''),
    right('size', style.dim),
    right('of original', style.dim),
    ...engines.map((e) => right(e.replace('onnxruntime-', ''), style.dim))
  ]
  return columns([head, ...files.map((f) => fileRow(f, engines, style))], 2, 3, [8])
}

function fileRow(f: FamilyFile, engines: readonly string[], style: Style): Cell[] {
  const runs = engines.map((engine) => {
    const run = f.runs.find((r) => r.engine === engine)
    if (!run) return right('?')
    if (run.failed !== undefined) return right('fails', style.bad)
    const { sqnrDb } = run
    return right(
      sqnrDb === undefined ? '?' : `${sqnrDb.toFixed(1).replace('-', '−')} dB`,
      (sqnrDb ?? 0) < poorDb ? style.bad : undefined
    )
  })
  return [cell(`  ${f.dtype}`), cell(plain(f.path, 60)), right(bytesText(f.bytes)), right(factor(f.ratio)), ...runs]
}

const failures = (family: Family, style: Style): string[] =>
  family.files
    .filter((f) => f.failed !== undefined)
    .map((f) => `  ${style.bad('not written')}  ${plain(f.path, 60)}: ${plain(f.failed ?? '', 400)}`)

/** What several files say is said once, with their types. */
function notes(report: Report, family: Family): string[] {
  const by = new Map<string, Set<string>>()
  for (const f of family.files)
    for (const n of [...f.notes, ...stayed(f)]) by.set(n, (by.get(n) ?? new Set()).add(f.dtype))
  const poor = family.files.filter((f) => f.failed === undefined && f.runs.some((r) => (r.sqnrDb ?? poorDb) < poorDb))
  return [
    ...report.notes,
    ...[...by].map(([text, types]) => `${[...types].join(', ')}: ${text}`),
    ...poor.map((f) => `${f.path}: below ${poorDb} dB the outputs have little in common with the original’s`),
    'SQNR is of the worst output; random inputs tell that a file works, not how accurate it is'
  ]
}

/** Of several reasons the first; the report has them all. */
function stayed({ model, refusals }: FamilyFile): string[] {
  const [first, ...others] = refusals
  if (!first) return []
  const what = others.length > 0 ? `${others.length + 1} nodes stay as they are` : '1 node stays as it is'
  const more = others.some((r) => r.reason !== first.reason) ? '; all reasons are in --report' : ''
  return [`${model}: ${what}: ${first.reason}${more}`]
}

function conclusion({ files, folder }: Family, style: Style, ms: number): string[] {
  const good = files.filter((f) => f.failed === undefined).length
  const text = `${good} of ${files.length} files written in ${plain(folder, 100)} · ${msText(ms)}`
  return [`  ${good === files.length ? style.good(text) : style.bad(text)}`]
}

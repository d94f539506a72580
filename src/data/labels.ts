/** Class labels: integer arrays, lists of class names, and `labels.csv`. */
import { PareError } from '../base/errors.ts'
import { isInteger, toNumbers } from '../ir/tensor.ts'
import type { Tensor } from '../types.ts'

/** Labels out of an integer array of [n] or [n, 1]. Throws `E_LABELS`. */
export function labelsOf(t: Tensor, where: string): readonly number[] {
  if (!isInteger(t.dtype))
    throw new PareError('E_LABELS', `labels are ${t.dtype}; they must be integers`, {
      where,
      hint: 'save class indices as int64'
    })
  if (t.shape.filter((d, i) => i === 0 || d !== 1).length !== 1)
    throw new PareError('E_LABELS', `labels of shape [${t.shape.join(', ')}]; one class index a sample is needed`, {
      where
    })
  return Array.from(toNumbers(t))
}

/** The label of a sample that has none. */
export const noLabel = -1

/**
 * The same labels when every one is a class of the model, or −1 where labels may be `partly` missing, which only training
 * can use; throws `E_LABELS` naming the first that is not.
 */
export function checkLabels(
  labels: readonly number[],
  classes: number | undefined,
  where: string,
  partly = false
): readonly number[] {
  const isFine = (l: number): boolean =>
    (Number.isSafeInteger(l) && l >= 0 && (classes === undefined || l < classes)) || (partly && l === noLabel)
  const at = labels.findIndex((l) => !isFine(l))
  if (at < 0) return labels
  throw new PareError('E_LABELS', `label ${labels[at]} is not a class of the model`, {
    where,
    facts: { sample: String(at), classes: classes === undefined ? 'from 0' : `0 to ${classes - 1}` },
    hint: 'check that data and model belong together, and that labels count from 0'
  })
}

/** Class names, one a line; the line number from 0 is the class. */
export function parseClassNames(text: string): readonly string[] {
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/)
  while (lines.length > 0 && lines.at(-1)?.trim() === '') lines.pop()
  return lines.map((line) => line.trim())
}

/** The class of a name; throws `E_LABELS` where no class, or more than one, has it. */
export function classNamed(name: string, names: readonly string[], where: string): number {
  const at = names.indexOf(name)
  if (at < 0) throw new PareError('E_LABELS', `'${name}' is not in the list of class names`, { where })
  if (names.lastIndexOf(name) !== at) throw new PareError('E_LABELS', `'${name}' names two classes`, { where })
  return at
}

export interface LabelRow {
  readonly file: string
  /** As written: a class index or name. */
  readonly label: string
}

/** Rows of `file,label`, with or without that header; fields may be quoted. Throws `E_LABELS` naming the line. */
export function parseLabelsCsv(text: string, where: string): readonly LabelRow[] {
  const rows: LabelRow[] = []
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/)
  lines.forEach((line, i) => {
    if (line.trim() === '') return
    const fields = csvFields(line)
    if (fields?.length !== 2) throw new PareError('E_LABELS', `line ${i + 1} is not 'file,label'`, { where })
    const [file, label] = fields as [string, string]
    if (i === 0 && file === 'file' && label === 'label') return
    if (file === '' || label === '' || file.includes('\0'))
      throw new PareError('E_LABELS', `line ${i + 1} lacks a file or a label`, { where })
    rows.push({ file, label })
  })
  return rows
}

/** Class indices of what a CSV says: numbers, or names of the list where one is given. */
export function labelIndices(
  rows: readonly LabelRow[],
  names: readonly string[] | undefined,
  where: string
): readonly number[] {
  return rows.map(({ label, file }) => {
    if (/^(?:\d{1,9}|-1)$/.test(label)) return Number(label)
    if (names) return classNamed(label, names, where)
    throw new PareError('E_LABELS', `label '${label}' of ${file} is not a class index`, {
      where,
      hint: '--labels FILE with the class names, one a line'
    })
  })
}

function csvFields(line: string): readonly string[] | undefined {
  const fields: string[] = []
  let at = 0
  for (;;) {
    if (line[at] === '"') {
      const end = closingQuote(line, at + 1)
      if (end < 0) return undefined
      fields.push(line.slice(at + 1, end).replaceAll('""', '"'))
      at = end + 1
      if (at < line.length && line[at] !== ',') return undefined
    } else {
      const comma = line.indexOf(',', at)
      const end = comma < 0 ? line.length : comma
      fields.push(line.slice(at, end).trim())
      at = end
    }
    if (at >= line.length) return fields
    at++
  }
}

function closingQuote(line: string, from: number): number {
  for (let at = line.indexOf('"', from); at >= 0; at = line.indexOf('"', at + 2)) if (line[at + 1] !== '"') return at
  return -1
}

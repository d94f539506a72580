/** Aligned columns for a terminal: widths count code points, colour is put on after padding. */

import { greatest } from '../base/extremes.ts'

/** Colours by meaning; each function puts its colour around a text. */
export interface Style {
  readonly bold: (text: string) => string
  readonly dim: (text: string) => string
  readonly good: (text: string) => string
  readonly bad: (text: string) => string
  readonly accent: (text: string) => string
}

const same = (text: string): string => text

/** No colour at all. */
export const noStyle: Style = { bold: same, dim: same, good: same, bad: same, accent: same }

/** One cell of a table. */
export interface Cell {
  readonly text: string
  readonly align?: 'left' | 'right'
  readonly style?: (text: string) => string
}

/** A cell, to the left. */
export const cell = (text: string, style?: Cell['style']): Cell => (style ? { text, style } : { text })
/** A cell, to the right. */
export const right = (text: string, style?: Cell['style']): Cell => ({ ...cell(text, style), align: 'right' })

/** Columns that a text takes. */
export const width = (text: string): number => [...text].length

/** Pads to a width; never cuts. */
export function pad(text: string, to: number, align: 'left' | 'right' = 'left'): string {
  const space = ' '.repeat(Math.max(0, to - width(text)))
  return align === 'right' ? space + text : text + space
}

/** Rows of cells as aligned lines, each starting with `indent` spaces; columns are 3 apart. */
export function columns(
  rows: readonly (readonly Cell[])[],
  indent = 2,
  gap = 3,
  least: readonly number[] = []
): string[] {
  const count = greatest(
    rows.map((r) => r.length),
    0
  )
  const widths = Array.from({ length: count }, (_, i) =>
    greatest(
      rows.map((r) => width(r[i]?.text ?? '')),
      least[i] ?? 0
    )
  )
  return rows.map((row) => {
    const line = row
      .map((c, i) => {
        const isLast = i === row.length - 1
        const padded = isLast && c.align !== 'right' ? c.text : pad(c.text, widths[i] ?? 0, c.align)
        return c.style ? c.style(padded) : padded
      })
      .join(' '.repeat(gap))
    return `${' '.repeat(indent)}${line}`.trimEnd()
  })
}

const eighths = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉']

/** A bar of `share` (0 … 1) of `size` characters, in steps of an eighth; never empty for a share above zero. */
export function bar(share: number, size: number): string {
  const steps = Math.max(share > 0 ? 1 : 0, Math.round(Math.min(1, Math.max(0, share)) * size * 8))
  return '█'.repeat(Math.floor(steps / 8)) + (eighths[steps % 8] ?? '')
}

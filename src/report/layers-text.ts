/** Layers and engines for a terminal: the worst first. */

import { greatest } from '../base/extremes.ts'
import { type Cell, cell, columns, right, type Style } from './table.ts'
import type { Coverage, EngineModel, Layer, Report } from './types.ts'
import { bytesText, dbText, dbWords, metricText, msText, plain, significant, whole } from './words.ts'

const layersShown = 20

/** How bad a layer is, lower is worse: what it alone does to the output, else its own error, else all before it. */
export const faithfulness = (l: Layer): number =>
  l.outputSqnrDb ?? l.sqnrDb ?? l.accumulatedSqnrDb ?? Number.POSITIVE_INFINITY

/** Layers with the worst first; those of which nothing is known last. */
export const worstFirst = (layers: readonly Layer[]): readonly Layer[] =>
  layers.toSorted((a, b) => {
    const [x, y] = [faithfulness(a), faithfulness(b)]
    return x === y ? 0 : x - y
  })

/** `0.3 %`, `< 0.01 %`, `0` */
export function shareText(share: number | undefined): string {
  if (share === undefined) return '?'
  if (share === 0) return '0'
  return share < 1e-4 ? '< 0.01 %' : `${significant(share * 100, 2)} %`
}

/** `[−1.2, 3.4]` */
export const spanText = (low: number, high: number): string => `[${significant(low, 2)}, ${significant(high, 2)}]`

type Column = readonly [head: string, of: (l: Layer) => string | undefined]

const errors: readonly Column[] = [
  ['output', (l) => dbOf(l.outputSqnrDb)],
  ['own', (l) => dbOf(l.sqnrDb)],
  ['sum', (l) => dbOf(l.accumulatedSqnrDb)],
  ['file', (l) => (l.bytes === undefined ? undefined : bytesText(l.bytes))],
  ['time', (l) => (l.ms === undefined ? undefined : msText(l.ms))]
]

const ranges: readonly Column[] = [
  ['values', (l) => rangeOf(l.activation)],
  ['codes', (l) => coveredOf(l.activation)],
  ['lowest', (l) => l.activation && shareText(l.activation.saturation.low)],
  ['highest', (l) => l.activation && shareText(l.activation.saturation.high)],
  ['cut off', (l) => l.activation && shareText(l.activation.clipped)],
  ['weight', (l) => rangeOf(l.weight)],
  ['its codes', (l) => coveredOf(l.weight)],
  ['at ends', (l) => l.weight && shareText(l.weight.saturation.low + l.weight.saturation.high)]
]

const about =
  'dB, higher is better: output, with only this layer compressed; own, at the layer itself; sum, with all before it'

/** Two tables of layers, the worst first: errors, and what codes cover. */
export function layerLines(report: Report, style: Style): string[] {
  const layers = worstFirst(report.layers)
  const shown = layers.slice(0, layersShown)
  if (shown.length === 0) return []
  const rest = layers.length - shown.length
  const coded = shown.filter((l) => l.activation ?? l.weight)
  const ranAs = (l: Layer): Cell[] => [
    cell(plain(l.kind ?? l.op, 24)),
    cell(plain(l.kernel?.replace(/^com\.microsoft:/, '') ?? '?', 24))
  ]
  return [
    ...table('layers, worst first', shown, errors, style, ranAs),
    style.dim(`    ${about}`),
    ...(coded.length > 0 ? ['', ...table('what codes cover', coded, ranges, style)] : []),
    ...(rest > 0 ? [style.dim(`    and ${whole(rest)} more layers (--report FILE.html shows all)`)] : [])
  ]
}

function table(
  title: string,
  layers: readonly Layer[],
  all: readonly Column[],
  style: Style,
  beside: (l: Layer) => Cell[] = () => []
): string[] {
  const used = all.filter(([, of]) => layers.some((l) => of(l) !== undefined))
  const blank = layers[0] ? beside(layers[0]).map(() => cell('')) : []
  const head = [cell(title, style.bold), ...blank, ...used.map(([h]) => right(h, style.dim))]
  const rows = layers.map((l) => [
    cell(`  ${ending(plain(l.node), nameWidth)}`),
    ...beside(l),
    ...used.map(([, of]) => right(of(l) ?? ''))
  ])
  return columns([head, ...rows], 2, 2)
}

const nameWidth = 32

/** The end of a name tells more than its beginning. */
const ending = (name: string, most: number): string => (name.length > most ? `…${name.slice(1 - most)}` : name)

const dbOf = (db: number | undefined): string | undefined => (db === undefined ? undefined : dbWords(db))
const rangeOf = (c: Coverage | undefined): string | undefined => c && spanText(c.range.min, c.range.max)
const coveredOf = (c: Coverage | undefined): string | undefined => c && spanText(c.covered.low, c.covered.high)

// ---------------------------------------------------------------- engines

/** One sentence on a model in two engines. */
export function engineWords(m: EngineModel): string {
  if (m.failed) return `${m.failed.engine} cannot run it: ${m.failed.reason}`
  const worst = greatest(
    m.outputs.map((o) => o.difference),
    0
  )
  const bound = `${significant(worst * 100, 2)} % of the largest value, ${significant(m.tolerance * 100, 2)} % allowed`
  if (m.agrees) return `same numbers (${bound})`
  const where = m.first
    ? `; first at ${m.first.node} (${m.first.op}), ${significant(m.first.difference * 100, 2)} %`
    : '; no layer differs while its values are watched: an engine’s fusion of operators is at fault'
  return `different numbers (${bound})${where}`
}

/** The engines' agreement, one line a model and one an output. */
export function engineLines(report: Report, style: Style): string[] {
  const { engines } = report
  if (!engines) return []
  const rows = engines.models.flatMap((m): Cell[][] => [
    [cell(`  ${m.model}`), cell(plain(engineWords(m), 300), m.agrees ? style.good : style.bad)],
    ...m.outputs.map((o): Cell[] => [
      cell(`    ${plain(o.name, 40)}`),
      cell(
        [
          o.sqnrDb === undefined ? '' : dbText(o.sqnrDb),
          o.agreement === undefined ? '' : `same answer on ${metricText('agreement', o.agreement)}`
        ]
          .filter((t) => t !== '')
          .join(' · '),
        style.dim
      )
    ])
  ])
  const title = `${engines.names.map((n) => plain(n, 40)).join(' and ')}, on ${whole(engines.n)} samples`
  return [`  ${style.bold('engines')}  ${title}`, ...columns(rows)]
}

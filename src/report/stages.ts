/** Stages of a model that answers easy samples early, for a terminal; and the words that the page shares. */
import { type Cell, cell, columns, right, type Style } from './table.ts'
import type { Report, StagePoint, Stages } from './types.ts'
import { countText, metricName, metricText, msText, plain, ratioText, whole } from './words.ts'

/** `15.2 %` */
export const shareWords = (x: number): string => `${(100 * x).toFixed(1)} %`

const bound = (x: number): string => `${Number((100 * x).toPrecision(3))}`

/** What was promised. */
export function promiseText({ guarantee: g }: Pick<Stages, 'guarantee'>): string {
  const sure = `sure in ${bound(1 - g.risk)} % of draws of ${whole(g.n)} samples`
  return g.kind === 'drop'
    ? `at most ${bound(g.most)} points of accuracy lost against the last stage, ${sure}`
    : `at most ${bound(g.most)} % of answers other than the last stage’s, ${sure}`
}

/** What came of it on other samples. */
export function keptText({ changed, lost, n }: Stages): string {
  const others = `${shareWords(changed.value)} of ${whole(n)} other samples got another answer`
  if (!lost) return others
  const points = (x: number): string =>
    (100 * x)
      .toFixed(1)
      .replace('-', '−')
      .replace(/^−0\.0$/, '0.0')
  return `${others}; ${points(-lost.value)} points of accuracy [${points(-lost.high)}, ${points(-lost.low)}] against the last stage`
}

/** A point of the curve where samples are dealt at random to the first and the last stage, as many as the chosen one deals. */
export function dealtAtRandom({ curve, chosen }: Stages): StagePoint | undefined {
  const [late, early] = [curve[0], curve.at(-1)]
  if (!late || !early) return undefined
  const between = (a: number, b: number): number => b + chosen.share * (a - b)
  return {
    ...{ threshold: chosen.threshold, share: chosen.share, score: between(late.score, early.score) },
    ...(late.ms === undefined || early.ms === undefined ? {} : { ms: between(late.ms, early.ms) }),
    ...(late.macs === undefined || early.macs === undefined ? {} : { macs: between(late.macs, early.macs) })
  }
}

/** The rows that a curve is compared by. */
export function stageRows(s: Stages): readonly (readonly [name: string, point: StagePoint])[] {
  const random = dealtAtRandom(s)
  const [late, early] = [s.curve[0], s.curve.at(-1)]
  return [
    ['as it is', s.chosen],
    ...(early ? [['first stage alone', early] as const] : []),
    ...(late ? [['all stages for every sample', late] as const] : []),
    ...(random ? [['dealt at random', random] as const] : [])
  ]
}

/** `2.1 × less time` against the original, or against all of its stages. */
export function gainText(s: Stages): string {
  const { ms } = s.chosen
  const whole = s.originalMs ?? s.curve[0]?.ms
  if (ms === undefined || whole === undefined) return ''
  return `${ratioText(ms / whole, 'less time', 'more time', 'the same time')} a sample, against ${s.originalMs === undefined ? 'all stages' : 'the original'}`
}

/** Text for the terminal. */
export function stageLines({ stages: s }: Report, style: Style): string[] {
  if (!s) return []
  const head = ['stage', 'answers', 'expected', 'ms', 'MACs'].map((t, i) =>
    i === 0 ? cell(t, style.bold) : right(t, style.dim)
  )
  const facts = s.stages.map((f): Cell[] => [
    cell(`  ${plain(f.name, 44)}`),
    right(shareWords(f.share)),
    right(shareWords(f.expected), style.dim),
    right(f.ms === undefined ? '?' : msText(f.ms)),
    right(f.macs === undefined ? '?' : countText(f.macs))
  ])
  const rows = stageRows(s).map(([name, p]): Cell[] => [
    cell(`  ${name}`),
    right(metricText(s.metric, p.score)),
    right(p.ms === undefined ? '?' : msText(p.ms)),
    right(p.macs === undefined ? '?' : countText(p.macs))
  ])
  const means = ['mean of a sample', metricName(s.metric), 'ms', 'MACs'].map((t, i) =>
    i === 0 ? cell(t, style.bold) : right(t, style.dim)
  )
  const gain = gainText(s)
  return [
    ...columns([head, ...facts]),
    '',
    ...columns([means, ...rows]),
    '',
    ...(gain ? [`  ${style.good(gain)}`] : []),
    `  promised  ${promiseText(s)}`,
    `  judged    ${keptText(s)}`
  ]
}

/** Why nothing was written: the true hindrance, what came nearest and what to try. */
import type { Candidate, Hindrance, Report } from './types.ts'
import { allowedText, dropInterval, dropText, factor, onSamples, plain } from './words.ts'

/** Were candidates looked for, and none taken? */
export const hasNoWinner = ({ candidates, objective }: Report): boolean =>
  (candidates.length > 0 || objective !== undefined) && candidates.every((c) => !c.chosen)

/** Why nothing was written, what came nearest and what to try: the hindrance of the candidates that came furthest. */
export function unmet(report: Report): string {
  const { constraint } = report
  const drop = constraint && report.drop?.[constraint.metric]
  if (constraint && drop) {
    const { metric, maxDrop } = constraint
    const lost = `not within ${allowedText(metric, maxDrop)}: ${dropText(metric, drop.value)} ${dropInterval(metric, drop)} ${onSamples(drop.n, report.data)}`
    return report.candidates.length === 0 ? lost : `${lost}. ${adviceOn.accuracy}`
  }
  const { candidates } = report
  const furthest = (['speed', 'bytes', 'accuracy', 'check'] as const).find((h) =>
    candidates.some((c) => c.hindrance === h)
  )
  if (candidates.length === 0 && report.objective !== undefined)
    return 'no candidate was measured in the time allowed. Nothing was written. Try a longer --max-time.'
  if (!furthest) return constraint ? `no candidate stays within ${boundOf(report)}. ${adviceOn.accuracy}` : ''
  const others = (['accuracy', 'check'] as const).flatMap((h) => {
    const n = h === furthest ? 0 : candidates.filter((c) => c.hindrance === h).length
    return n === 0
      ? []
      : [h === 'accuracy' ? `${n} more lose${n === 1 ? 's' : ''} too much` : `${n} more cannot be made or run`]
  })
  return `${[hindered[furthest](report), ...others].join('; ')}. ${adviceOn[furthest]}`
}

const boundOf = ({ constraint }: Report): string =>
  constraint ? allowedText(constraint.metric, constraint.maxDrop) : 'the bound'

const adviceOn: Readonly<Record<Hindrance, string>> = {
  accuracy: 'Nothing was written. Try a larger --max-drop, or more --data.',
  speed: 'Nothing was written. Try --objective size.',
  bytes: 'Nothing was written: the original is the smallest. Try --objective latency.',
  check: 'Nothing was written.'
}

/** The candidate of a hindrance that comes first by a number; lower is better. */
function nearest(
  report: Report,
  hindrance: Hindrance,
  by: (c: Candidate) => number | undefined
): Candidate | undefined {
  return report.candidates
    .filter((c) => c.hindrance === hindrance)
    .sort((a, b) => (by(a) ?? Number.POSITIVE_INFINITY) - (by(b) ?? Number.POSITIVE_INFINITY))[0]
}

const hindered: Readonly<Record<Hindrance, (report: Report) => string>> = {
  speed(report) {
    const near = nearest(report, 'speed', (c) => c.ratios.latency?.median)
    const within = report.constraint
      ? `what stays within ${boundOf(report)} is slower than the original`
      : 'no candidate is as fast as the original'
    return near
      ? `${within}; nearest: ${plain(near.name, 60)}, ${factor(near.ratios.latency?.median)} the time at ${factor(near.ratios.bytes)} the bytes`
      : within
  },
  bytes(report) {
    const near = nearest(report, 'bytes', (c) => c.ratios.bytes)
    const within = report.constraint
      ? `what stays within ${boundOf(report)} is larger than the original`
      : 'no candidate is smaller than the original'
    return near ? `${within}; nearest: ${plain(near.name, 60)}, ${factor(near.ratios.bytes)} the bytes` : within
  },
  accuracy(report) {
    const metric = report.constraint?.metric ?? ''
    const near = nearest(report, 'accuracy', (c) => c.drop?.[metric]?.value)
    const drop = near?.drop?.[metric]
    const told =
      near && drop
        ? `; nearest: ${plain(near.name, 60)}, ${dropText(metric, drop.value)} at ${factor(near.ratios.bytes)}`
        : ''
    return `no candidate stays within ${boundOf(report)}${told}`
  },
  check(report) {
    const first = report.candidates.find((c) => c.hindrance === 'check')
    return `no candidate could be made and run${first ? `; ${plain(first.name, 60)}: ${plain(first.why, 200)}` : ''}`
  }
}

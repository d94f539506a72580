/** What is told of thresholds and guarantees. */
import type { Adaptive } from '../../data/adaptive.ts'
import { sharesOf } from '../../data/adaptive.ts'
import { never, routed, thresholdsFor } from '../../data/thresholds.ts'
import type { Context } from '../types.ts'
import type { Promising } from './promise.ts'

const percent = (x: number): string => `${Number((100 * x).toPrecision(3))} %`

/** `at most 1 % of answers other than the last stage's, sure in 95 % of draws of 1500 samples` */
export function guaranteeText({ guarantee: g }: Pick<Adaptive, 'guarantee'>): string {
  const what =
    g.kind === 'drop' ? 'points of accuracy lost against the last stage' : 'answers other than the last stage’s'
  return `at most ${percent(g.most)} ${g.kind === 'drop' ? what : `of ${what}`}, sure in ${percent(1 - g.risk)} of draws of ${g.n} samples`
}

/** Notes, and what the report holds of the choice. */
export function told({ adaptive, routes }: Promising, ctx: Pick<Context, 'note' | 'plan'>): void {
  const shares = sharesOf(adaptive)
  const left = adaptive.stages.map((name, i) => `${percent(shares[i] ?? 0)} ${name}`)
  ctx.note(
    `threshold ${Number(adaptive.threshold.toPrecision(6))}: ${guaranteeText(adaptive)}; answered by ${left.join(', ')}`
  )
  if (shares.at(-1) === 0) {
    const last = adaptive.stages[shares.findLastIndex((s) => s > 0)]
    ctx.note(
      `every sample is answered before the last stage: the model up to ${last} keeps the promise, in a smaller file`
    )
  }
  const classes = new Set(routes.answers.at(-1)).size
  ctx.plan({
    ...adaptive,
    curve: [never, ...thresholdsFor(Math.max(2, classes))]
      .filter((_, i) => i % 10 === 0)
      .map((t) => {
        const { counts, changed } = routed(routes, t)
        return { threshold: t, counts, changed }
      })
  })
}

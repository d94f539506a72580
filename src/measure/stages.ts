/** What a model that answers easy samples early comes to on samples: shares, answers, the curve of score against mean cost. */
import { type Adaptive, sharesOf } from '../data/adaptive.ts'
import { never, type Routes, type Routing, routed, thresholdsFor } from '../data/thresholds.ts'
import { unfoldStages } from '../ir/stages.ts'
import { costOf, type Shapes } from '../ops/cost.ts'
import { inferShapes } from '../ops/infer.ts'
import type { StageFacts, StagePoint, Stages } from '../report/types.ts'
import type { Model } from '../types.ts'
import { prefixOf } from './cut.ts'
import { pairedProportions, wilson } from './intervals.ts'

/** Cost of a sample by the stage that answers it, all stages before included. */
export interface StageCosts {
  readonly ms?: readonly number[]
  readonly macs?: readonly number[]
}

/** Multiply-adds of a sample by the stage that answers it; `undefined` where they are not known. */
export function stageMacs(
  model: Model,
  { exits }: Pick<Adaptive, 'exits'>,
  shapes?: Shapes
): readonly number[] | undefined {
  const unfolded = unfoldStages(model, exits)
  if (!unfolded) return undefined
  const straight = inferShapes(unfolded.model)
  const out = unfolded.scores.map((_, i) => costOf(prefixOf(straight, unfolded.scores.slice(0, i + 1)), shapes).total)
  return out.every((macs) => macs !== undefined) ? (out as number[]) : undefined
}

/** Mean over samples of what their stages cost. */
export const meanCost = (costs: readonly number[], shares: readonly number[]): number =>
  costs.reduce((sum, c, i) => sum + c * (shares[i] ?? 0), 0)

/** Points of the curve that are shown, about. */
const pointsShown = 40

/** The figures of a report. */
export function stagesOn(r: Routes, a: Adaptive, costs: StageCosts, classes: number): Stages {
  const at = routed(r, a.threshold)
  const metric = at.labelled > 0 ? ('top1' as const) : ('agreement' as const)
  const point = (of: Routing): StagePoint => {
    const shares = sharesOf(of)
    return {
      threshold: of.threshold,
      share: shares.at(-1) ?? 0,
      score: metric === 'top1' ? of.right / of.labelled : 1 - of.changed / r.n,
      ...(costs.ms ? { ms: meanCost(costs.ms, shares) } : {}),
      ...(costs.macs ? { macs: meanCost(costs.macs, shares) } : {})
    }
  }
  const { kind, most, risk, n } = a.guarantee
  return {
    ...{ kind: a.kind, n: r.n, metric, stages: factsOf(at, a, costs), guarantee: { kind, most, risk, n } },
    changed: wilson(at.changed, r.n),
    ...(at.labelled > 0 ? { lost: pairedProportions(at.lost, at.won, at.labelled) } : {}),
    chosen: point(at),
    curve: thinned([never, ...thresholdsFor(classes)].map((t) => point(routed(r, t))))
  }
}

function factsOf(at: Routing, a: Adaptive, { ms, macs }: StageCosts): readonly StageFacts[] {
  const [shares, expected] = [sharesOf(at), sharesOf(a)]
  return a.stages.map((name, i) => ({
    ...{ name, share: shares[i] ?? 0, expected: expected[i] ?? 0 },
    ...(ms?.[i] === undefined ? {} : { ms: ms[i] as number }),
    ...(macs?.[i] === undefined ? {} : { macs: macs[i] as number })
  }))
}

/** Points that differ, with about even steps of the share; the first and the last stay. */
function thinned(points: readonly StagePoint[]): readonly StagePoint[] {
  const out: StagePoint[] = []
  for (const [i, p] of points.entries()) {
    const last = out.at(-1)
    const isEnd = i === 0 || i === points.length - 1
    if (isEnd || (last && Math.abs(last.share - p.share) >= 1 / pointsShown)) out.push(p)
  }
  return out
}

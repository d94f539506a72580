/**
 * A trial: one candidate and what was measured of it, as plain data. It holds no model, so that thousands can be kept, and
 * survives JSON, so that it can be written down and taken up again.
 */
import { quickHash } from '../base/bytes.ts'
import type { Recipe, Refusal } from '../passes/types.ts'
import type { Candidate, CostName, Step } from '../report/types.ts'
import type { Interval, Latency, Ratio } from '../types.ts'
import type { Standing, Verdict } from './choose.ts'

/** A candidate to be made and measured. */
export interface Proposal {
  readonly name: string
  /** All passes from the original model on. */
  readonly recipe: Recipe
  /** A search finds passes, which stand behind the first `behind` of the recipe: channels and types of the least of a cost. */
  readonly search?: { readonly behind: number; readonly least: CostName; readonly maxDrop: number }
  /** Where it lies in the strategy's own space, one number per variable; kept in the trial. */
  readonly point?: readonly number[]
}

export interface Timing {
  readonly before: Latency
  readonly after: Latency
  readonly ratio: Ratio
}

/** What every trial begins with. */
export interface Asked {
  /** Tells it by content: what the job is of, and the recipe that was proposed. */
  readonly key: string
  readonly proposal: Proposal
}

/** A candidate as measured on the parts that choose. */
export interface Measured extends Asked {
  /** What makes the very same bytes without searching; equal to the proposed one where no pass searched. */
  readonly recipe: Recipe
  readonly bytes: number
  /** Of the file as it was measured; absent where the host does not tell. */
  readonly sha256?: string
  readonly macs: number | '?'
  /** The candidate's own metrics. */
  readonly metrics: Readonly<Record<string, Interval>>
  /** How much worse every metric became, paired by sample; positive is worse. */
  readonly drop: Readonly<Record<string, Interval>>
  /** ‖y−r‖/‖r‖ of the outputs against the original's, mean over samples. */
  readonly error: number
  readonly timing?: Timing
  readonly steps: readonly Step[]
  readonly refusals: readonly Refusal[]
  readonly notes: readonly string[]
}

/** A candidate that could not be made, loaded or run. */
export interface Failed extends Asked {
  /** What happened, in words. */
  readonly failed: string
}

export type Trial = Measured | Failed

/** Did a trial come to figures? */
export const isMeasured = (trial: Trial): trial is Measured => !('failed' in trial)

/** The trials that came to figures. */
export const measuredOf = (trials: readonly Trial[]): readonly Measured[] => trials.filter(isMeasured)

/** Facts that tell one job from another: its model, data, engine, versions, seed and the like. */
export type Identity = Readonly<Record<string, string | number | boolean>>

/** Key of a proposal's trial in a job. */
export function keyOf(identity: Identity, { recipe, search }: Pick<Proposal, 'recipe' | 'search'>): string {
  const text = canonical([identity, recipe, ...(search ? [search] : [])])
  return quickHash(new TextEncoder().encode(text)).replace(':', '-')
}

/** JSON with the names of every object in order. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_, v: unknown) => {
    if (typeof v !== 'object' || v === null || Array.isArray(v)) return v
    return Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
  })
}

/** What the choice looks at. `original`: bytes of the original file. */
export function standing(trial: Measured, metric: string, original: number): Standing {
  return {
    name: trial.proposal.name,
    bytesRatio: trial.bytes / original,
    ...(trial.timing ? { latency: trial.timing.ratio } : {}),
    macs: trial.macs,
    drop: trial.drop[metric]?.value ?? 0,
    error: trial.error
  }
}

/** A trial as the report shows it. */
export function candidateOf(trial: Trial, original: number, chosen = false, verdict?: Verdict): Candidate {
  const { name, recipe: proposed } = trial.proposal
  if (!isMeasured(trial))
    return {
      ...{ name, recipe: proposed, measurement: { bytes: 0, metrics: {} }, ratios: { bytes: 0 }, chosen: false },
      hindrance: 'check',
      why: trial.failed
    }
  const { recipe, bytes, metrics, timing, drop } = trial
  return {
    name,
    recipe,
    measurement: { bytes, metrics, ...(timing ? { latencyMs: timing.after } : {}) },
    ratios: { bytes: bytes / original, ...(timing ? { latency: timing.ratio } : {}) },
    drop,
    chosen,
    ...(verdict?.hindrance ? { hindrance: verdict.hindrance } : {}),
    why: verdict?.why ?? ''
  }
}

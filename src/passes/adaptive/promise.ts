/** From a straight model and samples to a folded one: what is said of scores, the threshold that keeps what was promised. */
import { z } from 'zod'
import { PareError } from '../../base/errors.ts'
import { type Adaptive, withAdaptive } from '../../data/adaptive.ts'
import {
  type Kept,
  lowestKept,
  never,
  nothingKept,
  type Promised,
  type Routes,
  thresholdsFor
} from '../../data/thresholds.ts'
import { foldStages, type ScoreForm, unfoldStages, withThresholds } from '../../ir/stages.ts'
import { routesOf, type Scores, type Seen } from '../../observe/routes.ts'
import type { Dataset, Model } from '../../types.ts'
import { taskOf } from '../train/task.ts'
import type { Context } from '../types.ts'

const share = z.number().gt(0).lt(1).meta({ format: 'share' })

/** What of the last stage's answers may be lost. */
export const promiseFields = {
  maxDisagreement: share
    .optional()
    .describe(
      'share of samples that may get another answer than that of the last stage; by default 0.01 without maxDrop'
    ),
  maxDrop: share
    .optional()
    .describe('instead, with labels: accuracy that may be lost against the last stage; 0.01 is a point'),
  sure: z.number().min(0.5).max(0.9999).default(0.95).describe('how sure the promise is, over the draw of the samples')
} as const

type PromiseOptions = z.output<z.ZodObject<typeof promiseFields>>

/** What was asked for. Throws `E_OPTION` where it is said twice. */
export function promisedBy({ maxDisagreement, maxDrop, sure }: PromiseOptions): Promised {
  if (maxDisagreement !== undefined && maxDrop !== undefined)
    throw new PareError('E_OPTION', 'either answers that change are bounded, or the accuracy that is lost', {
      where: 'maxDisagreement, maxDrop',
      hint: 'give one of them'
    })
  const risk = Number((1 - sure).toPrecision(12))
  if (maxDrop !== undefined) return { kind: 'drop', most: maxDrop, risk }
  return { kind: 'disagreement', most: maxDisagreement ?? 0.01, risk }
}

/** The scores that a classifier gives. Throws `E_UNSUPPORTED` with the reason for whatever is none. */
export function scoresOf(model: Model, whose: string): string {
  const task = taskOf(model)
  const refused = (why: string): PareError =>
    new PareError('E_UNSUPPORTED', `${whose} is no classifier: ${why}`, {
      facts: {
        outputs: model.graph.outputs
          .map((id) => `${id} [${model.graph.values.get(id)?.shape?.join(', ') ?? '?'}]`)
          .join(', ')
      },
      hint: 'stages are class scores [N, classes] of exclusive classes, as logits or as probabilities'
    })
  if (task?.kind === 'reconstruction') throw refused(`its output ${task.output} has the shape of its input`)
  if (!task) throw refused('no output holds a score for each of a known number of classes')
  if (model.graph.outputs.length > 1)
    throw refused('it has outputs beside the class scores, which have no exit of their own')
  return task.output
}

/** How scores are to be read, by what they were on samples. Throws `E_UNSUPPORTED` for independent answers. */
export function formOf({ min, max, offOne }: Scores, whose: string): ScoreForm {
  const isShare = min >= -1e-6 && max <= 1 + 1e-3
  if (!isShare) return 'logits'
  if (offOne <= 0.02) return 'probabilities'
  throw new PareError('E_UNSUPPORTED', `${whose} is no classifier of exclusive classes`, {
    facts: {
      scores: `between ${min.toPrecision(3)} and ${max.toPrecision(3)}, and those of a sample do not add up to 1`
    },
    hint: 'independent answers (as behind a Sigmoid) have no greatest class that is more or less sure'
  })
}

/** A straight model to be folded. */
export interface Straight {
  readonly kind: Adaptive['kind']
  /** With inferred types. */
  readonly model: Model
  /** Scores of the exits, in order. */
  readonly exits: readonly string[]
  readonly form: ScoreForm
  /** Names of all stages. */
  readonly stages: readonly string[]
}

/** A folded model that keeps a promise. */
export interface Promising {
  readonly model: Model
  readonly adaptive: Adaptive
  readonly routes: Routes
}

/** Chooses the threshold on samples that nothing was fitted to. Throws `E_CONSTRAINT` where none keeps the promise. */
export async function promising(s: Straight, promised: Promised, data: Dataset, ctx: Context): Promise<Promising> {
  const points = s.exits.map((scores) => ({ scores, threshold: never }))
  const folded = foldStages(s.model, points, s.form)
  const { routes, classes } = await folding(folded, data, ctx)
  if (promised.kind === 'drop' && !routes.labels)
    throw new PareError('E_LABELS', 'a drop of accuracy needs labels, and the data has none', {
      hint: 'bound the answers that change instead: maxDisagreement'
    })
  const kept = lowestKept(routes, promised, thresholdsFor(classes))
  if (!kept || kept.counts[s.exits.length] === routes.n) throw nothingKept(routes, promised)
  const adaptive: Adaptive = {
    ...{ version: 1, kind: s.kind, form: s.form, stages: [...s.stages], exits: [...folded.exits] },
    ...{ threshold: kept.threshold, guarantee: guaranteeOf(kept, promised, routes), counts: [...kept.counts] },
    ...(data.sha256 === undefined ? {} : { data: data.sha256 })
  }
  const thresholds = s.exits.map(() => kept.threshold)
  return { model: withAdaptive(withThresholds(folded.model, folded.exits, thresholds), adaptive), adaptive, routes }
}

/** What all stages say, by the very values that the folded model looks at. */
async function folding(
  { model, exits }: ReturnType<typeof foldStages>,
  data: Dataset,
  ctx: Context
): Promise<{ readonly routes: Routes; readonly classes: number }> {
  const unfolded = unfoldStages(model, exits)
  if (!unfolded) throw new PareError('E_INTERNAL', 'a folded model cannot be unfolded')
  const seen: Seen = await routesOf(unfolded.model, unfolded, data, { ...ctx, stage: 'running all stages' })
  return { routes: seen.routes, classes: seen.scores[0]?.classes ?? 0 }
}

function guaranteeOf(kept: Kept, { kind, most, risk }: Promised, { n }: Routes): Adaptive['guarantee'] {
  const { bound, changed, lost, won, labelled } = kept
  if (kind === 'disagreement') return { kind, most, risk, bound, n, changed }
  return { kind, most, risk, bound, n: labelled, changed, lost, won }
}

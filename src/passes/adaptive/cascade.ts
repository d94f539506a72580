/**
 * A cascade: a small model answers what it is sure of, the given one the rest, in one file. The small one is a file, or what a
 * recipe makes of the model as it was before it was rounded.
 */
import { z } from 'zod'
import { PareError } from '../../base/errors.ts'
import type { Adaptive } from '../../data/adaptive.ts'
import { codeOfDtype } from '../../ir/dtype-code.ts'
import { edit } from '../../ir/edit.ts'
import type { ScoreForm } from '../../ir/stages.ts'
import { routesOf } from '../../observe/routes.ts'
import { inferShapes } from '../../ops/infer.ts'
import { fedOf, wholeInputs } from '../../runtime/batches.ts'
import type { Dataset, DType, Model } from '../../types.ts'
import { definePass } from '../pass.ts'
import type { Context, Recipe } from '../types.ts'
import { joinModels } from './join.ts'
import { formOf, promisedBy, promiseFields, promising, scoresOf } from './promise.ts'
import { told } from './told.ts'

/** Joins a small classifier and the given one to a model that asks the large one only where the small one is not sure. */
export const cascade = definePass({
  name: 'cascade',
  summary: 'let a small classifier answer what it is sure of, and the model the rest, in one file',
  group: 'adaptive',
  needs: ['selection'],
  promises: true,
  beside: { option: 'small', names: ['small.onnx', 'big.onnx'] },
  options: {
    small: z
      .union([z.string(), z.array(z.tuple([z.string(), z.record(z.string(), z.unknown())]))])
      .optional()
      .describe('the small model, with the same inputs and classes: a file, or the recipe that makes it of the model'),
    ...promiseFields
  },
  run: async (big, { small, ...promise }, ctx) => {
    const first = inferShapes(await smallModel(small, big, ctx))
    const data = ctx.data.selection as Dataset
    const made = await promising(await cascaded(first, inferShapes(big), data, ctx), promisedBy(promise), data, ctx)
    refuseAlone(made.adaptive)
    told(made, ctx)
    return made.model
  }
})

/** Throws `E_CONSTRAINT` where no sample would reach the large model: the file would only be larger than the small one. */
function refuseAlone({ counts, guarantee: { n } }: Adaptive): void {
  if (counts.at(-1) !== 0) return
  throw new PareError(
    'E_CONSTRAINT',
    'the small model alone keeps the promise: a cascade would only be a larger file',
    {
      facts: { 'answered by the small model': `all of ${n} samples` },
      hint: 'use the small model as it is, or promise more: a smaller --max-disagreement'
    }
  )
}

async function smallModel(small: string | Recipe | undefined, big: Model, ctx: Context): Promise<Model> {
  if (typeof small === 'object' && ctx.apply) return ctx.apply(ctx.reference ?? big, small)
  if (typeof small === 'string' && ctx.load) return ctx.load(small)
  throw new PareError('E_OPTION', 'a cascade needs a small model', {
    where: 'small',
    hint: 'a file, or a recipe that makes one of the model'
  })
}

/** Samples that tell how scores are to be read. */
const samplesSeen = 64

/** Both models as one straight one. Throws with the reason where they are no stages of a cascade. */
export async function cascaded(first: Model, second: Model, data: Dataset, ctx: Context) {
  const [early, late] = [scoresOf(first, 'the small model'), scoresOf(second, 'the large model')]
  refuseWhole(first)
  refuseWhole(second)
  const { model, named } = joinModels(first, second)
  const own = named(early)
  const shapes = [own, late].map((id) => model.graph.values.get(id)?.shape ?? [])
  if (shapes[0]?.slice(1).join() !== shapes[1]?.slice(1).join())
    throw new PareError('E_DATA_SHAPE', 'the stages do not have the same classes', {
      facts: { 'small model': `[${shapes[0]?.join(', ')}]`, 'large model': `[${shapes[1]?.join(', ')}]` }
    })
  const [said, wanted] = await formsOf(model, [own, late], data, ctx)
  const joined = alike(model, own, { from: said, to: wanted, late })
  return {
    ...{ kind: 'cascade' as const, model: joined.model, exits: [joined.scores], form: wanted },
    stages: ['small', 'large']
  }
}

async function formsOf(
  model: Model,
  scores: readonly [string, string],
  data: Dataset,
  ctx: Context
): Promise<readonly [ScoreForm, ScoreForm]> {
  const indices = Array.from({ length: Math.min(samplesSeen, data.size) }, (_, i) => i)
  const few: Dataset = { ...data, size: indices.length, batches: (o) => data.batches({ indices, ...o }) }
  const seen = await routesOf(model, { confidence: [], scores }, few, { ...ctx, stage: 'looking at both models' })
  const [a, b] = seen.scores
  if (!a || !b) throw new PareError('E_INTERNAL', 'two stages were run, and less were seen')
  return [formOf(a, 'the small model'), formOf(b, 'the large model')]
}

/** Scores of the small model in the form and the type of the large one's. */
function alike(
  model: Model,
  scores: string,
  { from, to, late }: { readonly from: ScoreForm; readonly to: ScoreForm; readonly late: string }
): { readonly model: Model; readonly scores: string } {
  const [own, other] = [scores, late].map((id) => model.graph.values.get(id)?.dtype as DType)
  if (from === to && own === other) return { model, scores }
  let now = scores
  const changed = edit(model, (d) => {
    if (from !== to) now = to === 'logits' ? d.add('Log', [now]) : d.add('Softmax', [now], { attrs: { axis: 1 } })
    if (own !== other && other) now = d.add('Cast', [now], { attrs: { to: codeOfDtype(other) } })
  })
  return { model: inferShapes(changed), scores: now }
}

function refuseWhole(model: Model): void {
  const [whole] = wholeInputs(fedOf(model))
  if (whole === undefined) return
  throw new PareError(
    'E_UNSUPPORTED',
    `input ${whole} takes one sample as it is: samples of a batch cannot part ways`,
    {
      where: whole,
      hint: 'export the model with the batch along the first axis of every input'
    }
  )
}

/** What a model that answers easy samples early says of itself, in its own metadata under `pare.stages`. */
import { z } from 'zod'
import type { Exit, ScoreForm } from '../ir/stages.ts'
import type { Model } from '../types.ts'

const key = 'pare.stages'

const name = z.string().min(1).max(4096)
const share = z.number().min(0).max(1)
const count = z.int().min(0)

const schema = z.strictObject({
  version: z.literal(1),
  kind: z.enum(['cascade', 'early-exit']),
  form: z.enum(['logits', 'probabilities']) satisfies z.ZodType<ScoreForm>,
  /** Stages in order; all but the last have an exit. */
  stages: z.array(name).min(2).max(65),
  exits: z
    .array(z.strictObject({ scores: name, confidence: name, hard: name, threshold: name }) satisfies z.ZodType<Exit>)
    .min(1)
    .max(64),
  threshold: z.number(),
  guarantee: z.strictObject({
    kind: z.enum(['disagreement', 'drop']),
    most: share,
    /** δ: it holds with probability 1 − δ over the draw of the samples. */
    risk: share,
    /** The risk lies below it with that probability. */
    bound: z.number().max(1),
    n: count,
    changed: count,
    lost: count.optional(),
    won: count.optional()
  }),
  /** Samples that left at each exit, then those that reached the last stage. */
  counts: z.array(count).min(2).max(65),
  /** Of the data that the threshold was chosen on. */
  data: z.string().max(4096).optional()
})

/** What a model says of its stages, threshold and guarantee. */
export type Adaptive = z.output<typeof schema>

/** What is known of the stages of a model; `undefined` where it has none, or says of them what cannot be. */
export function adaptiveOf(model: Model): Adaptive | undefined {
  const raw = Object.hasOwn(model.meta, key) ? model.meta[key] : undefined
  if (raw === undefined) return undefined
  const text = typeof raw === 'string' ? raw : new TextDecoder().decode(raw)
  let content: unknown
  try {
    content = JSON.parse(text)
  } catch {
    return undefined
  }
  const { data } = schema.safeParse(content)
  const isWhole = data && data.stages.length === data.exits.length + 1 && data.counts.length === data.stages.length
  return isWhole ? data : undefined
}

/** Says there are stages, whether what it says can be understood or not. */
export const hasStages = (model: Model): boolean => Object.hasOwn(model.meta, key)

/** The model with what is known of its stages in its metadata. */
export const withAdaptive = (model: Model, adaptive: Adaptive): Model => ({
  ...model,
  meta: { ...model.meta, [key]: JSON.stringify(adaptive) }
})

/** Shares of samples that leave at each exit, then of those that reach the last stage. */
export function sharesOf({ counts }: { readonly counts: readonly number[] }): readonly number[] {
  const n = counts.reduce((a, b) => a + b, 0)
  return counts.map((c) => (n === 0 ? 0 : c / n))
}

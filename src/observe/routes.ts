/** What the stages of a model say of samples: every stage is run on every one. */
import { argmax } from '../data/argmax.ts'
import { noLabel } from '../data/labels.ts'
import type { Routes } from '../data/thresholds.ts'
import { elementCount, toFloats } from '../ir/tensor.ts'
import { batching, runOn, runs } from '../runtime/batches.ts'
import type { Dataset, Model, Tensor } from '../types.ts'
import type { Surroundings } from './feed.ts'

/** Outputs of a straight model that are looked at. */
export interface Taps {
  readonly confidence: readonly string[]
  readonly scores: readonly string[]
}

/** Routes, with the least and greatest score and how far scores of a sample are from adding up to 1. */
export interface Seen {
  readonly routes: Routes
  /** Of each stage. */
  readonly scores: readonly Scores[]
}

/** The scores of a stage over all samples. */
export interface Scores {
  readonly classes: number
  readonly min: number
  readonly max: number
  /** Greatest |Σ − 1| of a sample. */
  readonly offOne: number
}

/** Runs a straight model on data. */
export async function routesOf(
  model: Model,
  { confidence, scores }: Taps,
  dataset: Dataset,
  ctx: Surroundings & { readonly stage: string }
): Promise<Seen> {
  const n = dataset.size
  const session = await ctx.engine.open(model, { outputs: [...new Set([...confidence, ...scores])] })
  const found = {
    confidence: confidence.map(() => new Float32Array(n)),
    answers: scores.map(() => new Int32Array(n)),
    labels: new Int32Array(n).fill(noLabel)
  }
  const stages = scores.map(() => ({
    classes: 0,
    min: Number.POSITIVE_INFINITY,
    max: Number.NEGATIVE_INFINITY,
    offOne: 0
  }))
  let done = 0
  try {
    for await (const run of runs(dataset, batching([session], 32), { rest: 'fill', signal: ctx.signal })) {
      const outputs = await runOn(session, run)
      for (const [i, id] of confidence.entries())
        found.confidence[i]?.set(toFloats(outputs[id] as Tensor).subarray(0, run.batch.n), done)
      for (const [i, id] of scores.entries())
        look(outputs[id] as Tensor, run.batch.n, stages[i] as Look, (k, answer) => {
          ;(found.answers[i] as Int32Array)[done + k] = answer
        })
      for (const [k, label] of (run.batch.labels ?? []).entries()) found.labels[done + k] = label
      done += run.batch.n
      ctx.progress(ctx.stage, done, n)
    }
  } finally {
    await session.close()
  }
  const { labels, ...rest } = found
  return { routes: { n, ...rest, ...(dataset.labelled ? { labels } : {}) }, scores: stages }
}

type Look = { -readonly [K in keyof Scores]: Scores[K] }

function look(t: Tensor, n: number, seen: Look, take: (sample: number, answer: number) => void): void {
  const values = toFloats(t)
  const classes = elementCount(t.shape.slice(1))
  seen.classes = classes
  for (let i = 0; i < n; i++) {
    let sum = 0
    for (let c = 0; c < classes; c++) {
      const v = values[i * classes + c] as number
      sum += v
      if (v < seen.min) seen.min = v
      if (v > seen.max) seen.max = v
    }
    if (!(Math.abs(sum - 1) <= seen.offOne)) seen.offOne = Math.abs(sum - 1)
    take(i, argmax(values, i * classes, classes))
  }
}

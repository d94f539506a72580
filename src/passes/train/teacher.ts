/** What a teacher says of the samples that a student learns from. */
import { PareError } from '../../base/errors.ts'
import { elementCount, tensor, toFloats } from '../../ir/tensor.ts'
import { outputsOn, watch } from '../../observe/feed.ts'
import { fedOf, feedsOf, prescribed } from '../../runtime/batches.ts'
import type { Session } from '../../runtime/types.ts'
import type { StepPlace, Training } from '../../train/index.ts'
import type { Batch, Dataset, Model, Tensor } from '../../types.ts'
import type { Context } from '../types.ts'
import { shapedLike } from './learn.ts'

/** Values of the teacher by the value of the student that is to be like it. */
export type Pairs = ReadonlyMap<string, string>

export interface Teacher {
  /** Feeds of the targets of a training graph, for a batch of the training data as it is trained on. */
  targets(training: Training, batch: Batch, at: StepPlace): Promise<Record<string, Tensor>>
  close(): Promise<void>
}

const cacheBatch = 128
const mostCached = 512 * 1024 * 1024

/**
 * Opens a teacher. With `cached`, one pass over the data beforehand tells what it says of every sample, which holds as
 * long as batches are not augmented; where that would need more than 512 MB it is asked for every batch.
 */
export async function openTeacher(
  model: Model,
  pairs: Pairs,
  o: { readonly data: Dataset; readonly cached: boolean },
  ctx: Context
): Promise<Teacher> {
  const session = await ctx.engine.open(model, { outputs: [...pairs.values()] })
  try {
    const isFixed = prescribed(fedOf(model)) !== undefined
    const cache = o.cached && !isFixed ? await cacheOf(session, pairs, o.data, ctx) : undefined
    return {
      close: () => session.close(),
      targets: async (training, batch, at) => {
        const said = cache ? undefined : await session.run(feedsOf(session, { batch, size: batch.n }))
        return Object.fromEntries(
          training.targets.flatMap(({ kind, of, input, shape }) => {
            const from = kind === 'teacher' ? pairs.get(of) : undefined
            if (from === undefined) return []
            const t = said ? said[from] : cache?.rows(from, at.indices)
            return t ? [[input, fitting(t, from, of, shape)]] : []
          })
        )
      }
    }
  } catch (error) {
    await session.close()
    throw error
  }
}

function fitting(t: Tensor, from: string, of: string, shape: readonly number[]): Tensor {
  if (elementCount(t.shape) === elementCount(shape)) return shapedLike(t, shape)
  throw new PareError('E_DATA_SHAPE', `the teacher’s ${from} cannot be compared with the student’s ${of}`, {
    where: of,
    facts: { teacher: `[${t.shape.join(', ')}]`, student: `[${shape.join(', ')}]` },
    hint: 'teacher and student must have outputs of the same size'
  })
}

interface Cache {
  rows(value: string, indices: readonly number[]): Tensor
}

/** `undefined` where it would be too large. In the order of the data, whatever the order of training: the same bits. */
async function cacheOf(session: Session, pairs: Pairs, data: Dataset, ctx: Context): Promise<Cache | undefined> {
  const held = new Map<string, Float32Array>()
  let done = 0
  const feed = { dataset: data, batch: cacheBatch, stage: 'asking the teacher' }
  for await (const { outputs: said, n } of outputsOn(session, feed, ctx)) {
    for (const id of pairs.values()) {
      const values = toFloats(said[id] as Tensor)
      const row = values.length / n
      if (done === 0 && row * data.size * 4 * pairs.size > mostCached) return undefined
      const all = held.get(id) ?? new Float32Array(row * data.size)
      all.set(values, done * row)
      held.set(id, all)
    }
    done += n
  }
  return {
    rows: (value, indices) => {
      const all = held.get(value) as Float32Array
      const row = all.length / data.size
      const out = new Float32Array(indices.length * row)
      for (const [i, sample] of indices.entries()) out.set(all.subarray(sample * row, (sample + 1) * row), i * row)
      return tensor('float32', [indices.length, row], out)
    }
  }
}

/**
 * The data with the teacher's classes as labels: a student's `top1` is then its agreement with the teacher. Without the
 * last samples where those do not fill the batch that the teacher fixes.
 */
export async function labelledBy(model: Model, logits: string, data: Dataset, ctx: Context): Promise<Dataset> {
  const labels: number[] = []
  const feed = { dataset: data, batch: cacheBatch, stage: 'asking the teacher' }
  await watch(model, { outputs: [logits] }, feed, ctx, (outputs, n) => {
    const values = toFloats(outputs[logits] as Tensor)
    const row = values.length / n
    for (let i = 0; i < n; i++) labels.push(greatest(values.subarray(i * row, (i + 1) * row)))
  })
  const all = labels.map((_, i) => i)
  return {
    size: labels.length,
    labelled: true,
    ...(data.sha256 === undefined ? {} : { sha256: data.sha256 }),
    async *batches(o) {
      let at = 0
      const indices = o.indices ?? all
      for await (const batch of data.batches({ ...o, indices })) {
        const picked = indices.slice(at, at + batch.n)
        yield { ...batch, labels: picked.map((i) => labels[i] as number) }
        at += batch.n
      }
    }
  }
}

function greatest(values: Float32Array): number {
  let best = 0
  for (let i = 1; i < values.length; i++) if ((values[i] as number) > (values[best] as number)) best = i
  return best
}

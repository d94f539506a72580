/**
 * Distillation on samples that everybody may see, labelled or not (FedDF, Lin 2020): behind the last round clients train once more, each
 * sends the class scores that its model gives the public samples, and the server trains a student towards their mean. No weights
 * leave a client, and the student may be another network.
 */
import { assert, PareError } from '../base/errors.ts'
import { rng } from '../base/random.ts'
import { elementCount, tensor, toFloats } from '../ir/tensor.ts'
import { neededTask } from '../passes/train/loss.ts'
import { runOn, runs } from '../runtime/batches.ts'
import type { Runner } from '../runtime/types.ts'
import { differentiate, train, withValues } from '../train/index.ts'
import type { Dataset, Model, Progress, Tensor } from '../types.ts'
import { readModelMessage, type Turn } from './client.ts'
import { fromVector, layOut, sha256 } from './manifest.ts'
import { type Distil, isRoundedIn } from './recipe.ts'
import { addTo, meanOf, noSums } from './sums.ts'
import type { Codec, Manifest } from './types.ts'
import { decodeMessage, encodeMessage, mostWeight } from './wire.ts'

/** What a message of scores holds: as many for each public sample as there are classes. */
export const scoresManifest = (samples: number, classes: number): Manifest =>
  layOut([{ name: 'scores', shape: [samples, classes], role: 'weight' }])

/** A client's part: trains as in a round, and answers with its scores of the public samples. */
export async function scoresTurn(
  t: Omit<Turn, 'residual' | 'factor'> & { readonly model: Model; readonly engine: Runner; readonly open: Dataset },
  { bits }: Distil
): Promise<Uint8Array> {
  const { local, recipe, data, model, engine, open } = t
  const { manifest } = local
  const { header, values, support } = await readModelMessage(t.message, manifest, t.previous)
  const random = rng(t.seed).fork(`scores after round ${header.round}`)
  const { delta } = await local.round({
    ...{ base: values, support, data, signal: t.signal, isRounded: isRoundedIn(recipe, header.round) },
    seed: String(random.fork('samples').next())
  })
  const own = withValues(
    model,
    fromVector(
      manifest,
      values.map((w, i) => w + (delta[i] as number))
    )
  )
  const scores = await scoresOf(own, open, engine, t.signal)
  const codec: Codec = { codec: 'quantize', bits, random: false }
  return encodeMessage({
    header: {
      ...{ kind: 'scores', run: header.run, round: header.round, base: await sha256(t.message) },
      nonce: Uint8Array.from({ length: 8 }, () => random.below(256)),
      weight: Math.min(mostWeight, data.size)
    },
    ...{ manifest: scoresManifest(open.size, scores.length / open.size), values: scores, codec }
  })
}

/** Class scores in front of a Softmax, sample by sample. */
async function scoresOf(model: Model, data: Dataset, engine: Runner, signal?: AbortSignal): Promise<Float32Array> {
  const task = neededTask(model, 'federate', undefined)
  assert(task.kind === 'classes', 'federations train models of class scores')
  const session = await engine.open(model, { outputs: [task.logits] })
  const all: number[] = []
  try {
    for await (const run of runs(data, { size: 256, isFixed: false }, { rest: 'fill', signal })) {
      const said = await runOn(session, run)
      for (const x of toFloats(said[task.logits] as Tensor)) all.push(x)
    }
  } finally {
    await session.close()
  }
  return Float32Array.from(all)
}

/** The mean of what clients said, weighted by their samples. Throws `E_FORMAT` and `E_DATA` as for updates. */
export async function meanScores(
  messages: readonly Uint8Array[],
  manifest: Manifest,
  { run, round, base, bound }: { run: Uint8Array; round: number; base: Uint8Array; bound: number }
): Promise<Float32Array> {
  const sums = noSums(manifest.size, { bound, weights: messages.length * mostWeight })
  for (const bytes of messages) {
    const { header, values } = await decodeMessage(bytes, { manifest, kind: 'scores', run, round, base })
    addTo(sums, values, header.weight)
  }
  return meanOf(sums)
}

/** The student after so many epochs over the public samples. Throws `E_DATA` where training diverges. */
export async function distilled(
  student: Model,
  { epochs, batch: wanted, rate, temperature }: Distil,
  o: {
    readonly open: Dataset
    /** Sample by sample. */
    readonly scores: Float32Array
    readonly engine: Runner
    readonly seed: number | string
    readonly signal?: AbortSignal
    readonly progress?: Progress
  }
): Promise<Model> {
  const { open, scores, ...rest } = o
  const task = neededTask(student, 'federate', undefined)
  if (task.kind !== 'classes')
    throw new PareError('E_UNSUPPORTED', 'the student has no class scores', { where: task.output })
  const batch = Math.min(wanted, open.size)
  const training = differentiate(student, {
    loss: [{ kind: 'kl', output: task.output, temperature }],
    ...{ batch, optimizer: { kind: 'adam' }, clip: 1 }
  })
  const row = scores.length / open.size
  const target = training.targets.find((t) => t.kind === 'teacher')
  assert(target, 'a loss that asks no teacher')
  if (elementCount(target.shape) !== batch * row)
    throw new PareError('E_DATA_SHAPE', 'the student has another number of classes than the model of the rounds', {
      where: task.output,
      facts: { student: `[${target.shape.join(', ')}]`, scores: String(row) }
    })
  const made = await train(
    student,
    training,
    { epochs, rate, seed: o.seed, keep: 'last' },
    {
      ...{ engine: rest.engine, data: open },
      ...(rest.signal ? { signal: rest.signal } : {}),
      ...(rest.progress ? { progress: rest.progress } : {}),
      prepare: (read, { indices }) => {
        const wantedScores = new Float32Array(indices.length * row)
        for (const [i, n] of indices.entries()) wantedScores.set(scores.subarray(n * row, (n + 1) * row), i * row)
        return { batch: read, feeds: { [target.input]: tensor('float32', target.shape, wantedScores) } }
      }
    }
  )
  if (made.ended === 'diverged')
    throw new PareError('E_DATA', 'distillation diverged', { hint: made.advice ?? 'try a lower rate' })
  return made.model
}

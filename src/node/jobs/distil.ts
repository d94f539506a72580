/** `federate simulate`: a student learns what clients say of public samples, behind the last round. */
import { assert, PareError } from '../../base/errors.ts'
import { rng } from '../../base/random.ts'
import type { LabelledDataset } from '../../data/arrays.ts'
import { classCount } from '../../data/metrics.ts'
import { subset } from '../../data/split.ts'
import {
  distilled,
  type FederationRecipe,
  localFor,
  meanScores,
  openRound,
  type Run,
  scoresManifest,
  scoresTurn
} from '../../federate/index.ts'
import type { Federation } from '../../report/types.ts'
import { initialise } from '../../train/index.ts'
import type { Model } from '../../types.ts'
import { load } from '../files.ts'
import type { Job, JobHooks } from '../job.ts'
import { type Opened, openData } from './open.ts'

export interface Student {
  readonly model: Model
  readonly told: NonNullable<Federation['distilled']>
}

/** Throws `E_OPTION` where a recipe asks for distillation that cannot be had. */
export function refuseDistil({ data, federation }: Job, recipe: FederationRecipe, clients: number): void {
  if (!recipe.distil) return
  if (!data?.open)
    throw new PareError('E_OPTION', 'distillation needs samples that everybody may see', { hint: '--public-data PATH' })
  if (recipe.distil.clients > clients)
    throw new PareError('E_OPTION', `${recipe.distil.clients} of ${clients} clients cannot send scores`, {
      where: 'distil.clients'
    })
  if (federation?.student === undefined && (recipe.prune || recipe.quantize))
    throw new PareError('E_OPTION', 'distillation would undo the zeros and the rounding of the rounds in their model', {
      hint: 'name another network, with --student FILE'
    })
}

/** Clients say what their models make of the public samples; the student learns their mean. */
export async function studentOf(
  job: Job,
  o: Opened,
  hooks: JobHooks,
  w: {
    /** Before and after the rounds. */
    readonly model: Model
    readonly made: Model
    readonly run: Run
    readonly data: LabelledDataset
    readonly clients: readonly (readonly number[])[]
  }
): Promise<Student> {
  const { recipe, id } = w.run
  const { distil } = recipe
  const source = job.data?.open
  const classes = classCount(o.outputs)
  assert(distil && source && classes, 'distillation of class scores was asked for')
  const seed = job.seed ?? 0
  const open = await openData(source, o)
  const { message, base } = await openRound(w.run, seed)
  const chosen = rng(seed).fork('clients of the distillation').permutation(w.clients.length).slice(0, distil.clients)
  const local = await localFor(w.model, recipe, o.engine)
  const messages: Uint8Array[] = []
  try {
    for (const client of chosen.sort((a, b) => a - b)) {
      hooks.progress('clients say what they make of the public samples', messages.length, chosen.length)
      const data = subset(w.data, w.clients[client] ?? [])
      const turn = {
        local,
        recipe,
        message,
        data,
        seed: `${seed}/client ${client}`,
        signal: hooks.signal,
        previous: w.run.sent
      }
      messages.push(await scoresTurn({ ...turn, model: w.model, engine: o.engine, open }, distil))
    }
  } finally {
    await local.close()
  }
  const { round } = w.run
  const manifest = scoresManifest(open.size, classes)
  const scores = await meanScores(messages, manifest, { run: id, round, base, bound: recipe.bound })
  const model = await distilled(await begun(job, w.made, seed), distil, {
    ...{ open, scores, seed, engine: o.engine, signal: hooks.signal, progress: hooks.progress }
  })
  const up = messages.reduce((n, m) => n + m.length, 0)
  return { model, told: { clients: chosen.length, samples: open.size, up } }
}

async function begun({ federation }: Job, made: Model, seed: number): Promise<Model> {
  if (federation?.student === undefined) return made
  const student = await load(federation.student)
  return student.origin?.untrained ? initialise(student, `${seed}/student`).model : student
}

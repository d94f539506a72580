/** A file that answers easy samples early is served by its stages, where these give what the file gives. */
import { adaptiveOf } from '../../data/adaptive.ts'
import { never } from '../../data/thresholds.ts'
import { splitStages } from '../../ir/split.ts'
import { withThresholds } from '../../ir/stages.ts'
import { inferShapes } from '../../ops/infer.ts'
import { difference, type Inputs } from '../../serve/batching.ts'
import type { Signature } from '../../serve/types.ts'
import type { Model, Tensor } from '../../types.ts'
import type { Route } from './model.ts'
import { contentOf, type OpenFile, type Opens } from './open.ts'
import { words } from './tune.ts'

/** A stage that is open. */
export interface PartedStage {
  readonly name: string
  readonly opened: OpenFile
  /** What it is measured on. */
  readonly samples: readonly Inputs[]
  readonly route: Omit<Route, 'answered'>
}

/** Stages, or why the file is served as it is. */
export interface Parted {
  readonly stages?: readonly PartedStage[]
  readonly why: string
}

/** In a file of its own a stage may be fused otherwise than inside the branches of the whole. */
const within = 1e-4

/** The stages of a model, opened; `undefined` for models that have none. */
export async function partedStages(
  model: Model,
  signature: Signature,
  made: readonly Inputs[],
  open: Opens
): Promise<Parted | undefined> {
  const adaptive = adaptiveOf(model)
  if (!adaptive) return undefined
  const oneFile = (reason: string): Parted => ({ why: `its stages are run as one file: ${reason}` })
  if (signature.inputs.some((p) => typeof p.shape?.[0] === 'number')) return oneFile('it fixes its batch')
  const split = splitStages(inferShapes(model), adaptive.exits)
  if (!split) return oneFile('it was changed after it was made')
  const stages: PartedStage[] = []
  let samples = made
  for (const [i, { model: own, scores, confidence }] of split.entries()) {
    const opened = await open(`stage ${i}`, contentOf(own), own)
    const reads = new Set(opened.signature.inputs.map((p) => p.name))
    const read = samples.map((known) => new Map([...known].filter(([name]) => reads.has(name))))
    const given = await Promise.all(read.map(async (inputs) => (await opened.runs(inputs)).outputs))
    const d = await differenceTo(model, i, { made, scores: given.map((g) => g.get(scores) as Tensor), open })
    if (d > within) {
      for (const s of [...stages.map((s) => s.opened), opened]) await s.close()
      return oneFile(`${adaptive.stages[i]} differs by ${words(d)} from what the file gives`)
    }
    const exit = confidence === undefined ? {} : { exit: { confidence, threshold: adaptive.threshold } }
    const name = adaptive.stages[i] as string
    stages.push({ name, opened, samples: read, route: { scores, ...exit, goingOn: goingOn(adaptive.counts, i) } })
    samples = samples.map((known, k) => new Map([...known, ...(given[k] as Inputs)]))
  }
  return { stages, why: `${stages.length} stages, each gives what the file gives` }
}

/** Of the samples that reached stage `i` where the threshold was chosen, the share that went on. */
function goingOn(counts: readonly number[], i: number): number {
  const [here = 0, ...on] = counts.slice(i)
  const later = on.reduce((a, b) => a + b, 0)
  return here + later === 0 ? 0 : later / (here + later)
}

interface Given {
  readonly made: readonly Inputs[]
  readonly scores: readonly Tensor[]
  readonly open: Opens
}

/** How far the scores of a stage are from those of the whole file with thresholds that make all samples leave there. */
async function differenceTo(model: Model, i: number, { made, scores, open }: Given): Promise<number> {
  const { exits } = adaptiveOf(model) as NonNullable<ReturnType<typeof adaptiveOf>>
  const forced = withThresholds(
    model,
    exits,
    exits.map((_, k) => (k < i ? never : 0))
  )
  const whole = await open(`as stage ${i}`, contentOf(forced), model)
  let worst = 0
  for (const [k, inputs] of made.entries()) {
    const [given] = (await whole.runs(inputs)).outputs.values()
    const [own, wanted] = [scores[k] as Tensor, given as Tensor].map((t) => new Map([['scores', t]]))
    worst = Math.max(worst, difference(wanted as Inputs, own as Inputs))
  }
  await whole.close()
  return worst
}

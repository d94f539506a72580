/** What is looked at before a stranger's model is run in this process: the engine cannot be interrupted, nor its memory bounded. */
import { totalmem } from 'node:os'
import { part } from '../../base/bytes.ts'
import { PareError } from '../../base/errors.ts'
import type { AnyFormat } from '../../formats/types.ts'
import { allGraphs } from '../../ir/graph.ts'
import { byteLength, elementCount, isFloat, toNumbers } from '../../ir/tensor.ts'
import { bytesText } from '../../report/words.ts'
import type { Dataset, Model, Tensor } from '../../types.ts'
import type { Job, JobHooks } from '../job.ts'
import { measureProcess } from '../measure.ts'
import { nodeRunner } from '../runner.ts'
import { opensFiles } from '../runtimes.ts'
import { bytesOf, isForeseen } from './foreseen.ts'
import { type OpenedModel, openModel } from './open.ts'
import { firstFeeds } from './timing.ts'

/** A run of one sample that takes longer is taken for one that never ends. */
const patienceMs = 120_000

/**
 * Refuses a model that cannot be run on data, or that the machine could not hold. Throws `E_MODEL`, `E_UNSUPPORTED`, and
 * `E_LIMIT` where a single value of one sample takes more than a quarter of the memory.
 */
export function refuseUnrunnable(o: Pick<OpenedModel, 'model' | 'inputs' | 'outputs'>): void {
  const { model } = o
  if (o.inputs.length === 0) throw new PareError('E_MODEL', 'the model takes no inputs: there is nothing to run it on')
  if (o.outputs.length === 0)
    throw new PareError('E_MODEL', 'the model gives no outputs that are tensors: there is nothing to measure')
  const text = o.inputs.find((i) => i.dtype === 'string')
  if (text) throw new PareError('E_UNSUPPORTED', `input ${text.name} takes strings: data of strings cannot be read yet`)
  const most = Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY) / 4
  for (const graph of allGraphs(model))
    for (const node of graph.nodes)
      for (const id of node.outputs) {
        const bytes = bytesOf(graph.values.get(id))
        if (bytes !== undefined && bytes > most)
          throw new PareError('E_LIMIT', `a value takes ${bytesText(bytes)}: this machine could not run the model`, {
            where: node.name,
            facts: { operator: node.op, value: `${id}: [${graph.values.get(id)?.shape?.join(', ')}]` },
            hint: 'pare inspect shows what is in the model without running it'
          })
      }
  refuseNaN(model)
}

/** Another model that a pass will run: a teacher, a reference. Throws what opening and `refuseUnrunnable` do. */
export async function loadRunnable(path: string, formats: readonly AnyFormat[]): Promise<Model> {
  const opened = await openModel(path, formats)
  refuseUnrunnable(opened)
  return opened.model
}

const chunk = 2 ** 20

/** Throws `E_MODEL` for a weight that holds NaN. Scalars may: some graphs compare with it. */
function refuseNaN(model: Model): void {
  for (const graph of allGraphs(model))
    for (const { id, data } of graph.values.values()) {
      if (!data || !isFloat(data.dtype) || elementCount(data.shape) < 2 || !holdsNaN(data)) continue
      throw new PareError('E_MODEL', 'a weight holds NaN', {
        where: id,
        hint: 'the model is broken: look at its training, or export it again'
      })
    }
}

function holdsNaN(t: Tensor): boolean {
  const count = elementCount(t.shape)
  for (let at = 0; at < count; at += chunk) {
    const n = Math.min(chunk, count - at)
    const values = toNumbers({
      ...t,
      shape: [n],
      bytes: part(t.bytes, byteLength(t.dtype, at), byteLength(t.dtype, at + n))
    })
    for (let i = 0; i < values.length; i++) if (Number.isNaN(values[i])) return true
  }
  return false
}

/** Where a graph does not tell how long and how large a run will be, it is tried in a process of its own. Throws `E_RUN`. */
export async function tryOut(
  job: Pick<Job, 'threads'>,
  o: Pick<OpenedModel, 'model' | 'inputs'>,
  path: string,
  data: Dataset,
  hooks: JobHooks
): Promise<void> {
  if (o.model.origin?.untrained)
    throw new PareError('E_UNSUPPORTED', `no runtime reads a network without weights (${o.model.origin.format} form)`, {
      where: path,
      hint: 'pare train makes a model of it, or pare convert with the weights that it begins with'
    })
  if (isForeseen(o.model) || !opensFiles(nodeRunner(), o.model.origin?.format)) return
  hooks.progress('trying one sample', 0, undefined)
  await measureProcess(path, {
    feeds: await firstFeeds(o, data),
    repeats: 1,
    timeoutMs: patienceMs,
    threads: job.threads ?? 1,
    signal: hooks.signal
  })
}

/** `verify --engines`: the same numbers from onnxruntime-node and onnxruntime-web? */
import { PareError } from '../../base/errors.ts'
import { type Compared, compareEngines } from '../../measure/engines.ts'
import type { Engines } from '../../report/types.ts'
import { bytesText } from '../../report/words.ts'
import type { Dataset, Model, Runner, Target } from '../../types.ts'
import { fileBytes } from '../files.ts'
import type { Job, JobHooks } from '../job.ts'
import { webHint, webRunner } from '../web-runner.ts'
import type { Opened } from './open.ts'

/** A WebAssembly engine addresses 4 GB, and holds the file and the weights made of it. */
const mostBytes = 1e9

/** A model that `verify` has open: its file, and all its bytes with those of the weights beside it. */
export interface OpenFile {
  readonly path: string
  readonly bytes: number
  readonly model: Model
}

/**
 * onnxruntime-web, where it or the table of layers was asked for, or where the target is the web; or a note that it is
 * not installed. Throws `E_UNSUPPORTED` where it was asked for and is not.
 */
export async function otherEngine(
  job: Pick<Job, 'engines' | 'layers'>,
  target: Pick<Target, 'name'>
): Promise<{ readonly web?: Runner; readonly notes: readonly string[] }> {
  if (!(job.engines ?? (job.layers || target.name === 'ort-web'))) return { notes: [] }
  const web = await webRunner()
  if (web) return { web, notes: [] }
  if (job.engines) throw new PareError('E_UNSUPPORTED', 'onnxruntime-web is not installed', { hint: webHint })
  return { notes: [`onnxruntime-web is not installed, so the models were not run in it: ${webHint}`] }
}

/** Compares both models in onnxruntime-node and in `web`. */
export async function comparedEngines(
  web: Runner,
  { runner }: Pick<Opened, 'runner'>,
  files: readonly [original: OpenFile, compressed: OpenFile],
  data: Dataset,
  hooks: JobHooks
): Promise<{ readonly engines: Engines; readonly notes: readonly string[] }> {
  const models: Compared[] = []
  const notes: string[] = []
  for (const [i, { path, bytes, model }] of files.entries()) {
    const name = i === 0 ? 'original' : 'compressed'
    if (bytes > mostBytes)
      notes.push(`the ${name} model takes ${bytesText(bytes)}, more than a WebAssembly engine holds: not run in it`)
    else models.push({ model: name, graph: model, source: fileBytes(path).length === bytes ? fileBytes(path) : model })
  }
  const engines = await compareEngines(models, {
    engines: [
      { name: `onnxruntime-node ${runner.version}`, runner },
      { name: `onnxruntime-web ${web.version}`, runner: web }
    ],
    dataset: data,
    signal: hooks.signal,
    progress: hooks.progress
  })
  return { engines, notes }
}

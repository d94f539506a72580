/** `verify --engines`: the same numbers from onnxruntime-node and onnxruntime-web? */
import { PareError } from '../../base/errors.ts'
import { type Compared, compareEngines, type Engine } from '../../measure/engines.ts'
import type { Engines } from '../../report/types.ts'
import type { Runner } from '../../runtime/types.ts'
import type { Target } from '../../targets/types.ts'
import type { Dataset } from '../../types.ts'
import type { Job, JobHooks } from '../job.ts'
import { type ModelFile, sourceOf } from '../runtimes.ts'
import { webHint, webRunner } from '../web-runner.ts'

/**
 * onnxruntime-web, where it or the table of layers was asked for, or where it is the target's runtime;
 * or a note that it is not installed. Throws `E_UNSUPPORTED` where it was asked for and is not.
 */
export async function otherEngine(
  job: Pick<Job, 'engines' | 'layers'>,
  { target }: { readonly target: Pick<Target, 'runtime'> }
): Promise<{ readonly web?: Runner; readonly notes: readonly string[] }> {
  if (!(job.engines ?? (job.layers || target.runtime === 'onnxruntime-web'))) return { notes: [] }
  const web = await webRunner()
  if (web) return { web, notes: [] }
  if (job.engines) throw new PareError('E_UNSUPPORTED', 'onnxruntime-web is not installed', { hint: webHint })
  return { notes: [`onnxruntime-web is not installed, so the models were not run in it: ${webHint}`] }
}

/** Compares both models in onnxruntime-node and in `web`. */
export async function comparedEngines(
  web: Runner,
  engine: Runner,
  files: readonly [original: ModelFile, compressed: ModelFile],
  data: Dataset,
  hooks: JobHooks
): Promise<Engines> {
  const models = files.map(
    ({ path, model }, i): Compared => ({
      model: i === 0 ? 'original' : 'compressed',
      graph: model,
      source: sourceOf(engine, { path, model })
    })
  )
  const named = (runner: Runner): Engine => ({ name: `${runner.name} ${runner.version}`, runner })
  return compareEngines(models, {
    engines: [named(engine), named(web)],
    dataset: data,
    signal: hooks.signal,
    progress: hooks.progress
  })
}

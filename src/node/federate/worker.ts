/** A thread that trains virtual clients: it opens the model and the data once, then takes turns one by one. */
import { parentPort, workerData } from 'node:worker_threads'
import { PareError } from '../../base/errors.ts'
import type { DataDescription } from '../../data/description.ts'
import type { ModelInput } from '../../data/fit.ts'
import type { FederationRecipe, Manifest, Turned, VirtualTurn } from '../../federate/index.ts'
import { trainersHere } from '../../federate/index.ts'
import { readModel } from '../../formats/index.ts'
import { openDataset } from '../dataset.ts'
import { nodeRunner } from '../runner.ts'

/** What a worker begins with. */
export interface WorkerStart {
  /** The model as an ONNX file. */
  readonly model: Uint8Array
  readonly recipe: FederationRecipe
  readonly data: DataDescription
  readonly inputs: readonly ModelInput[]
  readonly classes?: number
  /** The model's file, beside which a tokenizer may lie. */
  readonly path: string
  readonly clients: readonly (readonly number[])[]
}

/** What a worker says. */
export type WorkerMessage =
  | { readonly kind: 'ready'; readonly manifest: Manifest; readonly initial: Float32Array }
  | { readonly kind: 'done'; readonly turned: Turned }
  | { readonly kind: 'failed'; readonly message: string; readonly code?: string; readonly hint?: string }

async function serve(start: WorkerStart): Promise<void> {
  const port = parentPort
  if (!port) throw new PareError('E_INTERNAL', 'not a worker thread')
  const post = (m: WorkerMessage): void => port.postMessage(m)
  const failed = (e: unknown): WorkerMessage => ({
    kind: 'failed',
    message: e instanceof Error ? e.message : String(e),
    ...(e instanceof PareError ? { code: e.code, ...(e.hint === undefined ? {} : { hint: e.hint }) } : {})
  })
  try {
    const { model, recipe, data, inputs, clients, classes, path } = start
    const dataset = await openDataset(data, inputs, { classes, modules: true, model: path })
    const trainers = await trainersHere(readModel(model), recipe, { data: dataset, clients, engine: nodeRunner() })
    port.on('message', (turn: VirtualTurn | 'end') => {
      if (turn === 'end') void trainers.close().then(() => port.close())
      else
        trainers.run([turn]).then(
          ([turned]) => post({ kind: 'done', turned: turned as Turned }),
          (e) => post(failed(e))
        )
    })
    post({ kind: 'ready', manifest: trainers.manifest, initial: trainers.initial })
  } catch (e) {
    post(failed(e))
  }
}

await serve(workerData as WorkerStart)

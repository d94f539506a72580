/** Files as workers open them, with what requests may send and get. */
import { statSync } from 'node:fs'
import { toArray } from '../../base/bytes.ts'
import { PareError } from '../../base/errors.ts'
import { writeModel } from '../../formats/index.ts'
import { askedInputs } from '../../search/made-inputs.ts'
import { datatypeOf } from '../../serve/datatypes.ts'
import type { Port, Signature } from '../../serve/types.ts'
import type { Dim, DType, Model } from '../../types.ts'
import { copyOf, run, tensorsOf } from './pool.ts'
import type { Opened, Told } from './program.ts'
import type { Runs, Weight } from './tune.ts'
import type { Worker } from './worker.ts'

/** Does something with a worker; what waits for it may run between two calls. */
export type Using = <T>(task: (worker: Worker) => Promise<T>) => Promise<T>

/** A file that a worker has opened. */
export interface OpenFile {
  readonly key: string
  readonly file: string | Uint8Array
  readonly signature: Signature
  readonly weight: Weight
  readonly runs: Runs
  close(): Promise<void>
}

/** Opens a file, or the content of one, of which the model is known. */
export type Opens = (name: string, file: string | Uint8Array, model: Model) => Promise<OpenFile>

/** A model as the content of a file that workers open. */
export const contentOf = (model: Model): Uint8Array => toArray(writeModel(model).bytes)

/** Opens files under keys that begin with `before`. Throws `E_RUN` where the runtime does, `E_UNSUPPORTED` for types that requests cannot have. */
export const opener =
  (before: string, using: Using): Opens =>
  async (name, file, model) => {
    const key = `${before}${name}`
    const opened = await using((worker) => worker.ask<Opened>({ do: 'open', key, file }))
    const signature = signatureOf(model, opened)
    const names = signature.outputs.map((p) => p.name)
    const size = typeof file === 'string' ? statSync(file).size : file.length
    return {
      ...{ key, file, signature },
      weight: { bytes: Math.max(opened.bytes, size), loadMs: opened.loadMs },
      runs: async (inputs) => {
        const { outputs, ms, cpuMs } = await using((worker) => run(worker, key, copyOf(inputs), names))
        // Where other programs hold the processor, long runs would seem slower than short ones.
        return { outputs: tensorsOf(outputs), ms: Math.min(ms, cpuMs) }
      },
      close: () => using((worker) => worker.ask({ do: 'close', key }))
    }
  }

/** Sizes and types as the file has them; the engine tells no scalar from a value of any rank. */
function signatureOf(model: Model, { inputs, outputs }: Opened): Signature {
  const known = new Map(askedInputs(model).map((i) => [i.name, i]))
  const asked = inputs.filter((i) => known.size === 0 || known.has(i.name))
  return {
    inputs: asked.map((i) => port(i, known.get(i.name)?.shape)),
    outputs: outputs.map((o) => port(o, model.graph.values.get(o.name)?.shape))
  }
}

function port({ name, dtype, shape }: Told, declared: readonly Dim[] | undefined): Port {
  if (dtype === undefined || datatypeOf(dtype as DType) === undefined)
    throw new PareError('E_UNSUPPORTED', `${dtype ?? 'an unknown type'} cannot be sent in requests`, { where: name })
  const sizes = declared ?? (shape?.length ? shape.map((d) => (d === '' ? '?' : d)) : undefined)
  return { name, dtype: dtype as DType, ...(sizes ? { shape: sizes } : {}) }
}

/**
 * The Runner of compiled models in Node. Models in memory are compiled here and run here; files and bytes are anybody's code,
 * and run in a process of their own, which an endless loop or a full memory cannot take along.
 */
import { toArray } from '../base/bytes.ts'
import { PareError } from '../base/errors.ts'
import { greatest } from '../base/extremes.ts'
import { fastestOf, type ModuleNote, noteOf, openPorts, wayFor, waysToRun } from '../compile/index.ts'
import { byteLength, bytesOf, elementCount, tensorOf, typedValues } from '../ir/tensor.ts'
import { compiledRunner, compiledRuntime } from '../runtime/compiled.ts'
import type { Runner, Session } from '../runtime/types.ts'
import type { Tensor } from '../types.ts'
import { fileBytes } from './files.ts'
import { type Service, service } from './service.ts'
import { version } from './version.ts'

/** The program of the process: it answers requests in order. */
const program = `
const sessions = new Map()
let count = 0
const tasks = {
  open: async ({ bytes }) => {
    const begun = performance.now()
    const session = await openBytes(bytes)
    sessions.set(++count, session)
    return { id: count, loadMs: performance.now() - begun }
  },
  run: async ({ id, feeds }) => {
    const given = feeds.map((f) => ({ ...f, data: new arrays[f.dtype](Uint8Array.from(f.data).buffer) }))
    const begun = performance.now()
    const outputs = await sessions.get(id).run(given)
    const ms = performance.now() - begun
    return { ms, outputs: outputs.map(({ data }) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)) }
  },
  close: async ({ id }) => {
    sessions.delete(id)
    return {}
  }
}
`

/** A Runner of compiled models; it needs no package. `patienceMs`: after which a module is taken for one that never ends. */
export function compiledFiles({ patienceMs }: { readonly patienceMs?: number } = {}): Runner {
  const core = compiledRunner(version)
  let process: Service | undefined
  return {
    ...core,
    open: async (source, o) => {
      if ('graph' in source) return core.open(source, o)
      const bytes = Uint8Array.from('path' in source ? fileBytes(source.path).slice() : toArray(source))
      const note = noteOf(bytes)
      refuseLong(note)
      if (!process?.isAlive) process = service(compiledRuntime, program, patienceMs)
      return sessionIn(process, fastestOf(bytes), note)
    }
  }
}

/** What is taken from a module in a run, bytes: all of it is held twice on its way from the process. */
const mostBytes = 1024 ** 3

/** Outputs of a module may lie in one another, each as long as its whole memory. Throws `E_LIMIT`. */
function refuseLong(note: ModuleNote): void {
  const bytes = greatest(
    waysToRun(note).map(({ outputs }) =>
      outputs.reduce((n, { dtype, shape }) => n + byteLength(dtype, elementCount(shape)), 0)
    )
  )
  if (bytes <= mostBytes) return
  throw new PareError('E_LIMIT', `a compiled model of ${bytes} bytes of outputs, of which ${mostBytes} are taken`)
}

async function sessionIn(process: Service, bytes: Uint8Array, note: ModuleNote): Promise<Session> {
  const ways = waysToRun(note)
  const ask = async <T>(task: string, what: object): Promise<T> => {
    const answer = await process.ask(task, what)
    if ('failed' in answer) throw new PareError('E_RUN', `a compiled model fails to ${task}: ${answer.failed}`)
    return answer.done as T
  }
  const { id, loadMs } = await ask<{ readonly id: number; readonly loadMs: number }>('open', { bytes })
  let spent = 0
  return {
    ...{ ...openPorts(note), loadMs },
    run: async (feeds) => {
      const given = Object.entries(feeds).map(([name, t]: [string, Tensor]) => ({
        ...{ name, dtype: t.dtype, shape: t.shape },
        data: bytesOf(typedValues(t))
      }))
      const ran = await ask<{ readonly ms: number; readonly outputs: readonly Uint8Array[] }>('run', {
        id,
        feeds: given
      })
      spent += ran.ms
      const { outputs } = wayFor(ways, feeds) ?? note
      return Object.fromEntries(
        outputs.map(({ name, dtype, shape }, i) => [name, tensorOf(dtype, shape, ran.outputs[i] as Uint8Array)])
      )
    },
    spentMs: () => spent,
    close: async () => {
      if (process.isAlive) await process.ask('close', { id })
    }
  }
}

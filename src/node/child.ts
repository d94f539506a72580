/** Programs that open models in a process of their own, which a crash of the runtime cannot take along. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { toArray } from '../base/bytes.ts'
import { PareError } from '../base/errors.ts'
import type { Tensor } from '../types.ts'
import { needsPackage, openerOf, startOf } from './openers.ts'

/**
 * How every such program begins: it reads its job, JSON on standard input, and loads the runtime. After it there are `job`,
 * `readFileSync`, `fed`, which makes feeds of what `feedsJson` gives, and what `openers.ts` says. It is text, so that the
 * program is the same whether Pare runs from source or built.
 */
const preamble = `
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
const chunks = []
for await (const chunk of process.stdin) chunks.push(chunk)
const job = JSON.parse(Buffer.concat(chunks).toString())
const module = await import(job.module)
const arrays = {
  float32: Float32Array, float64: Float64Array, float16: Uint16Array, int8: Int8Array, int16: Int16Array,
  int32: Int32Array, int64: BigInt64Array, uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array,
  uint64: BigUint64Array, bool: Uint8Array
}
const values = (f) => new arrays[f.dtype](new Uint8Array(Buffer.from(f.base64, 'base64')).buffer)
const fed = (feeds) => feeds.map((f) => (f.strings ? f : { ...f, data: values(f) }))
`

/** Feeds as the child's `fed` takes them. */
export const feedsJson = (feeds: Readonly<Record<string, Tensor>>): readonly object[] =>
  Object.entries(feeds).map(([name, t]) => ({
    ...{ name, dtype: t.dtype, shape: t.shape },
    ...(t.strings ? { strings: t.strings } : { base64: Buffer.from(toArray(t.bytes)).toString('base64') })
  }))

export interface ChildOptions {
  /** The package that opens the files. */
  readonly runtime: string
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
}

/** Where a package that is installed here is loaded from. */
export const moduleOf = (runtime: string): string =>
  needsPackage(runtime) ? pathToFileURL(createRequire(import.meta.url).resolve(runtime)).href : 'node:path'

/** How a child came to its end. */
export interface Ended {
  readonly out: string
  /** The last of what it wrote to standard error. */
  readonly err: string
  readonly status: number | null
  readonly signal: NodeJS.Signals | null
}

/** Starts a program on a job of plain data; with `channel`, messages pass between it and this process. */
export function startChild(
  program: string,
  job: object,
  runtime: string,
  o: SpawnOptions & { channel?: true } = {}
): ChildProcess {
  // Options meant for this process, such as a test runner's loaders, are not the child's.
  const { NODE_OPTIONS: _, ...env } = process.env
  const { channel, ...options } = o
  const child = spawn(process.execPath, ['--input-type=module', '-e', preamble + openerOf(runtime) + program], {
    env,
    stdio: ['pipe', 'pipe', 'pipe', ...(channel ? (['ipc'] as const) : [])],
    serialization: 'advanced',
    ...options
  })
  // A child that dies before reading closes the pipe: its status tells why.
  child.stdin?.on('error', () => undefined)
  child.stdin?.end(JSON.stringify({ ...job, ...startOf(runtime), module: moduleOf(runtime) }))
  return child
}

/** Runs a program on a job of plain data. Throws `E_ABORTED` on request, `E_RUN` where no process could be started. */
export function runChild(program: string, job: object, o: ChildOptions): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = startChild(program, job, o.runtime, {
      timeout: o.timeoutMs,
      killSignal: 'SIGKILL',
      ...(o.signal ? { signal: o.signal } : {})
    })
    const out: Buffer[] = []
    let err = ''
    child.stdout?.on('data', (d: Buffer) => out.push(d))
    child.stderr?.on('data', (d: Buffer) => {
      err = (err + d.toString()).slice(-4000)
    })
    child.on('error', (cause) =>
      reject(
        o.signal?.aborted
          ? new PareError('E_ABORTED', 'stopped on request')
          : new PareError('E_RUN', `no process could be started: ${cause.message}`, { cause })
      )
    )
    child.on('close', (status, signal) => resolve({ out: Buffer.concat(out).toString(), err, status, signal }))
  })
}

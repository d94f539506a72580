/** Runs model files on one feed in a process of its own, which a crash of the runtime cannot take along. */
import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { toArray } from '../base/bytes.ts'
import { PareError } from '../base/errors.ts'
import { tensorOf } from '../ir/tensor.ts'
import type { DType, Tensor } from '../types.ts'

/** What one file came to. `failed`: why it did not open or run. */
export interface Ran {
  readonly failed?: string
  /** Tensor outputs of each run, by name; absent without feeds. */
  readonly runs?: readonly Readonly<Record<string, Tensor>>[]
}

export interface RunFilesOptions {
  /** Absent: the files are only opened. */
  readonly feeds?: Readonly<Record<string, Tensor>>
  readonly threads: number
  /** The package that opens them. */
  readonly runtime: string
  /** Runs of each file. */
  readonly runs: number
  readonly timeoutMs: number
  readonly signal: AbortSignal
}

/** The child's program; it writes a line for each file as soon as that has run. */
const program = `
import { readFileSync } from 'node:fs'
const chunks = []
for await (const chunk of process.stdin) chunks.push(chunk)
const job = JSON.parse(Buffer.concat(chunks).toString())
const module = await import(job.runtime)
const ort = module.InferenceSession ? module : module.default
if (job.asBytes) ort.env.wasm.numThreads = 1
const arrays = {
  float32: Float32Array, float64: Float64Array, float16: Uint16Array, int8: Int8Array, int16: Int16Array,
  int32: Int32Array, int64: BigInt64Array, uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array,
  uint64: BigUint64Array, bool: Uint8Array
}
const values = (f) => f.strings ?? new arrays[f.dtype](new Uint8Array(Buffer.from(f.base64, 'base64')).buffer)
const feeds = job.feeds && Object.fromEntries(job.feeds.map((f) => [f.name, new ort.Tensor(f.dtype, values(f), f.shape)]))
const base64 = (a) => Buffer.from(a.buffer, a.byteOffset, a.byteLength).toString('base64')
const plain = (out) => Object.entries(out).filter(([, t]) => ArrayBuffer.isView(t?.data))
  .map(([name, t]) => ({ name, dtype: t.type, shape: t.dims, base64: base64(t.data) }))
for (const path of job.paths) {
  let line
  try {
    const source = job.asBytes ? new Uint8Array(readFileSync(path)) : path
    const session = await ort.InferenceSession.create(source, { intraOpNumThreads: job.threads, interOpNumThreads: 1, logSeverityLevel: 4 })
    const runs = []
    if (feeds) for (let i = 0; i < job.runs; i++) runs.push(plain(await session.run(feeds)))
    line = feeds ? { runs } : {}
  } catch (e) {
    line = { failed: String(e?.message ?? e).trim() }
  }
  process.stdout.write(JSON.stringify(line) + '\\n')
}
`

interface Line {
  readonly failed?: string
  readonly runs?: readonly (readonly { name: string; dtype: DType; shape: number[]; base64: string }[])[]
}

/** One result a file, in order. A file that ends the process has the reason, those after it are absent. Throws `E_ABORTED`. */
export async function runFiles(paths: readonly string[], o: RunFilesOptions): Promise<readonly Ran[]> {
  const runtime = pathToFileURL(createRequire(import.meta.url).resolve(o.runtime)).href
  const feeds = o.feeds && Object.entries(o.feeds).map(([name, t]) => ({ name, ...plain(t) }))
  const job = { runtime, paths, feeds, threads: o.threads, runs: o.runs, asBytes: o.runtime !== 'onnxruntime-node' }
  const { out, died } = await ended(JSON.stringify(job), o)
  const lines = out.split('\n').filter((l) => l !== '')
  const all = lines.map((l) => revived(JSON.parse(l) as Line))
  return all.length < paths.length ? [...all, { failed: died }] : all
}

const plain = (t: Tensor): object => ({
  dtype: t.dtype,
  shape: t.shape,
  ...(t.strings ? { strings: t.strings } : { base64: Buffer.from(toArray(t.bytes)).toString('base64') })
})

const revived = ({ failed, runs }: Line): Ran => ({
  ...(failed === undefined ? {} : { failed }),
  ...(runs === undefined
    ? {}
    : {
        runs: runs.map((outputs) =>
          Object.fromEntries(
            outputs.map((t) => [t.name, tensorOf(t.dtype, t.shape, new Uint8Array(Buffer.from(t.base64, 'base64')))])
          )
        )
      })
})

function ended(input: string, o: RunFilesOptions): Promise<{ readonly out: string; readonly died: string }> {
  // Options meant for this process, such as a test runner's loaders, are not the child's.
  const { NODE_OPTIONS: _, ...env } = process.env
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      env,
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: o.timeoutMs,
      killSignal: 'SIGKILL',
      signal: o.signal
    })
    const out: Buffer[] = []
    let err = ''
    child.stdout.on('data', (d: Buffer) => out.push(d))
    child.stderr.on('data', (d: Buffer) => {
      err = (err + d.toString()).slice(-4000)
    })
    child.on('error', (cause) =>
      reject(
        o.signal.aborted
          ? new PareError('E_ABORTED', 'stopped on request')
          : new PareError('E_RUN', `no process could be started: ${cause.message}`, { cause })
      )
    )
    child.on('close', (status, signal) => {
      const why = signal ? `the runtime was ended by ${signal}` : `the runtime ended with status ${status}`
      const last = err.trim().split('\n').at(-1)
      resolve({ out: Buffer.concat(out).toString(), died: last ? `${why}: ${last}` : why })
    })
    // A child that dies before reading closes the pipe: its status tells why.
    child.stdin.on('error', () => undefined)
    child.stdin.end(input)
  })
}

/** Load time and peak memory, each time in a fresh process: memory of this process is never given back. */
import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { brotliCompressSync, constants } from 'node:zlib'
import { toArray } from '../base/bytes.ts'
import { PareError } from '../base/errors.ts'
import { writeModel } from '../formats/index.ts'
import { model } from '../ir/text.ts'
import { quantile } from '../measure/intervals.ts'
import type { Tensor } from '../types.ts'

export interface ProcessMeasurement {
  /** Median time to open the file, in ms. The file is in the system's cache from the second time on. */
  readonly loadMs: number
  /** Median of the largest resident memory, with the runtime's own. */
  readonly peakBytes: number
  /** The same for a process that loads the runtime and no model. */
  readonly baselineBytes: number
}

export interface ProcessOptions {
  /** Inputs of two runs after loading; without them the model is only loaded. */
  readonly feeds?: Readonly<Record<string, Tensor>>
  readonly threads?: number
  /** The package that opens it: `onnxruntime-node` by default, or `onnxruntime-web`, which takes no weights beside the file. */
  readonly runtime?: string
  /** Fresh processes; 3 by default. */
  readonly repeats?: number
  /** A process that takes longer is ended; 10 minutes by default. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

/** Opens a model file in fresh processes. Throws `E_RUN` when one fails, is killed or takes too long, `E_ABORTED` on request. */
export async function measureProcess(path: string, o: ProcessOptions = {}): Promise<ProcessMeasurement> {
  const all: ProcessMeasurement[] = []
  for (let i = 0; i < Math.max(1, o.repeats ?? 3); i++) all.push(await measureOnce(path, o))
  const median = (of: (m: ProcessMeasurement) => number): number =>
    quantile(
      all.map(of).sort((a, b) => a - b),
      0.5
    )
  return {
    loadMs: median((m) => m.loadMs),
    peakBytes: median((m) => m.peakBytes),
    baselineBytes: median((m) => m.baselineBytes)
  }
}

/** Length of some bytes under brotli, quality 9, as a careful web server would send them. */
export function brotliLength(bytes: Uint8Array): number {
  const params = { [constants.BROTLI_PARAM_QUALITY]: 9, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length }
  return brotliCompressSync(bytes, { params }).length
}

/**
 * The child's program: text, so that it is the same whether Pare runs from source or built. It reads
 * `{ runtime, path, threads, first?, feeds: [{ name, dtype, shape, base64 | strings }] }` and writes a ProcessMeasurement.
 * `first`: a model without work, as base64, that a runtime opens to start itself, and a sign that it takes bytes only.
 */
const program = `
import { readFileSync } from 'node:fs'
const peak = () => {
  if (process.platform !== 'linux') return process.resourceUsage().maxRSS * 1024
  return Number(/VmHWM:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))[1]) * 1024
}
const chunks = []
for await (const chunk of process.stdin) chunks.push(chunk)
const job = JSON.parse(Buffer.concat(chunks).toString())
const module = await import(job.runtime)
const ort = module.InferenceSession ? module : module.default
const arrays = {
  float32: Float32Array, float64: Float64Array, float16: Uint16Array, int8: Int8Array, int16: Int16Array,
  int32: Int32Array, int64: BigInt64Array, uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array,
  uint64: BigUint64Array, bool: Uint8Array
}
const values = (f) => f.strings ?? new arrays[f.dtype](new Uint8Array(Buffer.from(f.base64, 'base64')).buffer)
const feeds = Object.fromEntries(job.feeds.map((f) => [f.name, new ort.Tensor(f.dtype, values(f), f.shape)]))
const options = { intraOpNumThreads: job.threads, interOpNumThreads: 1, logSeverityLevel: 4 }
if (job.first) {
  ort.env.wasm.numThreads = 1
  await (await ort.InferenceSession.create(new Uint8Array(Buffer.from(job.first, 'base64')), options)).release()
}
const baselineBytes = peak()
const start = performance.now()
const source = job.first ? new Uint8Array(readFileSync(job.path)) : job.path
const session = await ort.InferenceSession.create(source, options)
const loadMs = performance.now() - start
if (job.feeds.length) for (let i = 0; i < 2; i++) await session.run(feeds)
process.stdout.write(JSON.stringify({ loadMs, peakBytes: peak(), baselineBytes }))
`

/** Does a process of this package read the file itself, with the weights beside it? */
export const takesPaths = (runtime: string): boolean => runtime === 'onnxruntime-node'

const empty = model`
input x: f32[1]
y = Identity(x)
output y`

function measureOnce(path: string, o: ProcessOptions): Promise<ProcessMeasurement> {
  const name = o.runtime ?? 'onnxruntime-node'
  const runtime = pathToFileURL(createRequire(import.meta.url).resolve(name)).href
  const first = takesPaths(name) ? undefined : Buffer.from(writeModel(empty).bytes).toString('base64')
  const feeds = Object.entries(o.feeds ?? {}).map(([name, t]) => ({
    name,
    dtype: t.dtype,
    shape: t.shape,
    ...(t.strings ? { strings: t.strings } : { base64: Buffer.from(toArray(t.bytes)).toString('base64') })
  }))
  // Options meant for this process, such as a test runner's loaders, are not the child's.
  const { NODE_OPTIONS: _, ...env } = process.env
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      env,
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: o.timeoutMs ?? 600_000,
      killSignal: 'SIGKILL',
      ...(o.signal ? { signal: o.signal } : {})
    })
    let [out, err] = ['', '']
    child.stdout.on('data', (d: Buffer) => {
      out += d.toString()
    })
    child.stderr.on('data', (d: Buffer) => {
      err = (err + d.toString()).slice(-4000)
    })
    child.on('error', (cause) => reject(stopped(o, path, cause.message, cause)))
    child.on('close', (status, signal) => {
      if (status === 0 && out !== '') resolve(JSON.parse(out) as ProcessMeasurement)
      else reject(stopped(o, path, signal ? `it was ended by ${signal}` : reasonIn(err)))
    })
    // A child that dies before reading closes the pipe: its status tells why.
    child.stdin.on('error', () => undefined)
    child.stdin.end(JSON.stringify({ runtime, path, threads: o.threads ?? 1, first, feeds }))
  })
}

function stopped(o: ProcessOptions, path: string, why: string, cause?: unknown): PareError {
  if (o.signal?.aborted) return new PareError('E_ABORTED', 'stopped on request')
  return new PareError('E_RUN', `the model could not be measured in a process of its own: ${why}`, {
    where: path,
    cause
  })
}

/** The message of an uncaught error, from what Node prints of it. */
const reasonIn = (stderr: string): string =>
  /^\w*Error: (.*)$/m.exec(stderr)?.[1] ?? (stderr.trim().split('\n').at(-1) || 'no reason given')

/** Load time and peak memory, each time in a fresh process: memory of this process is never given back. */
import { brotliCompressSync, constants } from 'node:zlib'
import { PareError } from '../base/errors.ts'
import { quantile } from '../measure/intervals.ts'
import type { Tensor } from '../types.ts'
import { feedsJson, runChild } from './child.ts'

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
  /** The package that opens it: `onnxruntime-node` by default, or `onnxruntime-web` or `@litertjs/core`, which take no weights beside the file. */
  readonly runtime?: string
  /** Fresh processes; 3 by default. */
  readonly repeats?: number
  /** Told of processes that have ended. */
  progress?(done: number): void
  /** A process that takes longer is ended; 10 minutes by default. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

/** Opens a model file in fresh processes. Throws `E_RUN` when one fails, is killed or takes too long, `E_ABORTED` on request. */
export async function measureProcess(path: string, o: ProcessOptions = {}): Promise<ProcessMeasurement> {
  const all: ProcessMeasurement[] = []
  for (let i = 0; i < Math.max(1, o.repeats ?? 3); i++) {
    o.progress?.(i)
    all.push(await measureOnce(path, o))
  }
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

/**
 * Length of some bytes under brotli, quality 4, as web servers compress on the way. Quality 9 makes weights smaller by about
 * 0.1 %, and takes a second for a megabyte of weights that repeat their values.
 */
export function brotliLength(bytes: Uint8Array): number {
  const params = { [constants.BROTLI_PARAM_QUALITY]: 4, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length }
  return brotliCompressSync(bytes, { params }).length
}

/** The child's program; it writes a ProcessMeasurement. */
const program = `
const peak = () => {
  if (process.platform !== 'linux') return process.resourceUsage().maxRSS * 1024
  return Number(/VmHWM:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))[1]) * 1024
}
const feeds = fed(job.feeds)
await start()
const baselineBytes = peak()
const begun = performance.now()
const session = await open(job.path)
const loadMs = performance.now() - begun
if (feeds.length) for (let i = 0; i < 2; i++) await session.run(feeds)
process.stdout.write(JSON.stringify({ loadMs, peakBytes: peak(), baselineBytes }))
`

/** Does a process of this package read weights beside the file? */
export const takesPaths = (runtime: string): boolean => runtime === 'onnxruntime-node'

async function measureOnce(path: string, o: ProcessOptions): Promise<ProcessMeasurement> {
  const runtime = o.runtime ?? 'onnxruntime-node'
  const job = { path, threads: o.threads ?? 1, feeds: feedsJson(o.feeds ?? {}) }
  const { out, err, status, signal } = await runChild(program, job, {
    runtime,
    timeoutMs: o.timeoutMs ?? 600_000,
    signal: o.signal
  })
  if (status === 0 && out !== '') return JSON.parse(out) as ProcessMeasurement
  const why = signal ? `it was ended by ${signal}` : reasonIn(err)
  throw new PareError('E_RUN', `the model could not be measured in a process of its own: ${why}`, { where: path })
}

/** The message of an uncaught error, from what Node prints of it. */
const reasonIn = (stderr: string): string =>
  /^\w*Error: (.*)$/m.exec(stderr)?.[1] ?? (stderr.trim().split('\n').at(-1) || 'no reason given')

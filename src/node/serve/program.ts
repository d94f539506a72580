/**
 * What a worker runs, a thread or a process of its own. It is text, so that it is the same whether Pare runs from source or built,
 * and loads the runtime alone.
 *
 * It answers messages in order: `open` a file under a key, `run` it, `close` all whose keys begin with one, `end`. A run gives back the memory of its inputs
 * with the outputs, so that both move between threads without being copied.
 */

/** A tensor between threads: `data` is a typed array over memory of its own, or a list of strings. */
export interface Moved {
  readonly name: string
  readonly dtype: string
  readonly shape: readonly number[]
  readonly data: ArrayBufferView | readonly string[]
}

/** An input or output as the runtime tells it. */
export interface Told {
  readonly name: string
  readonly dtype?: string
  readonly shape?: readonly (number | string)[]
}

/** What a worker is asked to do. */
export type Ask =
  | { readonly do: 'open'; readonly key: string; readonly file: string | Uint8Array }
  | { readonly do: 'run'; readonly key: string; readonly feeds: readonly Moved[]; readonly outputs: readonly string[] }
  | { readonly do: 'close'; readonly key: string }
  | { readonly do: 'end' }

export interface Opened {
  readonly inputs: readonly Told[]
  readonly outputs: readonly Told[]
  readonly loadMs: number
  /** Growth of the process's memory, bytes; also that of other threads that load at the time. */
  readonly bytes: number
}

export interface Ran {
  readonly outputs: readonly Moved[]
  /** By the worker's own clock. */
  readonly ms: number
  /** Of the processor, that other threads of the process had meanwhile too. */
  readonly cpuMs: number
  /** Memory of the inputs, to be used again. */
  readonly back: readonly ArrayBuffer[]
}

export type Answer = { readonly n: number } & ({ readonly done: unknown } | { readonly failed: string })

/** The program; it reads where the runtime is from the data of its thread, or from its first argument. */
export const program = `
void (async () => {
const { parentPort, workerData, Worker } = await import('node:worker_threads')
const isThread = parentPort !== null
const ort = await import(isThread ? workerData.runtime : process.argv[1])
if (ort.env.logLevel === 'warning') ort.env.logLevel = 'error'
const sessions = new Map()
const options = {
  intraOpNumThreads: 1, interOpNumThreads: 1, executionMode: 'sequential', graphOptimizationLevel: 'all', logSeverityLevel: 4
}
const told = (all) => all.filter((v) => v.isTensor).map(({ name, type, shape }) => ({ name, dtype: type, shape }))
const tasks = {
  async open({ key, file }) {
    const [before, start] = [process.memoryUsage().rss, performance.now()]
    const session = await ort.InferenceSession.create(file, options)
    sessions.set(key, session)
    return {
      inputs: told(session.inputMetadata), outputs: told(session.outputMetadata),
      loadMs: performance.now() - start, bytes: Math.max(0, process.memoryUsage().rss - before)
    }
  },
  async run({ key, feeds, outputs }) {
    const session = sessions.get(key)
    if (!session) throw new Error('the model is not open here')
    const fed = Object.fromEntries(feeds.map((f) => [f.name, new ort.Tensor(f.dtype, f.data, f.shape)]))
    const [start, cpu] = [performance.now(), process.cpuUsage()]
    const given = await session.run(fed, outputs, { logSeverityLevel: 4 })
    const [ms, { user, system }] = [performance.now() - start, process.cpuUsage(cpu)]
    const made = outputs.map((name) => {
      const { type, dims, data } = given[name]
      return { name, dtype: type, shape: [...dims], data }
    })
    return { outputs: made, ms, cpuMs: (user + system) / 1000, back: isThread ? feeds.flatMap((f) => (f.data.buffer ? [f.data.buffer] : [])) : [] }
  },
  async close({ key }) {
    for (const [own, session] of [...sessions])
      if (own.startsWith(key)) {
        sessions.delete(own)
        await session.release()
      }
  },
  async end() {
    await tasks.close({ key: '' })
    setImmediate(() => (isThread ? parentPort.close() : process.exit(0)))
  }
}
const buffersOf = (done) =>
  isThread && done?.outputs?.[0]?.data !== undefined
    ? [...new Set([...done.outputs.flatMap((o) => (o.data.buffer ? [o.data.buffer] : [])), ...done.back])]
    : []
let last = Promise.resolve()
const post = isThread ? (m, list) => parentPort.postMessage(m, list) : (m) => process.send?.(m)
const take = ({ n, ask }) => {
  last = last.then(() => tasks[ask.do](ask)).then(
    (done) => post({ n, done }, buffersOf(done)),
    (e) => post({ n, failed: String(e?.message ?? e).trim() }, [])
  )
}
if (isThread) parentPort.on('message', take)
else {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => undefined)
  process.on('disconnect', () => process.exit())
  // Ends the process where its parent is gone while it computes.
  new Worker(
    'const { ppid } = process; setInterval(() => process.ppid === ppid || process.kill(process.pid, "SIGKILL"), 1000)',
    { eval: true }
  ).unref()
  process.on('message', take)
}
post({ n: 0, done: 'ready' }, [])
})().catch((e) => { console.error(e); process.exit(1) })
`

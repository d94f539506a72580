/** Runs model files on one feed in a process of its own, which a crash of the runtime cannot take along. */
import { tensorOf } from '../ir/tensor.ts'
import type { DType, Tensor } from '../types.ts'
import { type ChildOptions, type Ended, feedsJson, runChild } from './child.ts'

/** What one file came to. `failed`: why it did not open or run. */
export interface Ran {
  readonly failed?: string
  /** Tensor outputs of each run, by name; absent without feeds. */
  readonly runs?: readonly Readonly<Record<string, Tensor>>[]
}

export interface RunFilesOptions extends ChildOptions {
  /** Absent: the files are only opened. */
  readonly feeds?: Readonly<Record<string, Tensor>>
  readonly threads: number
  /** Runs of each file. */
  readonly runs: number
}

/** The child's program; it writes a line for each file as soon as that has run. */
const program = `
await start()
const feeds = job.feeds && fed(job.feeds)
const base64 = (a) => Buffer.from(a.buffer, a.byteOffset, a.byteLength).toString('base64')
const plain = (out) => out.filter((t) => ArrayBuffer.isView(t.data)).map(({ data, ...t }) => ({ ...t, base64: base64(data) }))
for (const path of job.paths) {
  let line
  try {
    const session = await open(path)
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
  const { feeds, threads, runs } = o
  const job = { paths, threads, runs, ...(feeds ? { feeds: feedsJson(feeds) } : {}) }
  const ended = await runChild(program, job, o)
  const lines = ended.out.split('\n').filter((l) => l !== '')
  const all = lines.map((l) => revived(JSON.parse(l) as Line))
  return all.length < paths.length ? [...all, { failed: whyEnded(ended) }] : all
}

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

function whyEnded({ status, signal, err }: Ended): string {
  const why = signal ? `the runtime was ended by ${signal}` : `the runtime ended with status ${status}`
  const last = err.trim().split('\n').at(-1)
  return last ? `${why}: ${last}` : why
}

/**
 * The journal of a search as a file beside the output, `OUT.journal`: one line of JSON that tells the job, then one for every
 * finished trial. Each line is on the disk before the search goes on. A last line that was cut off is dropped.
 */
import { closeSync, existsSync, fsyncSync, openSync, rmSync, truncateSync, writeSync } from 'node:fs'
import { toArray } from '../base/bytes.ts'
import { PareError } from '../base/errors.ts'
import type { Journal } from '../search/input.ts'
import type { Identity, Trial } from '../search/trial.ts'
import { fileBytes, guarded, writeAtomic } from './files.ts'

/** A journal that its job removes in the end. */
export interface JournalFile extends Journal {
  /** Removes it, once the result is written. */
  clear(): void
}

interface Header {
  readonly pareJournal: 1
  readonly job: Identity
}

/** The journal beside an output. Without `resume` it is not read, and the first trial takes an old one's place. */
export function journalBeside(out: string, o: { readonly resume: boolean }): JournalFile {
  const path = `${out}.journal`
  let header: Header | undefined
  let isBegun = false
  return {
    async open(job) {
      header = { pareJournal: 1, job }
      const old = existsSync(path) ? readJournal(path) : undefined
      if (!o.resume) return { trials: [], notes: [] }
      if (!old) return { trials: [], notes: ['no journal of this run was found beside the output: it began anew'] }
      const other = differences(old.header.job, job)
      if (other.length > 0)
        return {
          trials: [],
          notes: [`the journal beside the output is of another run (${other.join('; ')}): not used`]
        }
      truncateSync(path, old.length)
      isBegun = true
      return { trials: old.trials, notes: [] }
    },
    async append(trial) {
      if (!isBegun) await writeAtomic(path, [lineOf(header)], { force: true })
      isBegun = true
      guarded(path, 'write', () => appendLine(path, lineOf(trial)))
    },
    clear: () => {
      if (isBegun) rmSync(path, { force: true })
    }
  }
}

/** A value as a line. */
export const lineOf = (value: unknown): Uint8Array => new TextEncoder().encode(`${JSON.stringify(value)}\n`)

/** In one piece, and on the disk before it returns. */
export function appendLine(path: string, line: Uint8Array): void {
  const file = openSync(path, 'a')
  try {
    for (let done = 0; done < line.length; ) done += writeSync(file, line, done)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

/** A journal's whole lines, and the bytes that they take. Throws `E_FORMAT` for anything else. */
function readJournal(path: string): {
  readonly header: Header
  readonly trials: readonly Trial[]
  readonly length: number
} {
  const { lines, length } = readLines(path)
  const [header, ...trials] = lines
  if (!isHeader(header)) throw broken(path, 'its first line is none of a journal')
  const odd = trials.findIndex((t) => typeof t !== 'object' || t === null || !('key' in t) || !('proposal' in t))
  if (odd >= 0) throw broken(path, `line ${odd + 2} is no trial`)
  return { header, trials: trials as Trial[], length }
}

/** Lines of JSON, and the bytes that the whole ones take: a last line that was cut off is left out. Throws `E_FORMAT` for others. */
export function readLines(path: string): { readonly lines: readonly unknown[]; readonly length: number } {
  const bytes = toArray(fileBytes(path))
  const length = bytes.lastIndexOf(10) + 1
  const texts = new TextDecoder().decode(bytes.subarray(0, length)).split('\n').slice(0, -1)
  const lines = texts.map((line, i) => {
    try {
      return JSON.parse(line) as unknown
    } catch (cause) {
      throw broken(path, `line ${i + 1} is no JSON`, cause)
    }
  })
  return { lines, length }
}

const isHeader = (x: unknown): x is Header =>
  typeof x === 'object' && x !== null && 'pareJournal' in x && x.pareJournal === 1 && 'job' in x

/** The error for what is no journal. */
export const broken = (path: string, why: string, cause?: unknown): PareError =>
  new PareError('E_FORMAT', `this is no whole journal of a search: ${why}`, {
    where: path,
    hint: 'remove it, or name another output',
    ...(cause === undefined ? {} : { cause })
  })

/** What two jobs do not have in common, in words. */
export function differences(old: Identity, now: Identity): string[] {
  const names = [...new Set([...Object.keys(old), ...Object.keys(now)])]
  return names.filter((n) => old[n] !== now[n]).map((n) => `${n}: ${old[n] ?? 'none'}, now ${now[n] ?? 'none'}`)
}

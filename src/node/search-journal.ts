/**
 * The journal of `search` as a file, `OUT.search`: a line of JSON that tells what is searched in, then every proposal before it
 * is measured and every trial once it is. Lines are only ever added, and each is on the disk before the search goes on.
 */
import { existsSync, truncateSync } from 'node:fs'
import { PareError } from '../base/errors.ts'
import type { SearchHeader, SearchJournal, SearchLine } from '../search/space/records.ts'
import type { Identity } from '../search/trial.ts'
import { guarded, writeAtomic } from './files.ts'
import { appendLine, broken, differences, lineOf, readLines } from './journal.ts'

/** Facts of a journal that was written before; what of them a search may take is for it to say. */
export interface OldSearch {
  readonly job: Identity
  readonly lines: readonly SearchLine[]
}

/** Lines of an old journal, to be gone on from; `undefined` where there is none. Throws `E_FORMAT` for other files. */
export function oldSearch(path: string): (OldSearch & { readonly length: number }) | undefined {
  if (!existsSync(path)) return undefined
  const { lines, length } = readLines(path)
  if (length === 0) return undefined
  const [header, ...rest] = lines
  if (!isHeader(header)) throw broken(path, 'its first line is none of a search')
  const odd = rest.findIndex((l) => !isLine(l))
  if (odd >= 0) throw broken(path, `line ${odd + 2} is of no trial`)
  return { job: header.job, lines: rest as SearchLine[], length }
}

/**
 * The journal at a path. With `resume` it goes on; without, an old one is an error, `E_EXISTS`, unless it may be overwritten.
 * Throws `E_USAGE`, with what differs, where an old one is of another search.
 */
export function searchJournalAt(
  path: string,
  { resume, force }: { readonly resume: boolean; readonly force: boolean }
): SearchJournal {
  return {
    async open(job) {
      const old = resume ? oldSearch(path) : undefined
      if (!resume && !force) refuseOld(path)
      if (old) {
        const other = differences(old.job, job)
        if (other.length > 0) throw anotherSearch(path, other)
        truncateSync(path, old.length)
        return old.lines
      }
      const header: SearchHeader = { pareSearch: 1, job }
      await writeAtomic(path, [lineOf(header)], { force: true })
      return []
    },
    append: async (line) => guarded(path, 'write', () => appendLine(path, lineOf(line)))
  }
}

/** Throws `E_EXISTS` where there is a journal, which a search that begins anew would overwrite. */
export function refuseOld(path: string): void {
  if (existsSync(path))
    throw new PareError('E_EXISTS', 'there is the journal of a search already', {
      where: path,
      hint: '--resume goes on with it, --force begins anew'
    })
}

/** Throws `E_USAGE` where facts that are known before anything is measured differ from those of an old journal. */
export function refuseAnother(path: string, old: OldSearch, now: Identity): void {
  const same = Object.fromEntries(Object.keys(now).map((name) => [name, old.job[name] ?? 'none']))
  const other = differences(same, now)
  if (other.length > 0) throw anotherSearch(path, other)
}

const anotherSearch = (path: string, other: readonly string[]): PareError =>
  new PareError('E_USAGE', 'the journal is of another search', {
    where: path,
    facts: Object.fromEntries(other.map((text) => [text.replace(/:.*/s, ''), text.replace(/^[^:]*: /, '')])),
    hint: 'give what it was begun with, or --force to begin anew'
  })

const isHeader = (x: unknown): x is SearchHeader =>
  typeof x === 'object' && x !== null && 'pareSearch' in x && x.pareSearch === 1 && 'job' in x

const kinds: ReadonlySet<unknown> = new Set<SearchLine['kind']>(['proposed', 'done', 'failed', 'ended', 'fact'])

const isLine = (x: unknown): x is SearchLine => typeof x === 'object' && x !== null && 'kind' in x && kinds.has(x.kind)

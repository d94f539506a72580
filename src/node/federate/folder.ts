/**
 * The folder of a run.
 *
 *     run.json        what the run is: recipe and options
 *     model.onnx      what it began with
 *     key             the organiser's secret, readable by its owner alone
 *     invitations/    one file a client, to be handed over
 *     journal         one line of JSON for everything that happened, each on the disk before it is answered
 *     states/         the server's numbers after each of the last rounds, by hash
 *     updates/        what clients sent in the round that is open, by hash
 *     result.onnx     the model, once the run is over
 */
import { createHash, randomBytes } from 'node:crypto'
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeSync
} from 'node:fs'
import { dirname, join } from 'node:path'
import { PareError } from '../../base/errors.ts'
import { guarded } from '../files.ts'

export const sha256Of = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** Writes a file whole or not at all, and on the disk before it returns. `mode`: of the file. */
export function writeWhole(path: string, bytes: Uint8Array, mode = 0o644): void {
  guarded(path, 'write', () => {
    const temporary = `${path}.${process.pid}.${randomBytes(4).toString('hex')}.part`
    const file = openSync(temporary, 'w', mode)
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done)
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    renameSync(temporary, path)
    syncFolder(dirname(path))
  })
}

function syncFolder(path: string): void {
  const folder = openSync(path, 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}

/** The bytes of a file, or nothing where there is none. */
export const readWhole = (path: string): Uint8Array | undefined =>
  existsSync(path) ? new Uint8Array(guarded(path, 'read', () => readFileSync(path))) : undefined

/** Files by their hash. */
export interface HashedFiles {
  write(bytes: Uint8Array): string
  /** Throws `E_FILE` where the file is gone or is not what its name says. */
  read(sha256: string): Uint8Array
  /** Removes all but these. */
  keep(names: ReadonlySet<string>): void
}

export function hashedFiles(folder: string): HashedFiles {
  mkdirSync(folder, { recursive: true })
  return {
    write: (bytes) => {
      const name = sha256Of(bytes)
      if (!existsSync(join(folder, name))) writeWhole(join(folder, name), bytes)
      return name
    },
    read: (name) => {
      const bytes = readWhole(join(folder, name))
      if (bytes && sha256Of(bytes) === name) return bytes
      throw new PareError('E_FILE', bytes ? 'the file was changed' : 'the file is gone', { where: join(folder, name) })
    },
    keep: (names) => {
      for (const name of readdirSync(folder)) if (!names.has(name)) rmSync(join(folder, name), { force: true })
    }
  }
}

/** A file to which lines are added, each on the disk before `append` returns. */
export interface JournalFile {
  append(entry: unknown): void
  close(): void
}

/** Opens a journal and gives its whole lines; one that was cut off at the end is dropped. Throws `E_FORMAT` for other damage. */
export function openJournal(path: string): { readonly lines: readonly unknown[]; readonly journal: JournalFile } {
  const bytes = readWhole(path) ?? new Uint8Array(0)
  const length = bytes.lastIndexOf(10) + 1
  const lines = new TextDecoder()
    .decode(bytes.subarray(0, length))
    .split('\n')
    .slice(0, -1)
    .map((line, i) => {
      try {
        return JSON.parse(line) as unknown
      } catch (cause) {
        throw new PareError('E_FORMAT', `line ${i + 1} of the journal is damaged`, { where: path, cause })
      }
    })
  if (length < bytes.length) truncateSync(path, length)
  const file = openSync(path, 'a')
  syncFolder(dirname(path))
  return {
    lines,
    journal: {
      append: (entry) =>
        guarded(path, 'write', () => {
          const line = new TextEncoder().encode(`${JSON.stringify(entry)}\n`)
          for (let done = 0; done < line.length; ) done += writeSync(file, line, done)
          fsyncSync(file)
        }),
      close: () => closeSync(file)
    }
  }
}

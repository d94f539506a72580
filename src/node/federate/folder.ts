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
  fsync,
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
import { open, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { PareError } from '../../base/errors.ts'
import { guarded } from '../files.ts'

export const sha256Of = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

const partOf = (path: string): string => `${path}.${process.pid}.${randomBytes(4).toString('hex')}.part`

/** Writes a file whole or not at all, and on the disk before it returns. `mode`: of the file. */
export function writeWhole(path: string, bytes: Uint8Array, mode = 0o644): void {
  guarded(path, 'write', () => {
    const temporary = partOf(path)
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

/** The same while other files are written: many wait for the disk together. */
async function writeBeside(path: string, bytes: Uint8Array): Promise<void> {
  try {
    const temporary = partOf(path)
    await synced(temporary, 'w', bytes)
    await rename(temporary, path)
    await synced(dirname(path), 'r')
  } catch (thrown) {
    guarded(path, 'write', () => {
      throw thrown
    })
  }
}

async function synced(path: string, flags: 'r' | 'w', bytes?: Uint8Array): Promise<void> {
  const file = await open(path, flags)
  try {
    if (bytes) await file.writeFile(bytes)
    await file.sync()
  } finally {
    await file.close()
  }
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
  /** On the disk once it resolves. */
  put(bytes: Uint8Array): Promise<void>
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
    put: async (bytes) => {
      const path = join(folder, sha256Of(bytes))
      if (!existsSync(path)) await writeBeside(path, bytes)
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

/** A file to which lines are added. */
export interface JournalFile {
  /** The line, and all before it, are on the disk before it returns. */
  append(entry: unknown): void
  /** The line is on the disk once it resolves; many wait for the disk together. */
  add(entry: unknown): Promise<void>
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
  const write = (entry: unknown): void => {
    const line = new TextEncoder().encode(`${JSON.stringify(entry)}\n`)
    for (let done = 0; done < line.length; ) done += writeSync(file, line, done)
  }
  // A flush that has begun may miss a line: the next one, which begins when it ends, is waited for.
  let last: Promise<unknown> = Promise.resolve()
  let next: Promise<void> | undefined
  const flushed = (): Promise<void> => {
    next ??= last.then(() => {
      next = undefined
      const flush = promisify(fsync)(file)
      last = flush.catch(() => undefined)
      return flush
    })
    return next
  }
  return {
    lines,
    journal: {
      append: (entry) =>
        guarded(path, 'write', () => {
          write(entry)
          fsyncSync(file)
        }),
      add: async (entry) => {
        guarded(path, 'write', () => write(entry))
        await flushed()
      },
      close: () => closeSync(file)
    }
  }
}

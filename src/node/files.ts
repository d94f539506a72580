/** Models and other files on disk: read lazily, written atomically. */
import { createHash, type Hash, randomBytes } from 'node:crypto'
import {
  closeSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeSync
} from 'node:fs'
import { basename, dirname, extname, join, resolve, sep } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { hasEnding } from '../base/endings.ts'
import { PareError, stopIfAborted } from '../base/errors.ts'
import { writeIn } from '../formats/index.ts'
import { readNoted } from '../formats/read.ts'
import type { AnyFormat, Catalog, Noted, ReadOptions, WritePlace, Written } from '../formats/types.ts'
import { inFormsOf, refuseMisfits } from '../targets/index.ts'
import type { Target } from '../targets/types.ts'
import type { Bytes, Model } from '../types.ts'
import { outputFormat, standard } from './catalog.ts'
import { targetOf } from './places.ts'

/** Files up to this size are read at once. */
const wholeBytes = 64 * 1024 * 1024
/** Files of text are read up to this size. */
const maxTextBytes = 64 * 1024 * 1024
/** Of ONNX Runtime's own format, which only that writes. */
const ortEnding = '.ort'
/** Unit of copying and hashing. */
const chunkBytes = 8 * 1024 * 1024

/**
 * A file's bytes, read when asked for. Throws `E_FILE` for anything but a readable file, and on reading when the file
 * has changed since.
 */
export function fileBytes(path: string): Bytes {
  const stats = guarded(path, 'read', () => statSync(path))
  if (!stats.isFile())
    throw new PareError('E_FILE', stats.isDirectory() ? 'this is a folder, not a file' : 'this is not a regular file', {
      where: path
    })
  if (stats.size <= wholeBytes) {
    const whole = guarded(path, 'read', () => readFileSync(path))
    return new Uint8Array(whole.buffer, whole.byteOffset, whole.byteLength)
  }
  return {
    length: stats.size,
    slice: (from = 0, to = stats.size) => guarded(path, 'read', () => readPart(path, stats, from, to))
  }
}

/** A whole small file as text. Throws `E_FILE`, `E_LIMIT`. */
export function readText(path: string): string {
  const bytes = fileBytes(path)
  if (bytes.length > maxTextBytes)
    throw new PareError('E_LIMIT', `a file of ${bytes.length} bytes; at most ${maxTextBytes} are read`, { where: path })
  return new TextDecoder().decode(bytes.slice())
}

function readPart(path: string, known: Stats, from: number, to: number): Uint8Array {
  const start = Math.min(Math.max(0, from), known.size)
  const out = new Uint8Array(Math.max(0, Math.min(to, known.size) - start))
  const file = openSync(path, 'r')
  try {
    const now = fstatSync(file)
    if (now.size !== known.size || now.mtimeMs !== known.mtimeMs || now.ino !== known.ino)
      throw new PareError('E_FILE', 'the file has changed while it was in use', { where: path })
    for (let at = 0; at < out.length; ) {
      const n = readSync(file, out, at, Math.min(out.length - at, 2 ** 30), start + at)
      if (n === 0) throw new PareError('E_FILE', 'the file is shorter than it was', { where: path })
      at += n
    }
  } finally {
    closeSync(file)
  }
  return out
}

/** Opens a model. Throws `E_FILE`, `E_FORMAT`, … */
export const load = async (path: string, opened?: (file: Bytes) => void): Promise<Model> =>
  (await loadNoted(path, opened)).model

/**
 * Opens a model, and tells what of the file was left behind. External weights are read only from inside its own real
 * folder: where the path is a link, the folder that the link leads to counts too, so that models and weights may both be
 * links into one store of files. `opened` hears of each such file.
 */
export async function loadNoted(
  path: string,
  opened?: (file: Bytes) => void,
  formats: readonly AnyFormat[] = standard.formats,
  choices: ReadOptions['choices'] = {}
): Promise<Noted> {
  const bytes = fileBytes(path)
  if (bytes.length === 0) throw new PareError('E_FORMAT', 'the file is empty', { where: path })
  const folder = guarded(path, 'read', () => realpathSync(dirname(resolve(path))))
  const store = guarded(path, 'read', () => dirname(realpathSync(path)))
  try {
    return readNoted(bytes, {
      formats,
      choices,
      external: (name) => {
        const file = fileBytes(inside(folder, store, name))
        opened?.(file)
        return file
      }
    })
  } catch (error) {
    if (!(error instanceof PareError)) throw error
    const { code, message, facts, hint, cause } = error
    const file = error.where === undefined || error.where === path ? path : `${path}: ${error.where}`
    throw new PareError(code, message, { where: file, facts, cause, ...(hint === undefined ? {} : { hint }) })
  }
}

/**
 * The real path of a file named in a folder, links followed. A name that leads out of the folder by itself is none of it; a
 * link there may lead into `store`. Throws `E_FILE` when the file lies elsewhere.
 */
function inside(folder: string, store: string, name: string): string {
  const path = join(folder, name)
  const real = guarded(path, 'read', () => realpathSync(path))
  const isIn = (file: string, f: string): boolean => file.startsWith(f.endsWith(sep) ? f : f + sep)
  if (!isIn(real, folder) && !(isIn(path, folder) && isIn(real, store)))
    throw new PareError('E_FILE', "external weights outside the model's folder", {
      where: path,
      facts: { 'leads to': real },
      hint: 'copy the file itself beside the model'
    })
  return real
}

export interface SaveOptions {
  /** Where the model will live, which decides the format; by default what the file's ending says. */
  readonly target?: Target
  /** Options of the format, such as `{ opset: 13, external: true }` of ONNX. */
  readonly write?: Readonly<Record<string, unknown>>
  /** What was measured of how the format's files are made best. */
  readonly tunings?: WritePlace['tunings']
  /** By default all formats and targets of Pare. */
  readonly catalog?: Catalog
  /** Name of that file; by default it holds the weights' hash, and a model that is there already keeps its own. */
  readonly weightsName?: string
  /** Replace an existing file. */
  readonly force?: boolean
  /** Stops writing, also in the middle; then nothing is left behind. */
  readonly signal?: AbortSignal
  /** Looks at the whole model under a temporary name in its folder, before it gets its own; what it throws, `save` throws. */
  check?(path: string): Promise<void>
}

/**
 * Writes a model in the format of its target, all or nothing. What the target does not load is refused (`E_UNSUPPORTED`).
 * External weights go into a file named by their hash, and the model is put in place last: at every moment there is the old model or the new one. Under a name of their own, which `force` replaces,
 * weights and model are put in place one after the other. A path that ends in `.ort` gets ONNX Runtime's own format, with the list
 * of what a reduced build needs beside it. `bytes`: both files; `sha256`: the model file's.
 */
export async function save(
  given: Model,
  path: string,
  o: SaveOptions = {}
): Promise<{ readonly bytes: number; readonly sha256: string; readonly notes: readonly string[] }> {
  refuseExisting(path, o.force)
  const { catalog = standard, write: options = {} } = o
  const target = o.target ?? targetOf(undefined, path, catalog, path)
  const format = outputFormat(path, target, catalog, options)
  const { model, notes: stored } = inFormsOf(target, given)
  refuseMisfits(model, target)
  const place = { target, ...(o.tunings ? { tunings: o.tunings } : {}) }
  const first = writeIn(format, model, options, place)
  const write = (externalName: string): Written => writeIn(format, model, options, { ...place, externalName })
  const { written, name } =
    o.weightsName === undefined ? withHash(first, write, path) : named(first, write, o.weightsName)
  if (hasEnding(path, [ortEnding])) return { ...(await saveOrt(model, path, written, o)), notes: stored }
  const notes = [...stored, ...(written.notes ?? [])]
  if (!written.external) return { ...(await writeAtomic(path, written.parts, o)), notes }
  const weights = join(dirname(path), name)
  const isNew = statSync(weights, { throwIfNoEntry: false }) === undefined
  const force = o.weightsName === undefined || (o.force ?? false)
  const { bytes } = await writeAtomic(weights, written.external.parts, {
    ...(o.signal ? { signal: o.signal } : {}),
    force
  })
  try {
    const made = await writeAtomic(path, written.parts, o)
    return { bytes: bytes + made.bytes, sha256: made.sha256, notes }
  } catch (error) {
    if (isNew) rmSync(weights, { force: true })
    throw error
  }
}

/** The model in the runtime's own format, and its list beside it, which is put in place first. */
async function saveOrt(
  model: Model,
  path: string,
  written: Written,
  o: SaveOptions
): Promise<{ bytes: number; sha256: string }> {
  // Loaded only here: reading and writing of files starts without the runtime.
  const { listName, ortBytes, requiredList } = await import('./ort-file.ts')
  const bytes = await ortBytes(written)
  const list = join(dirname(path), listName(path))
  const isNew = statSync(list, { throwIfNoEntry: false }) === undefined
  await writeAtomic(list, [new TextEncoder().encode(await requiredList(model))], { force: o.force ?? false })
  try {
    return await writeAtomic(path, [bytes], o)
  } catch (error) {
    if (isNew) rmSync(list, { force: true })
    throw error
  }
}

const externalName = (path: string, hash: string): string => `${basename(path, extname(path))}.${hash}.weights`

/**
 * The model is written twice: first to get the hash of its weights, then with the name of the weights' file, which
 * holds the hash.
 */
function withHash(
  first: Written,
  write: (externalName: string) => Written,
  path: string
): { written: Written; name: string } {
  if (!first.external) return { written: first, name: '' }
  const hash = createHash('sha256')
  for (const p of first.external.parts) feed(hash, p)
  const name = externalName(path, hash.digest('hex').slice(0, 16))
  return { written: write(name), name }
}

/**
 * Counts the bytes of a model's file in its own opset, with the weights beside it: of each model once. `undefined` where the
 * format does not say the model, as between passes.
 */
export function bytesCounter(format: AnyFormat): (model: Model) => number | undefined {
  const known = new WeakMap<Model, { readonly bytes: number | undefined }>()
  return (model) => {
    const counted = known.get(model) ?? { bytes: countedIn(format, model) }
    known.set(model, counted)
    return counted.bytes
  }
}

function countedIn(format: AnyFormat, model: Model): number | undefined {
  try {
    const { parts, external } = writeIn(format, model, {})
    return [...parts, ...(external?.parts ?? [])].reduce((n, part) => n + part.length, 0)
  } catch (error) {
    if (error instanceof PareError && (error.code === 'E_UNSUPPORTED' || error.code === 'E_OPTION')) return undefined
    throw error
  }
}

function named(first: Written, write: (externalName: string) => Written, name: string): ReturnType<typeof withHash> {
  return { written: first.external && first.external.name !== name ? write(name) : first, name }
}

function feed(hash: Hash, bytes: Bytes): void {
  for (let at = 0; at < bytes.length; at += chunkBytes) hash.update(chunk(bytes, at))
}

const chunk = (bytes: Bytes, at: number): Uint8Array => {
  const end = Math.min(bytes.length, at + chunkBytes)
  return bytes instanceof Uint8Array ? bytes.subarray(at, end) : bytes.slice(at, end)
}

/** SHA-256 of a file's content, in hexadecimal. */
export async function sha256File(path: string): Promise<string> {
  const hash = createHash('sha256')
  feed(hash, fileBytes(path))
  return hash.digest('hex')
}

/**
 * Writes a file, all or nothing: into a temporary file of the same folder, flushed to the disk, then renamed. Throws
 * `E_EXISTS` without `force`, `E_FILE` when it cannot be written, `E_ABORTED`; then nothing is left behind.
 */
export async function writeAtomic(
  path: string,
  parts: readonly Bytes[],
  o: Pick<SaveOptions, 'force' | 'signal' | 'check'> = {}
): Promise<{ bytes: number; sha256: string }> {
  const target = refuseExisting(path, o.force)
  const temporary = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString('hex')}.tmp`)
  try {
    const file = openSync(temporary, 'wx')
    try {
      const made = await writeParts(file, parts, o.signal)
      await o.check?.(temporary)
      putInPlace(temporary, target, o.force)
      syncFolder(dirname(target))
      return made
    } catch (error) {
      rmSync(temporary, { force: true })
      throw error
    }
  } catch (error) {
    throw fileError(error, path, 'write')
  }
}

/** Without `force` the target must still not exist: another process may have written it meanwhile. */
function putInPlace(temporary: string, target: string, force: boolean | undefined): void {
  if (!force) {
    try {
      linkSync(temporary, target)
      rmSync(temporary, { force: true })
      return
    } catch (error) {
      if (!isSystemError(error)) throw error
      refuseExisting(target, false)
      // Some file systems have no links.
    }
  }
  renameSync(temporary, target)
}

/** Writes and flushes; closes the file in any case. Between chunks the thread hears whether it was stopped. */
async function writeParts(
  file: number,
  parts: readonly Bytes[],
  signal: AbortSignal | undefined
): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256')
  let bytes = 0
  try {
    for (const p of parts)
      for (let at = 0; at < p.length; at += chunkBytes) {
        const data = chunk(p, at)
        hash.update(data)
        for (let done = 0; done < data.length; ) done += writeSync(file, data, done)
        bytes += data.length
        if (data.length === chunkBytes) await setImmediate()
        stopIfAborted(signal)
      }
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  return { bytes, sha256: hash.digest('hex') }
}

/** Makes the rename itself last. Some systems cannot open folders: there the file's own flush has to do. */
function syncFolder(folder: string): void {
  let file: number
  try {
    file = openSync(folder, 'r')
  } catch (error) {
    if (isSystemError(error)) return
    throw error
  }
  try {
    fsyncSync(file)
  } catch (error) {
    if (!isSystemError(error)) throw error
  } finally {
    closeSync(file)
  }
}

/** Where a file will really lie (links followed). Throws `E_EXISTS` when it is there and must stay. */
function refuseExisting(path: string, force: boolean | undefined): string {
  const stats = guarded(path, 'write', () => statSync(path, { throwIfNoEntry: false }))
  if (!stats) return path
  if (!stats.isFile())
    throw new PareError('E_FILE', stats.isDirectory() ? 'this is a folder' : 'this is not a regular file', {
      where: path
    })
  if (!force)
    throw new PareError('E_EXISTS', 'the output exists already', {
      where: path,
      hint: 'choose another name, or use --force'
    })
  return guarded(path, 'write', () => realpathSync(path))
}

const isSystemError = (error: unknown): error is NodeJS.ErrnoException =>
  error instanceof Error && typeof (error as NodeJS.ErrnoException).code === 'string'

/** What the system's error codes mean to the user. */
const reasons: Readonly<Record<string, string>> = {
  ENOENT: 'no such file or folder',
  ENOTDIR: 'a part of this path is not a folder',
  EISDIR: 'this is a folder',
  EACCES: 'no permission',
  EPERM: 'no permission',
  EROFS: 'the file system is read-only',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'the file would be larger than the system allows',
  EMFILE: 'too many open files',
  ENAMETOOLONG: 'the name is too long',
  ELOOP: 'links that lead in a circle'
}

/** Runs something on a file, turning the system's errors into `E_FILE`. */
export function guarded<T>(path: string, deed: 'read' | 'write', run: () => T): T {
  try {
    return run()
  } catch (error) {
    throw fileError(error, path, deed)
  }
}

function fileError(error: unknown, path: string, deed: 'read' | 'write'): unknown {
  if (!isSystemError(error) || error instanceof PareError) return error
  const why = reasons[error.code ?? ''] ?? error.message
  return new PareError('E_FILE', `cannot ${deed} this file: ${why}`, { where: path, cause: error })
}

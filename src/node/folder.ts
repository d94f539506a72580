/** Folders of files that are samples: finding them, and their labels. */
import { createHash } from 'node:crypto'
import { readdir, readFile, realpath, stat } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { PareError } from '../base/errors.ts'
import { classNamed, labelIndices, parseLabelsCsv } from '../data/labels.ts'

const maxFileBytes = 256 * 2 ** 20
/** Above this many bytes the identity of a folder is that of names, sizes and the first 4 kB of each file. */
const maxHashed = 2 ** 30

/** Which files of a folder are samples, and how messages call them. */
export interface FileKind {
  readonly extensions: RegExp
  /** `pictures` */
  readonly what: string
  /** `jpeg, png, webp or bmp` */
  readonly kinds: string
}

export interface FolderOptions {
  readonly classNames?: readonly string[] | undefined
  readonly classes?: number | undefined
  /** May samples be without a label (−1)? */
  readonly partly?: boolean | undefined
}

interface Listing {
  /** Relative to the root, in the order of the samples. */
  readonly files: readonly string[]
  readonly labels?: readonly number[] | undefined
}

/** Files of a folder with their labels: sub-folders by class, labels.csv, or neither. Throws `E_DATA`, `E_LABELS`. */
export async function listFolder(root: string, path: string, kind: FileKind, o: FolderOptions): Promise<Listing> {
  const listing = await list(root, path, kind, o)
  if (listing.files.length > 0) return listing
  throw new PareError('E_DATA', `no ${kind.what} in the folder`, { where: path, hint: `${kind.kinds} files` })
}

async function list(root: string, path: string, kind: FileKind, o: FolderOptions): Promise<Listing> {
  const { extensions, what } = kind
  const entries = (await readdir(root, { withFileTypes: true })).filter((e) => !e.name.startsWith('.'))
  if (entries.some((e) => e.name === 'labels.csv')) return listCsv(root, path, kind, o)
  const loose = entries.filter((e) => !e.isDirectory() && extensions.test(e.name)).map((e) => e.name)
  const folders: { name: string; files: string[] }[] = []
  for (const e of entries.filter((entry) => entry.isDirectory()).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const names = (await readdir(join(root, e.name))).filter((name) => !name.startsWith('.') && extensions.test(name))
    if (names.length > 0) folders.push({ name: e.name, files: names.sort().map((name) => join(e.name, name)) })
  }
  if (loose.length > 0 && folders.length > 0)
    throw new PareError('E_DATA', `${what} both in the folder and in sub-folders`, {
      where: path,
      hint: 'one sub-folder a class, or all in one folder with labels.csv'
    })
  const files = folders.length > 0 ? folders.flatMap((f) => f.files) : loose.sort()
  for (const file of files) await inside(root, file, path)
  const classes =
    folders.length > 0
      ? folderClasses(
          folders.map((f) => f.name),
          o,
          path
        )
      : undefined
  return { files, labels: classes && folders.flatMap((f, k) => f.files.map(() => classes[k] as number)) }
}

/** Sub-folders name classes by the given list, or by their order when there is one for every class of the model. */
function folderClasses(names: readonly string[], o: FolderOptions, path: string): readonly number[] | undefined {
  const { classNames, classes } = o
  if (classNames) return names.map((name) => classNamed(name, classNames, path))
  if (classes === undefined) return undefined
  if (names.length === classes) return names.map((_, i) => i)
  throw new PareError('E_LABELS', `${names.length} class folders for a model of ${classes} classes`, {
    where: path,
    hint: '--labels FILE with the class names, one a line in the order of the model'
  })
}

async function listCsv(
  root: string,
  path: string,
  { extensions, kinds }: FileKind,
  o: FolderOptions
): Promise<Listing> {
  const where = join(path, 'labels.csv')
  await inside(root, 'labels.csv', path)
  const rows = parseLabelsCsv(new TextDecoder().decode(await readBounded(join(root, 'labels.csv'), where)), where)
  for (const { file } of rows) {
    if (!extensions.test(file)) throw new PareError('E_DATA', `${file} is not a ${kinds} file`, { where })
    await inside(root, file, where)
  }
  return { files: rows.map((r) => r.file), labels: labelIndices(rows, o.classNames, where) }
}

/** Throws `E_DATA` unless the file exists inside the root, links followed. */
async function inside(root: string, file: string, where: string): Promise<void> {
  const real = await realpath(join(root, file)).catch((cause) => {
    throw new PareError('E_DATA', `${file} does not exist`, { where, cause })
  })
  const prefix = root.endsWith(sep) ? root : root + sep
  if (file.startsWith('/') || !real.startsWith(prefix))
    throw new PareError('E_DATA', `${file} lies outside the data folder`, { where })
}

/** A file of bounded size. Throws `E_LIMIT`. */
export async function readBounded(file: string, where: string): Promise<Uint8Array> {
  const { size } = await stat(file)
  if (size > maxFileBytes)
    throw new PareError('E_LIMIT', `a file of ${size} bytes; at most ${maxFileBytes} are read`, { where })
  return readFile(file)
}

/** What tells a folder's content from another: names, labels, and bytes (of large folders the first of each file). */
export async function identity(
  root: string,
  files: readonly string[],
  labels: readonly number[] | undefined
): Promise<string> {
  const sizes = await Promise.all(files.map(async (file) => (await stat(join(root, file))).size))
  const whole = sizes.reduce((n, s) => n + s, 0) <= maxHashed
  const hash = createHash('sha256')
  for (const [i, file] of files.entries()) {
    hash.update(`${file}\0${sizes[i]}\0${labels?.[i] ?? ''}\n`)
    const bytes = await readBounded(join(root, file), file)
    hash.update(whole ? bytes : bytes.subarray(0, 4096))
  }
  return hash.digest('hex')
}

/** Opens what `--data` names: a folder of pictures or recordings, .npz, .npy, IDX, texts, or a module. */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { basename, dirname, extname, join } from 'node:path'
import { toArray } from '../base/bytes.ts'
import { PareError } from '../base/errors.ts'
import { isGzip } from '../base/inflate.ts'
import { isZip } from '../base/zip.ts'
import { columnDataset, type LabelledDataset } from '../data/arrays.ts'
import type { DataDescription } from '../data/description.ts'
import { fitArrays, imageInput, type ModelInput } from '../data/fit.ts'
import { isIdx, parseIdx } from '../data/idx.ts'
import { parseClassNames } from '../data/labels.ts'
import { isNpy, parseNpy } from '../data/npy.ts'
import { readNpz } from '../data/npz.ts'
import { type Preprocess, parsePreprocess, presets } from '../data/preprocess.ts'
import { soundInput } from '../data/sound.ts'
import { parseTexts, textDataset, textInputs } from '../data/text.ts'
import { wholeInputs } from '../runtime/batches.ts'
import type { Bytes, Tensor } from '../types.ts'
import { fileBytes, readText, sha256File } from './files.ts'
import { loadDataset } from './modules.ts'

export interface OpenDataOptions {
  /** Classes of the model: labels must be below, and that many class folders are its classes in order. */
  readonly classes?: number | undefined
  /** May samples be without a label (−1)? Only training can use such. */
  readonly partly?: boolean | undefined
  /** Modules run code: true only for a path that the user typed on the command line. */
  readonly modules?: boolean | undefined
  /** Inputs that are states. */
  readonly states?: ReadonlySet<string> | undefined
  /** The model's file: its tokenizer lies beside it. */
  readonly model?: string | undefined
}

type Arrays = ReadonlyMap<string, () => Tensor>

/** Arrays up to this size are held in memory; larger `.npy` files stay on disk. */
const heldBytes = 64 * 2 ** 20

/** Opens data for a model's inputs. Throws `E_FILE`, `E_DATA`, `E_DATA_SHAPE`, `E_LABELS`, `E_LIMIT`, `E_OPTION`. */
export async function openDataset(
  description: DataDescription,
  inputs: readonly ModelInput[],
  o: OpenDataOptions = {}
): Promise<LabelledDataset> {
  const { path } = description
  const preprocess = readPreprocess(description.preprocess)
  if (isTexts(path)) return fromTexts(description, inputs, o)
  refuseTextOptions(description)
  const isSound = isWaves(path)
  if (!isSound) refuseSoundOptions(description)
  const pair = idxPair(path)
  if (pair) return fromArrays(pair, description, inputs, preprocess, o)
  if (!existsSync(path)) throw new PareError('E_FILE', 'no such file or folder', { where: path })
  if (isSound) return fromWaves(description, inputs, preprocess, o)
  if (statSync(path).isDirectory()) return fromFolder(description, inputs, preprocess, o)
  if (/^\.[cm]?js$/.test(extname(path))) {
    if (!o.modules)
      throw new PareError('E_DATA', 'a module runs code: it is read only when named on the command line', {
        where: path
      })
    if (preprocess)
      throw new PareError('E_OPTION', 'a data module prepares its samples itself', { where: '--preprocess' })
    if (description.labels !== undefined)
      throw new PareError('E_OPTION', 'class names are for folders of pictures; a data module gives its own labels', {
        where: '--labels'
      })
    return loadDataset(path, inputs, o)
  }
  return fromArrays([path], description, inputs, preprocess, o)
}

async function fromArrays(
  paths: readonly string[],
  description: DataDescription,
  inputs: readonly ModelInput[],
  preprocess: Preprocess | undefined,
  o: OpenDataOptions
): Promise<LabelledDataset> {
  if (description.labels !== undefined)
    throw new PareError('E_OPTION', 'class names are for folders of pictures; arrays carry their labels as y', {
      where: '--labels'
    })
  const where = basename(description.path)
  const arrays = paths.length === 2 ? idxArrays(paths) : readArrays(fileBytes(paths[0] as string), where)
  const hashes = await Promise.all(paths.map((p) => sha256File(p)))
  const sha256 = hashes.length === 1 ? hashes[0] : createHash('sha256').update(hashes.join('\n')).digest('hex')
  return columnDataset(
    fitArrays(arrays, inputs, {
      ...{ where, preprocess, sha256, whole: wholeInputs({ inputs }) },
      ...{ classes: o.classes, partly: o.partly, states: o.states }
    })
  )
}

function readArrays(bytes: Bytes, where: string): Arrays {
  const head = bytes.slice(0, 8)
  if (isZip(head)) return readNpz(bytes, where)
  if (isNpy(head)) return new Map([['x', () => parseNpy(bytes.length > heldBytes ? bytes : toArray(bytes), where)]])
  if (isGzip(head) || isIdx(head)) return new Map([['x', () => parseIdx(toArray(bytes), where)]])
  const later = /\.csv$/i.test(where)
  throw new PareError(
    later ? 'E_UNSUPPORTED' : 'E_DATA',
    later ? 'data of this kind cannot be read yet' : 'not data that can be read',
    {
      where,
      hint: 'a folder of pictures or of .wav, .npz, .npy, IDX (.gz), texts (.txt, .jsonl), or a .js/.mjs module'
    }
  )
}

// ---------------------------------------------------------------- texts

const isTexts = (path: string): boolean => /\.(txt|jsonl|ndjson)$/i.test(path)

async function fromTexts(
  description: DataDescription,
  inputs: readonly ModelInput[],
  o: OpenDataOptions
): Promise<LabelledDataset> {
  const { path, labels, tokenizer, maxLength } = description
  if (description.preprocess !== undefined)
    throw new PareError('E_OPTION', 'nothing to preprocess: texts become token ids', { where: '--preprocess' })
  const where = basename(path)
  textInputs(inputs, where)
  const texts = parseTexts(readText(path), !/\.txt$/i.test(path), where)
  // Loaded where there are texts.
  const { openTokenizer } = await import('./tokenizer.ts')
  const encoder = await openTokenizer({ path: tokenizer, maxLength, model: o.model })
  const identity = [await sha256File(path), encoder.sha256, String(encoder.most.tokens)].join('\n')
  return textDataset(texts, encoder, inputs, {
    ...{ where, classes: o.classes, partly: o.partly },
    classNames: labels === undefined ? undefined : parseClassNames(readText(labels)),
    sha256: createHash('sha256').update(identity).digest('hex')
  })
}

/** Throws `E_OPTION` for what is said of texts where there are none. */
function refuseTextOptions({ path, tokenizer, maxLength }: DataDescription): void {
  if (tokenizer === undefined && maxLength === undefined) return
  throw new PareError('E_OPTION', 'a tokenizer is for texts', {
    where: tokenizer === undefined ? '--max-length' : '--tokenizer',
    facts: { data: path },
    hint: 'texts are files .txt, one a line, or .jsonl'
  })
}

// ---------------------------------------------------------------- recordings

/** A .wav file, or a folder that holds some, by itself or in sub-folders. */
const isWaves = (path: string): boolean =>
  existsSync(path) && (statSync(path).isFile() ? isWave(basename(path)) : holdsWaves(path))

const holdsWaves = (path: string): boolean =>
  readdirSync(path, { withFileTypes: true }).some((e) =>
    e.isDirectory()
      ? !e.name.startsWith('.') && readdirSync(join(path, e.name)).some((name) => isWave(name))
      : isWave(e.name)
  )

const isWave = (name: string): boolean => /^[^.].*\.wav$/i.test(name)

async function fromWaves(
  description: DataDescription,
  inputs: readonly ModelInput[],
  preprocess: Preprocess | undefined,
  o: OpenDataOptions
): Promise<LabelledDataset> {
  const { path, labels, sampleRate, window, hop } = description
  const states = o.states ?? new Set()
  const input = soundInput(inputs, states)
  if (!input)
    throw new PareError('E_DATA_SHAPE', 'the model takes no sound as a wave', {
      where: path,
      facts: { model: inputs.map((i) => `${i.name}: ${i.dtype ?? '?'}[${i.shape?.join(', ') ?? ''}]`).join(', ') },
      hint: 'recordings are fed to one input of [N, time] or [N, 1, time]; features of sound as .npz or by a module'
    })
  if (preprocess && (preprocess.resize !== undefined || preprocess.crop !== undefined))
    throw new PareError('E_OPTION', 'recordings cannot be resized', { where: '--preprocess' })
  const { waveFolder } = await import('./waves.ts')
  return waveFolder(path, input, {
    ...{ sampleRate, window, hop, states, preprocess, model: o.model, classes: o.classes, partly: o.partly },
    classNames: labels === undefined ? undefined : parseClassNames(readText(labels))
  })
}

/** Throws `E_OPTION` for what is said of recordings where there are none. */
function refuseSoundOptions({ path, sampleRate, window, hop }: DataDescription): void {
  const given = Object.entries({ '--sample-rate': sampleRate, '--window': window, '--hop': hop })
  const [flag] = given.find(([, value]) => value !== undefined) ?? []
  if (flag === undefined) return
  throw new PareError('E_OPTION', 'rate and windows are for recordings', {
    where: flag,
    facts: { data: path },
    hint: 'recordings are a folder of .wav files'
  })
}

async function fromFolder(
  description: DataDescription,
  inputs: readonly ModelInput[],
  preprocess: Preprocess | undefined,
  o: OpenDataOptions
): Promise<LabelledDataset> {
  const { path, labels } = description
  const images = idxImages(path)
  if (images) return fromArrays(images, description, inputs, preprocess, o)
  const input = imageInput(inputs, preprocess)
  if (!input)
    throw new PareError('E_DATA_SHAPE', 'the model takes no pictures', {
      where: path,
      facts: { model: inputs.map((i) => `${i.name}: ${i.dtype ?? '?'}[${i.shape?.join(', ') ?? ''}]`).join(', ') },
      hint: 'a folder of pictures needs one input of [N, 1 or 3, height, width]; other data as .npz'
    })
  const classNames = labels === undefined ? undefined : parseClassNames(readText(labels))
  // Loaded where there are pictures: the decoder takes a tenth of a second and 30 MB.
  const { imageFolder } = await import('./images.ts')
  return imageFolder(path, input, {
    preprocess: preprocess ?? (presets['none'] as Preprocess),
    classNames,
    classes: o.classes,
    partly: o.partly,
    isSaid: preprocess !== undefined
  })
}

// ---------------------------------------------------------------- IDX files come in pairs

const imagesName = /images([-.])idx\d/

/** `images,labels` as written by the user, or an IDX file of images with its labels beside it. */
function idxPair(path: string): readonly string[] | undefined {
  if (existsSync(path)) return imagesName.test(basename(path)) && statSync(path).isFile() ? withLabels(path) : undefined
  const parts = path.split(',')
  return parts.length === 2 && parts.every((p) => existsSync(p)) ? parts : undefined
}

function withLabels(images: string): readonly string[] {
  const name = basename(images).replace(imagesName, 'labels$1idx1')
  const plain = name.replace(/\.gz$/, '')
  const labels = [name, plain, `${plain}.gz`].map((n) => join(dirname(images), n)).find((p) => existsSync(p))
  return labels ? [images, labels] : [images]
}

/** The only IDX file of images in a folder, with its labels; throws `E_DATA` when there are several. */
function idxImages(folder: string): readonly string[] | undefined {
  const found = readdirSync(folder).filter((name) => imagesName.test(name))
  if (found.length > 1)
    throw new PareError('E_DATA', 'several IDX files of images', {
      where: folder,
      facts: { found: found.sort().join(', ') },
      hint: 'name one'
    })
  return found[0] === undefined ? undefined : withLabels(join(folder, found[0]))
}

function idxArrays(paths: readonly string[]): Arrays {
  const array = (path: string) => () => parseIdx(toArray(fileBytes(path)), basename(path))
  return new Map(['x', 'y'].map((name, i) => [name, array(paths[i] as string)]))
}

// ---------------------------------------------------------------- files

function readPreprocess(given: DataDescription['preprocess']): Preprocess | undefined {
  if (given === undefined) return undefined
  if (typeof given !== 'string' || Object.hasOwn(presets, given) || !existsSync(given)) return parsePreprocess(given)
  let content: unknown
  try {
    content = JSON.parse(readText(given))
  } catch (cause) {
    if (cause instanceof PareError) throw cause
    throw new PareError('E_OPTION', 'not a JSON file', { where: given, cause, facts: { why: String(cause) } })
  }
  return parsePreprocess(content, given)
}

/** Folders of pictures: finding them, their labels, and decoding them batch by batch. */
import { realpath } from 'node:fs/promises'
import { join } from 'node:path'
import sharp, { type Sharp } from 'sharp'
import { assert, PareError } from '../base/errors.ts'
import { chunks, type LabelledDataset } from '../data/arrays.ts'
import { decodeBmp, isBmp } from '../data/bmp.ts'
import { type ImageInput, pixelsToInput } from '../data/fit.ts'
import { checkLabels } from '../data/labels.ts'
import { perChannel } from '../data/pixels.ts'
import { geometry, type Preprocess } from '../data/preprocess.ts'
import { isFloat } from '../ir/tensor.ts'
import { type FolderOptions, identity, listFolder, readBounded } from './folder.ts'

const pictureFiles = {
  extensions: /\.(jpe?g|png|webp|bmp)$/i,
  what: 'pictures',
  kinds: 'jpeg, png, webp or bmp'
} as const
const maxPixels = 100e6
/** Decoded pictures that are kept, so that evaluating many candidates decodes each picture once. */
const cacheBytes = 256 * 2 ** 20
const decodersAtOnce = 4

export interface PictureOptions extends FolderOptions {
  readonly preprocess: Preprocess
  /** Did the user say how pictures are prepared? False: a note says how they are fed. */
  readonly isSaid?: boolean | undefined
}

/** Opens a folder of pictures for a model that takes them as `input`. Throws `E_DATA`, `E_DATA_SHAPE`, `E_LABELS`. */
export async function imageFolder(path: string, input: ImageInput, o: PictureOptions): Promise<LabelledDataset> {
  const root = await realpath(path)
  const { labels, files } = await listFolder(root, path, pictureFiles, o)
  if (labels) checkLabels(labels, o.classes, path, o.partly)
  perChannel(o.preprocess, input.channels)
  const size = pictureSize(input, o.preprocess, path)
  const decoded = cached(files.length, cacheBytes, async (i) => {
    const file = files[i] as string
    return decode(await readBounded(join(root, file), join(path, file)), join(path, file), {
      input,
      size,
      preprocess: o.preprocess
    })
  })
  return {
    size: files.length,
    labelled: labels !== undefined,
    ...(o.isSaid === false && isFloat(input.dtype) ? { notes: [rawNote(size)] } : {}),
    ...(labels && { labels }),
    sha256: await identity(root, files, labels),
    async *batches({ batch, indices }) {
      for (const picked of chunks(files.length, batch, indices)) {
        const pixels = await together(picked, decoded, size[0] * size[1] * input.channels)
        yield {
          n: picked.length,
          inputs: { [input.name]: pixelsToInput(pixels, picked.length, size, input, o.preprocess) },
          ...(labels && { labels: picked.map((i) => labels[i] as number) })
        }
      }
    }
  }
}

const rawNote = ([height, width]: readonly [number, number]): string =>
  `pictures are fed as 0…255, resized and cropped to ${height} × ${width}, as nothing says what the model expects: write --preprocess imagenet, tf, unit or FILE.json, or none for 0…255`

function pictureSize(input: ImageInput, p: Preprocess, where: string): readonly [number, number] {
  const given = p.crop ?? (typeof p.resize === 'number' ? undefined : p.resize)
  const [h, w] = typeof given === 'number' ? [given, given] : (given ?? [undefined, undefined])
  const [height, width] = [input.height ?? h, input.width ?? w]
  if (height !== undefined && width !== undefined) return [height, width]
  throw new PareError('E_DATA_SHAPE', 'the model leaves the size of its pictures open', {
    where,
    hint: '--preprocess FILE.json with {"crop": 224} or another size'
  })
}

// ---------------------------------------------------------------- decoding

interface Wanted {
  readonly input: Pick<ImageInput, 'channels' | 'name'>
  readonly size: readonly [height: number, width: number]
  readonly preprocess: Pick<Preprocess, 'resize' | 'crop'>
}

/** One picture as interleaved bytes of exactly the wanted size; EXIF orientation applied, alpha dropped. */
export async function decode(
  bytes: Uint8Array,
  where: string,
  { input, size, preprocess }: Wanted
): Promise<Uint8Array> {
  const image = open(bytes, where)
  try {
    const { autoOrient } = await image.metadata()
    const from = [autoOrient.height, autoOrient.width] as const
    const g = geometry(from, size, preprocess)
    if (!g) throw unfit(from, size, input.name, where)
    const resized =
      g.resize[0] === from[0] && g.resize[1] === from[1]
        ? image
        : image.resize(g.resize[1], g.resize[0], { fit: 'fill', kernel: 'linear', fastShrinkOnLoad: false })
    const [height, width] = g.crop
    const cut = resized.extract({ top: (g.resize[0] - height) >> 1, left: (g.resize[1] - width) >> 1, height, width })
    const coloured =
      input.channels === 1 ? cut.removeAlpha().toColourspace('b-w') : cut.removeAlpha().toColourspace('srgb')
    const { data, info } = await coloured.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true })
    assert(
      info.channels === input.channels && data.length === height * width * input.channels,
      `${info.channels} channels`
    )
    return data
  } catch (cause) {
    if (cause instanceof PareError) throw cause
    const why = cause instanceof Error ? cause.message : String(cause)
    const code = why.includes('pixel limit') ? 'E_LIMIT' : 'E_DATA'
    throw new PareError(code, 'the picture cannot be decoded', { where, facts: { why }, cause })
  }
}

/** Only the four kinds by content: no other decoder of the library ever sees a stranger's bytes. */
function open(bytes: Uint8Array, where: string): Sharp {
  if (isBmp(bytes)) {
    const { data, width, height, channels } = decodeBmp(bytes, where, maxPixels)
    return sharp(data, { raw: { width, height, channels } })
  }
  const starts = (text: string, at = 0): boolean => [...text].every((c, i) => bytes[at + i] === c.charCodeAt(0))
  if (!starts('\xff\xd8\xff') && !starts('\x89PNG') && !(starts('RIFF') && starts('WEBP', 8)))
    throw new PareError('E_DATA', 'not a jpeg, png, webp or bmp picture', { where })
  return sharp(bytes, { limitInputPixels: maxPixels, failOn: 'error', autoOrient: true })
}

function unfit(
  from: readonly [number, number],
  size: readonly [number, number],
  name: string,
  where: string
): PareError {
  return new PareError('E_DATA_SHAPE', 'the picture does not fit the model', {
    where,
    facts: { model: `input ${name}: ${size.join(' × ')}`, data: `${from.join(' × ')} after resize and crop` },
    hint: '--preprocess FILE.json with another "resize" or "crop"'
  })
}

/**
 * Keeps the first results, up to `limit` bytes. Samples are read round after round in one order, so that a cache of the
 * latest results would have dropped each one before it is asked for again.
 */
function cached(
  count: number,
  limit: number,
  make: (i: number) => Promise<Uint8Array>
): (i: number) => Promise<Uint8Array> {
  const kept = new Array<Uint8Array | undefined>(count)
  let total = 0
  return async (i) => {
    const known = kept[i]
    if (known) return known
    const made = await make(i)
    if (total + made.length <= limit && !kept[i]) {
      kept[i] = made
      total += made.length
    }
    return made
  }
}

async function together(
  picked: readonly number[],
  decoded: (i: number) => Promise<Uint8Array>,
  length: number
): Promise<Uint8Array> {
  const out = new Uint8Array(picked.length * length)
  let next = 0
  const work = async (): Promise<void> => {
    while (next < picked.length) {
      const at = next++
      out.set(await decoded(picked[at] as number), at * length)
    }
  }
  await Promise.all(Array.from({ length: decodersAtOnce }, work))
  return out
}

/** Matches arrays to a model's inputs: by name, type and shape; pictures also by layout. */
import { toArray } from '../base/bytes.ts'
import { PareError } from '../base/errors.ts'
import { elementCount, isFloat, isInteger, kindOf, rangeOf, tensor, toNumbers } from '../ir/tensor.ts'
import type { Session } from '../runtime/types.ts'
import type { Dim, DType, Tensor } from '../types.ts'
import { type Column, type Columns, refuseNaN } from './arrays.ts'
import { checkLabels, labelsOf } from './labels.ts'
import { cropCentre, normaliseNumbers, normalisePixels, resizeRaster, swapAxes } from './pixels.ts'
import { geometry, type Layout, type Preprocess, presets } from './preprocess.ts'
import { asSequences } from './sequences.ts'

export type ModelInput = Session['inputs'][number]

/** How a model takes pictures; a side that it leaves open is undefined. */
export interface ImageInput {
  readonly name: string
  readonly dtype: DType
  readonly layout: Layout
  readonly channels: 1 | 3
  readonly height: number | undefined
  readonly width: number | undefined
}

export interface FitOptions {
  /** File name for messages. */
  readonly where: string
  readonly preprocess?: Preprocess | undefined
  /** Inputs that take a sample as it is: they have no batch axis. */
  readonly whole?: ReadonlySet<string> | undefined
  /** Inputs that are states: where the data has nothing for them, it holds sequences (sequences.ts). */
  readonly states?: ReadonlySet<string> | undefined
  /** Number of classes of the model, where it is known. */
  readonly classes?: number | undefined
  /** May samples be without a label (−1)? */
  readonly partly?: boolean | undefined
  readonly sha256?: string | undefined
}

/**
 * Columns for every input out of arrays by name: `x` serves an only input, `y` holds labels. Throws `E_DATA`,
 * `E_DATA_SHAPE` with both shapes, `E_LABELS`.
 */
export function fitArrays(
  given: ReadonlyMap<string, () => Tensor>,
  all: readonly ModelInput[],
  o: FitOptions
): Columns {
  const states = o.states ?? new Set()
  const sequences = asSequences(given, all, states, o.whole ?? new Set())
  const arrays = sequences?.arrays ?? given
  const inputs = sequences ? all.filter((i) => !states.has(i.name)) : all
  const columns: Record<string, Column> = {}
  const used = new Set<string>()
  let preprocessed = false
  for (const input of inputs) {
    const name = arrays.has(input.name) ? input.name : inputs.length === 1 ? 'x' : ''
    const array = arrays.get(name)
    if (!array)
      throw new PareError('E_DATA', `no array for the model's input ${input.name}`, {
        where: o.where,
        facts: { model: inputs.map(spell).join(', '), data: [...arrays.keys()].join(', ') || 'nothing' },
        hint: inputs.length === 1 ? `name the array x or ${input.name}` : 'name each array like its input'
      })
    used.add(name)
    const fitted = o.whole?.has(input.name)
      ? fitWhole(array(), name, input, { ...o, samples: samplesIn(arrays, inputs, o) })
      : sequences?.stepped.includes(input.name)
        ? fitSteps(array(), name, input, o)
        : fitArray(array(), name, input, o)
    preprocessed ||= fitted.preprocessed
    columns[input.name] = fitted.column
  }
  if (o.preprocess && !preprocessed)
    throw new PareError('E_OPTION', 'nothing to preprocess: no input takes pictures or other float data', {
      where: '--preprocess'
    })
  const y = inputs.some((i) => i.name === 'y') ? undefined : arrays.get('y')
  const labels = y && checkLabels(labelsOf(y(), `${o.where}, y`), o.classes, `${o.where}, y`, o.partly)
  const notes = [
    ...(sequences?.notes ?? []),
    ...unusedNotes(
      [...arrays.keys()].filter((name) => !used.has(name) && !(y && name === 'y')),
      o.where
    )
  ]
  return {
    ...{ columns, labels, sha256: o.sha256, where: o.where },
    ...(notes.length > 0 ? { notes } : {}),
    ...(sequences && sequences.stepped.length > 0 ? { stepped: sequences.stepped } : {})
  }
}

function unusedNotes(names: readonly string[], where: string): readonly string[] {
  if (names.length === 0) return []
  const what = names.length === 1 ? 'was left aside: it is no input' : 'were left aside: they are no inputs'
  return [`${where}: ${names.join(', ')} ${what} of the model`]
}

interface Fitted {
  readonly column: Column
  readonly preprocessed: boolean
}

/** An array of sequences, [samples, steps, …]: each step as the input's sample, the samples first again. */
function fitSteps(data: Tensor, name: string, input: ModelInput, o: FitOptions): Fitted {
  const [n = 0, steps = 0, ...sample] = data.shape
  const own = input.shape ? fitShape(sample, input.shape.slice(1)) : sample
  const dtype = input.dtype ?? data.dtype
  if (n === 0 || steps === 0 || !own || !castable(data.dtype, dtype)) throw mismatch(data, name, input, o)
  const prepare = (rows: Tensor): Tensor =>
    cast({ ...rows, shape: [rows.shape[0] as number, steps, ...own] }, dtype, `${o.where}, ${name}`)
  return { column: { data, prepare }, preprocessed: false }
}

/** Samples in the data: of the first array whose first axis must hold them. */
function samplesIn(
  arrays: ReadonlyMap<string, () => Tensor>,
  inputs: readonly ModelInput[],
  { whole }: FitOptions
): number | undefined {
  const batched = inputs.find((i) => !whole?.has(i.name) && arrays.has(i.name))
  return (batched ? arrays.get(batched.name)?.() : undefined)?.shape[0]
}

/**
 * An array for an input that takes a sample as it is: [samples, …] of the input's own shape, with axes of size 1 left out
 * or not; or that shape alone, for all samples.
 */
function fitWhole(
  data: Tensor,
  name: string,
  input: ModelInput,
  o: FitOptions & { readonly samples: number | undefined }
): Fitted {
  const shape = input.shape ?? []
  const perSample = data.shape.length > 0 && (o.samples === undefined || data.shape[0] === o.samples)
  // An open axis may be the batch, which is 1 and may be left out.
  const single = shape.map((d) => (typeof d === 'string' ? 1 : d))
  const fitted = (own: readonly number[]): readonly number[] | undefined =>
    fitShape(own, shape) ?? fitShape(own, single)
  const sample = perSample ? fitted(data.shape.slice(1)) : undefined
  const shared = sample ? undefined : fitted(data.shape)
  const dtype = input.dtype ?? data.dtype
  if ((!sample && !shared) || !castable(data.dtype, dtype)) throw mismatch(data, name, input, o)
  const rows = sample ? data : repeated(data, o.samples ?? 1)
  const each = sample ?? shared ?? []
  return {
    preprocessed: false,
    column: {
      data: rows,
      prepare: (part) => cast({ ...part, shape: [part.shape[0] as number, ...each] }, dtype, `${o.where}, ${name}`)
    }
  }
}

/** The same sample `n` times. */
function repeated(t: Tensor, n: number): Tensor {
  const one = toArray(t.bytes)
  const bytes = new Uint8Array(one.length * n)
  for (let i = 0; i < n; i++) bytes.set(one, i * one.length)
  return { dtype: t.dtype, shape: [n, ...t.shape], bytes }
}

function fitArray(data: Tensor, name: string, input: ModelInput, o: FitOptions): Fitted {
  const place = `${o.where}, ${name}`
  // An axis of length 0 behind the samples is a legal size: a past of no tokens.
  if (!data.shape[0]) throw new PareError('E_DATA', 'no samples', { where: place })
  const picture = asPictures(data, input)
  if (picture) {
    const column = fitPictures(picture, input, o)
    if (!column) throw mismatch(data, name, input, o)
    return { column, preprocessed: true }
  }
  return fitNumbers(data, name, input, o)
}

/** uint8 of rank 4 with 1 or 3 last, or of rank 3 for a model that takes pictures, as [n, h, w, c]. */
function asPictures(data: Tensor, input: ModelInput): Tensor | undefined {
  if (data.dtype !== 'uint8' || (input.shape && input.shape.length !== 4)) return undefined
  if (data.shape.length === 3) return input.shape ? { ...data, shape: [...data.shape, 1] } : undefined
  return data.shape.length === 4 && (data.shape[3] === 1 || data.shape[3] === 3) ? data : undefined
}

function fitPictures(data: Tensor, input: ModelInput, o: FitOptions): Column | undefined {
  const [, h, w, channels] = data.shape as readonly [number, number, number, 1 | 3]
  const to = imageInput([input], o.preprocess, channels)
  const p = o.preprocess ?? presets['none']
  if (!to || !p || to.channels !== channels) return undefined
  const size =
    p.resize !== undefined || p.crop !== undefined
      ? geometry([h, w], [to.height, to.width], p)
      : { resize: [h, w], crop: [h, w] }
  const [height, width] = size?.crop ?? [0, 0]
  if (!size || (to.height ?? height) !== height || (to.width ?? width) !== width) return undefined
  const [resizeTo, cropTo] = [size.resize, size.crop] as const
  const same = resizeTo[0] === h && resizeTo[1] === w && cropTo[0] === h && cropTo[1] === w
  return {
    data,
    prepare(rows) {
      const n = rows.shape[0] as number
      const bytes = rows.bytes as Uint8Array
      const pixels = same ? bytes : fitEach(bytes, n, [h, w, channels], resizeTo as Sides, cropTo as Sides)
      return pixelsToInput(pixels, n, [height as number, width as number], to, p)
    }
  }
}

type Sides = readonly [height: number, width: number]

function fitEach(
  data: Uint8Array,
  n: number,
  from: readonly [number, number, number],
  resize: Sides,
  crop: Sides
): Uint8Array {
  const [height, width, channels] = from
  const length = height * width * channels
  const out = new Uint8Array(n * crop[0] * crop[1] * channels)
  for (let i = 0; i < n; i++) {
    const raster = { height, width, channels, data: data.subarray(i * length, (i + 1) * length) }
    const cut = cropCentre(resizeRaster(raster, resize[0], resize[1]), crop[0], crop[1])
    out.set(cut.data, i * cut.data.length)
  }
  return out
}

/** Bytes of `n` pictures of the right size, [n, h, w, c], as the model's input: normalised, in its layout and type. */
export function pixelsToInput(pixels: Uint8Array, n: number, [h, w]: Sides, to: ImageInput, p: Preprocess): Tensor {
  const { channels, layout, dtype } = to
  const shape = layout === 'nchw' ? [n, channels, h, w] : [n, h, w, channels]
  if (dtype === 'uint8') {
    const bytes = layout === 'nchw' && channels > 1 ? swapAxes(pixels, n, h * w, channels) : pixels
    return { dtype, shape, bytes }
  }
  return tensor(dtype, shape, normalisePixels(pixels, n, channels, p, layout))
}

/**
 * How the only picture input of a model takes them; `undefined` when there is none. `channels`: of the data, to tell
 * layouts apart and for models that leave their channels open. Throws `E_OPTION` where integers cannot be preprocessed.
 */
export function imageInput(
  inputs: readonly ModelInput[],
  preprocess: Preprocess | undefined,
  channels?: 1 | 3
): ImageInput | undefined {
  const candidates = inputs.filter((i) => i.shape === undefined || i.shape.length === 4)
  const [input] = candidates
  if (!input || candidates.length > 1) return undefined
  const dtype = input.dtype ?? 'float32'
  if (!isFloat(dtype) && dtype !== 'uint8') return undefined
  if (preprocess && !isFloat(dtype) && !isIdentity(preprocess))
    throw new PareError('E_OPTION', `the model's input ${input.name} is ${dtype}: it takes raw pixels`, {
      where: '--preprocess'
    })
  const shape = input.shape ?? ['?', '?', '?', '?']
  const layout = preprocess?.layout ?? layoutOf(shape, channels)
  const own = shape[layout === 'nchw' ? 1 : 3]
  const [height, width] = layout === 'nchw' ? shape.slice(2) : shape.slice(1, 3)
  const count = typeof own === 'number' ? own : (channels ?? 3)
  if (count !== 1 && count !== 3) return undefined
  return { name: input.name, dtype, layout, channels: count, height: known(height), width: known(width) }
}

const known = (d: Dim | undefined): number | undefined => (typeof d === 'number' ? d : undefined)

const isIdentity = (p: Preprocess): boolean =>
  p.scale === 1 && p.mean.every((m) => m === 0) && p.std.every((s) => s === 1)

function layoutOf(shape: readonly Dim[], channels: number | undefined): Layout {
  const fits = (d: Dim | undefined): boolean => (channels === undefined ? d === 1 || d === 3 : d === channels)
  return fits(shape[3]) && !fits(shape[1]) ? 'nhwc' : 'nchw'
}

function fitNumbers(data: Tensor, name: string, input: ModelInput, o: FitOptions): Fitted {
  const dtype = input.dtype ?? (data.dtype === 'float64' || data.dtype === 'uint8' ? 'float32' : data.dtype)
  const sample = input.shape ? fitShape(data.shape.slice(1), input.shape.slice(1)) : data.shape.slice(1)
  if (!sample || !castable(data.dtype, dtype)) throw mismatch(data, name, input, o)
  const place = `${o.where}, ${name}`
  const p = isFloat(dtype) ? o.preprocess : undefined
  if (p && (p.resize !== undefined || p.crop !== undefined))
    throw new PareError('E_OPTION', 'only pictures can be resized: uint8 arrays of [n, height, width, 1 or 3]', {
      where: '--preprocess'
    })
  const channelAxis =
    sample.length === 3 && (p?.layout ?? layoutOf(['?', ...sample], undefined)) === 'nchw' ? 0 : sample.length - 1
  const channels = sample[channelAxis] ?? 1
  const inner = elementCount(sample.slice(channelAxis + 1))
  return {
    preprocessed: p !== undefined,
    column: {
      data,
      prepare(rows) {
        const shape = [rows.shape[0] as number, ...sample]
        if (p)
          return tensor(
            dtype,
            shape,
            normaliseNumbers(toNumbers(rows), p.mean.length + p.std.length > 2 ? channels : 1, inner, p)
          )
        return cast({ ...rows, shape }, dtype, place)
      }
    }
  }
}

/**
 * A sample's dimensions as the model's: equal, or equal after leaving out axes of size 1. `undefined`: they contradict.
 */
export function fitShape(sample: readonly number[], model: readonly Dim[]): readonly number[] | undefined {
  const accepts = (m: Dim | undefined, d: number | undefined): boolean => typeof m === 'string' || m === d
  if (sample.length === model.length && model.every((m, i) => accepts(m, sample[i]))) return sample
  const long = sample.filter((d) => d !== 1)
  const open = model.filter((d) => d !== 1)
  if (long.length !== open.length || !open.every((m, i) => accepts(m, long[i]))) return undefined
  let at = 0
  return model.map((m) => (m === 1 ? 1 : (long[at++] as number)))
}

function castable(from: DType, to: DType): boolean {
  if (from === to) return true
  if (kindOf(from) === 'complex' || from === 'string' || to === 'string') return false
  return isFloat(to) || (isInteger(to) && (isInteger(from) || from === 'bool'))
}

/** Converts; integers must keep their value. Throws `E_DATA`. */
function cast(t: Tensor, dtype: DType, where: string): Tensor {
  if (t.dtype === dtype) return t
  const values = toNumbers(t)
  if (isInteger(dtype) && dtype !== 'int64' && dtype !== 'uint64') {
    const { min, max } = rangeOf(dtype)
    for (let i = 0; i < values.length; i++)
      if ((values[i] as number) < min || (values[i] as number) > max)
        throw new PareError('E_DATA', `${values[i]} does not fit into the model's ${dtype}`, { where })
  }
  const out = tensor(dtype, t.shape, values)
  if (isFloat(t.dtype)) refuseNaN(out, where)
  return out
}

const shapeText = (shape: readonly Dim[] | undefined): string => (shape ? `[${shape.join(', ')}]` : '')
const spell = (i: ModelInput): string => `${i.name}: ${i.dtype ?? '?'}${shapeText(i.shape)}`

function mismatch(data: Tensor, name: string, input: ModelInput, o: FitOptions): PareError {
  return new PareError('E_DATA_SHAPE', 'the data does not fit the model', {
    facts: { model: `input ${spell(input)}`, data: `${o.where}, ${name}: ${data.dtype}${shapeText(data.shape)}` },
    hint: advice(data, input, o.whole?.has(input.name) ?? false)
  })
}

/** What would make pictures fit; for other data only the shape itself can be right. */
function advice(data: Tensor, input: ModelInput, isWhole: boolean): string {
  if (isWhole)
    return `data of ${input.dtype ?? 'float32'}${shapeText(['n', ...(input.shape ?? [])])}, or one such value for all samples`
  const picture = asPictures(data, input)
  const shape = input.shape ?? []
  const to = picture && imageInput([input], undefined)
  if (!to) return `data of ${input.dtype ?? 'float32'}${shapeText(['n', ...shape.slice(1)])}`
  const [, h, w, c] = picture.shape
  const tips: string[] = []
  if ((to.height ?? h) !== h || (to.width ?? w) !== w)
    tips.push(
      `--preprocess FILE.json with {"resize": ${to.height === to.width ? to.height : `[${to.height}, ${to.width}]`}}`
    )
  if (to.channels !== c) tips.push(`data with ${to.channels} channel${to.channels > 1 ? 's' : ''}`)
  return tips.join(', and ') || `pictures of ${to.height ?? 'any'} × ${to.width ?? 'any'}, ${to.channels} channels`
}

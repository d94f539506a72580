/**
 * Recordings as samples of a model. A model takes sound as one float input whose only axis beside those of size 1 is time. Where it
 * fixes the length of that axis, or `window` gives it, recordings are cut into windows, one every `hop` positions, and filled
 * up with silence; otherwise a sample is a whole recording. A model with states gets sequences of windows (sequences.ts).
 */
import { PareError } from '../base/errors.ts'
import { elementCount, isFloat, tensor } from '../ir/tensor.ts'
import type { Batch, Dim, DType, Tensor } from '../types.ts'
import { alike, chunks, type LabelledDataset } from './arrays.ts'
import type { ModelInput } from './fit.ts'
import { normaliseNumbers } from './pixels.ts'
import type { Preprocess } from './preprocess.ts'
import { mostSteps } from './sequences.ts'

/** How a model takes sound. */
export interface SoundInput {
  readonly name: string
  readonly dtype: DType
  /** The input's shape for `n` samples of `length` positions. */
  shape(n: number, length: number): readonly number[]
  /** Positions that the model prescribes. */
  readonly length: number | undefined
  /** Inputs that take the sample rate, and the length of a sample. */
  readonly rates: readonly ModelInput[]
  readonly lengths: readonly ModelInput[]
}

export interface SoundOptions {
  readonly where: string
  /** Positions a second. */
  readonly rate: number
  readonly window?: number | undefined
  readonly hop?: number | undefined
  readonly states: ReadonlySet<string>
  readonly preprocess?: Preprocess | undefined
  readonly labels?: readonly number[] | undefined
  readonly sha256?: string | undefined
  /** What was said of how the files were read. */
  readonly notes: readonly string[]
}

const isRate = (name: string): boolean => /^sr$|sampl(e|ing)_?rate/i.test(name)
const isLength = (name: string): boolean => /len/i.test(name)

/** How a model takes sound; `undefined` where it takes none, or something else beside it. */
export function soundInput(inputs: readonly ModelInput[], states: ReadonlySet<string>): SoundInput | undefined {
  const others = inputs.filter((i) => !states.has(i.name))
  const waves = others.filter((i) => timeAxis(i) !== undefined)
  const rest = others.filter((i) => !waves.includes(i))
  const rates = rest.filter((i) => isRate(i.name))
  const lengths = rest.filter((i) => isLength(i.name) && !isRate(i.name))
  const [input] = waves
  if (!input?.shape || waves.length > 1 || rates.length + lengths.length < rest.length) return undefined
  const { name, dtype = 'float32', shape } = input
  const axis = timeAxis(input) as number
  const time = shape[axis]
  return {
    ...{ name, dtype, rates, lengths, length: typeof time === 'number' ? time : undefined },
    shape: (n, length) => shape.map((_, i) => (i === axis ? length : i === 0 ? n : 1))
  }
}

/** The only axis that is not one of samples, and not of size 1; `undefined` where there are several, or none. */
function timeAxis({ dtype = 'float32', shape }: ModelInput): number | undefined {
  if (!shape || !(isFloat(dtype) || dtype === 'int16') || shape.length === 0 || shape.length > 3) return undefined
  const isOne = (d: Dim, i: number): boolean => d === 1 || (i === 0 && shape.length > 1 && typeof d === 'string')
  const axes = shape.flatMap((d, i) => (isOne(d, i) ? [] : [i]))
  return axes.length === 1 ? axes[0] : undefined
}

/** Where a sample begins in its recording; of a sequence, its first step. */
interface Piece {
  readonly file: number
  readonly start: number
}

interface Cut {
  readonly pieces: readonly Piece[]
  readonly window: number | undefined
  readonly hop: number
  /** Windows of a sample; absent: samples are no sequences. */
  readonly steps?: number
  readonly note: string
}

/** A dataset of recordings, at the model's rate. Throws `E_DATA`, `E_OPTION`. */
export function soundDataset(recordings: readonly Float32Array[], input: SoundInput, o: SoundOptions): LabelledDataset {
  const cut = cutInto(recordings, input, o)
  const { pieces, window, steps } = cut
  const labels = o.labels && pieces.map((p) => o.labels?.[p.file] as number)
  const lengthOf = (p: Piece): number => window ?? (recordings[p.file] as Float32Array).length
  const lengths = pieces.map(lengthOf)
  const batchOf = (picked: readonly number[]): Batch => {
    const length = lengths[picked[0] ?? 0] as number
    const starts = picked.flatMap((i) => startsOf(pieces[i] as Piece, cut))
    const wave = filled(recordings, starts, length, input, o.preprocess)
    const shape = input.shape(picked.length, length)
    return {
      n: picked.length,
      inputs: {
        [input.name]: { ...wave, shape: steps ? [picked.length, steps, ...shape.slice(1)] : shape },
        ...sameForAll(input.rates, picked.length, o.rate),
        ...sameForAll(input.lengths, picked.length, length)
      },
      ...(labels && { labels: picked.map((i) => labels[i] as number) }),
      ...(steps ? { stepped: [input.name] } : {})
    }
  }
  return {
    size: pieces.length,
    labelled: labels !== undefined,
    ...(labels && { labels }),
    ...(window === undefined ? { lengths } : {}),
    ...(o.sha256 === undefined ? {} : { sha256: o.sha256 }),
    ...(steps ? { isStepped: true } : {}),
    notes: [...o.notes, cut.note],
    async *batches({ batch, indices }) {
      for (const chunk of chunks(pieces.length, batch, indices))
        for (const picked of alike(chunk, lengths)) yield batchOf(picked)
    }
  }
}

// ---------------------------------------------------------------- cutting

function cutInto(recordings: readonly Float32Array[], input: SoundInput, o: SoundOptions): Cut {
  if (input.length !== undefined && o.window !== undefined && o.window !== input.length)
    throw new PareError('E_OPTION', `the model takes windows of ${input.length}, not of ${o.window}`, {
      where: '--window'
    })
  const window = input.length ?? o.window
  const isStepped = o.states.size > 0
  if (window === undefined) {
    if (isStepped || o.hop !== undefined)
      throw new PareError('E_OPTION', 'the model leaves the length of a window open', {
        where: o.where,
        hint: '--window N, the samples of one step (and --hop N, where steps overlap)'
      })
    const pieces = recordings.map((_, file) => ({ file, start: 0 }))
    return { pieces, window, hop: 0, note: 'a sample is a whole recording' }
  }
  const hop = o.hop ?? window
  const said = `windows of ${window} samples${hop === window ? '' : `, one every ${hop}`}`
  if (isStepped) return sequencesOf(recordings, { window, hop, said })
  if (o.labels) {
    const middle = (r: Float32Array): number => Math.trunc((r.length - window) / 2)
    const pieces = recordings.map((r, file) => ({ file, start: middle(r) }))
    return {
      pieces,
      window,
      hop,
      note: `a sample is the middle of a recording, ${window} samples; shorter ones lie between silence`
    }
  }
  const pieces = recordings.flatMap((r, file) =>
    Array.from({ length: windowsIn(r.length, window, hop) }, (_, i) => ({ file, start: i * hop }))
  )
  return { pieces, window, hop, note: `recordings are cut into ${said}; the last of each is filled up with silence` }
}

/** Windows until the end of a recording, the last filled up where most of it is sound. */
const windowsIn = (length: number, window: number, hop: number): number =>
  Math.max(1, 1 + Math.floor((length - window / 2) / hop))

/** Sequences of as many windows as most recordings have, at most 50. */
function sequencesOf(recordings: readonly Float32Array[], c: { window: number; hop: number; said: string }): Cut {
  const counts = recordings.map((r) => windowsIn(r.length, c.window, c.hop))
  const sorted = [...counts].sort((a, b) => a - b)
  const steps = Math.min(mostSteps, sorted[Math.floor(sorted.length / 2)] as number)
  const pieces = counts.flatMap((count, file) =>
    Array.from({ length: Math.max(1, Math.floor(count / steps)) }, (_, i) => ({ file, start: i * steps * c.hop }))
  )
  const note = `states start at zero and are fed back over sequences of ${steps} ${c.said}; what is left of a recording is left out`
  return { pieces, window: c.window, hop: c.hop, steps, note }
}

const startsOf = ({ file, start }: Piece, { hop, steps = 1 }: Cut): Piece[] =>
  Array.from({ length: steps }, (_, i) => ({ file, start: start + i * hop }))

// ---------------------------------------------------------------- filling

/** Windows one behind the other; outside a recording is silence. */
function filled(
  recordings: readonly Float32Array[],
  starts: readonly Piece[],
  length: number,
  { dtype }: SoundInput,
  preprocess: Preprocess | undefined
): Tensor {
  const values = new Float32Array(starts.length * length)
  for (const [i, { file, start }] of starts.entries()) {
    const all = recordings[file] as Float32Array
    const from = Math.max(0, start)
    values.set(all.subarray(from, Math.max(from, Math.min(all.length, start + length))), i * length + from - start)
  }
  if (dtype === 'int16')
    return tensor(
      dtype,
      [values.length],
      values.map((v) => Math.round(v * 32767))
    )
  return tensor(dtype, [values.length], preprocess ? normaliseNumbers(values, 1, 1, preprocess) : values)
}

const sameForAll = (inputs: readonly ModelInput[], n: number, value: number): Record<string, Tensor> =>
  Object.fromEntries(
    inputs.map(({ name, dtype = 'int64', shape = [] }) => {
      // A scalar takes a sample as it is: of such inputs data has one axis more.
      const sizes = [n, ...shape.slice(1).map((d) => (typeof d === 'number' ? d : 1))]
      return [name, tensor(dtype, sizes, new Float64Array(elementCount(sizes)).fill(value))]
    })
  )

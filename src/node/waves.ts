/** Folders of .wav files: read, mixed down and resampled to the rate of the model. */
import { existsSync } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { PareError } from '../base/errors.ts'
import type { LabelledDataset } from '../data/arrays.ts'
import { checkLabels } from '../data/labels.ts'
import type { Preprocess } from '../data/preprocess.ts'
import { type SoundInput, soundDataset } from '../data/sound.ts'
import { readText } from './files.ts'
import { type FolderOptions, identity, listFolder, readBounded } from './folder.ts'

const usualRate = 16000
/** Samples of all recordings together that are held, as float32: 4.6 hours at 16 kHz. */
const mostSamples = 2 ** 28
const rates = [1000, 768000] as const

interface WaveOptions extends FolderOptions {
  readonly sampleRate?: number | undefined
  readonly window?: number | undefined
  readonly hop?: number | undefined
  readonly states: ReadonlySet<string>
  readonly preprocess?: Preprocess | undefined
  /** The model's file: a preprocessor_config.json beside it may hold the rate. */
  readonly model?: string | undefined
}

const waveFiles = { extensions: /\.wav$/i, what: 'recordings', kinds: 'wav' } as const

/** Opens a folder of recordings, or one. Throws `E_DATA`, `E_LABELS`, `E_LIMIT`, `E_OPTION`. */
export async function waveFolder(path: string, input: SoundInput, o: WaveOptions): Promise<LabelledDataset> {
  const real = await realpath(path)
  const isOne = (await stat(real)).isFile()
  const root = isOne ? dirname(real) : real
  const { files, labels } = isOne
    ? { files: [basename(real)], labels: undefined }
    : await listFolder(root, path, waveFiles, o)
  const shown = isOne ? dirname(path) : path
  if (labels) checkLabels(labels, o.classes, path, o.partly)
  const { rate, said } = rateOf(o)
  const recordings: Float32Array[] = []
  const found = new Set<number>()
  let samples = 0
  for (const file of files) {
    const bytes = await readBounded(join(root, file), join(shown, file))
    const read = await readWave(bytes, rate, join(shown, file))
    found.add(read.rate)
    samples += read.samples.length
    if (samples > mostSamples)
      throw new PareError('E_LIMIT', `recordings of more than ${mostSamples} samples together`, {
        where: path,
        hint: 'fewer or shorter recordings, or a data module'
      })
    recordings.push(read.samples)
  }
  const others = [...found].filter((r) => r !== rate).sort((a, b) => a - b)
  return soundDataset(recordings, input, {
    ...{ where: path, rate, labels, window: o.window, hop: o.hop, states: o.states, preprocess: o.preprocess },
    sha256: await identity(root, files, labels),
    notes: [
      said,
      ...(others.length > 0 ? [`recordings of ${others.join(' and ')} Hz are resampled to ${rate} Hz`] : []),
      ...(o.preprocess ? [] : ['recordings are fed as −1…1; --preprocess FILE.json with {"scale": 32768} for others'])
    ]
  })
}

/** The rate that was asked for, that the model's folder names, or the usual one of speech. */
function rateOf({ sampleRate, model }: WaveOptions): { readonly rate: number; readonly said: string } {
  if (sampleRate !== undefined) return { rate: sampleRate, said: `recordings are fed at ${sampleRate} Hz` }
  const file = model === undefined ? '' : join(dirname(model), 'preprocessor_config.json')
  const told = file !== '' && existsSync(file) ? ratedBy(readText(file)) : undefined
  if (told !== undefined)
    return { rate: told, said: `recordings are fed at ${told} Hz, as preprocessor_config.json says` }
  return {
    rate: usualRate,
    said: `recordings are fed at ${usualRate} Hz, as nothing says the rate of the model: write --sample-rate for another`
  }
}

function ratedBy(text: string): number | undefined {
  try {
    const { sampling_rate: rate } = JSON.parse(text) as { sampling_rate?: unknown }
    return typeof rate === 'number' && Number.isInteger(rate) && rate >= rates[0] && rate <= rates[1] ? rate : undefined
  } catch {
    return undefined
  }
}

/** One channel of numbers in −1…1, the mean of all channels. Throws `E_DATA` for what is no wav file of sound. */
async function readWave(
  bytes: Uint8Array,
  rate: number,
  where: string
): Promise<{ readonly samples: Float32Array; readonly rate: number }> {
  // Loaded where there are recordings.
  const { default: wavefile } = await import('wavefile')
  const bad = (why: string, cause?: unknown): PareError =>
    new PareError('E_DATA', 'not a wav file that can be read', { where, facts: { why }, cause })
  try {
    const file = new wavefile.WaveFile(bytes)
    const { sampleRate, numChannels } = file.fmt as { readonly sampleRate: number; readonly numChannels: number }
    if (!(sampleRate >= rates[0] && sampleRate <= rates[1])) throw bad(`a rate of ${sampleRate} Hz`)
    if (!(numChannels >= 1 && numChannels <= 64)) throw bad(`${numChannels} channels`)
    file.toBitDepth('32f')
    if (sampleRate !== rate) file.toSampleRate(rate, { method: 'sinc' })
    const given = file.getSamples(false, Float32Array) as unknown as Float32Array | readonly Float32Array[]
    const samples = mixed(numChannels === 1 ? [given as Float32Array] : (given as readonly Float32Array[]))
    if (samples.length === 0) throw bad('it holds no sound')
    if (!samples.every(Number.isFinite)) throw bad('a sample is not a number')
    return { samples, rate: sampleRate }
  } catch (cause) {
    throw cause instanceof PareError ? cause : bad(cause instanceof Error ? cause.message : String(cause), cause)
  }
}

function mixed(channels: readonly Float32Array[]): Float32Array {
  const [first = new Float32Array()] = channels
  if (channels.length < 2) return first
  return first.map((_, i) => channels.reduce((sum, c) => sum + (c[i] ?? 0), 0) / channels.length)
}

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import wavefile from 'wavefile'
import { toNumbers } from '../ir/tensor.ts'
import type { Session } from '../runtime/types.ts'
import type { Batch, Dataset, Tensor } from '../types.ts'
import { openDataset } from './dataset.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-waves-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** A tone of `hz` as 16-bit samples; of two channels the second is silent. */
function write(name: string, o: { hz?: number; rate?: number; seconds?: number; channels?: 1 | 2 }): void {
  const { hz = 440, rate = 16000, seconds = 0.1, channels = 1 } = o
  const one = Array.from({ length: Math.round(rate * seconds) }, (_, i) =>
    Math.round(16384 * Math.sin((2 * Math.PI * hz * i) / rate))
  )
  const file = new wavefile.WaveFile()
  file.fromScratch(channels, rate, '16', channels === 1 ? one : [one, one.map(() => 0)])
  writeFileSync(join(folder, name), file.toBuffer())
}

beforeAll(() => {
  for (const sub of ['plain', 'fast', 'classes/no', 'classes/yes', 'broken', 'stereo'])
    mkdirSync(join(folder, sub), { recursive: true })
  write('plain/a.wav', {})
  write('plain/b.wav', { seconds: 0.25 })
  write('fast/a.wav', { rate: 44100, seconds: 0.2 })
  write('stereo/a.wav', { channels: 2 })
  write('classes/no/a.wav', { seconds: 0.02 })
  write('classes/yes/b.wav', { seconds: 0.2 })
  writeFileSync(join(folder, 'broken/a.wav'), 'RIFF but no wave at all')
})

type Inputs = Session['inputs']
const wave = (...shape: (number | string)[]): Inputs => [{ name: 'x', dtype: 'float32', shape }]
const vad: Inputs = [
  { name: 'input', dtype: 'float32', shape: ['batch', 'sequence'] },
  { name: 'state', dtype: 'float32', shape: [2, 'batch', 8] },
  { name: 'sr', dtype: 'int64', shape: [] }
]

const open = (name: string, inputs: Inputs, o: object = {}, more: object = {}): Promise<Dataset> =>
  openDataset({ path: join(folder, name), ...o }, inputs, more)

async function all(data: Dataset): Promise<Batch[]> {
  const out: Batch[] = []
  for await (const batch of data.batches({ batch: 4 })) out.push(batch)
  return out
}

const x = (batch: Batch | undefined, name = 'x'): Tensor => batch?.inputs[name] as Tensor

describe('folders of .wav', () => {
  it('give windows of the length that the model fixes, the last filled up with silence', async () => {
    const data = await open('plain', wave('N', 1, 1000))
    // 1,600 samples make two windows, the second of 600; 4,000 make four.
    expect(data.size).toBe(6)
    const [first] = await all(data)
    expect(x(first).shape).toEqual([4, 1, 1000])
    const values = toNumbers(x(first))
    expect(values[10]).toBeCloseTo(0.5 * Math.sin((2 * Math.PI * 440 * 10) / 16000), 3)
    expect([...Array.from(values).slice(1600, 2000)].every((v) => v === 0)).toBe(true)
    expect(data.notes?.join('\n')).toMatch(/16000 Hz, as nothing says the rate[\s\S]*windows of 1000 samples/)
  })
  it('give whole recordings where the length is free, those of one length together', async () => {
    const data = await open('plain', wave('N', 'T'))
    expect((await all(data)).map((b) => x(b).shape)).toEqual([
      [1, 1600],
      [1, 4000]
    ])
    expect(data.lengths).toEqual([1600, 4000])
  })
  it('are resampled and mixed down, and say so', async () => {
    const data = await open('fast', wave('N', 'T'), { sampleRate: 8000 })
    const [batch] = await all(data)
    const values = Array.from(toNumbers(x(batch)))
    expect(values.length).toBe(1600)
    // The tone keeps its pitch: 440 Hz cross zero 88 times in 0.1 s.
    const middle = values.slice(400, 1200)
    expect(middle.filter((v, i) => i > 0 && v >= 0 !== (middle[i - 1] ?? 0) >= 0).length).toBeCloseTo(88, -1)
    expect(Math.max(...middle)).toBeCloseTo(0.5, 1)
    expect(data.notes?.join('\n')).toContain('recordings of 44100 Hz are resampled to 8000 Hz')
    expect((await open('fast/a.wav', wave('N', 1600))).size).toBe(2)
    const [both] = await all(await open('stereo', wave('N', 'T')))
    expect(Math.max(...Array.from(toNumbers(x(both))))).toBeCloseTo(0.25, 2)
  })
  it('have labels by sub-folders: a sample is the middle of a recording', async () => {
    const data = await open('classes', wave(1, 1600), {}, { classes: 2 })
    const batches = await all(data)
    expect(batches.flatMap((b) => b.labels ?? [])).toEqual([0, 1])
    const values = Array.from(toNumbers(x(batches[0])))
    // 320 samples between 640 of silence on both sides.
    expect(values.slice(0, 640).every((v) => v === 0) && values.slice(960, 1600).every((v) => v === 0)).toBe(true)
    expect(values.slice(640, 960).some((v) => v !== 0)).toBe(true)
  })
  it('are sequences of windows for a model with states, with the rate where it asks for it', async () => {
    const data = await open('plain', vad, { window: 160, hop: 128 }, { states: new Set(['state']) })
    const [batch] = await all(data)
    expect(batch?.stepped).toEqual(['input'])
    const [n, steps, length] = x(batch, 'input').shape
    expect([n, length]).toEqual([data.size, 160])
    expect([...toNumbers(x(batch, 'sr'))]).toEqual(Array.from({ length: data.size }, () => 16000))
    const values = toNumbers(x(batch, 'input'))
    expect(values[160]).toBe(values[128])
    expect(data.notes?.join('\n')).toContain(`sequences of ${steps} windows of 160 samples, one every 128`)
  })
  it('end with one clear error each', async () => {
    const refused = (name: string, inputs: Inputs, code: string, words: RegExp, o = {}, more = {}): Promise<void> =>
      expect(open(name, inputs, o, more)).rejects.toMatchObject({ code, message: expect.stringMatching(words) })
    await refused('plain', wave('N', 3, 8, 8), 'E_DATA_SHAPE', /no sound/)
    await refused('broken', wave('N', 'T'), 'E_DATA', /not a wav file/)
    await refused('plain', wave('N', 100), 'E_OPTION', /windows of 100, not of 50/, { window: 50 })
    await refused('plain', vad, 'E_OPTION', /length of a window open/, {}, { states: new Set(['state']) })
    await refused('classes', wave('N', 100), 'E_LABELS', /2 class folders for a model of 3/, {}, { classes: 3 })
    writeFileSync(join(folder, 'a.npz'), '')
    await refused('a.npz', wave('N', 100), 'E_OPTION', /for recordings/, { window: 100 })
  })
})

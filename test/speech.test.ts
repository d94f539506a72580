/** The speech example: its parts on sound whose answer is known, and the whole of it in short. */
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { isBuilt } from './program.ts'

const folder = new URL('../examples/speech/', import.meta.url)
const load = (name: string) => import(new URL(`${name}.mjs`, folder).href)

interface Rule {
  readonly threshold: number
  readonly looks: number
}
interface Call {
  readonly time: number
  readonly word: number
}
const features: {
  readonly bands: number
  centre(band: number): number
  logMel(samples: Float32Array): Float32Array
  logMelStream(): (samples: Float32Array) => Float32Array
} = await load('features')
const wave: {
  readWave(bytes: Uint8Array): { readonly rate: number; readonly samples: Float32Array }
  resampled(samples: Float32Array, rate: number): Float32Array
  writeWave(samples: Float32Array): Uint8Array
} = await load('wave')
const detect: {
  caller(rule: Rule): (shares: readonly number[]) => Call | undefined
  timeOf(look: number): number
} = await load('detect')
const words: { readonly keywords: readonly string[]; readonly classes: readonly string[] } = await load('words')
const streams: {
  judged(
    shares: readonly (readonly number[])[],
    stream: { readonly said: readonly { word: number; from: number; to: number }[]; readonly hours: number },
    rule: Rule
  ): { readonly hits: number; readonly falseAccepts: number; readonly latency: { readonly p50: number } }
} = await load('streams')

const tone = (hertz: number, rate: number, seconds = 1): Float32Array =>
  Float32Array.from({ length: rate * seconds }, (_, i) => 0.3 * Math.sin((2 * Math.PI * hertz * i) / rate))

describe('log-mel features', () => {
  it.each([250, 1000, 3000, 6500])('put a tone of %i Hz into the band around it', (hertz) => {
    const bands = features.logMel(tone(hertz, 16_000)).slice(10 * features.bands, 11 * features.bands)
    const loudest = bands.indexOf(Math.max(...bands))
    expect(hertz).toBeGreaterThan(features.centre(loudest - 1))
    expect(hertz).toBeLessThan(features.centre(loudest + 1))
  })

  it('are 49 frames of 40 bands for a second', () => {
    expect(features.logMel(tone(440, 16_000))).toHaveLength(49 * 40)
    expect(features.logMel(new Float32Array(399))).toHaveLength(0)
  })

  it('rise by ln 100 / 4 with ten times the loudness', () => {
    const [quiet, loud] = [0.05, 0.5].map((gain) => features.logMel(tone(1000, 16_000).map((x) => gain * x)))
    const loudest = quiet?.indexOf(Math.max(...quiet)) ?? -1
    expect((loud?.[loudest] ?? 0) - (quiet?.[loudest] ?? 0)).toBeCloseTo(Math.log(100) / 4, 2)
  })

  it('are the same for sound in pieces', () => {
    const sound = tone(700, 16_000, 2)
    const push = features.logMelStream()
    const pieces: number[] = []
    for (let at = 0, size = 1; at < sound.length; at += size, size = (size * 7) % 1301)
      pieces.push(...push(sound.subarray(at, at + size)))
    expect(Float32Array.from(pieces)).toEqual(features.logMel(sound))
  })
})

describe('sound files', () => {
  it('are read as they were written, up to 16 bits', () => {
    const sound = tone(300, 16_000)
    const { rate, samples } = wave.readWave(wave.writeWave(sound))
    expect(rate).toBe(16_000)
    expect(samples).toHaveLength(sound.length)
    expect(Math.max(...samples.map((x, i) => Math.abs(x - (sound[i] ?? 0))))).toBeLessThan(1 / 65_000)
  })

  it('keep their tones at another rate, and lose those that do not fit', () => {
    const [kept, lost] = [wave.resampled(tone(2000, 22_050), 22_050), wave.resampled(tone(10_000, 44_100), 44_100)]
    const expected = tone(2000, 16_000)
    const inner = (x: Float32Array): Float32Array => x.slice(100, -100)
    expect(Math.max(...inner(kept.map((x, i) => Math.abs(x - (expected[i] ?? 0)))))).toBeLessThan(1e-3)
    expect(Math.max(...inner(lost))).toBeLessThan(3e-3)
  })
})

describe('calls', () => {
  const other = words.classes.length - 1
  /** Shares of looks at which one class is certain. */
  const sure = (looks: readonly number[]): number[][] =>
    looks.map((word) => words.classes.map((_, k) => (k === word ? 1 : 0)))
  const looks = [...Array(10).fill(other), ...Array(6).fill(0), ...Array(20).fill(other), ...Array(6).fill(0)]

  it('come once a word', () => {
    const call = detect.caller({ threshold: 0.9, looks: 3 })
    const calls = sure(looks).flatMap((s) => call(s) ?? [])
    expect(calls.map(({ time, word }) => [word, time])).toEqual([
      [0, detect.timeOf(12)],
      [0, detect.timeOf(38)]
    ])
  })

  it('count as hits near the word, and as false accepts elsewhere', () => {
    const said = [{ word: 0, from: 1.2, to: 1.7 }]
    const { hits, falseAccepts, latency } = streams.judged(
      sure(looks),
      { said, hours: 1 },
      { threshold: 0.9, looks: 3 }
    )
    expect({ hits, falseAccepts }).toEqual({ hits: 1, falseAccepts: 1 })
    expect(latency.p50).toBeCloseTo(detect.timeOf(12) - 1.7)
  })
})

// ---------------------------------------------------------------- the whole of it

const script = (name: string): string => fileURLToPath(new URL(`${name}.mjs`, folder))

function run(name: string, args: readonly string[]): Promise<{ status: number | null; text: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script(name), ...args])
    let text = ''
    for (const from of [child.stdout, child.stderr])
      from.on('data', (d: Buffer) => {
        text += d.toString()
      })
    child.on('error', reject)
    child.on('close', (status) => resolve({ status, text }))
  })
}

const isMute = spawnSync('espeak-ng', ['--version']).status !== 0
const reason = isMute ? 'espeak-ng is not installed' : isBuilt ? '' : 'not built: npm run build'
const out = mkdtempSync(join(tmpdir(), 'pare-speech-'))
afterAll(() => rmSync(out, { recursive: true, force: true }))

describe.skipIf(reason)(`the whole example ${reason && `(skipped: ${reason})`}`, () => {
  it('trains, distils, quantizes, measures, and listens', { timeout: 900_000 }, async () => {
    const { status, text } = await run('speech', ['--quick', '--threads', '1', '--out', out])
    expect(status, text).toBe(0)
    const { measured } = JSON.parse(readFileSync(join(out, 'results.json'), 'utf8'))
    expect(measured.teacher.parameters).toBeGreaterThan(900_000)
    expect(measured.student.parameters).toBeLessThanOrEqual(60_000)
    expect(measured.quantized.bytes).toBeLessThan(measured.student.bytes / 2)

    const sound = join(out, 'tone.wav')
    writeFileSync(sound, wave.writeWave(tone(440, 16_000, 3)))
    const heard = await run('listen', [join(out, 'quantized.onnx'), sound])
    expect(heard.status, heard.text).toBe(0)
    expect(heard.text).toContain('3.0 s of sound')
  })
})

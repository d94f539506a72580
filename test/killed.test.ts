/** A search that is killed again and again goes on after its last finished candidate, to what it would have written. */
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { rng } from '../src/base/random.ts'
import { toFloats } from '../src/ir/tensor.ts'
import type { Candidate, Report } from '../src/report/types.ts'
import type { Measured } from '../src/search/trial.ts'
import { digits } from './digits.ts'
import { type Ended, isBuilt, npz, pare } from './program.ts'

const samples = 120
const kills = 5
const folder = mkdtempSync(join(tmpdir(), 'pare-killed-'))
const journal = join(folder, 'killed.onnx.journal')

beforeAll(async () => {
  copyFileSync(fileURLToPath(new URL('../examples/demo/digits.onnx', import.meta.url)), join(folder, 'digits.onnx'))
  for await (const { inputs, labels } of digits(samples, 'killed').batches({ batch: samples }))
    if (inputs['x'])
      writeFileSync(
        join(folder, 'digits.npz'),
        npz([samples, 1, 28, 28], enlarged(toFloats(inputs['x'])), labels ?? [])
      )
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Pictures of 14 × 14 at the size that the bundled network takes. */
function enlarged(x: Float32Array): Float32Array {
  return Float32Array.from({ length: samples * 784 }, (_, i) => {
    const [n, row, column] = [Math.floor(i / 784), Math.floor((i % 784) / 28), i % 28]
    return (x[n * 196 + (row >> 1) * 14 + (column >> 1)] as number) / 255
  })
}

/** Compresses into a file: bytes decide, which no clock disturbs. Killed after some ms. */
function compress(out: string, o: { readonly resume?: boolean; readonly killAfter?: number } = {}): Promise<Ended> {
  return pare(
    [
      ...['compress', 'digits.onnx', '--data', 'digits.npz', '--objective', 'size', '--metric', 'relativeError'],
      ...['--max-drop', '5%', '-o', out, '--report', `${out}.json`, '--force', ...(o.resume ? ['--resume'] : [])]
    ],
    {
      cwd: folder,
      env: { TMPDIR: folder },
      watch: (child) => {
        if (o.killAfter !== undefined) setTimeout(() => child.kill('SIGKILL'), o.killAfter)
      }
    }
  )
}

const candidates = (out: string): readonly Candidate[] =>
  (JSON.parse(readFileSync(join(folder, `${out}.json`), 'utf8')) as Report).candidates

/** All of a candidate that no clock tells. */
const timeless = ({ name, recipe, measurement, drop, chosen }: Candidate): unknown => [
  ...[name, recipe, measurement.bytes, measurement.metrics, drop, chosen]
]

const trials = (): readonly Measured[] =>
  existsSync(journal)
    ? readFileSync(journal, 'utf8')
        .split('\n')
        .slice(1, -1)
        .map((line) => JSON.parse(line) as Measured)
    : []

describe.skipIf(!isBuilt)('a search that is killed', () => {
  it(`comes to the same candidates and bytes after ${kills} kills, and measures no finished one again`, async () => {
    const random = rng('killed')
    const begun = performance.now()
    const whole = await compress('whole.onnx')
    expect(whole.err).not.toContain('pare:')
    const ms = performance.now() - begun
    let known: readonly Measured[] = []
    for (let i = 0; i < kills; i++) {
      const killed = await compress('killed.onnx', { resume: i > 0, killAfter: ms * (0.1 + 0.22 * random.next()) })
      if (killed.signal !== 'SIGKILL') throw new Error(`it ended before it was killed: ${killed.err}`)
      const now = trials()
      expect(now.slice(0, known.length)).toEqual(known)
      known = now
    }
    expect(known.length).toBeGreaterThan(0)
    expect(new Set(known.map((t) => t.key)).size).toBe(known.length)

    const ended = await compress('killed.onnx', { resume: true })
    expect(ended.err).not.toContain('pare:')
    expect(ended.status).toBe(0)
    expect(readFileSync(join(folder, 'killed.onnx')).equals(readFileSync(join(folder, 'whole.onnx')))).toBe(true)
    expect(candidates('killed.onnx').map(timeless)).toEqual(candidates('whole.onnx').map(timeless))
    for (const t of known) {
      const shown = candidates('killed.onnx').find((c) => c.name === t.proposal.name)
      expect(shown?.measurement.latencyMs).toEqual(t.timing?.after)
    }
    expect(readdirSync(folder).filter((name) => /journal|checkpoint|\.tmp$/.test(name))).toEqual([])
  }, 300_000)
})

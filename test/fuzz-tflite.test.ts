import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { concat, toArray } from '../src/base/bytes.ts'
import { PareError } from '../src/base/errors.ts'
import { readModel } from '../src/formats/index.ts'
import { decode } from '../src/formats/tflite/decode.ts'
import { encode } from '../src/formats/tflite/encode.ts'
import { tflite } from '../src/formats/tflite/format.ts'
import { check } from '../src/ir/check.ts'
import { apply, change } from './changes.ts'
import { flatFiles } from './shared.ts'

/** `bench/fuzz.mjs` asks for more. */
const runs = Number(process.env['PARE_FUZZ_RUNS'] ?? 2000)

/** Weights lie behind the flatbuffer, so that changes fall on tables. */
const files = flatFiles()
  .map((path) => new Uint8Array(readFileSync(path)))
  .filter((file) => file.length < 100_000)
  .map((file) => encode(decode(file), { outside: true }).map(toArray))
const tables = files.map(([first]) => first as Uint8Array)
/** Most changes leave the rest where it is, as sound files have offsets all over. */
const changes = fc.array(fc.oneof({ weight: 4, arbitrary: change(['set', 'flip', 'word']) }, change()), {
  minLength: 1,
  maxLength: 4
})

/** Reads; anything but a coded error of the user's is a failure. */
function survives(bytes: Uint8Array): 'read' | 'refused' {
  try {
    check(readModel(bytes, { formats: [tflite] }))
    return 'read'
  } catch (error) {
    if (error instanceof PareError && error.code !== 'E_INTERNAL') return 'refused'
    throw error
  }
}

describe.skipIf(files.length === 0)('hostile TensorFlow Lite files', () => {
  it('are sound before they are changed', () => {
    expect(files.map((parts) => survives(concat(parts)))).toEqual(files.map(() => 'read'))
  })

  it(`read or give a coded error (${runs} changed files)`, { timeout: 600_000 }, () => {
    const seen = { read: 0, refused: 0 }
    let slowest = 0
    fc.assert(
      fc.property(fc.nat(files.length - 1), changes, (i, all) => {
        const bytes = all.reduce((b, c) => apply(b, c, tables), tables[i] as Uint8Array)
        const whole = concat([bytes, ...(files[i] as Uint8Array[]).slice(1)])
        const started = performance.now()
        seen[survives(whole)]++
        slowest = Math.max(slowest, performance.now() - started)
      }),
      { numRuns: runs, seed: 20, endOnFailure: true }
    )
    const peak = Math.round(process.resourceUsage().maxRSS / 1024)
    console.info(
      `${seen.read} read, ${seen.refused} refused; slowest ${slowest.toFixed(0)} ms; peak ${peak} MB resident`
    )
    expect(seen.read + seen.refused).toBe(runs)
  })
})

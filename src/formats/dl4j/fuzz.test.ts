import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { unzipSync } from 'fflate'
import { expect, it } from 'vitest'
import { apply, change } from '../../../test/changes.ts'
import { fixture, fixtureNames, zip } from '../../../test/dl4j.ts'
import { PareError } from '../../base/errors.ts'
import { check } from '../../ir/check.ts'
import { formats, readModel, writeModel } from '../index.ts'

/** `PARE_FUZZ_RUNS=5000` asks for more. */
const runs = Number(process.env['PARE_FUZZ_RUNS'] ?? 1000)

const digits = new Uint8Array(
  readFileSync(fileURLToPath(new URL('../../../examples/java/digits.zip', import.meta.url)))
)
const files = [
  digits,
  ...fixtureNames()
    .filter((_, i) => i % 4 === 0)
    .map((name) => fixture(name).bytes)
]

/** Reads, checks and writes again; anything but a coded error of the user's is a failure. */
function survives(bytes: Uint8Array): 'read' | 'refused' {
  try {
    writeModel(check(readModel(bytes, { formats, choices: { normalizer: 'graph' } })), { format: 'dl4j' })
    return 'read'
  } catch (error) {
    if (error instanceof PareError && error.code !== 'E_INTERNAL') return 'refused'
    throw error
  }
}

const odd: readonly unknown[] = [
  null,
  -1,
  0,
  1e9,
  2 ** 53,
  1.5,
  '',
  'NaN',
  [],
  {},
  [1, 2, 3, 4, 5],
  true,
  { '@class': 'org.deeplearning4j.X' }
]

/** One value of the configuration replaced by another that should not stand there, or by one from elsewhere. */
function replaced(json: unknown, at: number, by: unknown): unknown {
  let i = 0
  const walk = (x: unknown): unknown => {
    if (i++ === at) return by
    if (Array.isArray(x)) return x.map(walk)
    if (typeof x === 'object' && x !== null) return Object.fromEntries(Object.entries(x).map(([k, v]) => [k, walk(v)]))
    return x
  }
  return walk(json)
}

const sizeOf = (json: unknown): number =>
  1 + (typeof json === 'object' && json !== null ? Object.values(json).reduce<number>((n, x) => n + sizeOf(x), 0) : 0)

it(`changed archives read or give a coded error (${runs})`, { timeout: 900_000 }, () => {
  const seen = { read: 0, refused: 0 }
  let slowest = 0
  const judge = (bytes: Uint8Array): void => {
    const started = performance.now()
    seen[survives(bytes)]++
    slowest = Math.max(slowest, performance.now() - started)
  }
  const entries = files.map((bytes) => unzipSync(bytes))
  fc.assert(
    fc.property(
      fc.nat(files.length - 1),
      fc.constantFrom('zip', 'coefficients.bin', 'configuration.json', 'value', 'value'),
      fc.array(change(), { minLength: 1, maxLength: 4 }),
      fc.nat(10_000),
      fc.nat(odd.length - 1),
      (i, where, changes, place, other) => {
        const given = entries[i] ?? {}
        const changed = (bytes: Uint8Array): Uint8Array => changes.reduce((b, c) => apply(b, c, files), bytes)
        if (where === 'zip') judge(changed(files[i] ?? digits))
        else if (where === 'value') {
          const json: unknown = JSON.parse(new TextDecoder().decode(given['configuration.json']))
          const made = JSON.stringify(replaced(json, place % sizeOf(json), odd[other]))
          judge(zip({ ...given, 'configuration.json': made }))
        } else judge(zip({ ...given, [where]: changed(given[where] ?? new Uint8Array(0)) }))
      }
    ),
    { numRuns: runs, seed: 20, endOnFailure: true }
  )
  const peak = Math.round(process.resourceUsage().maxRSS / 1024)
  console.info(`${seen.read} read, ${seen.refused} refused; slowest ${slowest.toFixed(0)} ms; peak ${peak} MB resident`)
  expect(seen.read + seen.refused).toBe(runs)
})

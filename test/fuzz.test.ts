import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PareError } from '../src/base/errors.ts'
import { readModel, writeModel } from '../src/formats/index.ts'
import { check } from '../src/ir/check.ts'
import { apply, change } from './changes.ts'
import { corpus } from './corpus.ts'

/** `bench/fuzz.mjs` asks for more. */
const runs = Number(process.env['PARE_FUZZ_RUNS'] ?? 2000)

const files = Object.values(corpus())
const external = (): Uint8Array => new Uint8Array(16)

/** Reads, checks and writes; anything but a coded error of the user's is a failure. */
function survives(bytes: Uint8Array): 'read' | 'refused' {
  try {
    writeModel(check(readModel(bytes, { external })))
    return 'read'
  } catch (error) {
    if (error instanceof PareError && error.code !== 'E_INTERNAL') return 'refused'
    throw error
  }
}

describe('hostile files', () => {
  it('are sound before they are changed', () => {
    expect(files.map(survives)).toEqual(files.map(() => 'read'))
  })

  it(`read or give a coded error (${runs} changed files)`, { timeout: 600_000 }, () => {
    const seen = { read: 0, refused: 0 }
    let slowest = 0
    fc.assert(
      fc.property(fc.nat(files.length - 1), fc.array(change(), { minLength: 1, maxLength: 4 }), (i, changes) => {
        const bytes = changes.reduce((b, c) => apply(b, c, files), files[i] ?? new Uint8Array(0))
        const started = performance.now()
        seen[survives(bytes)]++
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

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PareError } from '../src/base/errors.ts'
import { readModel, writeModel } from '../src/formats/index.ts'
import { check } from '../src/ir/check.ts'
import { corpus } from './corpus.ts'

/** `bench/fuzz.mjs` asks for more. */
const runs = Number(process.env['PARE_FUZZ_RUNS'] ?? 2000)

const files = Object.values(corpus())
const external = (): Uint8Array => new Uint8Array(16)

/** One change to a file: what, where (fraction of its length), and with what. */
const change = fc.record({
  what: fc.constantFrom('set', 'flip', 'cut', 'remove', 'repeat', 'insert', 'number', 'join'),
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  length: fc.nat(24),
  byte: fc.nat(255)
})
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never

/** Spellings of numbers that are larger, or longer, than anything sound. */
const numbers = [
  [255, 255, 255, 255, 15],
  [255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
  [128, 128, 128, 128, 8],
  [127]
]

function apply(bytes: Uint8Array, c: Change): Uint8Array {
  const at = Math.floor(c.at * bytes.length)
  const [head, tail] = [bytes.subarray(0, at), bytes.subarray(at)]
  const join = (...parts: ArrayLike<number>[]): Uint8Array => Uint8Array.from(parts.flatMap((p) => Array.from(p)))
  switch (c.what) {
    case 'set':
      return join(head, [c.byte], tail.subarray(1))
    case 'flip':
      return join(head, [(tail[0] ?? 0) ^ (1 << (c.byte & 7))], tail.subarray(1))
    case 'cut':
      return head.slice()
    case 'remove':
      return join(head, tail.subarray(c.length))
    case 'repeat':
      return join(head, tail.subarray(0, c.length), tail)
    case 'insert':
      return join(head, Array(c.length).fill(c.byte), tail)
    case 'number':
      return join(head, numbers[c.byte % numbers.length] ?? [], tail.subarray(1))
    default:
      return join(head, (files[c.byte % files.length] ?? head).subarray(at))
  }
}

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
      fc.property(fc.nat(files.length - 1), fc.array(change, { minLength: 1, maxLength: 4 }), (i, changes) => {
        const bytes = changes.reduce(apply, files[i] ?? new Uint8Array(0))
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

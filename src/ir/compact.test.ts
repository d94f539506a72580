import { describe, expect, it } from 'vitest'
import { equalBytes, part, toArray } from '../base/bytes.ts'
import { rng } from '../base/random.ts'
import { compacted, heldBytes } from './compact.ts'
import { equalTensors, tensor } from './tensor.ts'

const random = rng('compact')
/** So many elements of so many values, −0 and NaN among them. */
const sample = (elements: number, values: number) => {
  const all = [-0, 0, Number.NaN, ...Array.from({ length: values - 3 }, (_, i) => i / 7)]
  return tensor(
    'float32',
    [elements],
    Array.from({ length: elements }, () => all[Math.floor(random.next() * values)] as number)
  )
}

describe('compacted', () => {
  it('holds few values in 1 byte an element, more in 2, and gives the very same bytes', () => {
    for (const [values, each] of [
      [200, 1],
      [5000, 2]
    ] as const) {
      const t = sample(20_000, values)
      const made = compacted(t)
      expect(heldBytes(made)).toBeLessThanOrEqual(20_000 * each + 4 * values)
      expect(equalBytes(toArray(made.bytes), toArray(t.bytes))).toBe(true)
      expect(equalTensors(made, t)).toBe(true)
      for (const [from, to] of [
        [0, 4],
        [5, 23],
        [79_990, 80_000],
        [8, 8]
      ] as const)
        expect(equalBytes(toArray(part(made.bytes, from, to)), t.bytes.slice(from, to))).toBe(true)
    }
  })
  it('leaves numbers of too many values and of other sizes as they are', () => {
    const noise = tensor(
      'float32',
      [70_000],
      Array.from({ length: 70_000 }, () => random.normal())
    )
    for (const t of [noise, tensor('float64', [8], new Float64Array(8)), tensor('int32', [0], [])]) {
      expect(compacted(t)).toBe(t)
      expect(heldBytes(t)).toBe(t.bytes.length)
    }
  })
})

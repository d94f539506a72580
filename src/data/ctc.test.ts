import { describe, expect, it } from 'vitest'
import { tensor } from '../ir/tensor.ts'
import type { Tensor } from '../types.ts'
import { ctcText, ctcTexts, editDistance } from './ctc.ts'
import { metricFor } from './metrics.ts'

/** Scores of which the greatest are at the given classes: rows of samples, [n, time, classes]. */
function paths(classes: number, rows: readonly (readonly number[])[]): Tensor {
  const steps = (rows[0] as readonly number[]).length
  const values = rows.flatMap((row) => row.flatMap((c) => Array.from({ length: classes }, (_, k) => (k === c ? 1 : 0))))
  return tensor('float32', [rows.length, steps, classes], values)
}

const score = (y: Tensor, r: Tensor, n: number): readonly number[] =>
  metricFor('ctcText').scores({ y }, { n, inputs: {} }, { y: r })

describe('greedy text', () => {
  it('makes repeats one, keeps those that a blank parts, drops blanks', () => {
    const t = paths(4, [
      [0, 1, 1, 0, 1, 2, 2, 3],
      [0, 0, 0, 0, 0, 0, 0, 0],
      [3, 3, 3, 3, 3, 3, 3, 3]
    ])
    expect(ctcTexts(t, 3)).toEqual([[1, 1, 2, 3], [], [3]])
    expect(ctcTexts(t, 3, -1)).toEqual([[0, 1, 0, 1, 2], [0], []])
  })

  it('reads [time, n, classes] where the second axis has the samples, and leaves out padding', () => {
    const t = tensor('float32', [3, 2, 2], [0, 1, 1, 0, 1, 0, 0, 1, 0, 1, 0, 1])
    expect(ctcTexts(t, 2)).toEqual([[1, 1], [1]])
    const padded = paths(3, [[1], [2], [2]])
    expect(ctcTexts(padded, 2)).toEqual([[1], [2]])
  })

  it('takes the first of equal scores, and has no text beside NaN', () => {
    expect(ctcTexts(tensor('float32', [2, 1, 3], [0, 1, 1, 0, Number.NaN, 1]), 2)).toEqual([[1], undefined])
  })
})

it('edit distance counts insertions, deletions and substitutions', () => {
  expect(editDistance([], [])).toBe(0)
  expect(editDistance([1, 2, 3], [])).toBe(3)
  expect(editDistance([1, 2, 3], [1, 3])).toBe(1)
  expect(editDistance([1, 2, 3], [0, 1, 2, 4])).toBe(2)
  // kitten, sitting
  expect(editDistance([11, 9, 20, 20, 5, 14], [19, 9, 20, 20, 9, 14, 7])).toBe(3)
})

describe('ctcText', () => {
  it('is 1 − edit distance / the longer text', () => {
    const r = paths(5, [
      [1, 2, 3, 4],
      [1, 2, 3, 4],
      [1, 2, 3, 4],
      [0, 0, 0, 0],
      [0, 0, 0, 0]
    ])
    const y = paths(5, [
      [1, 2, 3, 4],
      [1, 2, 0, 4],
      [1, 1, 1, 1],
      [0, 0, 0, 0],
      [0, 1, 0, 2]
    ])
    expect(score(y, r, 5)).toEqual([1, 0.75, 0.25, 1, 0])
  })

  it('compares texts of other lengths of time', () => {
    expect(score(paths(3, [[1, 0, 2]]), paths(3, [[1, 1, 0, 0, 2]]), 1)).toEqual([1])
  })

  it('never agrees beside NaN', () => {
    const bad = tensor('float32', [1, 1, 2], [Number.NaN, 0])
    expect(score(bad, bad, 1)).toEqual([0])
  })

  it('says what does not fit', () => {
    const r = paths(3, [[1, 2]])
    const wide = paths(4, [[1, 2]])
    const flat = tensor('float32', [1, 3], [0, 1, 0])
    expect(() => score(flat, flat, 1)).toThrow('[n, time, classes]')
    expect(() => score(flat, r, 1)).toThrow('no output y')
    expect(() => score(wide, r, 1)).toThrow('no output y')
    expect(() => score(r, r, 3)).toThrow('none of its axes is of 3 samples')
    expect(() => ctcText({ blank: 3 }).scores({ y: r }, { n: 1, inputs: {} }, { y: r })).toThrow('3 classes')
    expect(() => score(paths(1, [[0]]), paths(1, [[0]]), 1)).toThrow('1 classes')
    expect(() => metricFor('ctcText').scores({ y: r }, { n: 1, inputs: {} })).toThrow('original')
  })
})

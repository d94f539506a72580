import { describe, expect, it } from 'vitest'
import { tensor } from '../ir/tensor.ts'
import type { Tensor } from '../types.ts'
import { detections, layoutOf, layoutText } from './detections.ts'

const f = (shape: readonly number[], values: readonly number[]): Tensor => tensor('float32', shape, values)
const batch = { n: 1, inputs: {} }

/** Rows of boxes: centre, size and two scores. */
const rows = [
  [50, 50, 20, 20, 0.9, 0.1],
  [150, 50, 20, 20, 0.1, 0.8],
  [300, 90, 30, 10, 0.2, 0.7],
  [400, 90, 30, 30, 0.3, 0.1],
  [500, 90, 30, 30, 0.1, 0.1],
  [600, 90, 30, 30, 0.1, 0.1],
  [700, 90, 30, 30, 0.1, 0.1]
] as const
type Rows = readonly (readonly number[])[]
const last = (given: Rows): Record<string, Tensor> => ({ y: f([1, given.length, 6], given.flat()) })
const first = (given: Rows): Record<string, Tensor> => ({
  y: f([1, 6, given.length], Array.from({ length: 6 }, (_, c) => given.map((r) => r[c] as number)).flat())
})
const changed = (i: number, values: readonly number[]): Rows => rows.map((r, k) => (k === i ? values : r))

describe('detections', () => {
  it('are found in one tensor, channels first or last, and matched one to one', () => {
    for (const of of [first, last]) {
      const layout = layoutOf([{ n: 1, outputs: of(rows) }])
      expect(layout && layoutText(layout)).toBe(
        'boxes (centre and size) beside 2 scores each in y; a score of 0.5 or more is a detection'
      )
      const score = (after: Rows): number => detections(layout).scores(of(after), batch, of(rows))[0] as number
      expect(score(rows)).toBe(1)
      expect(score([...rows].reverse())).toBe(1)
      // Half a box aside: IoU 1/3. Another class. Below the threshold: two of three before, two after.
      expect(score(changed(0, [60, 50, 20, 20, 0.9, 0.1]))).toBeCloseTo(2 / 3, 12)
      expect(score(changed(0, [50, 50, 20, 20, 0.1, 0.9]))).toBeCloseTo(2 / 3, 12)
      expect(score(changed(0, [50, 50, 20, 20, 0.4, 0.1]))).toBeCloseTo(4 / 5, 12)
      expect(score(changed(0, [50, 50, 20, 20, Number.NaN, 0.1]))).toBeCloseTo(4 / 5, 12)
      // Nine tenths of the threshold keep it; so does the class beside another that has become surer by a hair.
      expect(score(changed(0, [50, 50, 20, 20, 0.46, 0.1]))).toBe(1)
      expect(score(changed(0, [50, 50, 20, 20, 0.44, 0.1]))).toBeCloseTo(4 / 5, 12)
      expect(score(changed(2, [300, 90, 30, 10, 0.52, 0.51]))).toBeCloseTo(5 / 6, 12)
      // Two boxes where one was: the one is matched once.
      expect(score(changed(3, [50, 50, 20, 20, 0.8, 0.1]))).toBeCloseTo(6 / 7, 12)
    }
  })

  it('are found in two outputs, without the class that says that nothing is there', () => {
    const boxes = f([1, 5, 4], [0, 0, 0.2, 0.2, 0.5, 0.5, 0.9, 0.9, 0, 0, 1, 1, 0, 0, 1, 1, 0.1, 0.1, 0.3, 0.4])
    const scores = (p: readonly number[]): Tensor =>
      f(
        [1, 5, 2],
        p.flatMap((v) => [1 - v, v])
      )
    const original = { boxes, scores: scores([0.9, 0.75, 0, 0.25, 0]) }
    const layout = layoutOf([{ n: 1, outputs: original }])
    expect(layout).toMatchObject({ form: 'corners', background: 0, threshold: 0.5, count: 5 })
    const after = { boxes, scores: scores([0.9, 0.25, 0, 0.25, 0]) }
    expect(detections(layout).scores(after, batch, original)[0]).toBeCloseTo(2 / 3, 12)
  })

  it('are not seen in what may mean something else, unless the user says so', () => {
    const hidden = {
      y: f(
        [1, 7, 6],
        rows.flat().map((v) => v - 3)
      )
    }
    expect(layoutOf([{ n: 1, outputs: hidden }])).toBeUndefined()
    const noBoxes = {
      y: f(
        [1, 7, 6],
        rows.flatMap((r) => [r[0], r[1], -5, -5, r[4], r[5]])
      )
    }
    expect(layoutOf([{ n: 1, outputs: noBoxes }])).toBeUndefined()
    expect(layoutOf([{ n: 1, outputs: noBoxes }], true)).toMatchObject({ form: 'centre' })
    expect(() => detections().scores(hidden, batch, hidden)).toThrow('boxes of 4 numbers beside scores')
  })

  it('count from a lower score on where few reach 0.5', () => {
    const shy = rows.map((r) => r.map((v, i) => (i < 4 ? v : v * 0.4)))
    expect(layoutOf([{ n: 1, outputs: last(shy) }])?.threshold).toBe(0.25)
  })
})

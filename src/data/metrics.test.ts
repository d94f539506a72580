import { describe, expect, it } from 'vitest'
import { tensor } from '../ir/tensor.ts'
import type { Batch, Tensor } from '../types.ts'
import { classCount, metricFor, relativeErrorOf } from './metrics.ts'

const nan = Number.NaN
const f = (shape: readonly number[], values: readonly number[]): Tensor => tensor('float32', shape, values)
const batch = (n: number, labels?: readonly number[]): Batch => ({ n, inputs: {}, ...(labels && { labels }) })
const score = (name: string, y: Record<string, Tensor>, b: Batch, r?: Record<string, Tensor>) =>
  metricFor(name).scores(y, b, r)

describe('top1 and top5', () => {
  it('counts the first greatest score, never one beside NaN', () => {
    const y = f([4, 3], [0, 1, 0, 2, 2, 0, 2, 2, 0, 5, nan, 0])
    expect(score('top1', { y }, batch(4, [1, 0, 1, 0]))).toEqual([1, 1, 0, 0])
  })

  it('is right for a label among the five greatest', () => {
    const y = f([3, 6], [6, 5, 4, 3, 2, 1, 6, 5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0])
    expect(score('top5', { y }, batch(3, [4, 5, 5]))).toEqual([1, 0, 0])
    expect(score('top5', { y: f([1, 2], [0, 1]) }, batch(1, [0]))).toEqual([1])
  })

  it('takes scores as [n, C, 1, 1], class indices, and the scored output of several', () => {
    expect(score('top1', { y: f([1, 2, 1, 1], [0, 1]) }, batch(1, [1]))).toEqual([1])
    expect(score('top1', { y: tensor('int64', [2], [3, 4]) }, batch(2, [3, 3]))).toEqual([1, 0])
    expect(score('top1', { features: f([1, 2, 2], [0, 1, 2, 3]), y: f([1, 2], [1, 0]) }, batch(1, [0]))).toEqual([1])
  })

  it('ignores padding rows and refuses missing ones', () => {
    expect(score('top1', { y: f([3, 2], [0, 1, 1, 0, 9, 9]) }, batch(2, [1, 1]))).toEqual([1, 0])
    expect(() => score('top1', { y: f([1, 2], [0, 1]) }, batch(2, [1, 1]))).toThrow('not one row for each of 2 samples')
    expect(() => score('top1', { y: f([2, 1], [0, 1]) }, batch(2, [1, 1]))).toThrow('class scores')
    expect(() => score('top1', { y: f([2, 2], [0, 1, 0, 1]) }, batch(2))).toThrow('labelled')
  })
})

describe('agreement', () => {
  const r = { y: f([3, 2], [0, 1, 1, 0, nan, 0]) }
  it('compares the greatest scores of every output', () => {
    expect(score('agreement', { y: f([3, 2], [3, 4, 3, 4, nan, 0]) }, batch(3), r)).toEqual([1, 0, 0])
    const two = { a: f([1, 2], [0, 1]), b: f([1, 2], [0, 1]) }
    expect(score('agreement', { ...two, b: f([1, 2], [1, 0]) }, batch(1), two)).toEqual([0])
    expect(score('agreement', two, batch(1), two)).toEqual([1])
    const windows = { y: f([2, 2, 2], [1, 0, 0, 1, 1, 0, 0, 1]) }
    const turned = { y: f([2, 2, 2], [1, 0, 0, 1, 1, 0, 1, 0]) }
    expect(score('agreement', turned, batch(2), windows)).toEqual([1, 0])
  })
  it('needs the original, its outputs and classes', () => {
    expect(() => score('agreement', r, batch(3))).toThrow('original')
    expect(() => score('agreement', { z: r.y }, batch(3), r)).toThrow('no output y')
    expect(() => score('agreement', { y: f([1, 1], [1]) }, batch(1), { y: f([1, 1], [1]) })).toThrow('class scores')
  })
})

describe('real metrics', () => {
  it('relativeError is ‖y − r‖ / ‖r‖, the worst of several outputs', () => {
    const r = { a: f([2, 2], [3, 4, 0, 0]) }
    expect(score('relativeError', { a: f([2, 2], [3, 3, 0, 0]) }, batch(2), r)).toEqual([0.2, 0])
    expect(score('relativeError', { a: f([2, 2], [nan, 4, 1, 0]) }, batch(2), r)).toEqual([Number.POSITIVE_INFINITY, 1])
    const two = { a: f([1, 1], [1]), b: f([1, 1], [4]) }
    expect(score('relativeError', { a: f([1, 1], [1]), b: f([1, 1], [2]) }, batch(1), two)).toEqual([0.5])
  })

  it('relativeError of parts is that of the worst, and each part is a metric of its own', () => {
    const at = (which: readonly number[]) => ({ output: 'a', channels: { axis: 0, size: 2, which } })
    const metric = relativeErrorOf([at([0]), at([1])])
    const [r, y] = [{ a: f([1, 2, 2], [300, 400, 0, 1]) }, { a: f([1, 2, 2], [300, 400, 0.5, 0.5]) }]
    expect(metric.scores(y, batch(1), r)[0]).toBeCloseTo(Math.SQRT1_2, 12)
    expect(metric.parts?.map((p) => p.scores(y, batch(1), r)[0])).toEqual([0, expect.closeTo(Math.SQRT1_2, 12)])
    expect(score('relativeError', y, batch(1), r)[0]).toBeLessThan(0.002)
  })

  it('cosine is 1 for the same direction and −1 for NaN', () => {
    const r = { a: f([4, 2], [1, 0, 0, 0, 1, 0, 1, 1]) }
    const scores = score('cosine', { a: f([4, 2], [2, 0, 0, 0, 0, 1, nan, 1]) }, batch(4), r)
    expect(scores).toEqual([1, 1, 0, -1])
  })

  it('reconstruction is the mean squared difference from the input', () => {
    const b: Batch = { n: 2, inputs: { x: f([2, 2], [1, 2, 3, 4]) } }
    expect(score('reconstruction', { code: f([2, 1], [0, 0]), y: f([2, 1, 2], [1, 4, 3, nan]) }, b)).toEqual([
      2,
      Number.POSITIVE_INFINITY
    ])
    expect(() => score('reconstruction', { code: f([2, 1], [0, 0]) }, b)).toThrow('same size')
  })
})

it('classes are counted where the shape fixes them, and unknown names are refused', () => {
  const output = (shape: readonly (number | string)[]) => [{ name: 'y', dtype: 'float32' as const, shape }]
  expect(classCount(output(['N', 10]))).toBe(10)
  expect(classCount(output(['N', 'C']))).toBeUndefined()
  expect(() => metricFor('accuracy')).toThrow("no metric named 'accuracy'")
})

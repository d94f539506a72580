import { describe, expect, it } from 'vitest'
import { outputsOf, randomFeeds } from '../../test/compare.ts'
import { readModel, writeModel } from '../formats/index.ts'
import { inferShapes } from '../ops/infer.ts'
import type { Model, Tensor } from '../types.ts'
import { check } from './check.ts'
import { edit } from './edit.ts'
import { print } from './print.ts'
import { type ExitPoint, foldStages, unfoldStages, withThresholds } from './stages.ts'
import { toFloats } from './tensor.ts'
import { parse } from './text.ts'

/** Two exits: the first from the input, the second from half of what the last stage needs. */
const straight = inferShapes(
  parse(`
  input x: f32[N,6]
  const share: f32[6,4]
  a = MatMul(x, share)
  first = MatMul(a, A: f32[4,3])
  h = MatMul(x, H: f32[6,5])
  r = Relu(h)
  second = MatMul(r, B: f32[5,3])
  m = MatMul(r, M: f32[5,4])
  k = MatMul(x, share)
  both = Add(m, k)
  y = MatMul(both, C: f32[4,3])
  output y`)
)
const points = (...t: readonly number[]): readonly ExitPoint[] =>
  ['first', 'second'].map((scores, i) => ({ scores, threshold: t[i] as number }))
const floats = (t: Tensor | undefined): number[] => [...toFloats(t as Tensor)]
const softmaxed = (row: readonly number[]): number => {
  const top = Math.max(...row)
  return 1 / row.reduce((sum, v) => sum + Math.exp(v - top), 0)
}

/** What folding means, row by row. */
function expected(all: Readonly<Record<string, Tensor>>, thresholds: readonly number[]): number[] {
  const stages = ['first', 'second', 'y'].map((id) => floats(all[id]))
  return Array.from({ length: (stages[0]?.length ?? 0) / 3 }, (_, i) => {
    const rows = stages.map((s) => s.slice(3 * i, 3 * i + 3))
    const at = thresholds.findIndex((t, k) => softmaxed(rows[k] as number[]) >= t)
    return rows[at < 0 ? 2 : at] as number[]
  }).flat()
}

const every = edit(straight, (d) => d.setOutputs(['first', 'second', 'y']))

describe('a folded model', () => {
  for (const thresholds of [
    [0.5, 0.5],
    [0.4, 0.9],
    [0, 0],
    [2, 0],
    [2, 2],
    [0.99, 0.34]
  ])
    it(`gives every sample the answer of its exit at ${thresholds}`, async () => {
      const { model } = foldStages(straight, points(...thresholds), 'logits')
      check(model)
      for (const size of [1, 2, 9]) {
        const feeds = randomFeeds(straight, size, size)
        const got = floats((await outputsOf(model, feeds))['y'])
        for (const [i, v] of expected(await outputsOf(every, feeds), thresholds).entries())
          expect(got[i]).toBeCloseTo(v, 5)
      }
    })

  it('holds every constant once, in the branch that alone reads it', () => {
    const { model } = foldStages(straight, points(0.5, 0.5), 'logits')
    const text = print(model)
    for (const id of ['share', 'A', 'H', 'B', 'M', 'C']) expect(text.split(`${id}: f32`).length, id).toBe(2)
    const outer = [...model.graph.values.keys()]
    expect(outer).toEqual(expect.arrayContaining(['share', 'A']))
    expect(outer).not.toEqual(expect.arrayContaining(['C']))
  })

  it('is the straight model again when unfolded, also from a file, and takes other thresholds', async () => {
    const { model, exits } = foldStages(straight, points(0.5, 0.9), 'logits')
    const read = readModel(writeModel(model).bytes)
    const unfolded = unfoldStages(read, exits)
    expect(unfolded?.scores).toHaveLength(3)
    const feeds = randomFeeds(straight, 5, 4)
    const got = await outputsOf(check(unfolded?.model as Model), feeds)
    const want = await outputsOf(every, feeds)
    for (const [i, id] of ['first', 'second', 'y'].entries())
      expect(floats(got[unfolded?.scores[i] as string])).toEqual(floats(want[id]))
    const late = withThresholds(read, exits, [2, 2])
    expect(floats((await outputsOf(late, feeds))['y'])).toEqual(floats(want['y']))
  })

  it('is told apart from a model that was changed since', () => {
    const { model, exits } = foldStages(straight, points(0.5, 0.9), 'logits')
    expect(unfoldStages(straight, exits)).toBeUndefined()
    const other = exits.map((e) => ({ ...e, scores: 'gone' }))
    expect(unfoldStages(model, other)).toBeUndefined()
  })

  it('sends samples on whose scores are not numbers', async () => {
    const { model } = foldStages(straight, points(0, 0), 'logits')
    const nan = randomFeeds(straight, 1, 2)
    const x = new Float32Array(12).fill(Number.NaN, 0, 6).fill(1, 6)
    const got = floats(
      (await outputsOf(model, { ...nan, x: { ...(nan['x'] as Tensor), bytes: new Uint8Array(x.buffer) } }))['y']
    )
    expect(got.slice(0, 3).every(Number.isNaN)).toBe(true)
    expect(got.slice(3).every(Number.isFinite)).toBe(true)
  })

  it('refuses what does not hold a sample a row, and exits with nothing behind', () => {
    const sized = inferShapes(
      parse(`
      input x: f32[N,4]
      a = MatMul(x, A: f32[4,3])
      size = Shape(a)
      first = Reshape(a, size)
      h = MatMul(x, B: f32[4,3])
      y = Reshape(h, size)
      output y`)
    )
    const fold = (m: Model, scores: string) => () => foldStages(m, [{ scores, threshold: 0.5 }], 'logits')
    expect(fold(sized, 'first')).toThrow(/size is needed by later stages, and does not hold a sample a row/)
    expect(fold(straight, 'y')).toThrow(/earlier exit/)
  })
})

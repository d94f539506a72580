import { describe, expect, it } from 'vitest'
import { arrayDataset } from '../data/index.ts'
import { metricFor } from '../data/metrics.ts'
import { tensor } from '../ir/tensor.ts'
import { model } from '../ir/text.ts'
import { nodeRunner } from '../node/runner.ts'
import { inferShapes } from '../ops/infer.ts'
import type { Model, Tensor } from '../types.ts'
import { type Judging, judgingOf, worstPart } from './judging.ts'

const floats = tensor(
  'float32',
  [4, 8],
  Array.from({ length: 32 }, (_, i) => Math.sin(i))
)

type Asked = Partial<Pick<Parameters<typeof judgingOf>[0], 'asked' | 'picked'>>

function judging(
  raw: Model,
  inputs: Record<string, Tensor>,
  o: Asked = {},
  labels?: readonly number[]
): Promise<Judging> {
  const made = inferShapes(raw)
  return judgingOf({
    model: made,
    outputs: made.graph.outputs.map((name) => ({ name, ...typeOf(made, name) })),
    dataset: arrayDataset({ inputs, ...(labels ? { labels } : {}) }),
    open: () => nodeRunner().open(made),
    ...o
  })
}

function typeOf({ graph }: Model, id: string) {
  const { dtype, shape } = graph.values.get(id) ?? {}
  return { ...(dtype ? { dtype } : {}), ...(shape ? { shape } : {}) }
}

const names = ({ metrics }: Judging): string[] => metrics.map((m) => m.name)

describe('what is judged by where nothing is asked for', () => {
  it('Softmax and few numbers behind a layer are class scores', async () => {
    const soft = await judging(model`input x: f32[N,8]; h = MatMul(x, W: f32[8,384]); y = Softmax(h); output y`, {
      x: floats
    })
    expect(names(soft)).toEqual(['agreement'])
    expect(soft.notes).toEqual([
      'judged by agreement: y ends with Softmax: scores of 384 classes, and the data has no labels'
    ])
    const few = model`input x: f32[N,8]; h = MatMul(x, W: f32[8,100]); y = Add(h, b: f32[100]); output y`
    expect(names(await judging(few, { x: floats }))).toEqual(['agreement'])
    expect(names(await judging(few, { x: floats }, {}, [0, 1, 2, 3]))).toEqual(['top1', 'top5'])
  })

  it('as many numbers as embeddings have, without Softmax, are compared by cosine, as are hidden states of tokens', async () => {
    const pooled = await judging(model`input x: f32[N,8]; y = MatMul(x, W: f32[8,384]); output y`, { x: floats })
    expect(names(pooled)).toEqual(['cosine'])
    expect(pooled.notes.join()).toMatch(/384 numbers, a width that embeddings have, behind MatMul and without Softmax/)
    const normal = model`input x: f32[N,8]; y = LpNormalization(x, axis=1, p=2); output y`
    expect((await judging(normal, { x: floats })).notes).toEqual([
      'judged by cosine: y ends with LpNormalization: an embedding of 8 numbers'
    ])
  })

  it('inputs handed on are left out of every metric, and outputs can be picked', async () => {
    const tokens = model`
      input ids: i64[N,T]
      h = Gather(W: f32[50,64], ids)
      s = ReduceMean(h, a: i64[1]{1}, keepdims=0)
      same = Identity(ids)
      output h, s, ids, same`
    const ids = tensor('int64', [2, 3], [1, 2, 3, 4, 5, 6])
    const all = await judging(tokens, { ids })
    expect(names(all)).toEqual(['cosine'])
    expect(all.notes[0]).toBe('not judged: ids, same, inputs that the model hands on as they are')
    const t = (values: readonly number[]): Tensor => tensor('float32', [1, 2], values)
    const picked = await judging(tokens, { ids }, { picked: ['s'], asked: metricFor('cosine') })
    const [given, reference] = [
      { h: t([0, 1]), s: t([1, 1]) },
      { h: t([1, 0]), s: t([1, 1]) }
    ]
    expect(picked.metrics[0].scores(given, { n: 1, inputs: {} }, reference)[0]).toBeCloseTo(1, 12)
    expect(picked.notes).toEqual(['judged on output s alone'])
    await expect(judging(tokens, { ids }, { picked: ['z'] })).rejects.toThrow('the model has no output z')
  })

  it('pictures and sound are compared by relative error, by parts where ranges differ', async () => {
    const mixed = model`
      input x: f32[N,8]
      a = Mul(x, k: f32[1]{500})
      c = Concat(a, x, axis=1)
      y = Reshape(c, s: i64[4]{0, 2, 2, 4})
      output y`
    const found = await judging(mixed, { x: floats })
    expect(names(found)).toEqual(['relativeError'])
    expect(found.notes[1]).toMatch(/ranges differ .* y, positions 0 of axis 1; y, positions 1 of axis 1/)
    const drop = (value: number) => ({ value, low: value, high: value, n: 4 })
    const parts = found.metrics[0].parts?.map((p) => p.name) as [string, string]
    expect(worstPart(found.metrics[0], { [parts[0]]: drop(0.001), [parts[1]]: drop(0.5) })[0]).toContain(
      'axis 1: 0.500 (the worst)'
    )
  })
})

/** Attention of small transformers as one operator, before and behind quantization: operators counted, numbers compared. */
import { describe, expect, it } from 'vitest'
import { difference, optimizedOf, outputsOf, randomFeeds, testContext } from '../../../test/compare.ts'
import { llamaFeeds, smallLlama } from '../../../test/llama-model.ts'
import { bertFeeds, gptFeeds, smallBert, smallGpt } from '../../../test/transformer-models.ts'
import { bind } from '../../ir/bind.ts'
import { opName } from '../../ir/graph.ts'
import { tensor } from '../../ir/tensor.ts'
import { parse } from '../../ir/text.ts'
import { nodeRunner } from '../../node/runner.ts'
import type { Model, Tensor } from '../../types.ts'
import { applyRecipe } from '../recipe.ts'
import type { Recipe } from '../types.ts'

/** float32 by other kernels, relative to the largest output. */
const FUSED = 1e-5

const attention = 'com.microsoft:MultiHeadAttention'
const base: Recipe = [
  ['simplify', {}],
  ['fuse', {}]
]

const count = (m: Model): Record<string, number> => {
  const out: Record<string, number> = {}
  for (const node of m.graph.nodes) out[opName(node)] = (out[opName(node)] ?? 0) + 1
  return out
}

async function optimized(m: Model): Promise<Record<string, number>> {
  const session = await nodeRunner().open(m, { keepOptimized: true, optimization: 'all' })
  try {
    return count(await optimizedOf(session))
  } finally {
    await session.close()
  }
}

async function fused(
  m: Model,
  feeds: Readonly<Record<string, Tensor>>,
  { all = false, between = [] as Recipe } = {}
): Promise<{ model: Model; reasons: readonly string[] }> {
  const before = await applyRecipe(m, [...base, ...between], testContext())
  const after = await applyRecipe(before.model, [['fuse-transformer', { all }]], testContext())
  expect(difference(await outputsOf(before.model, feeds), await outputsOf(after.model, feeds))).toBeLessThan(FUSED)
  return { model: after.model, reasons: [...new Set(after.refusals.map((r) => r.reason))] }
}

/** The first text alone. */
const oneText = (feeds: Readonly<Record<string, Tensor>>): Record<string, Tensor> =>
  Object.fromEntries(
    Object.entries(feeds).map(([id, t]) => [
      id,
      { ...t, shape: [1, ...t.shape.slice(1)], bytes: t.bytes.slice(0, t.bytes.length / (t.shape[0] ?? 1)) }
    ])
  )

/** One more token of each text. */
const next: Readonly<Record<string, Tensor>> = {
  input_ids: tensor('int64', [2, 1], [5, 7]),
  position_ids: tensor('int64', [2, 1], [7, 6]),
  attention_mask: tensor('int64', [2, 8], [1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1])
}

/** The largest difference of a second step, of one token, behind what each model kept of the first. */
async function fedBack(a: Model, b: Model, first: Readonly<Record<string, Tensor>>): Promise<number> {
  const outputs: Record<string, Tensor>[] = []
  for (const m of [a, b]) {
    const kept = Object.entries(await outputsOf(m, first)).filter(([id]) => id.startsWith('present'))
    const past = Object.fromEntries(kept.map(([id, t]) => [id.replace('present', 'past'), t]))
    outputs.push(
      await outputsOf(m, {
        ...past,
        ...(first['input_ids']?.shape[0] === 1 ? oneText(next) : next)
      })
    )
  }
  return difference(outputs[0] as Record<string, Tensor>, outputs[1] as Record<string, Tensor>)
}

describe('attention of BERT', () => {
  it.each(['adding', 'where'] as const)(
    'becomes one operator where asked for, its mask by %s shared by layers',
    async (by) => {
      const { model } = await fused(smallBert({ by }), bertFeeds(), { all: true })
      expect(count(model)).toMatchObject({ [attention]: 2, Expand: 1, MatMul: 12, 'com.microsoft:BiasGelu': 2 })
      expect(Object.keys(count(model))).not.toContain('Softmax')
    }
  )

  it('stays as it is where the kernel is slower, and ONNX Runtime still fuses what it fuses', async () => {
    const m = smallBert()
    const { model, reasons } = await fused(m, bertFeeds())
    expect(reasons).toContain(
      'not written as MultiHeadAttention: its kernel takes 0.9 to 1.4 times as long without a past on ort-cpu'
    )
    expect(count(model)).toMatchObject({ Softmax: 2, LayerNormalization: 5, Gelu: 2, Add: 20 })
    const [before, after] = [await optimized(m), await optimized(model)]
    expect(after).toMatchObject({ 'com.microsoft:BiasGelu': 2, 'com.microsoft:FusedMatMul': 2 })
    expect(after['com.microsoft:SkipLayerNormalization']).toBeUndefined()
    const sum = (c: Record<string, number>): number => Object.values(c).reduce((a, b) => a + b, 0)
    expect(sum(after)).toBeLessThanOrEqual(sum(before))
  })
})

describe('sums before norms', () => {
  it('are spelled anew where ONNX Runtime knows enough to join them, which is slower', async () => {
    const skip = 'com.microsoft:SkipLayerNormalization'
    const m = bind(smallBert(), { batch: 3, sequence: 3 })
    const { model } = await fused(m, bertFeeds())
    const { model: before } = await applyRecipe(m, base, testContext())
    expect((await optimized(before))[skip]).toBeGreaterThan(2)
    expect((await optimized(model))[skip]).toBeUndefined()
  })
})

describe('attention of GPT', () => {
  it('takes keys and values of the past, and gives on the new ones', async () => {
    const { model } = await fused(smallGpt(), gptFeeds())
    expect(count(model)).toMatchObject({ [attention]: 2, LayerNormalization: 5, Gelu: 2, MatMul: 9 })
    expect(Object.keys(count(model))).not.toContain('Softmax')
    expect(model.graph.outputs).toEqual(smallGpt().graph.outputs)
    expect((await optimized(model))[attention]).toBe(2)
  })

  it('takes masks that each layer cuts by the sizes of its own queries and keys', async () => {
    const m = smallGpt({ ownSizes: true })
    const { model } = await fused(m, gptFeeds())
    expect(count(model)).toMatchObject({ [attention]: 2 })
    expect(Object.keys(count(model))).not.toContain('Softmax')
    expect(await fedBack(m, model, gptFeeds())).toBeLessThan(FUSED)
  })

  it.each([
    ['before heads come first', 'before heads', false],
    ['with keys turned', 'keys turned', true]
  ] as const)('reads a past that is kept %s, where asked for', async (_, past, ownSizes) => {
    const m = smallGpt({ past, ownSizes })
    const { model } = await fused(m, gptFeeds(past), { all: true })
    expect(count(model)).toMatchObject({ [attention]: 2 })
    expect(Object.keys(count(model))).not.toContain('Softmax')
    expect(await fedBack(m, model, gptFeeds(past))).toBeLessThan(FUSED)
    const { reasons } = await fused(m, gptFeeds(past))
    expect(reasons.join()).toMatch(
      /not written as MultiHeadAttention: its kernel .* behind (keys|a past) that (are|is) kept/
    )
  })

  it('is found between projections that have become integers', async () => {
    for (const pass of ['quantize-dynamic', 'quantize-weights']) {
      const { model } = await fused(smallGpt(), gptFeeds(), { between: [[pass, {}]] })
      expect(count(model)[attention]).toBe(2)
    }
  })
})

describe('attention of Llama', () => {
  it('turns positions in one operator, whose tables all layers share, and repeats no keys', async () => {
    const m = smallLlama()
    const { model, reasons } = await fused(m, llamaFeeds())
    expect(difference(await outputsOf(m, llamaFeeds()), await outputsOf(model, llamaFeeds()))).toBeLessThan(FUSED)
    const ops = count(model)
    expect(ops).toMatchObject({ SimplifiedLayerNormalization: 5, 'com.microsoft:RotaryEmbedding': 4, Range: 1 })
    for (const gone of ['Tile', 'Neg', 'ReduceMean', 'Pow']) expect(Object.keys(ops)).not.toContain(gone)
    expect(reasons.join()).toContain('SkipSimplifiedLayerNormalization')
    expect((await optimized(model))['com.microsoft:FusedMatMul']).toBe(2)
  })
})

describe('heads of queries that share keys', () => {
  const grouped = 'com.microsoft:GroupQueryAttention'
  it.each([
    ['repeated by Tile, later positions counted', { mask: 'counted' }],
    ['repeated by Expand, later positions counted', { repeat: 'Expand', mask: 'counted' }],
    ['repeated by Expand, a triangle of later ones', { repeat: 'Expand', mask: 'triangle' }],
    ['one head for all', { keyHeads: 1, mask: 'counted' }]
  ] as const)('become one operator with their past where asked for: %s', async (_, o) => {
    const keyHeads = 'keyHeads' in o ? o.keyHeads : 2
    const free = smallLlama(o)
    const m = bind(free, { batch: 1 })
    const { model } = await fused(m, oneText(llamaFeeds(keyHeads)), { all: true })
    expect(count(model)).toMatchObject({ [grouped]: 2, 'com.microsoft:RotaryEmbedding': 4 })
    for (const gone of ['Softmax', 'Tile', 'Neg']) expect(Object.keys(count(model))).not.toContain(gone)
    expect(await fedBack(m, model, oneText(llamaFeeds(keyHeads)))).toBeLessThan(FUSED)
    const { model: plain, reasons } = await fused(m, oneText(llamaFeeds(keyHeads)))
    expect(reasons.join()).toContain('not written as GroupQueryAttention: its kernel takes')
    expect(count(plain)).toMatchObject({ Softmax: 2 })
    expect(Object.keys(count(plain))).not.toContain('Tile')
    // A triangle is made by one Expand; keys and values by none.
    expect(count(plain)['Expand'] ?? 0).toBe(o.mask === 'triangle' ? 1 : 0)
  })

  it.each([
    ['its mask is not known to hide later tokens, which the kernel always does', bind(smallLlama(), { batch: 1 })],
    [
      'its kernel takes several tokens behind a past of one text alone, and neither number is fixed to 1',
      smallLlama({ mask: 'counted' })
    ]
  ])('stay with the reason: %s', async (reason, m) => {
    const { refusals } = await applyRecipe(m, [...base, ['fuse-transformer', { all: true }]], testContext())
    expect(refusals.map((r) => r.reason)).toContain(reason)
  })

  it('are turned by position in front of the kernel where none are shared', async () => {
    const m = smallLlama({ keyHeads: 4, mask: 'counted' })
    const { model } = await fused(m, llamaFeeds(4))
    expect(count(model)).toMatchObject({ [attention]: 2, 'com.microsoft:RotaryEmbedding': 4 })
    expect(await fedBack(m, model, llamaFeeds(4))).toBeLessThan(FUSED)
  })
})

describe('rotary positions', () => {
  const text = (angles: string, cut = 2): string => `
    input x: f32[B,2,S,4]
    input at: f32[B,1,S,2]
    input other: f32[B,1,S,2]
    const zero: i64[1] = 0
    const mid: i64[1] = ${cut}
    const end: i64[1] = 4
    const ax: i64[1] = 3
    angles = Concat(${angles}, axis=-1)
    cos = Cos(angles)
    sin = Sin(angles)
    c = Mul(x, cos)
    lo = Slice(x, zero, mid, ax)
    hi = Slice(x, mid, end, ax)
    ng = Neg(hi)
    t = Concat(ng, lo, axis=-1)
    q = Mul(t, sin)
    y = Add(c, q)
    output y`
  it('are written by rows of each text’s own angles', async () => {
    const m = parse(text('at, at'))
    const { model } = await fused(m, randomFeeds(m, 3, 3))
    expect(count(model)['com.microsoft:RotaryEmbedding']).toBe(1)
  })

  it('stay where the halves have other angles, or are no halves', async () => {
    for (const [m, reason] of [
      [parse(text('at, other')), 'its angles are not known to be the same in both halves'],
      [parse(text('at, at', 1)), 'what it turns are not the halves of the last axis']
    ] as const) {
      const { model, reasons } = await fused(m, randomFeeds(m, 3, 3))
      expect(count(model)['com.microsoft:RotaryEmbedding']).toBeUndefined()
      expect(reasons).toEqual([reason])
    }
  })
})

describe('what is no attention of the kernel', () => {
  const text = (o: { mask?: string; k?: string; low?: string } = {}): string => `
    input q: f32[B,S,8]
    input k: f32[B,T,8]
    input v: f32[B,T,8]
    input seen: bool[B,1,S,T]
    const split: i64[4] = 0, 0, 2, 4
    const merge: i64[3] = 0, 0, 8
    const half: f32[] = 0.5
    const low: f32[] = ${o.low ?? '-10000.0'}
    qr = Reshape(q, split)
    qt = Transpose(qr, perm=[0,2,1,3])
    kr = Reshape(k, split)
    kt = Transpose(kr, perm=[${o.k ?? '0,2,3,1'}])
    vr = Reshape(v, split)
    vt = Transpose(vr, perm=[0,2,1,3])
    s = MatMul(qt, kt)
    d = Mul(s, half)
    m = ${o.mask ?? 'Where(seen, d, low)'}
    p = Softmax(m, axis=-1)
    c = MatMul(p, vt)
    t = Transpose(c, perm=[0,2,1,3])
    y = Reshape(t, merge)
    output y`
  const reasons = async (t: string): Promise<readonly string[]> => {
    const ctx = testContext()
    const { refusals } = await applyRecipe(parse(t), [['fuse-transformer', { all: true }]], ctx)
    return refusals.map((r) => r.reason)
  }

  it('is left with its reason', async () => {
    expect(await reasons(text())).toEqual([])
    expect(await reasons(text({ low: '-1.0' }))).toEqual(['what it does not attend to has the score -1'])
    const own = text({ mask: 'Add(d, n)' }).replace('    m = ', '    n = Abs(d)\n    m = ')
    expect((await reasons(own)).join()).toContain('its mask is computed from its own queries or keys')
  })
})

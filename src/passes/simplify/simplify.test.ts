import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { difference, outputsOf, randomFeeds, testContext } from '../../../test/compare.ts'
import { check } from '../../ir/check.ts'
import { edit } from '../../ir/edit.ts'
import { print } from '../../ir/print.ts'
import { ints } from '../../ir/tensor.ts'
import { parse } from '../../ir/text.ts'
import type { Model } from '../../types.ts'
import { parseOptions } from '../pass.ts'
import { weigh } from '../recipe.ts'
import { simplify } from './index.ts'

const defaults = parseOptions(simplify, {})
const opsOf = (m: Model): string => m.graph.nodes.map((n) => n.op).join(' ')
const simplified = async (m: Model, o = {}) => check(await simplify.run(m, { ...defaults, ...o }, testContext()))

/** Fires, gives the same outputs to the bit, never grows, and has nothing to do a second time. */
async function expectSimplified(text: string, ops: string): Promise<Model> {
  const before = parse(text)
  const after = await simplified(before)
  expect(opsOf(after)).toBe(ops)
  const feeds = randomFeeds(before, 3)
  expect(difference(await outputsOf(before, feeds), await outputsOf(after, feeds))).toBe(0)
  expect(await simplified(after)).toBe(after)
  expect(print(after).match(/^(input|output) .*/gm)).toEqual(print(before).match(/^(input|output) .*/gm))
  return after
}

async function expectKept(text: string): Promise<void> {
  const m = parse(text)
  expect(await simplified(m)).toBe(m)
}

describe('constant folding', () => {
  it('joins Softmax over one axis that was spelled over flattened axes', async () => {
    const spelled = (axis: number): string => `
      input x: f32[N,3,5,1]
      r = Relu(x)
      size = Shape(r)
      flat = Flatten(r, axis=${axis})
      soft = Softmax(flat, axis=-1)
      y = Reshape(soft, size, allowzero=1)
      output y`
    await expectSimplified(spelled(2), 'Relu Softmax')
    expect(opsOf(await simplified(parse(spelled(1))))).toContain('Flatten Softmax Reshape')
  })

  it('computes what depends on constants only', async () => {
    const after = await expectSimplified(
      `input x: f32[N,4]
       const two: f32[] = 2
       a = Transpose(W: f32[3,4])
       b = Mul(a, two)
       y = MatMul(x, b)
       output y`,
      'MatMul'
    )
    expect(weigh(after).bytes).toBe(48)
  })
  it('folds inside subgraphs, with constants from around', async () => {
    const after = await expectSimplified(
      `input c: bool[]
       input x: f32[4,3]
       r = If(c, then_branch={ a = Neg(W); y = Mul(x, a); output y }, else_branch={ z = Add(x, W: f32[4,3]); output z })
       output r`
        .replace('input x: f32[4,3]', 'input x: f32[4,3]\n const W: f32[4,3] = 1,2,3,4,5,6,7,8,9,10,11,12')
        .replace('W: f32[4,3]); output z', 'W); output z'),
      'If'
    )
    const branch = after.graph.nodes[0]?.attrs.then_branch
    expect(branch?.kind === 'graph' && branch.value.nodes.map((n) => n.op)).toEqual(['If', 'Mul'].slice(1))
  })
  it('folds what the only branch that reads a constant computes from it, and drops the constant', async () => {
    const after = await simplified(
      parse(
        `
      input c: bool[]
      input x: f32[4,512]
      input z: f32[4,512]
      const zero: i64[1] = 0
      const half: i64[1] = 256
      const all: i64[1] = 512
      t = Transpose(W: f32[512,512], perm=[1,0])
      r = If(c, then_branch={
        a = Slice(W, zero, half, zero)
        b = Slice(W, half, all, zero)
        w = Concat(b, a, axis=0)
        y = MatMul(x, w)
        output y
      }, else_branch={ n = Neg(x); output n })
      output r`
          .replace('t = Transpose(W: f32[512,512], perm=[1,0])', 's = Identity(z)')
          .replace('Slice(W, zero', 'Slice(W: f32[512,512], zero')
      )
    )
    const branch = after.graph.nodes[0]?.attrs.then_branch
    expect(branch?.kind === 'graph' && branch.value.nodes.map((n) => n.op)).toEqual(['MatMul'])
    expect(weigh(after).bytes).toBe(4 * 512 * 512)
  })
  it('never grows the file: weights stored small stay so', async () => {
    await expectKept(`input x: f32[N,64]\n w = Cast(W: i8[64,64], to=1)\n y = MatMul(x, w)\n output y`)
    await expectKept(
      `input x: f32[N,64]\n const s: i64[2] = 64,64\n w = Expand(W: f32[64], s)\n y = MatMul(x, w)\n output y`
    )
    await expectKept(
      `input x: f32[N,64]\n const s: i64[2] = 64,64\n w = ConstantOfShape(s)\n y = MatMul(x, w)\n output y`
    )
    await expectKept(
      `input x: f32[N,64]\n w = DequantizeLinear(W: i8[64,64], s: f32[64], _, axis=1)\n y = MatMul(x, w)\n output y`
    )
    await expectKept(`input x: i64[N]\n t = Transpose(W: f32[64,32])\n e = Gather(W, x)\n y = MatMul(e, t)\n output y`)
  })
  it('leaves alone what is drawn, too large, overridable, masked, or an output', async () => {
    await expectKept(`input x: f32[4]\n r = RandomNormal(shape=[4])\n y = Add(x, r)\n output y`)
    await expectKept(`input x: f32[4]\n input W: f32[4] = 1, 2, 3, 4\n a = Neg(W)\n y = Add(x, a)\n output y`)
    await expectKept(`input x: f32[4]\n a = Neg(W: f32[4])\n y = Add(x, x)\n output y, a`)
    const m = parse(`input x: f32[32]\n a = Neg(W: f32[32])\n y = Add(x, a)\n output y`)
    expect(await simplified(m, { maxFoldBytes: 64 })).toBe(m)
    expect(await simplified(m, { fold: false })).toBe(m)
    const masked = edit(m, (d) => {
      const w = d.value('W')
      if (w) d.set({ ...w, sparse: 'any' })
    })
    expect(await simplified(masked)).toBe(masked)
  })
  it('refuses a node that the runtime cannot compute, and folds the others', async () => {
    const m = parse(`input x: f32[4]
      const i: i64[4] = 0, 1, 2, 9
      a = Gather(W: f32[4], i)
      b = Neg(V: f32[4])
      c = Add(x, a)
      y = Add(c, b)
      output y`)
    const ctx = testContext()
    const after = await simplify.run(m, defaults, ctx)
    expect(opsOf(after)).toBe('Gather Add Add')
    expect(ctx.refusals).toEqual([
      { node: 'Gather_0', op: 'Gather', reason: expect.stringContaining('folding failed') }
    ])
  })
})

describe('shape arithmetic', () => {
  it('is folded where shapes are known', async () => {
    await expectSimplified(
      `input x: f32[2,3,4]
       const one: i64[1] = 1
       const m: i64[1] = -1
       s = Shape(x)
       a = Gather(s, one)
       t = Concat(a, m, axis=0)
       y = Reshape(x, t)
       output y`,
      'Reshape'
    )
  })
  it('and one of sizes that are not known, where they are those of the data itself', async () => {
    const made = await simplified(
      parse(`input x: f32[N,T,8]
       input n: i64[]
       const zero: i64[] = 0
       const one: i64[] = 1
       const axes: i64[1] = 0
       const hs: i64[2] = 2, 4
       p = Range(zero, n, one)
       e = Gather(E: f32[64,8], p)
       h = Add(x, e)
       s = Shape(h)
       a = Gather(s, zero)
       b = Gather(s, one)
       c = Unsqueeze(a, axes)
       d = Unsqueeze(b, axes)
       t = Concat(c, d, hs, axis=0)
       y = Reshape(h, t)
       output y`)
    )
    expect(opsOf(made)).toBe('Range Gather Add Reshape')
    const { data } = made.graph.values.get(made.graph.nodes.at(-1)?.inputs[1] as string) ?? {}
    expect(data && ints(data)).toEqual([0, 0, 2, 4])
  })

  it('makes a symbolic shape of Reshape constant', async () => {
    const after = await expectSimplified(
      `input x: f32[N,3,4,5]
       const zero: i64[] = 0
       const ax: i64[1] = 0
       const rest: i64[1] = 60
       r = Relu(x)
       s = Shape(r)
       a = Gather(s, zero)
       b = Unsqueeze(a, ax)
       t = Concat(b, rest, axis=0)
       y = Reshape(r, t)
       output y`,
      'Relu Reshape'
    )
    const shape = after.graph.values.get(after.graph.nodes[1]?.inputs[1] ?? '')?.data
    expect(shape && ints(shape)).toEqual([0, 60])
  })
})

describe('idle nodes', () => {
  it('go', async () => {
    await expectSimplified(
      `input x: f32[N,4]
       const one: f32[4] = 1,1,1,1
       const zero: f32[] = 0
       const p: i64[4] = 0,0,0,0
       const s: i64[2] = 0,4
       a = Identity(x)
       b = Dropout(a)
       c = Cast(b, to=1)
       d = Mul(one, c)
       e = Sub(d, zero)
       f = Pad(e, p)
       g = Reshape(f, s)
       h = Transpose(g, perm=[0,1])
       i = Concat(h, axis=0)
       j = Sum(i)
       k = Relu(j)
       l = Identity(k)
       output l`,
      'Relu'
    )
  })
  it('stay where they do something, or carry the name of an output', async () => {
    await expectKept(`input x: f32[N,4]\n const one: f32[3,1] = 1,1,1\n y = Mul(x, one)\n output y`)
    await expectKept(
      `input x: f32[4]\n const m: i64[1] = -1\n const s: i64[1] = 3\n const e: i64[1] = -5\n const a: i64[1] = 0\n y = Slice(x, s, e, a, m)\n output y`
    )
    await expectKept(`input x: f32[N,4]\n y = Identity(x)\n output y`)
    await expectKept(`input x: f32[N,4]\n r = Relu(x)\n y = Identity(r)\n output r, y`)
    await expectKept(`input x: f32[N,4]\n y, mask = Dropout(x)\n output y, mask`)
  })
  it('go inside subgraphs, but not where a branch hands out a value from around', async () => {
    const after = await expectSimplified(
      `input c: bool[]\n input x: f32[4]
       r = If(c, then_branch={ a = Identity(x); b = Relu(a); d = Identity(b); output d }, else_branch={ e = Identity(x); output e })
       output r`,
      'If'
    )
    const bodies = ['then_branch', 'else_branch'].map((name) => {
      const a = after.graph.nodes[0]?.attrs[name]
      return a?.kind === 'graph' ? a.value.nodes.map((n) => n.op).join(' ') : ''
    })
    expect(bodies).toEqual(['Relu', 'Identity'])
  })
})

describe('repetition', () => {
  it('of constants and computations is merged', async () => {
    const after = await expectSimplified(
      `input x: f32[N,4]
       const a: f32[4] = 1,2,3,4
       const b: f32[4] = 1,2,3,4
       const unused: f32[2] = 5,6
       p = Add(x, a)
       q = Add(x, b)
       r = Softmax(p, axis=1)
       s = Softmax(q, axis=1)
       t = Softmax(q, axis=0)
       u = Mul(r, s)
       y = Sub(u, t)
       output y`,
      'Add Softmax Softmax Mul Sub'
    )
    expect(weigh(after).bytes).toBe(16)
  })
  it('stays where bits, marks or attributes differ, and where asked', async () => {
    await expectKept(
      `input x: f32[2]\n const a: f32[2] = 0, 1\n const b: i32[2] = 0, 1\n p = Add(x, a)\n q = Cast(b, to=1)\n y = Mul(p, x)\n output y, q`
    )
    await expectKept(`input x: f32[N,4]\n a = Relu(x)\n b = Relu(x)\n output a, b`)
    await expectKept(`input x: f32[4]\n a = RandomUniformLike(x)\n b = RandomUniformLike(x)\n y = Sub(a, b)\n output y`)
    const m = parse(`input x: f32[N,4]\n a = Relu(x)\n b = Relu(x)\n y = Add(a, b)\n output y`)
    expect(await simplified(m, { merge: false })).toBe(m)
  })
  it('across graphs reads the constant around', async () => {
    const after = await expectSimplified(
      `input c: bool[]\n input x: f32[2]
       const w: f32[2] = 3, 4
       v = Mul(x, w)
       r = If(c, then_branch={ const w2: f32[2] = 3, 4; a = Add(v, w2); output a }, else_branch={ b = Sub(v, w); output b })
       output r`,
      'Mul If'
    )
    expect(weigh(after).bytes).toBe(8)
  })
})

it('dead nodes go, with what only they read', async () => {
  const after = await expectSimplified(
    `input x: f32[N,4]\n a = MatMul(x, W: f32[4,4])\n b = Relu(a)\n y = Neg(x)\n output y`,
    'Neg'
  )
  expect([...after.graph.values.keys()].sort()).toEqual(['x', 'y'])
})

it('leaves values without a type as untyped as they came', async () => {
  const after = await simplified(parse(`input x: f32[N,4]\n a = Identity(x)\n b = Relu(a)\n y = Neg(b)\n output y`))
  expect(after.graph.values.get('b')).toEqual({ id: 'b', type: 'tensor' })
})

/** A random graph over vectors of four: every node reads earlier values, some of them constants. */
const randomModel = fc
  .array(
    fc.tuple(
      fc.constantFrom('Add', 'Mul', 'Neg', 'Relu', 'Identity', 'Cast', 'Concat', 'Transpose', 'Max', 'Shape'),
      fc.nat(),
      fc.nat()
    ),
    {
      minLength: 1,
      maxLength: 14
    }
  )
  .map((nodes) => {
    const lines = [
      'input x: f32[2,2]',
      'const c0: f32[2,2] = 1,1,1,1',
      'const c1: f32[2,2] = 0,0,0,0',
      'const c2: f32[2,2] = -1,2,3,0.5',
      'const c3: f32[2,2] = 1,1,1,1'
    ]
    const known = ['x', 'c0', 'c1', 'c2', 'c3', 'x']
    for (const [i, [op, a, b]] of nodes.entries()) {
      const [p, q] = [known[a % known.length], known[b % known.length]]
      if (op === 'Shape') lines.push(`s${i} = Shape(${p})`, `v${i} = Reshape(${q}, s${i})`)
      else if (op === 'Cast') lines.push(`v${i} = Cast(${p}, to=1)`)
      else if (op === 'Concat') lines.push(`v${i} = Concat(${p}, axis=0)`)
      else lines.push(`v${i} = ${op}(${['Add', 'Mul', 'Max'].includes(op) ? `${p}, ${q}` : p})`)
      known.push(`v${i}`)
    }
    return `${lines.join('\n')}\ny = Sub(${known.at(-1)}, x)\noutput y${nodes.length > 2 ? `, ${known.at(-2)?.startsWith('v') ? known.at(-2) : `v0`}` : ''}`
  })

it('keeps the outputs of random graphs', async () => {
  await fc.assert(
    fc.asyncProperty(randomModel, async (text) => {
      const before = parse(text)
      const after = await simplified(before)
      const feeds = randomFeeds(before, 5)
      expect(difference(await outputsOf(before, feeds), await outputsOf(after, feeds))).toBe(0)
      expect(await simplified(after)).toBe(after)
      expect(after.graph.nodes.length).toBeLessThanOrEqual(before.graph.nodes.length)
    }),
    { numRuns: 60, seed: 1 }
  )
})

describe('branches', () => {
  const choice = (condition: string): string => `
    input x: f32[2,N]
    input c: bool[]
    const two: i64[] = 2
    const zero: i64[] = 0
    const one: i64[1] = 1
    s = Shape(x)
    g = Gather(s, zero)
    q = Cast(g, to=9)
    e = Equal(g, two)
    l = Not(e)
    o = Neg(x)
    r = If(${condition}, then_branch={
      a = Relu(o)
      i = If(q, then_branch={ y = Abs(a); output y }, else_branch={ n = Exp(a); output n })
      output i
    }, else_branch={ z = Sqrt(o); output z })
    k = If(c, then_branch={ t = Add(r, o); output t }, else_branch={ v = Identity(r); output v })
    output r
    output k`
  it('of a known condition take the place of their node, names of outputs kept', async () => {
    await expectSimplified(choice('q'), 'Neg Relu Abs If')
    await expectSimplified(choice('l'), 'Neg Sqrt If')
  })
  it('that hand on a value from outside, or a constant, keep the output', async () => {
    await expectSimplified(
      `input x: f32[3]
       const yes: bool[] = 1
       r, w = If(yes, then_branch={ const k: f32[3] = 1, 2, 3
         p = Identity(x)
         output p
         output k }, else_branch={ n = Neg(x)
         m = Abs(x)
         output n
         output m })
       output r
       output w`,
      'Identity Identity'
    )
  })
  it('of an unknown condition stay', async () => {
    await expectKept(`
      input x: f32[3]
      input c: bool[]
      r = If(c, then_branch={ y = Abs(x); output y }, else_branch={ z = Neg(x); output z })
      output r`)
  })
})

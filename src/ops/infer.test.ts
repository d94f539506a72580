import { describe, expect, it } from 'vitest'
import { printType } from '../ir/print.ts'
import { model } from '../ir/text.ts'
import type { Model } from '../types.ts'
import { ops } from './index.ts'
import { inferShapes, viewOf } from './infer.ts'

const typeIn = (m: Model, id: string): string => printType(inferShapes(m).graph.values.get(id))

/** Types of the outputs in the text form. */
const outputsOf = (m: Model): string[] => m.graph.outputs.map((id) => typeIn(m, id))

describe('a symbolic batch', () => {
  it('flows through Shape, Gather, Concat and Reshape', () => {
    const m = model`
      input x: f32[N,8,4,4]
      const zero: i64[] = 0
      const axes: i64[1] = 0
      const rest: i64[1] = -1
      s = Shape(x)
      n = Gather(s, zero)
      n1 = Unsqueeze(n, axes)
      target = Concat(n1, rest, axis=0)
      y = Reshape(x, target)
      output y, target`
    expect(outputsOf(m)).toEqual(['f32[N,128]', 'i64[2]'])
  })
  it('is folded into and out of products', () => {
    const m = model`
      input x: f32[N,8,6]
      const a: i64[2] = -1, 6
      const b: i64[3] = -1, 4, 12
      const c: i64[3] = 0, -1, 2
      flat = Flatten(x, axis=2)
      rows = Reshape(x, a)
      blocks = Reshape(x, b)
      pairs = Reshape(x, c)
      output flat, rows, blocks, pairs`
    expect(outputsOf(m)).toEqual(['f32[8*N,6]', 'f32[8*N,6]', 'f32[N,4,12]', 'f32[N,24,2]'])
  })
  it('splits attention heads by arithmetic on sizes', () => {
    const m = model`
      input x: f32[B,S,64]
      const i0: i64[1] = 0
      const i1: i64[1] = 1
      const i2: i64[1] = 2
      const i3: i64[1] = 3
      const heads: i64[1] = 4
      s = Shape(x)
      b = Slice(s, i0, i1)
      t = Slice(s, i1, i2)
      w = Slice(s, i2, i3)
      d = Div(w, heads)
      target = Concat(b, t, heads, d, axis=0)
      split = Reshape(x, target)
      y = Transpose(split, perm=[0,2,1,3])
      output y`
    expect(outputsOf(m)).toEqual(['f32[B,4,S,16]'])
  })
  it('expands by the Where(Equal(…, -1)) idiom', () => {
    const m = model`
      input x: f32[N,1,3]
      const wanted: i64[3] = -1, 5, 3
      const minus: i64[] = -1
      const rank: i64[1] = 3
      ones = ConstantOfShape(rank, value=i64[1]{1})
      free = Equal(wanted, minus)
      target = Where(free, ones, wanted)
      y = Expand(x, target)
      output y`
    expect(outputsOf(m)).toEqual(['f32[N,5,3]'])
  })
  it('is halved through float arithmetic where that is exact', () => {
    const m = model`
      input x: f32[N,3,32,32]
      const i: i64[] = 2
      const half: f32[] = 0.5
      const axes: i64[1] = 0
      s = Shape(x)
      h = Gather(s, i)
      f = Cast(h, to=1)
      g = Mul(f, half)
      r = Floor(g)
      c = Cast(r, to=7)
      u = Unsqueeze(c, axes)
      y = ConstantOfShape(u)
      output y`
    expect(outputsOf(m)).toEqual(['f32[16]'])
  })
  it('is padded by pads that are reversed in pairs', () => {
    const m = model`
      input x: f32[N,3,8,8]
      const given: i64[4] = 1, 2, 3, 4
      const more: i64[1] = 4
      const pairs: i64[2] = -1, 2
      const flat: i64[1] = -1
      const from: i64[1] = -1
      const to: i64[1] = -9223372036854775807
      const axis: i64[1] = 0
      const step: i64[1] = -1
      zeros = ConstantOfShape(more, value=i64[1]{0})
      all = Concat(given, zeros, axis=0)
      rows = Reshape(all, pairs)
      turned = Slice(rows, from, to, axis, step)
      columns = Transpose(turned, perm=[1,0])
      pads = Reshape(columns, flat)
      cast = Cast(pads, to=7)
      y = Pad(x, cast)
      output y`
    expect(outputsOf(m)).toEqual(['f32[N,3,15,11]'])
  })
  it('counts by Range and grows by Concat', () => {
    const m = model`
      input past: f32[B,4,P,16]
      input new: f32[B,4,S,16]
      const i: i64[] = 2
      const one: i64[] = 1
      all = Concat(past, new, axis=2)
      ps = Shape(past)
      as = Shape(all)
      p = Gather(ps, i)
      a = Gather(as, i)
      r = Range(p, a, one)
      output all, r`
    expect(outputsOf(m)).toEqual(['f32[B,4,P+S,16]', 'i64[S]'])
  })
  it('slices from the end and to the end', () => {
    const m = model`
      input x: f32[N,T]
      const one: i64[1] = 1
      const minus: i64[1] = -1
      const end: i64[1] = 9223372036854775807
      const first: i64[1] = 0
      tail = Slice(x, one, end, one)
      head = Slice(x, first, minus, one)
      last = Slice(x, minus, end, one)
      output tail, head, last`
    expect(outputsOf(m)).toEqual(['f32[N,T+-1]', 'f32[N,T+-1]', 'f32[N,?]'])
  })
})

describe('what a file declares', () => {
  it('fills in what inference leaves open, and gives way where it is wrong', () => {
    const m = model`
      input x: f32[N,4]
      a: f32[2,4] = Relu(x)
      b: f32[7,7,7] = Sigmoid(x)
      c: f32[N,9] = custom:Thing(x)
      d = Relu(c)
      output a, b, d`
    expect(outputsOf(m)).toEqual(['f32[2,4]', 'f32[N,4]', 'f32[N,9]'])
  })
  it('does not make a sound model fail', () => {
    const m = model`
      input x: f32[2,4]
      const w: f32[2,4] = 1, 1, 1, 1, 1, 1, 1, 1
      c: f32[3,5] = custom:Thing(x)
      d = Add(c, w)
      output d`
    expect(inferShapes(m).graph.values.get('x')?.shape).toEqual([2, 4])
  })
  it('returns the same model when there is nothing to add', () => {
    const done = inferShapes(model`
      input x: f32[N,4]
      y = Relu(x)
      output y`)
    expect(inferShapes(done)).toBe(done)
  })
})

describe('contradictions', () => {
  it('name the node and the shapes', () => {
    const m = model`
      input x: f32[2,3]
      input y: f32[4,3]
      z = Add(x, y)
      output z`
    expect(() => inferShapes(m)).toThrow('Add: sizes 2 and 4 do not broadcast')
  })
  it('of a Reshape are seen through symbols that cancel', () => {
    const m = model`
      input x: f32[N,6]
      const t: i64[3] = 0, 2, 4
      y = Reshape(x, t)
      output y`
    expect(() => inferShapes(m)).toThrow('does not fit')
  })
})

describe('subgraphs', () => {
  it('take the branch that can be taken, and join what differs', () => {
    const m = model`
      input x: f32[N,1,3]
      input c: bool[]
      const axis: i64[1] = 2
      const one: i64[1] = 1
      a = If(c, then_branch={ t = Squeeze(x, axis); output t }, else_branch={ u = Relu(x); output u })
      b = If(c, then_branch={ v = Relu(x); output v }, else_branch={ w = Concat(x, x, axis=1); output w })
      d = If(c, then_branch={ p = Squeeze(x, one); output p }, else_branch={ q = Relu(x); output q })
      output a, b, d`
    expect(outputsOf(m)).toEqual(['f32[N,1,3]', 'f32[N,?,3]', 'f32'])
  })
  it('of a Loop widen what grows and stack what is scanned', () => {
    const m = model`
      input x: f32[1,3]
      const trips: i64[] = 5
      const go: bool[] = 1
      last, rows = Loop(trips, go, x, body={
        input i: i64[]
        input on: bool[]
        input acc: f32[?,3]
        next = Concat(acc, x, axis=0)
        row = ReduceSum(acc, keepdims=0)
        again = Identity(on)
        output again, next, row })
      output last, rows`
    expect(outputsOf(m)).toEqual(['f32[?,3]', 'f32[5]'])
    const loop = inferShapes(m).graph.nodes[0]
    const body = loop?.attrs['body']
    expect(body?.kind === 'graph' && printType(body.value.values.get('next'))).toBe('f32[?,3]')
  })
  it('of a Scan run over slices', () => {
    const m = model`
      input h: f32[4]
      input xs: f32[T,4]
      end, ys = Scan(h, xs, num_scan_inputs=1, body={
        input s: f32[4]
        input x: f32[4]
        t = Add(s, x)
        u = Identity(t)
        output t, u })
      output end, ys`
    expect(outputsOf(m)).toEqual(['f32[4]', 'f32[T,4]'])
  })
  it('that nest deeply stay cheap', () => {
    let body = 'input i0: i64[]; input c0: bool[]; input s0: f32[?]; t0 = Concat(s0, s0, axis=0); output c0, t0'
    for (let d = 1; d <= 40; d++)
      body =
        `input i${d}: i64[]; input c${d}: bool[]; input s${d}: f32[?]; ` +
        `t${d} = Loop(i${d}, c${d}, s${d}, body={ ${body} }); output c${d}, t${d}`
    const m = model`
      input x: f32[2]
      input n: i64[]
      input c: bool[]
      y = Loop(n, c, x, body={ ${body} })
      output y`
    expect(outputsOf(m)[0]).toMatch(/^(\?|f32)/)
  })
})

describe('sequences', () => {
  it('carry what holds for all elements', () => {
    const m = model`
      input x: f32[2,3]
      input y: f32[4,3]
      s = SequenceConstruct(x, y)
      const i: i64[] = 0
      e = SequenceAt(s, i)
      c = ConcatFromSequence(s, axis=0)
      output s, e, c`
    expect(outputsOf(m)).toEqual(['seq(f32[?,3])', 'f32[?,3]', 'f32[?,3]'])
  })
})

describe('the list of operators', () => {
  it('has every operator once', () => {
    const names = ops.map((op) => `${op.domain ?? ''}:${op.name}`)
    expect(new Set(names).size).toBe(names.length)
    expect(ops.filter((op) => op.domain === undefined).length).toBeGreaterThanOrEqual(195)
  })
})

describe('viewOf', () => {
  it('shows constants, also those of the graphs around and of Constant nodes, but not defaults of inputs', () => {
    const m = model`
      input x: f32[2]
      input d: f32[] = 3
      input c: bool[]
      const k: f32[] = 0.5
      z = Constant(value_float=6.0)
      r = If(c, then_branch={ t = Clip(x, k, z); output t }, else_branch={ u = Clip(x, d); output u })
      output r`
    const branch = (name: string) => {
      const a = m.graph.nodes[1]?.attrs[name]
      if (a?.kind !== 'graph') throw new Error('no graph')
      return viewOf(m, a.value, a.value.nodes[0] as (typeof a.value.nodes)[number])
    }
    const clamp = ops.find((op) => op.name === 'Clip')?.quant?.clamp
    expect(clamp?.(branch('then_branch'))).toEqual({ low: 0.5, high: 6 })
    expect(clamp?.(branch('else_branch'))).toBeUndefined()
  })
})

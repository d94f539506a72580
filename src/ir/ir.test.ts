import { describe, expect, it } from 'vitest'
import { addDims, divDims, evaluateDim, mulDims, subDims } from '../base/dim.ts'
import type { Tensor } from '../types.ts'
import { check } from './check.ts'
import { edit } from './edit.ts'
import { consumers, producer } from './graph.ts'
import { print } from './print.ts'
import { equalTensors } from './tensor.ts'
import { model, parse } from './text.ts'

const small = model`
  input x: f32[N,3,8,8]
  y: f32[N,4,8,8] = Conv(x, W: f32[4,3,3,3], strides=[1,1], pads=[1,1,1,1])
  z = Relu(y)
  output z`

describe('text', () => {
  it('prints what it parses', () => {
    const text = print(small)
    expect(text).toBe(
      'opset 21\ninput x: f32[N,3,8,8]\n' +
        'y: f32[N,4,8,8] = Conv(x, W: f32[4,3,3,3], strides=[1,1], pads=[1,1,1,1])\nz = Relu(y)\noutput z\n'
    )
    expect(print(parse(text))).toBe(text)
  })
  it('carries subgraphs, literals, left-out inputs and other domains', () => {
    const m = parse(`
      opset 18
      domain com.microsoft 1
      input c: bool[]
      input x: f32[2]
      const k: f32[2] = 0.5, -3
      a = Clip(x, _, k)
      b, _ = com.microsoft:Foo(a, alpha=1.0, mode="x")
      r = If(c, then_branch={ t = Relu(b); output t }, else_branch={ output x })
      output r`)
    expect(print(parse(print(m)))).toBe(print(m))
    expect(consumers(m.graph, 'b').map((n) => n.op)).toEqual(['If'])
    check(m)
  })
  it('declares large constants that only subgraphs read, or that are outputs', () => {
    const m = parse(`
      input c: bool[]
      input x: f32[2,4]
      const k: f32[4,4]
      const o: f32[3,3]
      r = If(c, then_branch={ t = MatMul(x, k); output t }, else_branch={ output x })
      output r, o`)
    expect(print(m)).toContain('const k: f32[4,4]\nconst o: f32[3,3]\n')
    expect(print(parse(print(m)))).toBe(print(m))
    check(parse(print(m)))
  })
  it('spells numbers with the fewest digits that are read as the same bits', () => {
    const tight = parse(`opset 21
input x: f32[2]
const a: f32[4] = 0.1, 16777217, 1.00000012, -0
const b: f64[2] = 0.1, 0.30000000000000004
const c: f16[2] = 0.1, 65504
const d: i64[3] = 9223372036854775807, -9007199254740993, 123456789
const e: u64[1] = 18446744073709551615
const f: bf16[1] = 0.1
const g: string[2] = "a", "b\\"c"
const h: i64[0]
const i: string[0]
y = LeakyRelu(x, alpha=0.333333343)
output y, a, b, c, d, e, f, g, h, i
`)
    const text = print(tight)
    expect(text).toContain('a: f32[4] = 0.1, 16777216, 1.0000001, -0')
    expect(text).toContain('b: f64[2] = 0.1, 0.30000000000000004')
    expect(text).toContain('d: i64[3] = 9223372036854775807, -9007199254740993, 123456789')
    expect(text).toContain('alpha=0.33333334')
    const again = parse(text)
    for (const [id, v] of tight.graph.values)
      if (v.data) expect(equalTensors(again.graph.values.get(id)?.data as Tensor, v.data), id).toBe(true)
    expect(print(again)).toBe(text)
  })
  it.each([
    ['alpha="\\q"', 'a string as JSON spells it'],
    ['alpha=["a",1]', 'a string']
  ])('refuses the attribute %s', (attr, wanted) => {
    expect(() => parse(`opset 21\ninput x: f32[2]\ny = Foo(x, ${attr})\noutput y`)).toThrow(`expected ${wanted} at`)
  })
  it('names line and column of a mistake', () => {
    expect(() => parse('input x f32[2]')).toThrow('expected a colon at line 1, column 9')
  })
  it('refuses a name that is there already, with its line', () => {
    const head = 'input x: f32[2]\ny = Relu(x)\n'
    const twice = (rest: string, what: string): void =>
      expect(() => parse(head + rest)).toThrow(`${what} is named a second time before line `)
    twice('output y, y', 'output y')
    twice('output y\noutput y', 'output y')
    twice('input x: f32[3]\noutput y', 'x')
    twice('y = Neg(x)\noutput y', 'y')
    twice('x = Neg(y)\noutput y', 'x')
    twice('z, z = Split(y)\noutput z', 'z')
    twice('const y: f32[1] = 1\noutput y', 'y')
    twice('z = Add(y, w: f32[2])\nv = Add(z, w: f32[2])\noutput v', 'w')
    expect(() => parse(`${head}output y\n\noutput y`)).toThrow('before line 5, column 9')
    expect(parse(`${head}z = Neg(x)\noutput y\noutput z`).graph.outputs).toEqual(['y', 'z'])
  })
})

describe('edit', () => {
  it('returns the same object when nothing changed', () => {
    expect(edit(small, () => {})).toBe(small)
  })
  it('keeps the name of a graph output', () => {
    const made = edit(small, (d) => {
      const relu = d.producer('z')
      if (relu) d.remove(relu)
      d.rewire('z', 'y')
    })
    expect(made.graph.outputs).toEqual(['z'])
    expect(producer(made.graph, 'z')?.op).toBe('Conv')
    expect([...made.graph.values.keys()].sort()).toEqual(['W', 'x', 'z'])
    check(made)
  })
  it('sorts, and sweeps what nothing reads', () => {
    const made = edit(small, (d) => {
      const s = d.add('Sigmoid', ['x'])
      const t = d.add('Tanh', [s])
      d.add('Abs', [t])
      const relu = d.producer('z')
      if (relu) d.replace(relu, { ...relu, inputs: [t] })
      d.sweep()
    })
    expect(made.graph.nodes.map((n) => n.op)).toEqual(['Sigmoid', 'Tanh', 'Relu'])
    check(made)
  })
})

describe('dimensions', () => {
  it('add, multiply and divide symbolically', () => {
    expect(mulDims('N', 4)).toBe('4*N')
    expect(divDims(mulDims('N', 12), 4)).toBe('3*N')
    expect(divDims('4*N', 'N')).toBe(4)
    expect(subDims(addDims('N', 2), 'N')).toBe(2)
    expect(mulDims('?', 2)).toBe('?')
    expect(evaluateDim(divDims(addDims('H', 1), 2), { H: 8 })).toBe(4)
    expect(evaluateDim('2*H*W+1', { H: 3, W: 5 })).toBe(31)
  })
})

import { describe, expect, it } from 'vitest'
import { optimizedOf } from '../../../test/compare.ts'
import { print } from '../../ir/print.ts'
import { tensor, toNumbers } from '../../ir/tensor.ts'
import { parse } from '../../ir/text.ts'
import { nodeRunner } from '../../node/runner.ts'
import type { Form, Model, Tensor } from '../../types.ts'
import { readModel, writeModel } from '../index.ts'
import { spellForms, unfolded } from './forms.ts'

/** The model with its int8 and uint8 constants in a form. */
function inForm(m: Model, form: Form): Model {
  const mark = (g: Model['graph']): Model['graph'] => ({
    ...g,
    values: new Map(
      [...g.values].map(([id, v]) => [
        id,
        v.data && /^u?int(8|4)$/.test(v.data.dtype) && id.startsWith('q') ? { ...v, form } : v
      ])
    )
  })
  return { ...m, graph: mark(m.graph) }
}

const network = parse(`
  input x: f32[N,3,6,6]
  const s: f32[4] = 0.01, 0.02, 0.03, 0.04
  const z: u8[4] = 0, 128, 3, 255
  const t: f32[] = 0.05
  w = DequantizeLinear(q1: u8[4,3,3,3], s, z, axis=0)
  c = Conv(x, w)
  a = GlobalAveragePool(c)
  f = Flatten(a)
  v = DequantizeLinear(q2: i8[4,5], t)
  y = MatMul(f, v)
  output y`)

const ops = (m: Model): string[] => m.graph.nodes.map((n) => n.op)
const input: Tensor = tensor(
  'float32',
  [2, 3, 6, 6],
  Array.from({ length: 216 }, (_, i) => Math.sin(i))
)

/** Above 'basic' the engine makes MatMulNBits of DequantizeLinear and MatMul, which rounds activations to int8. */
async function run(m: Model): Promise<number[]> {
  const session = await nodeRunner().open(writeModel(m).bytes, { optimization: 'basic' })
  const made = await session.run({ x: input })
  await session.close()
  return Array.from(toNumbers(made['y'] as Tensor))
}

describe('form foldable', () => {
  const m = inForm(network, 'foldable')
  it('is written as Cast, Sub and Mul, and read as it was', () => {
    expect(ops(spellForms(m))).toEqual([
      'Cast',
      'Sub',
      'Mul',
      'Conv',
      'GlobalAveragePool',
      'Flatten',
      'Cast',
      'Mul',
      'MatMul'
    ])
    const again = readModel(writeModel(m).bytes)
    expect(again.graph).toEqual(m.graph)
    expect(writeModel(again).bytes).toEqual(writeModel(m).bytes)
  })
  it('gives what DequantizeLinear gives, bit by bit', async () => {
    expect(await run(m)).toEqual(await run(network))
  })
  it('is folded away by the engine; DequantizeLinear is not', async () => {
    const session = await nodeRunner().open(writeModel(m).bytes, { keepOptimized: true })
    const optimized = await optimizedOf(session)
    await session.close()
    expect(unfolded(m, optimized)).toEqual([])
    expect(unfolded(m, spellForms(m))).toEqual(['q1', 'q2'])
    expect(ops(optimized)).not.toContain('Cast')
    expect(ops(optimized)).not.toContain('Mul')
  })
  it('shares a constant between two readers, and a scale that others read', () => {
    const shared = inForm(
      parse(`
        input x: f32[4,4]
        const s: f32[4] = 1, 2, 3, 4
        w = DequantizeLinear(q: i8[4,4], s, axis=0)
        v = DequantizeLinear(q, s, axis=1)
        a = Add(w, s)
        b = MatMul(x, v)
        y = Sub(a, b)
        output y`),
      'foldable'
    )
    expect(ops(spellForms(shared)).filter((op) => op === 'Cast')).toHaveLength(1)
    const again = readModel(writeModel(shared).bytes)
    expect(ops(again)).toEqual(ops(shared))
    expect(again.graph.values.get('q')?.form).toBe('foldable')
    expect(again.graph.nodes.filter((n) => n.op === 'DequantizeLinear').map((n) => n.attrs['axis'])).toEqual([
      { kind: 'int', value: 0 },
      { kind: 'int', value: 1 }
    ])
    expect(print(readModel(writeModel(again).bytes))).toBe(print(again))
  })
  it('works inside subgraphs on weights outside', async () => {
    const branches = inForm(
      parse(
        `
        input c: bool[]
        input x: f32[2,4]
        const s: f32[] = 0.5
        const q: i8[4,4] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16
        y = If(c, then_branch={ w = DequantizeLinear(q, s); t = MatMul(x, w); output t }, else_branch={ u = Relu(x); output u })
        output y`.replace(
          'i8[4,4] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16',
          'i8[4,4] = 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16'
        )
      ),
      'foldable'
    )
    const again = readModel(writeModel(branches).bytes)
    expect(print(again)).toBe(print(branches))
    const session = await nodeRunner().open(writeModel(branches).bytes, { keepOptimized: true })
    const made = await session.run({
      c: tensor('bool', [], [1]),
      x: tensor('float32', [2, 4], [1, 0, 0, 0, 0, 1, 0, 0])
    })
    expect(Array.from(toNumbers(made['y'] as Tensor))).toEqual([0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4])
    expect(unfolded(branches, await optimizedOf(session))).toEqual([])
    await session.close()
  })
  it('refuses what it cannot say', () => {
    const odd = inForm(
      parse(
        'input x: f32[1,4]\nconst s: f32[2] = 1, 1\nw = DequantizeLinear(q: i8[4,4], s)\ny = MatMul(x, w)\noutput y'
      ),
      'foldable'
    )
    expect(() => writeModel(odd)).toThrow('form "foldable" cannot spell q: a scale of shape [2] for [4,4]')
    const packed = inForm(parse('input x: f32[1,4]\ny = Relu(q: i4[4,4])\noutput y'), 'foldable')
    expect(() => writeModel(packed)).toThrow('form "foldable" cannot spell q: Relu reads int4')
  })
})

describe('other forms and marks', () => {
  it('stay DequantizeLinear and come back from the metadata', () => {
    const m = inForm(network, 'qdq')
    expect(ops(spellForms(m))).toEqual(ops(network))
    const again = readModel(writeModel(m).bytes)
    expect(again.graph).toEqual(m.graph)
    expect(again.meta['pare.form']).toBeUndefined()
  })
  it('say which zeros are meant', () => {
    const values = new Map(network.graph.values)
    const q2 = values.get('q2')
    if (q2) values.set('q2', { ...q2, sparse: '2:4' })
    const m = { ...network, graph: { ...network.graph, values } }
    expect(readModel(writeModel(m).bytes).graph.values.get('q2')?.sparse).toBe('2:4')
  })
})

import { describe, expect, it } from 'vitest'
import { model } from '../ir/text.ts'
import type { Model, Value } from '../types.ts'
import { conforms, refuseMisfits, targetFor, targetOfFile, targets } from './index.ts'
import type { Target } from './types.ts'

describe('targets', () => {
  it('are found by name, the default first', () => {
    expect(targets[0]?.name).toBe('ort-cpu')
    for (const t of targets) expect(targetFor(t.name)).toBe(t)
    expect(new Set(targets.map((t) => t.name)).size).toBe(targets.length)
  })
  it('are found by their other names, and by the ending of an input', () => {
    expect(targetFor('ort-web').name).toBe('ort-wasm')
    expect(['a/b.ONNX', 'net.txt', 'model.bin'].map((path) => targetOfFile(path).name)).toEqual(
      Array(3).fill('ort-cpu')
    )
    const other = { ...targetFor('ort-wasm'), name: 'other', endings: ['.bin'] }
    expect(targetOfFile('model.bin', [...targets, other])).toBe(other)
    expect(targetFor('other', [...targets, other])).toBe(other)
  })
  it('names what was meant', () => {
    expect(() => targetFor('ort-cpu-avx')).toThrow(
      expect.objectContaining({ code: 'E_USAGE', hint: 'did you mean ort-cpu-avx2?' })
    )
  })
  it('says where pair sums saturate', () => {
    expect(targets.filter((t) => t.saturates).map((t) => t.name)).toEqual(['ort-cpu-avx2', 'pare-wasm'])
  })
})

describe('what a target loads', () => {
  const strict: Target = {
    ...targetFor('ort-cpu'),
    name: 'strict',
    operators: ['Gemm', 'Relu'],
    elements: ['float32'],
    forms: ['plain']
  }
  const net = model`
    input x: f32[N,4]
    h: f32[N,8] = Gemm(x, W: f32[4,8])
    r: f32[N,8] = Relu(h)
    y: f32[N,8] = Softmax(r)
    output y
  `
  const withValue = (m: Model, id: string, facts: Partial<Value>): Model => {
    const values = new Map(m.graph.values).set(id, { ...(m.graph.values.get(id) as Value), ...facts })
    return { ...m, graph: { ...m.graph, values } }
  }
  const half = withValue(withValue(net, 'W', { form: 'foldable' }), 'r', { dtype: 'float16' })

  it('is told by operator, element type and form, with where they are', () => {
    expect(conforms(half, targetFor('ort-cpu'))).toEqual([])
    expect(conforms(half, strict)).toEqual([
      { kind: 'operator', name: 'Softmax', at: [half.graph.nodes[2]?.name] },
      { kind: 'form', name: 'foldable', at: ['W'] },
      { kind: 'element type', name: 'float16', at: ['r'] }
    ])
  })
  it('has every constant in the smallest form that there is, if need be as it is', () => {
    expect(conforms(withValue(net, 'W', { form: 'auto' }), { ...strict, operators: 'all' })).toEqual([])
  })
  it('is refused with all of it in the error', () => {
    expect(() => refuseMisfits(half, strict)).toThrow(
      expect.objectContaining({
        code: 'E_UNSUPPORTED',
        message: expect.stringContaining('target strict does not load this model'),
        facts: {
          operators: `Softmax: ${half.graph.nodes[2]?.name}`,
          'element types': 'float16: r',
          'forms of constants': 'foldable: W'
        }
      })
    )
    refuseMisfits(net, { ...strict, operators: 'all' })
  })
})

import { describe, expect, it } from 'vitest'
import { difference, randomFeeds } from '../../../test/compare.ts'
import { holds, plain, random, run, runners, withConstants } from '../../../test/forms.ts'
import { rng } from '../../base/random.ts'
import { edit, mapGraphs } from '../../ir/edit.ts'
import { print } from '../../ir/print.ts'
import { tensor } from '../../ir/tensor.ts'
import { parse } from '../../ir/text.ts'
import type { Graph, Model, Node, Tensor, Value } from '../../types.ts'
import { readModel, writeModel } from '../index.ts'
import { spellForms } from './forms.ts'
import { accuracyKey } from './nbits.ts'

describe('form foldable in 4 and 2 bits', () => {
  const r = rng(7)
  const matrix = (shape: string): string => `
    input x: f32[N,${shape.split(',')[0]}]
    w = DequantizeLinear(q, s, axis=1)
    y = MatMul(x, w)
    output y`
  const scales = (n: number): { data: Tensor } => ({ data: random('float32', [n], () => r.next() + 0.1) })
  it('unpacks int4 and uint4, with odd tails and several tensors on one table', async () => {
    for (const [dtype, low] of [
      ['int4', -8],
      ['uint4', 0]
    ] as const) {
      const q = { data: random(dtype, [7, 5], () => low + r.below(16)), form: 'foldable' as const }
      await holds(withConstants(matrix('7,5'), { q, s: scales(5) }))
    }
  })
  it('unpacks int2 and uint2, which this runtime does not know', async () => {
    for (const [dtype, wide, low] of [
      ['int2', 'int8', -2],
      ['uint2', 'uint8', 0]
    ] as const) {
      const numbers = Array.from({ length: 35 }, () => low + r.below(4))
      const q = tensor(dtype, [7, 5], numbers)
      const same = tensor(wide, [7, 5], numbers)
      const s = scales(5)
      const m = withConstants(matrix('7,5'), { q: { data: q, form: 'foldable' }, s })
      await holds(m, withConstants(matrix('7,5'), { q: { data: same }, s }))
    }
  })
  it('works in blocks, with zero points and scales that float16 holds', async () => {
    for (const [dtype, size, columns] of [
      ['int4', 32, 4],
      ['uint4', 32, 6],
      ['uint4', 16, 256],
      ['int8', 32, 5]
    ] as const) {
      const low = dtype.startsWith('u') ? 0 : -8
      const m = withConstants(
        `
        input x: f32[N,128]
        w = DequantizeLinear(q, s, z, axis=0, block_size=${size})
        y = MatMul(x, w)
        output y`,
        {
          q: { data: random(dtype, [128, columns], () => low + r.below(16)), form: 'foldable' },
          s: { data: random('float32', [128 / size, columns], () => (1 + r.below(1000)) / 1024) },
          z: { data: random(dtype, [128 / size, columns], () => low + r.below(16)) }
        }
      )
      await holds(m)
    }
  })
  it('works in blocks that do not fill the axis', async () => {
    for (const dtype of ['uint4', 'int8'] as const) {
      const low = dtype === 'uint4' ? 0 : -8
      const m = withConstants(
        `
        input x: f32[N,40]
        w = DequantizeLinear(q, s, z, axis=0, block_size=16)
        y = MatMul(x, w)
        output y`,
        {
          q: { data: random(dtype, [40, 50], () => low + r.below(16)), form: 'foldable' },
          s: { data: random('float32', [3, 50], () => (1 + r.below(1000)) / 1024) },
          z: { data: random(dtype, [3, 50], () => low + r.below(16)) }
        }
      )
      await holds(m)
    }
  })
  it('works in blocks along another axis than the first', async () => {
    const m = withConstants(
      `
      input x: f32[N,6,4,4]
      w = DequantizeLinear(q, s, axis=1, block_size=2)
      y = Conv(x, w)
      output y`,
      {
        q: { data: random('int4', [5, 6, 3, 3], () => r.below(16) - 8), form: 'foldable' },
        s: { data: random('float32', [5, 3, 3, 3], () => r.next() + 0.1) }
      }
    )
    await holds(m)
  })
})

describe('form palette', () => {
  const r = rng(8)
  const graph = (shape: readonly number[]): string => `
    input x: f32[N,${shape[0]}]
    y = MatMul(x, w)
    output y`
  it('holds 1 … 256 values per tensor', async () => {
    for (const count of [1, 3, 4, 5, 8, 16, 17, 64, 100, 256]) {
      const book = Array.from({ length: count }, () => r.normal())
      const data = random('float32', [31, 43], (i) => book[i % 7 === 0 ? i % count : r.below(count)] as number)
      await holds(withConstants(graph([31, 43]), { w: { data, form: 'palette' } }))
    }
  })
  it('holds codebooks per channel', async () => {
    for (const [axis, count] of [
      [0, 16],
      [0, 8],
      [0, 3],
      [1, 16]
    ] as const) {
      const shape = axis === 0 ? [24, 401] : [401, 24]
      const books = Array.from({ length: 24 }, () =>
        Array.from({ length: count }, () => Math.fround(Math.round(r.normal() * 400) / 1024))
      )
      const data = random(
        'float32',
        shape,
        (i) => books[axis === 0 ? Math.floor(i / 401) : i % 24]?.[r.below(count)] as number
      )
      const bytes = await holds(withConstants(graph(shape), { w: { data, form: 'palette' } }))
      expect(bytes).toBeLessThan(24 * 401 * 0.7)
    }
  })
  it('holds integer codes under DequantizeLinear, and other types', async () => {
    const q = { data: random('int8', [6, 5, 3, 3], () => r.below(31) - 15), form: 'palette' as const }
    const s = { data: random('float32', [6], () => r.next() + 0.1) }
    const text = 'input x: f32[N,5,4,4]\nw = DequantizeLinear(q, s, axis=0)\ny = Conv(x, w)\noutput y'
    await holds(withConstants(text, { q, s }))
    const half = { data: random('float16', [9, 8], () => r.below(5) / 4), form: 'palette' as const }
    await holds(withConstants('input x: f32[N,9]\nc = Cast(w, to=1)\ny = MatMul(x, c)\noutput y', { w: half }))
  })
  it('works in subgraphs, on weights inside and outside', async () => {
    const pick = (): number => (r.below(7) - 3) / 4
    const m = parse(`
      input c: bool[]
      input x: f32[2,40]
      w = DequantizeLinear(q: i8[40,30], s: f32[30], axis=1)
      y = If(c, then_branch={ t = MatMul(x, w); output t }, else_branch={ const v: f32[40,30]; u = Gemm(x, v); output u })
      output y`)
    const inner = (g: Graph): Graph => ({
      ...g,
      values: new Map([
        ...g.values,
        [
          'v',
          {
            id: 'v',
            type: 'tensor',
            dtype: 'float32',
            shape: [40, 30],
            data: random('float32', [40, 30], pick),
            form: 'palette'
          }
        ]
      ])
    })
    const marked = mapGraphs(m, (g) =>
      g.values.has('v')
        ? inner(g)
        : g.values.has('q')
          ? {
              ...g,
              values: new Map([
                ...g.values,
                [
                  'q',
                  {
                    ...(g.values.get('q') as Value),
                    data: random('int8', [40, 30], () => r.below(9) - 4),
                    form: 'palette'
                  }
                ]
              ])
            }
          : g
    )
    await holds(marked)
  })
  it('is not recognised where others use its bytes, so that a small file stays small', () => {
    const data = random('float32', [64, 64], () => r.below(16) / 8)
    const spelled = spellForms(withConstants(graph([64, 64]), { w: { data, form: 'palette' } }))
    const last = spelled.graph.nodes.find((n) => n.outputs[0] === 'w') as Node
    const twice = edit(spelled, (d) => {
      const v = d.add('Reshape', last.inputs)
      d.setOutputs([...d.outputs, v])
    })
    const again = readModel(writeModel(twice).bytes)
    expect(again.graph.nodes).toHaveLength(twice.graph.nodes.length)
  })
  it('keeps to what an older opset has', () => {
    const data = random('float32', [64, 64], () => r.below(8) / 8)
    const m = withConstants(graph([64, 64]), { w: { data, form: 'palette' } })
    expect(spellForms(m, 14).graph.nodes.map((n) => n.op)).toContain('Add')
    expect(spellForms(m, 13).graph.nodes.map((n) => n.op)).not.toContain('Add')
  })
  it('says so where there are too many values', () => {
    const data = random('float32', [300, 301], () => r.normal())
    expect(() => writeModel(withConstants(graph([300, 301]), { w: { data, form: 'palette' } }))).toThrow(
      'form "palette" cannot spell w: it has more than 256 distinct values'
    )
  })
})

/** MatMulNBits multiplies by codes in float32 (accuracy level 1), in another order. */
const sumTolerance = 1e-5
/** Without a level the runtime may round activations to 8 bits, block by block. */
const roundedTolerance = 0.02

describe('form qdq', () => {
  it('is DequantizeLinear, also in blocks of 4 bits', async () => {
    const r = rng(10)
    const m = withConstants(
      'input x: f32[N,64]\nw = DequantizeLinear(q, s, axis=0, block_size=32)\ny = MatMul(x, w)\noutput y',
      {
        q: { data: random('int4', [64, 6], () => r.below(16) - 8), form: 'qdq' },
        s: { data: random('float32', [2, 6], () => r.next() + 0.1) }
      }
    )
    const again = readModel(writeModel(m).bytes)
    expect(again.graph).toEqual(m.graph)
    await holds(m)
  })
})

describe('form nbits', () => {
  const r = rng(9)
  const text = (z: string): string => `
    input x: f32[N,96]
    w: f32[96,20] = DequantizeLinear(w_q, w_s${z}, axis=0, block_size=32)
    y = MatMul(x, w)
    output y`
  it('becomes MatMulNBits and comes back', async () => {
    for (const [dtype, level] of [
      ['int4', '1'],
      ['uint4', '1'],
      ['int4', undefined],
      ['int8', '1'],
      ['uint8', '1'],
      ['int8', '4']
    ] as const) {
      const [low, count] = [dtype.startsWith('u') ? 0 : dtype === 'int4' ? -8 : -128, dtype.endsWith('4') ? 16 : 256]
      const hasZeros = dtype.startsWith('u')
      const made = withConstants(text(hasZeros ? ', w_z' : ''), {
        w_q: { data: random(dtype, [96, 20], () => low + r.below(count)), form: 'nbits' },
        w_s: { data: random('float32', [3, 20], () => r.next() + 0.1) },
        ...(hasZeros ? { w_z: { data: random(dtype, [3, 20], () => r.below(count)) } } : {})
      })
      const m: Model = level ? { ...made, meta: { [accuracyKey]: level } } : made
      const { bytes } = writeModel(m)
      const again = readModel(bytes)
      expect(print(again)).toBe(print({ ...m, domains: again.domains }))
      expect(again.graph.values).toEqual(m.graph.values)
      expect(again.meta[accuracyKey]).toBe(level)
      expect(writeModel(again).bytes).toEqual(bytes)
      const feeds = randomFeeds(m, 1)
      for (const runner of runners) {
        const wanted = await run(runner, plain(m), feeds)
        const given = difference(wanted, await run(runner, m, feeds))
        expect(given, `${runner.version} ${dtype} ${level}`).toBeLessThan(
          level === '1' ? sumTolerance : roundedTolerance
        )
      }
    }
  })
  it('reads rows by GatherBlockQuantized', async () => {
    for (const dtype of ['int4', 'uint4', 'uint8'] as const) {
      const low = dtype === 'int4' ? -8 : 0
      const z = dtype === 'int4' ? '' : ', w_z'
      const m = withConstants(
        `
        input ids: i64[N,3]
        w: f32[7,32] = DequantizeLinear(w_q, w_s${z}, axis=1, block_size=16)
        y = Gather(w, ids)
        output y`,
        {
          w_q: { data: random(dtype, [7, 32], () => low + r.below(16)), form: 'nbits' },
          w_s: { data: random('float32', [7, 2], () => r.next() + 0.1) },
          ...(z ? { w_z: { data: random(dtype, [7, 2], () => r.below(16)) } } : {})
        }
      )
      const { bytes } = writeModel(m)
      const again = readModel(bytes)
      expect(print(again)).toBe(print({ ...m, domains: again.domains }))
      expect(again.graph.values).toEqual(m.graph.values)
      expect(writeModel(again).bytes).toEqual(bytes)
      const feeds = { ids: tensor('int64', [2, 3], [0, 6, 3, 3, 2, 1]) }
      for (const runner of runners)
        expect(difference(await run(runner, plain(m), feeds), await run(runner, m, feeds))).toBe(0)
    }
  })
  it('refuses with the reason what the operators cannot do', () => {
    const q = { data: random('int4', [32, 4], () => 0), form: 'nbits' as const }
    const s = { data: random('float32', [2, 4], () => 1) }
    const refusal = (statements: string): string => {
      try {
        writeModel(withConstants(`input x: f32[2,32]\n${statements}\noutput y`, { w_q: q, w_s: s }))
        return 'none'
      } catch (e) {
        return String(e)
      }
    }
    const w = 'w = DequantizeLinear(w_q, w_s, axis=0, block_size=16)'
    expect(refusal(`${w}\ny = MatMul(x, w)`)).toBe('none')
    expect(refusal(`${w}\ny = Gemm(x, w)`)).toContain('form "nbits" cannot spell w_q: Gemm with blocks along axis 0')
    expect(refusal(`${w}\nt = MatMul(x, w)\ny = Mul(t, w)`)).toContain('MatMul,Mul with blocks')
    expect(refusal('w = DequantizeLinear(w_q, w_s, axis=0, block_size=8)\ny = MatMul(x, w)')).toContain(
      'in blocks of 8'
    )
  })
})

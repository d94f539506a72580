import { describe, expect, it } from 'vitest'
import { testContext } from '../../../test/compare.ts'
import { digits, network } from '../../../test/digits.ts'
import { edit } from '../../ir/edit.ts'
import { print } from '../../ir/print.ts'
import { elementCount, tensor, toNumbers } from '../../ir/tensor.ts'
import { model } from '../../ir/text.ts'
import type { Model, Tensor } from '../../types.ts'
import { channelGroups } from './groups.ts'
import { freeGroups, importance, narrow } from './narrow.ts'
import { withoutChannels } from './remove.ts'
import { repaired } from './repair.ts'

/** Elements that loops and spreads take out of arrays while `f` runs. */
function steps(f: () => unknown): number {
  const own = Array.prototype[Symbol.iterator]
  let n = 0
  Array.prototype[Symbol.iterator] = function* counted(this: unknown[]) {
    for (let i = 0; i < this.length; i++, n++) yield this[i]
  } as typeof own
  try {
    f()
  } finally {
    Array.prototype[Symbol.iterator] = own
  }
  return n
}

describe('channelGroups', () => {
  const wide = (channels: number): Model => model`
input x: f32[N,2]
a = MatMul(x, W: f32[2,${channels}])
b = Relu(a)
c = Mul(b, S: f32[${channels}])
y = MatMul(c, V: f32[${channels},2])
output y`

  it('takes 50,000 channels as one group, in steps that grow as the channels do', () => {
    const many = wide(50_000)
    const { groups } = channelGroups(many)
    expect(freeGroups({ model: many, groups, counts: [] }).map((g) => g.channels)).toEqual([50_000])
    const [small, large] = [wide(5_000), wide(50_000)].map((m) => steps(() => channelGroups(m))) as [number, number]
    // Six axes have the channels; each position is looked at a few times.
    expect(large).toBeLessThan(50_000 * 6 * 20)
    expect(large / small).toBeLessThan(10.5)
  })
})

describe('withoutChannels', () => {
  it('cuts weights, and writes sizes in the nodes anew', () => {
    const wide = model`
input x: f32[N,2,2,2]
const s: i64[2] = 0, 16
a: f32[N,4,2,2] = Conv(x, W: f32[4,2,1,1], B: f32[4])
b = Conv(a, D: f32[4,1,1,1], _, group=4)
c = Reshape(b, s)
d = Reshape(a, s)
e = Add(c, d)
y = MatMul(e, V: f32[16,3])
output y`
    const found = channelGroups(wide)
    const [group] = freeGroups(found)
    const made = withoutChannels(found, new Map(group ? [[group, [0, 2, 3]]] : []))
    expect(print(made)).toMatchInlineSnapshot(`
      "opset 21
      input x: f32[N,2,2,2]
      const W: f32[3,2,1,1] = -0.23040491, -0.14842346, -0.25590286, 0.119360566, -0.21278894, 0.18888313
      const B: f32[3] = 0.3302126, -0.15242894, 0.3867939
      const D: f32[3,1,1,1] = 0.34402964, -0.14750591, -0.01415844
      const s_1: i64[2] = 0, 12
      const s_2: i64[2] = 0, 12
      a: f32[N,3,2,2] = Conv(x, W, B)
      b = Conv(a, D, _, group=3)
      c = Reshape(b, s_1)
      d = Reshape(a, s_2)
      e = Add(c, d)
      y = MatMul(e, V: f32[12,3])
      output y
      "
    `)
    const [w, v] = [wide, made].map((m) => [...toNumbers(m.graph.values.get('W')?.data as Tensor)])
    expect(v).toEqual([...(w?.slice(0, 2) ?? []), ...(w?.slice(4) ?? [])])
  })

  it('cuts packed codes, and keeps what is meant to be zero', () => {
    const wide = edit(
      model`
input x: f32[2,3]
const q: i4[3,4] = 1, 2, 3, 4, 5, 6, 7, -8, -1, -2, -3, -4
const s: f32[] = 0.5
w = DequantizeLinear(q, s)
a = MatMul(x, w)
y = MatMul(a, V: f32[4,2])
output y`,
      (d) => {
        const v = d.value('V')
        if (v) d.set({ ...v, sparse: '2:4' })
      }
    )
    const found = channelGroups(wide)
    const [group] = freeGroups(found)
    const { values } = withoutChannels(found, new Map(group ? [[group, [1, 2, 3]]] : [])).graph
    expect([...toNumbers(values.get('q')?.data as Tensor)]).toEqual([2, 3, 4, 6, 7, -8, -2, -3, -4])
    expect(values.get('V')).toMatchObject({ shape: [3, 2], sparse: 'any' })
  })
})

describe('narrow', () => {
  const wide = model`
input x: f32[N,2]
const V: f32[4,2] = 1, 1, 5, 5, 2, 2, 3, 3
a = MatMul(x, W: f32[2,4])
b = Relu(a)
y = MatMul(b, V)
output y`

  it('keeps the channels of which most is made', () => {
    const [group] = freeGroups(channelGroups(wide))
    expect(group && [...importance(wide, group)].map((v) => Math.round(39 * v))).toEqual([4, 100, 16, 36])
    const { model: made, groups } = narrow(wide, 0.5)
    expect(groups).toEqual([{ name: 'a', channels: 4, kept: 2 }])
    expect([...toNumbers(made.graph.values.get('V')?.data as Tensor)]).toEqual([5, 5, 3, 3])
  })

  it('leaves one channel at least, and the very model where all stay', () => {
    expect(narrow(wide, 0.01).groups).toEqual([{ name: 'a', channels: 4, kept: 1 }])
    expect(narrow(wide, 0.99).model).toBe(wide)
  })
})

describe('repaired', () => {
  /** Mean and deviation per channel of a value over samples and positions. */
  async function spread(m: Model, id: string, x: Tensor): Promise<number[][]> {
    const session = await testContext().engine.open(m, { outputs: [id] })
    const out = (await session.run({ x }))[id] as Tensor
    await session.close()
    const [channels, run] = [out.shape[1] as number, elementCount(out.shape.slice(2))]
    const values = toNumbers(out)
    return Array.from({ length: channels }, (_, c) => {
      const own = Array.from(values).filter((_, k) => Math.floor(k / run) % channels === c)
      const mean = own.reduce((a, b) => a + b, 0) / own.length
      return [mean, Math.sqrt(own.reduce((a, b) => a + (b - mean) ** 2, 0) / own.length)]
    })
  }

  it('gives every output channel of a layer its mean and deviation back', async () => {
    const wide = network('repair')
    const { model: made, kept } = narrow(wide, 0.5)
    const data = digits(64, 'repair')
    const again = await repaired(made, wide, kept, data, testContext())
    let x = tensor('float32', [0], [])
    for await (const b of data.batches({ batch: 64 })) x = b.inputs['x'] as Tensor
    const trunk = [...kept].find(([g]) => g.name === 'a')?.[1] ?? []
    const [before, drifted, after] = [
      await spread(wide, 'h', x),
      await spread(made, 'h', x),
      await spread(again, 'h', x)
    ]
    const wanted = trunk.map((c) => before[c] as number[])
    const apart = (found: number[][]): number =>
      Math.max(...found.flatMap((s, c) => s.map((v, i) => Math.abs(v - (wanted[c]?.[i] as number)))))
    expect(apart(drifted)).toBeGreaterThan(0.1)
    expect(apart(after)).toBeLessThan(1e-4)
  })

  it('leaves a model alone that has too few samples', async () => {
    const wide = network('few')
    const { model: made, kept } = narrow(wide, 0.5)
    expect(await repaired(made, wide, kept, digits(10, 'few'), testContext())).toBe(made)
  })
})

import { describe, expect, it } from 'vitest'
import { testContext } from '../../../test/compare.ts'
import { digits, initialised, network } from '../../../test/digits.ts'
import { arrayDataset, type LabelledDataset } from '../../data/arrays.ts'
import { check } from '../../ir/check.ts'
import { equalTensors } from '../../ir/tensor.ts'
import { model } from '../../ir/text.ts'
import type { Model, Tensor } from '../../types.ts'
import { parseOptions } from '../pass.ts'
import type { Context } from '../types.ts'
import { distill } from './distill.ts'
import { finetune } from './finetune.ts'

const train = digits(600, 'train')
const selection = digits(300, 'selection')
const adam = { name: 'adam', rate: 0.004 }
const quick = { epochs: 6, batch: 40, optimizer: adam }
const longer = { epochs: 20, batch: 40, optimizer: { name: 'adam', rate: 0.02 } }

interface Told {
  readonly widths?: readonly object[]
  readonly curves: Record<string, readonly (readonly [number, number])[]>
  readonly score?: { readonly before: number; readonly after: number }
}

async function run(
  m: Model,
  options: object,
  more: Partial<Context> = {}
): Promise<{ made: Model; told: Told; notes: readonly string[] }> {
  const base = testContext()
  const plans: unknown[] = []
  const ctx = { ...base, data: { train, selection }, ...more, plan: (p: unknown) => void plans.push(p) }
  const made = await distill.run(m, parseOptions(distill, options), ctx)
  return { made, told: plans[0] as Told, notes: base.notes }
}

const teacher = await finetune.run(network('t'), parseOptions(finetune, { ...quick, epochs: 15 }), {
  ...testContext(),
  data: { train, selection }
})

const small = initialised(
  model`
input x: f32[N,1,14,14]
s1 = Conv(x, W1: f32[4,1,3,3], B1: f32[4], strides=[2,2], pads=[1,1,1,1])
s2 = Relu(s1)
s3 = MaxPool(s2, kernel_shape=[2,2], strides=[2,2])
s4 = Flatten(s3)
s5 = Gemm(s4, W2: f32[36,10], B2: f32[10])
scores = Softmax(s5)
output scores`,
  's'
)
const fromFile = { load: async (): Promise<Model> => small }

/** The model for batches of a fixed size. */
function withBatch(m: Model, batch: number): Model {
  const x = m.graph.values.get('x')
  if (!x?.shape) throw new Error('no input')
  const values = new Map(m.graph.values).set('x', { ...x, shape: [batch, ...x.shape.slice(1)] })
  return { ...m, graph: { ...m.graph, values } }
}

/** The same samples without their labels. */
async function unlabelled(data: LabelledDataset): Promise<LabelledDataset> {
  let x: Tensor | undefined
  for await (const b of data.batches({ batch: data.size })) x = b.inputs['x']
  if (!x) throw new Error('no samples')
  return arrayDataset({ inputs: { x } })
}

describe('distill', () => {
  it('teaches a shallower student, which begins with the weights of the teacher', async () => {
    const { made, told, notes } = await run(teacher, { ...quick, depth: 0.5 })
    expect(notes.join('\n')).toMatch(/1 of 2 blocks are left out/)
    expect(notes.join('\n')).toMatch(/only 1\.\d × the parameters/)
    expect(made.graph.nodes.filter((n) => n.op === 'Conv').length).toBe(3)
    expect(told.score?.after).toBeGreaterThan(told.score?.before ?? 1)
    expect(made.graph.outputs).toEqual(teacher.graph.outputs)
  })

  it('teaches a narrower student, which begins with the most important channels of the teacher', async () => {
    const { made, told, notes } = await run(teacher, { ...quick, epochs: 12, width: 0.5 })
    expect(notes.join('\n')).toMatch(/has 854 of 2562 parameters; channels: 4 of 8 in a, 4 of 8 in c/)
    expect(told.widths).toEqual([
      { name: 'a', channels: 8, kept: 4 },
      { name: 'c', channels: 8, kept: 4 }
    ])
    expect(made.graph.values.get('W2')?.data?.shape).toEqual([4, 4, 3, 3])
    expect(told.score?.after).toBeGreaterThan((told.score?.before ?? 1) + 0.2)
    expect(made.graph.outputs).toEqual(teacher.graph.outputs)
  })

  it('makes a student by width and depth together', async () => {
    const { made, notes } = await run(teacher, { ...quick, epochs: 1, width: 0.75, depth: 0.5 })
    expect(notes.join('\n')).toMatch(/1 of 2 blocks are left out/)
    expect(notes.join('\n')).toMatch(/channels: 6 of 8 in a, 6 of 8 in c/)
    check(made)
    expect(made.graph.nodes.filter((n) => n.op === 'Conv').length).toBe(3)
  })

  it('teaches a student from a file without any label', async () => {
    const data = { train: await unlabelled(train), selection: await unlabelled(selection) }
    const { made, told } = await run(teacher, { ...longer, student: 'small.onnx' }, { ...fromFile, data })
    const loss = told.curves['distill loss']?.map(([, y]) => y) ?? []
    expect(loss.at(-1)).toBeLessThan(0.6 * (loss[0] as number))
    // Agreement with the teacher, whose classes stand for labels.
    expect(told.score?.after).toBeGreaterThan(0.5)
    expect(made.graph.outputs).toEqual(['scores'])
  })

  it('learns from the teacher everywhere, and from labels where there are some', async () => {
    const o = { ...longer, epochs: 6, student: 'small.onnx' }
    const of = (hasLabel: (i: number) => boolean, alpha: number) =>
      run(
        teacher,
        { ...o, loss: { alpha } },
        { ...fromFile, data: { train: digits(600, 'train', hasLabel), selection } }
      )
    const some = await of((i) => i % 10 === 0, 0.5)
    expect(some.notes.join('\n')).toMatch(
      /60 of 600 training samples have a label; the others teach by what the teacher says/
    )
    expect(some.notes.join('\n')).toMatch(/600 samples to train on/)
    expect(some.told.score?.after).toBeGreaterThan((some.told.score?.before ?? 1) + 0.3)
    // Without any label it is as without labels at all, whatever their share.
    const none = await of(() => false, 0.5)
    const free = await run(teacher, o, { ...fromFile, data: { train: await unlabelled(train), selection } })
    expect(none.told.curves['distill loss']).toEqual(free.told.curves['distill loss'])
    expect(some.told.curves['distill loss']).not.toEqual(none.told.curves['distill loss'])
  })

  it('chooses by the teacher’s classes where few samples have a label', async () => {
    const o = { ...quick, epochs: 2, student: 'small.onnx' }
    const of = (hasLabel: (i: number) => boolean) =>
      run(teacher, o, { ...fromFile, data: { train, selection: digits(300, 'selection', hasLabel) } })
    const few = await of((i) => i < 3)
    expect(few.notes.join('\n')).toMatch(/3 of 300 samples to choose the epoch by have a label: the teacher’s/)
    expect(few.notes.join('\n')).toMatch(/600 samples to train on; top1 on 300 that choose/)
    expect(few.told.score).toEqual((await of(() => false)).told.score)
    const enough = await of((i) => i < 100)
    expect(enough.notes.join('\n')).toMatch(/top1 on 100 that choose/)
  })

  it('holds out samples without a label, by the teacher’s classes', async () => {
    const data = { train: await unlabelled(train), selection: await unlabelled(selection) }
    const o = { ...longer, epochs: 6, student: 'small.onnx', holdout: 0.25 }
    const { told, notes } = await run(teacher, o, { ...fromFile, data })
    expect(notes.join('\n')).toMatch(/450 samples to train on; top1 on 150 that choose/)
    // Agreement far above chance: each held-out sample has the class of its own.
    expect(told.score?.after).toBeGreaterThan(0.4)
    const fixed = withBatch(teacher, 32)
    const asked = await run(fixed, { ...o, epochs: 1 }, { load: async () => withBatch(small, 32), data })
    expect(asked.notes.join('\n')).toMatch(/top1 on 128 that choose/)
  })

  it('refuses to hold out where outputs have no score', async () => {
    const flat = initialised(
      model`
input x: f32[N,1,14,14]
a = Flatten(x)
y = Gemm(a, W: f32[196,1], B: f32[1])
output y`,
      'flat'
    )
    const o = { ...quick, epochs: 1, student: 'flat.onnx' }
    const load = async (): Promise<Model> => flat
    await expect(run(flat, { ...o, holdout: 0.1 }, { load })).rejects.toMatchObject({
      code: 'E_OPTION',
      where: 'distill, holdout'
    })
    expect((await run(flat, { ...o, holdout: 0 }, { load })).told.score).toBeUndefined()
  })

  it('asks the teacher once or at every batch, to the same end', async () => {
    const o = { ...quick, epochs: 1, student: 'small.onnx' }
    const once = await run(teacher, o, fromFile)
    // A feature of no weight changes nothing but that the teacher is asked at every batch.
    const features = { features: ['s4=logits'], featureWeight: 0 }
    const each = await run(teacher, { ...o, loss: features }, fromFile)
    const [a, b] = [once, each].map(({ told }) => told.curves['distill loss']?.[0]?.[1] ?? 0)
    expect(Math.abs((a as number) - (b as number))).toBeLessThan(1e-4 * (a as number))
    const again = await run(teacher, o, fromFile)
    for (const v of again.made.graph.values.values()) {
      const other = once.made.graph.values.get(v.id)?.data
      if (v.data) expect(other && equalTensors(v.data, other)).toBe(true)
    }
  })

  it('draws the weights of a student in words, and takes those of a file', async () => {
    const other = initialised(small, 'another')
    const inWords = (m: Model): Model => ({ ...m, origin: { format: 'text', untrained: true } })
    const first = async (m: Model): Promise<number | undefined> => {
      const { told } = await run(teacher, { ...quick, epochs: 1, student: 'small' }, { load: async () => m })
      return told.curves['distill loss']?.[0]?.[1]
    }
    expect(await first(inWords(small))).toBe(await first(inWords(other)))
    expect(await first(small)).not.toBe(await first(other))
  })

  it('matches values inside, through a map where widths differ', async () => {
    const o = { ...quick, epochs: 2, student: 'small.onnx', loss: { features: ['s2=b'], featureWeight: 2 } }
    const { told } = await run(teacher, o, fromFile)
    const loss = told.curves['distill loss']?.map(([, y]) => y) ?? []
    expect(loss.at(-1)).toBeLessThan(loss[0] as number)
  })

  it('refuses without a student, with both, and where they do not fit', async () => {
    await expect(run(teacher, {})).rejects.toMatchObject({ code: 'E_OPTION' })
    await expect(run(teacher, { student: 'a', depth: 0.5 })).rejects.toMatchObject({ code: 'E_OPTION' })
    await expect(run(teacher, { student: 'a' })).rejects.toMatchObject({ code: 'E_OPTION' })
    await expect(run(teacher, { student: 'a', width: 0.5 })).rejects.toMatchObject({ code: 'E_OPTION' })
    await expect(run(small, { depth: 0.5 })).rejects.toMatchObject({ code: 'E_UNSUPPORTED' })
    await expect(run(teacher, { width: 0.99 })).rejects.toMatchObject({ facts: { channels: 'a 8, c 8' } })
    const flat = model`
input x: f32[N,10]
y = MatMul(x, W: f32[10,10])
output y`
    await expect(run(flat, { width: 0.5 })).rejects.toMatchObject({
      code: 'E_UNSUPPORTED',
      facts: { 'what holds them': 'x is an input of the model; y is an output of the model' }
    })
    const other = model`
input z: f32[N,10]
y = Relu(z)
output y`
    await expect(run(teacher, { student: 'a' }, { load: async () => other })).rejects.toMatchObject({
      code: 'E_DATA_SHAPE'
    })
    const narrow = initialised(
      model`
input x: f32[N,1,14,14]
f = Flatten(x)
y = Gemm(f, W: f32[196,5], B: f32[5])
output y`,
      'n'
    )
    await expect(run(teacher, { student: 'a' }, { load: async () => narrow })).rejects.toMatchObject({
      code: 'E_DATA_SHAPE'
    })
  })
})

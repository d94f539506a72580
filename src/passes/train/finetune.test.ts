import { describe, expect, it } from 'vitest'
import { testContext } from '../../../test/compare.ts'
import { digits, network } from '../../../test/digits.ts'
import { arrayDataset } from '../../data/arrays.ts'
import { subset } from '../../data/split.ts'
import { check } from '../../ir/check.ts'
import { equalTensors, tensor, toFloats } from '../../ir/tensor.ts'
import { model } from '../../ir/text.ts'
import { costOf } from '../../ops/cost.ts'
import { decodeCheckpoint } from '../../train/checkpoint.ts'
import type { Dataset, Model } from '../../types.ts'
import { parseOptions } from '../pass.ts'
import type { Checkpoints, Context } from '../types.ts'
import { finetune } from './finetune.ts'
import { roundsOf } from './gradual.ts'
import { estimateBatches } from './learn.ts'
import { taskOf } from './task.ts'

interface Told {
  readonly curves: Record<string, readonly (readonly [number, number])[]>
  readonly ended: string
  readonly score?: { readonly before: number; readonly after: number; readonly epoch: number }
}

const train = digits(400, 'train')
const selection = digits(200, 'selection')

async function run(
  m: Model,
  options: object,
  more: Partial<Context> = {}
): Promise<{ model: Model; told: Told; notes: readonly string[] }> {
  let told: Told | undefined
  const ctx = {
    ...testContext(),
    data: { train, selection },
    ...more,
    plan: (p: unknown) => {
      told = p as Told
    }
  }
  const made = await finetune.run(m, parseOptions(finetune, options), ctx)
  if (!told) throw new Error('no plan was told')
  return { model: made, told, notes: (ctx as ReturnType<typeof testContext>).notes }
}

const sameWeights = (a: Model, b: Model): boolean =>
  [...a.graph.values.values()].every((v) => {
    const other = b.graph.values.get(v.id)?.data
    return !v.data || (other !== undefined && equalTensors(v.data, other))
  })

const quick = { epochs: 4, batch: 40, optimizer: { name: 'adam', rate: 0.004 } }

/** Checkpoints in memory, and a signal that stops the run after an epoch. */
function place(
  stopAfter?: number
): Checkpoints & { readonly signal: AbortSignal; readonly kept: Map<string, Uint8Array> } {
  const kept = new Map<string, Uint8Array>()
  const controller = new AbortController()
  return {
    kept,
    signal: controller.signal,
    read: async (key) => kept.get(key),
    write: async (key, bytes) => {
      kept.set(key, bytes)
      if (decodeCheckpoint(bytes).epoch === stopAfter) controller.abort()
    }
  }
}

describe('finetune', () => {
  it('learns, tells its curves, and keeps the best epoch', async () => {
    const { model: made, told, notes } = await run(network('a'), { ...quick, epochs: 8, smoothing: 0.1 })
    const loss = told.curves['finetune loss']?.map(([, y]) => y) ?? []
    expect(loss.length).toBe(8)
    expect(loss.at(-1)).toBeLessThan(0.7 * (loss[0] as number))
    expect(told.score?.after).toBeGreaterThan((told.score?.before ?? 1) + 0.3)
    expect(told.curves['finetune top1']?.map(([, y]) => y)).toContain(told.score?.after)
    expect(notes.join('\n')).toMatch(/no normalization layers/)
    expect([...made.graph.values.keys()].sort()).toEqual([...network('a').graph.values.keys()].sort())
  })

  it('tells progress in samples, with speed and time left', async () => {
    const told: Parameters<Context['progress']>[] = []
    await run(network('a'), { ...quick, epochs: 2 }, { progress: (...p) => void told.push(p) })
    expect(told.map(([, done, total]) => [done, total])).toEqual(
      Array.from({ length: 20 }, (_, i) => [40 * (i + 1), 800])
    )
    expect(new Set(told.map(([words]) => words)).size).toBe(2)
    for (const [, , , pace] of told) {
      expect(pace?.perSecond).toBeGreaterThan(0)
      // After the last step there is still the look at the samples that choose.
      expect(pace?.leftMs).toBeGreaterThan(0)
    }
  })

  it('estimates statistics by samples, not by steps', () => {
    expect([16, 128, 200, 512, 65_536].map(estimateBatches)).toEqual([20, 20, 13, 5, 1])
  })

  it('keeps zeros that are meant', async () => {
    const m = network('b')
    const w = m.graph.values.get('W2')
    if (!w?.data) throw new Error('no weight')
    const pruned = tensor(
      'float32',
      w.data.shape,
      toFloats(w.data).map((x) => (Math.abs(x) < 0.15 ? 0 : x))
    )
    const values = new Map(m.graph.values).set('W2', { ...w, data: pruned, sparse: 'any' })
    const { model: made } = await run({ ...m, graph: { ...m.graph, values } }, { ...quick, epochs: 1 })
    const after = made.graph.values.get('W2')
    expect(after?.sparse).toBe('any')
    const [x, y] = [toFloats(pruned), toFloats(after?.data ?? pruned)]
    expect(y.every((v, i) => x[i] !== 0 || v === 0)).toBe(true)
    expect(y.some((v, i) => v !== x[i])).toBe(true)
  })

  it('goes on after an interruption to the same bits, also with augmentation', async () => {
    const options = { ...quick, epochs: 3, augment: { kind: 'image', flip: false } }
    const whole = await run(network('c'), options)
    const checkpoints = place(2)
    await expect(run(network('c'), options, { checkpoints, signal: checkpoints.signal })).rejects.toMatchObject({
      code: 'E_ABORTED'
    })
    expect([...checkpoints.kept.values()].map((b) => decodeCheckpoint(b).epoch)).toEqual([2])
    const rest = await run(network('c'), options, { checkpoints })
    expect(rest.notes.join('\n')).toMatch(/went on after epoch 2/)
    expect(sameWeights(rest.model, whole.model)).toBe(true)
    expect(rest.told).toEqual({ ...whole.told, curves: rest.told.curves })
    expect(rest.told.curves['finetune loss']).toEqual(whole.told.curves['finetune loss'])
    const other = await run(network('c'), { ...options, epochs: 1, batch: 50 }, { checkpoints })
    expect(other.notes.join('\n')).not.toMatch(/went on/)
  })

  describe('while it prunes', () => {
    const options = { ...quick, epochs: 4, prune: { to: 0.8, step: 0.4, every: 2 } }
    const zeros = (m: Model): number => {
      const all = ['W2', 'W3', 'W4', 'W5'].flatMap((id) => [...toFloats(m.graph.values.get(id)?.data as never)])
      return all.filter((x) => x === 0).length / all.length
    }

    it('comes to the share that was asked for, and learns in between', async () => {
      const begun = (await run(network('p'), { ...quick, epochs: 6 })).model
      const { model: made, told } = await run(begun, options)
      expect(zeros(made)).toBeCloseTo(0.8, 2)
      expect(told.curves['finetune loss']?.map(([x]) => x)).toEqual([1, 2, 3, 4])
      expect(told.score?.after).toBeGreaterThan((told.score?.before ?? 1) + 0.02)
    })

    it('goes on in the round where it was stopped, to the same bits', async () => {
      const whole = await run(network('p'), options)
      const second = place()
      const controller = new AbortController()
      let written = 0
      const checkpoints = {
        read: second.read,
        write: async (key: string, bytes: Uint8Array) => {
          await second.write(key, bytes)
          if (++written === 3) controller.abort()
        }
      }
      const stopped = run(network('p'), options, { checkpoints, signal: controller.signal })
      await expect(stopped).rejects.toMatchObject({ code: 'E_ABORTED' })
      const rest = await run(network('p'), options, { checkpoints: second })
      expect(sameWeights(rest.model, whole.model)).toBe(true)
      expect(rest.told).toEqual(whole.told)
    })

    it.each([
      [{ to: 0.9, step: 0.3 }, 6, [0.3, 0.6, 0.9], [1, 1, 4]],
      [{ to: 0.8, step: 0.4, every: 3, schedule: 'cubic' }, 6, [0.7, 0.8], [3, 3]],
      [{ to: 0.5, schedule: 'once' }, 3, [0.5], [3]],
      [{}, 3, [], []]
    ] as const)('%j in %i epochs', (asked, epochs, ratios, each) => {
      const rounds = roundsOf(asked, epochs)
      expect(rounds.map((r) => Number(r.ratio.toFixed(6)))).toEqual(ratios)
      expect(rounds.map((r) => r.epochs)).toEqual(each)
    })

    it.each([
      [{ to: 0.9, every: 5 }, '9 rounds of pruning need 41 epochs, and there are 4'],
      [{ every: 5 }, 'pruning needs the share that is gone in the end'],
      [{ what: 'channels' }, 'pruning needs the share that is gone in the end'],
      [{ to: 0.5, schedule: 'once', what: 'blocks', pattern: '2:4' }, 'prune-blocks has no option pattern']
    ])('%j is refused', async (asked, message) => {
      await expect(run(network('p'), { ...quick, prune: asked })).rejects.toMatchObject({ code: 'E_OPTION', message })
    })
  })

  describe('beside a teacher', () => {
    it('learns from another model, which is opened by its name', async () => {
      const wise = (await run(network('t'), { ...quick, epochs: 8 })).model
      const load = async (path: string): Promise<Model> => {
        expect(path).toBe('wise.onnx')
        return wise
      }
      const options = { ...quick, epochs: 12, teacher: 'wise.onnx', loss: { alpha: 1 } }
      const { told } = await run(network('u'), options, { load })
      expect(told.curves['finetune loss']?.length).toBe(12)
      expect(told.score?.after).toBeGreaterThan((told.score?.before ?? 1) + 0.3)
      await expect(run(network('u'), options)).rejects.toMatchObject({ code: 'E_OPTION' })
    })

    it.each([
      ['channels', 'once'],
      ['blocks', 'once'],
      ['channels', 'steps']
    ] as const)('gets narrower or shallower while it learns from what it was: %s, %s', async (what, schedule) => {
      const begun = (await run(network('p'), { ...quick, epochs: 6 })).model
      const prune = { what, to: 0.5, step: 0.25, every: 2, schedule, ...(what === 'channels' ? { align: 2 } : {}) }
      const { model: made, told, notes } = await run(begun, { ...quick, teacher: 'itself', prune })
      check(made)
      const [before, after] = [begun, made].map((m) => costOf(m).total as number) as [number, number]
      expect(after / before).toBeLessThanOrEqual(0.5)
      expect(told.curves['finetune loss']?.map(([x]) => x)).toEqual([1, 2, 3, 4])
      expect(told.score?.after).toBeGreaterThan(0.6)
      expect(notes.join()).toContain(`prune-${what}: `)
      const again = await run(begun, { ...quick, teacher: 'itself', prune })
      expect(sameWeights(again.model, made)).toBe(true)
    })
  })

  it('stops a divergence with advice, and returns the very same model where nothing was better', async () => {
    const m = network('d')
    const o = { ...quick, optimizer: { rate: 1e6, clip: 1e6 } }
    const { model: made, told, notes } = await run(m, o)
    expect(told.ended).toBe('diverged')
    expect(notes.join('\n')).toMatch(/try a learning rate/)
    expect(made).toBe(m)
    const alone = await run(m, { ...o, epochs: 1, holdout: 0 })
    expect(alone.notes.filter((n) => /as before|was kept/.test(n))).toEqual([
      expect.stringMatching(/the model is as before/)
    ])
  })

  it('holds samples out where there is no part to choose by', async () => {
    const { notes, told } = await run(network('e'), { ...quick, epochs: 1 }, { data: { train } })
    expect(notes.join('\n')).toMatch(/40 of 400 training samples were held out/)
    expect(told.score).toBeDefined()
  })

  it('holds out as much as asked, instead of the selection part, or nothing', async () => {
    const some = await run(network('e'), { ...quick, epochs: 1, holdout: 0.25 })
    expect(some.notes.join('\n')).toMatch(/100 of 400 training samples were held out/)
    const none = await run(network('e'), { ...quick, epochs: 3, holdout: 0 })
    expect(none.told.score).toBeUndefined()
    expect(none.notes.join('\n')).toMatch(/the last was kept/)
    // All were trained on, and the last epoch came out.
    const last = await run(network('e'), { ...quick, epochs: 3, keep: 'last' })
    expect(sameWeights(none.model, last.model)).toBe(true)
    expect(last.told.score?.epoch).toBe(3)
    expect(last.told.curves['finetune top1']?.at(-1)).toEqual([3, last.told.score?.after])
    await expect(run(network('e'), { ...quick, holdout: 0, patience: 2 })).rejects.toMatchObject({ code: 'E_OPTION' })
    await expect(run(network('e'), { ...quick, holdout: 0.001 })).rejects.toMatchObject({ code: 'E_OPTION' })
  })

  it('leaves samples without a label out, and refuses where none has one', async () => {
    const half = digits(400, 'train', (i) => i % 2 === 0)
    const {
      told,
      notes,
      model: made
    } = await run(network('g'), quick, {
      data: { train: half, selection: digits(200, 'selection', (i) => i < 60) }
    })
    expect(notes.join('\n')).toMatch(/200 of 400 training samples have a label/)
    expect(notes.join('\n')).toMatch(/200 samples to train on; top1 on 60 that choose/)
    expect(notes.join('\n')).toMatch(/finetune: 60 of 200 samples to choose the epoch by have a label/)
    // As on the labelled ones alone, scores included.
    const chosen = (n: number, of: (i: number) => boolean) => Array.from({ length: n }, (_, i) => i).filter(of)
    const alone = await run(network('g'), quick, {
      data: {
        train: subset(
          train,
          chosen(400, (i) => i % 2 === 0)
        ),
        selection: subset(
          selection,
          chosen(200, (i) => i < 60)
        )
      }
    })
    expect(sameWeights(made, alone.model)).toBe(true)
    expect(told.score).toEqual(alone.told.score)
    await expect(
      run(network('g'), quick, { data: { train: digits(400, 'train', () => false) } })
    ).rejects.toMatchObject({ code: 'E_LABELS' })
  })

  it('tells of reading labels that are in the samples alone, and stops there', async () => {
    const { labels: _, ...hidden } = train
    const told: Parameters<Context['progress']>[] = []
    const progress = (...p: Parameters<Context['progress']>): void => void told.push(p)
    await run(network('h'), { ...quick, epochs: 1 }, { data: { train: hidden }, progress })
    expect(told.slice(0, 2)).toEqual([
      ['reading labels', 256, 400],
      ['reading labels', 400, 400]
    ])
    const controller = new AbortController()
    let read = 0
    const batches: Dataset['batches'] = async function* (o) {
      for await (const b of train.batches(o)) {
        read++
        controller.abort()
        yield b
      }
    }
    const { signal } = controller
    await expect(run(network('h'), quick, { data: { train: { ...hidden, batches } }, signal })).rejects.toMatchObject({
      code: 'E_ABORTED'
    })
    expect(read).toBe(1)
  })

  it('trains a reconstruction without labels', async () => {
    const m = model`
input x: f32[N,4]
h = Gemm(x, A: f32[4,3]{0.5,0.1,-0.2,0.3,0.4,-0.1,0.2,0.2,0.1,-0.3,0.6,0.2})
y = Gemm(h, B: f32[3,4]{0.3,0.1,0.2,-0.4,0.1,0.5,0.3,0.1,-0.2,0.3,0.4,0.2})
output y`
    const x = Float32Array.from({ length: 400 }, (_, i) => Math.sin(i * i))
    const data = { train: arrayDataset({ inputs: { x: tensor('float32', [100, 4], x) } }) }
    const { told } = await run(m, { epochs: 5, batch: 20, optimizer: { name: 'adam', rate: 0.02 } }, { data })
    expect(told.score?.after).toBeLessThan(told.score?.before ?? 0)
  })

  it('refuses rounded models, missing labels and outputs without a loss', async () => {
    const rounded = model`
input x: f32[N,2]
W = DequantizeLinear(C: i8[2,2]{1,2,3,4}, s: f32[]{0.1})
y = MatMul(x, W)
output y`
    await expect(run(rounded, {})).rejects.toMatchObject({ code: 'E_USAGE' })
    const unlabelled = {
      train: arrayDataset({ inputs: { x: tensor('float32', [4, 1, 14, 14], new Float32Array(784)) } })
    }
    await expect(run(network('f'), {}, { data: unlabelled })).rejects.toMatchObject({ code: 'E_LABELS' })
    const odd = model`
input x: f32[N,2]
y = MatMul(x, W: f32[2,1]{1,2})
output y`
    await expect(run(odd, {})).rejects.toMatchObject({ code: 'E_UNSUPPORTED' })
  })
  it('says which outputs and inputs hold no batch of samples, before a step runs', async () => {
    const x = {
      train: arrayDataset({ inputs: { x: tensor('float32', [4, 3], new Float32Array(12)) }, labels: [0, 1, 0, 1] })
    }
    const mean = model`
input x: f32[N,3]
m = ReduceMean(x, a: i64[1]{0})
y = MatMul(m, W: f32[3,2])
output y`
    await expect(run(mean, {}, { data: x })).rejects.toMatchObject({ code: 'E_UNSUPPORTED' })
    const picked = model`
input x: f32[3,4,2]
g = GatherND(x, i: i64[3,2]{0,1,2,3,0,1})
y = MatMul(g, W: f32[2,5])
output y`
    const many = arrayDataset({
      inputs: { x: tensor('float32', [8, 4, 2], new Float32Array(64)) },
      labels: [0, 1, 2, 0, 1, 2, 0, 1]
    })
    const rows = { code: 'E_UNSUPPORTED', message: 'output y has 3 rows for a batch of 4 samples', where: 'y' }
    await expect(run(picked, { batch: 4 }, { data: { train: many } })).rejects.toMatchObject(rows)
    // An output without elements is no reconstruction of an input that has none.
    const past = taskOf(model`
input x: f32[N,3]
input past: f32[N,0,3]
c = MatMul(x, W: f32[3,2])
p = Neg(past)
output c, p`)
    expect(past).toMatchObject({ kind: 'classes', output: 'c' })
    const whole = model`
input x: f32[N,3]
input s: f32[]
m = Mul(x, s)
y = MatMul(m, W: f32[3,2])
output y`
    const s = tensor('float32', [4], [1, 1, 1, 1])
    const both = arrayDataset({
      inputs: { x: tensor('float32', [4, 3], new Float32Array(12)), s },
      labels: [0, 1, 0, 1]
    })
    await expect(run(whole, {}, { data: { train: both } })).rejects.toMatchObject({ code: 'E_UNSUPPORTED', where: 's' })
  })
})

import { describe, expect, it } from 'vitest'
import { testContext } from '../../../test/compare.ts'
import { digits, network } from '../../../test/digits.ts'
import { arrayDataset } from '../../data/arrays.ts'
import { equalTensors, tensor, toFloats } from '../../ir/tensor.ts'
import { model } from '../../ir/text.ts'
import { decodeCheckpoint } from '../../train/checkpoint.ts'
import type { Checkpoints, Context, Model } from '../../types.ts'
import { parseOptions } from '../pass.ts'
import { finetune } from './finetune.ts'

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

  it('stops a divergence with advice, and returns the very same model where nothing was better', async () => {
    const m = network('d')
    const o = { ...quick, optimizer: { rate: 1e6, clip: 1e6 } }
    const { model: made, told, notes } = await run(m, o)
    expect(told.ended).toBe('diverged')
    expect(notes.join('\n')).toMatch(/try a learning rate/)
    expect(made).toBe(m)
  })

  it('holds samples out where there is no part to choose by', async () => {
    const { notes, told } = await run(network('e'), { ...quick, epochs: 1 }, { data: { train } })
    expect(notes.join('\n')).toMatch(/40 of 400 training samples were held out/)
    expect(told.score).toBeDefined()
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
})

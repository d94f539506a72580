import { describe, expect, it, test } from 'vitest'
import { rng } from '../base/random.ts'
import { elementCount, tensor, toFloats } from '../ir/tensor.ts'
import { model } from '../ir/text.ts'
import { nodeRunner } from '../node/runner.ts'
import type { Model, Tensor } from '../types.ts'
import { type DifferentiateOptions, differentiate, type Training } from './differentiate.ts'
import { rateFeeds } from './loop.ts'
import type { LossTerm } from './losses.ts'
import { unpackChunk } from './packing.ts'
import { firstState, nextState, type TrainState, trainedValues, withMasks, withValues } from './state.ts'

/** Float32 arithmetic of a few operations against float64. */
const tolerance = 1e-5

const mlp = model`
input x: f32[N,4]
h = Gemm(x, W1: f32[4,8], B1: f32[8])
r = Relu(h)
y = Gemm(r, W2: f32[8,3], B2: f32[3])
output y`
const entropy: readonly LossTerm[] = [{ kind: 'cross-entropy', output: 'y' }]

const normal = (seed: string, shape: readonly number[]): Tensor => {
  const random = rng(seed)
  return tensor(
    'float32',
    shape,
    Array.from({ length: elementCount(shape) }, () => random.normal())
  )
}
const x = normal('x', [6, 4])
const labels = tensor('int64', [6], [0, 1, 2, 2, 1, 0])

/** One run of the training graph; extra feeds go by name of what they are for. */
async function run(
  training: Training,
  feeds: Readonly<Record<string, Tensor>>,
  state: TrainState,
  rate = 0.1
): Promise<Record<string, Tensor>> {
  const session = await nodeRunner().open(training.model)
  const targets = Object.fromEntries(
    training.targets.flatMap((t) => {
      const given = t.kind === 'labels' ? (feeds['labels'] ?? labels) : feeds[t.of]
      return given ? [[t.input, given]] : []
    })
  )
  const all = { x, ...feeds, ...targets, ...state.feeds, ...rateFeeds(training, rate, state.step + 1) }
  const made = await session.run(
    Object.fromEntries(session.inputs.map((i) => [i.name, (all as Record<string, Tensor>)[i.name] as Tensor]))
  )
  await session.close()
  return made
}

const first = (t: Tensor | undefined): number => toFloats(t as Tensor)[0] as number
const lossOf = (training: Training, made: Record<string, Tensor>): number => first(made[training.outputs.loss])

async function gradientsOf(m: Model, o: Partial<DifferentiateOptions> = {}): Promise<Map<string, Tensor>> {
  const training = differentiate(m, { loss: entropy, batch: 6, ...o })
  const made = await run(training, {}, firstState(training, m))
  const out = new Map<string, Tensor>()
  for (const c of training.chunks)
    for (const [id, t] of unpackChunk(c, made[c.outputs[0] as string] as Tensor)) out.set(id, t)
  return out
}

const valuesOf = (m: Model, id: string): Float32Array => toFloats(m.graph.values.get(id)?.data as Tensor)

function expectClose(a: ArrayLike<number>, b: ArrayLike<number>, within = tolerance): void {
  expect(a.length).toBe(b.length)
  for (let i = 0; i < a.length; i++)
    expect(Math.abs((a[i] as number) - (b[i] as number))).toBeLessThan(within * (1 + Math.abs(b[i] as number)))
}

test('cross-entropy is the mean over samples that have a label', async () => {
  const smooth: readonly LossTerm[] = [{ kind: 'cross-entropy', output: 'y', smoothing: 0.1 }]
  const of = async (batch: number, rows: readonly number[], given: readonly number[]) => {
    const training = differentiate(mlp, { loss: smooth, batch })
    const picked = tensor(
      'float32',
      [batch, 4],
      rows.flatMap((i) => Array.from(toFloats(x).subarray(4 * i, 4 * i + 4)))
    )
    const made = await run(training, { x: picked, labels: tensor('int64', [batch], given) }, firstState(training, mlp))
    return {
      loss: lossOf(training, made),
      gradient: toFloats(made[training.chunks[0]?.outputs[0] as string] as Tensor)
    }
  }
  const some = await of(5, [0, 1, 2, 3, 4], [-1, 1, -1, 2, -1])
  const alone = await of(2, [1, 3], [1, 2])
  expectClose([some.loss], [alone.loss])
  expectClose(some.gradient, alone.gradient)
  const none = await of(2, [0, 1], [-1, -1])
  expect(none.loss).toBe(0)
  expect(none.gradient.every((v) => v === 0)).toBe(true)
})

describe('optimizers', () => {
  test('sgd with momentum and decay of matrices', async () => {
    const gradients = await gradientsOf(mlp)
    const training = differentiate(mlp, {
      loss: entropy,
      batch: 6,
      optimizer: { kind: 'sgd', momentum: 0.9, weightDecay: 0.01 }
    })
    let state = firstState(training, mlp)
    state = nextState(training, state, await run(training, {}, state))
    const after = trainedValues(training, state)
    for (const [id, decay] of [
      ['W1', 0.01],
      ['B1', 0]
    ] as const) {
      const [p, d] = [valuesOf(mlp, id), toFloats(gradients.get(id) as Tensor)]
      expectClose(
        toFloats(after.get(id) as Tensor),
        p.map((v, i) => v - 0.1 * ((d[i] as number) + decay * v))
      )
    }
    expect(state.step).toBe(1)
  })

  test('adamw by its definition, over two steps', async () => {
    const training = differentiate(mlp, {
      loss: entropy,
      batch: 6,
      optimizer: { kind: 'adamw', weightDecay: 0.05 }
    })
    let state = firstState(training, mlp)
    let [p, m, v] = [Array.from(valuesOf(mlp, 'W1')), new Array<number>(32).fill(0), new Array<number>(32).fill(0)]
    for (const t of [1, 2]) {
      const current = withValues(mlp, trainedValues(training, state))
      const d = toFloats((await gradientsOf(current)).get('W1') as Tensor)
      m = m.map((a, i) => 0.9 * a + 0.1 * (d[i] as number))
      v = v.map((a, i) => 0.999 * a + 0.001 * (d[i] as number) ** 2)
      p = p.map((a, i) => {
        const [mean, square] = [(m[i] as number) / (1 - 0.9 ** t), (v[i] as number) / (1 - 0.999 ** t)]
        return a - 0.01 * 0.05 * a - (0.01 * mean) / (Math.sqrt(square) + 1e-8)
      })
      state = nextState(training, state, await run(training, {}, state, 0.01))
    }
    expectClose(toFloats(trainedValues(training, state).get('W1') as Tensor), p, 1e-4)
  })

  test('gradients are clipped together', async () => {
    const plain = await gradientsOf(mlp)
    const clipped = await gradientsOf(mlp, { clip: 0.01 })
    const norm = Math.sqrt([...plain.values()].reduce((n, t) => n + toFloats(t).reduce((s, g) => s + g * g, 0), 0))
    expect(norm).toBeGreaterThan(0.01)
    for (const [id, t] of plain)
      expectClose(
        toFloats(clipped.get(id) as Tensor),
        toFloats(t).map((g) => (g * 0.01) / norm)
      )
    const loose = await gradientsOf(mlp, { clip: 1e6 })
    expectClose(toFloats(loose.get('W1') as Tensor), toFloats(plain.get('W1') as Tensor))
  })
})

describe('losses', () => {
  const softmax = (z: readonly number[]): number[] => {
    const e = z.map((v) => Math.exp(v - Math.max(...z)))
    return e.map((v) => v / e.reduce((a, b) => a + b, 0))
  }
  const logits = async (): Promise<number[][]> => {
    const session = await nodeRunner().open(mlp)
    const y = toFloats((await session.run({ x }))['y'] as Tensor)
    await session.close()
    return Array.from({ length: 6 }, (_, i) => Array.from(y.slice(3 * i, 3 * i + 3)))
  }
  const value = async (loss: readonly LossTerm[], feeds: Record<string, Tensor> = {}, m = mlp): Promise<number> => {
    const training = differentiate(m, { loss, batch: 6 })
    return lossOf(training, await run(training, feeds, firstState(training, m)))
  }
  const mean = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0) / list.length

  test('cross-entropy with smoothing', async () => {
    const z = await logits()
    const picked = [0, 1, 2, 2, 1, 0]
    const expected = mean(
      z.map((row, i) => {
        const p = softmax(row).map(Math.log)
        return -p.reduce((sum, l, c) => sum + l * ((c === picked[i] ? 0.9 : 0) + 0.1 / 3), 0)
      })
    )
    expectClose([await value([{ kind: 'cross-entropy', output: 'y', smoothing: 0.1 }])], [expected])
  })

  test('cross-entropy behind a Softmax is that of its logits', async () => {
    const scores = model`
input x: f32[N,4]
h = Gemm(x, W1: f32[4,8], B1: f32[8])
r = Relu(h)
z = Gemm(r, W2: f32[8,3], B2: f32[3])
y = Softmax(z, axis=-1)
output y`
    expectClose([await value(entropy, {}, scores)], [await value(entropy)])
  })

  test('divergence with temperature, mse, and their weighted sum', async () => {
    const z = await logits()
    const teacher = normal('teacher', [6, 3])
    const t = Array.from({ length: 6 }, (_, i) => Array.from(toFloats(teacher).slice(3 * i, 3 * i + 3)))
    const kl = mean(
      z.map((row, i) => {
        const [p, q] = [softmax((t[i] as number[]).map((v) => v / 3)), softmax(row.map((v) => v / 3))]
        return 9 * p.reduce((s, v, c) => s + v * Math.log(v / (q[c] as number)), 0)
      })
    )
    const square = mean(z.flatMap((row, i) => row.map((v, c) => (v - (t[i]?.[c] as number)) ** 2)))
    expectClose([await value([{ kind: 'kl', output: 'y', temperature: 3 }], { y: teacher })], [kl])
    expectClose([await value([{ kind: 'mse', output: 'y' }], { y: teacher })], [square])
    const both = [
      { kind: 'kl', output: 'y', temperature: 3, weight: 0.7 },
      { kind: 'mse', output: 'y', weight: 0.3 }
    ] as const
    expectClose([await value(both, { y: teacher })], [0.7 * kl + 0.3 * square])
  })

  test('features through a learned map', async () => {
    const training = differentiate(mlp, { loss: [{ kind: 'features', value: 'r', shape: [6, 5] }], batch: 6 })
    const ids = training.chunks.flatMap((c) => c.parts.map((p) => p.id))
    expect(ids.sort()).toEqual(['B1', 'W1', 'adapter.r'])
    const made = await run(training, { r: normal('features', [6, 5]) }, firstState(training, mlp))
    expect(lossOf(training, made)).toBeGreaterThan(0)
    expect(() => differentiate(mlp, { loss: [{ kind: 'features', value: 'r', shape: [6, 5, 2] }], batch: 6 })).toThrow(
      /cannot be matched/
    )
  })

  test('what does not fit is refused', () => {
    const by = (loss: readonly LossTerm[]) => () => differentiate(mlp, { loss, batch: 6 })
    expect(by([])).toThrow(/needs a loss/)
    expect(by([{ kind: 'mse', output: 'nowhere' }])).toThrow(/nowhere/)
    const half = model`
input x: f32[N,2]
h = MatMul(x, W: f32[2,3])
y = Cast(h, to=10)
output y`
    for (const kind of ['mse', 'kl'] as const)
      expect(() => differentiate(half, { loss: [{ kind, output: 'y' }], batch: 4 })).toThrow(/y is float16/)
    expect(() => differentiate(mlp, { loss: entropy, batch: 6, parameters: () => false })).toThrow(
      expect.objectContaining({ code: 'E_OPTION' })
    )
  })
})

describe('normalization', () => {
  const normed = model`
input x: f32[N,3,5,4]
c = Conv(x, K: f32[4,3,3,3], pads=[1,1,1,1])
const S: f32[4] = 0.5, 1.5, 1, 2
const M: f32[4] = 0, 0, 0, 0
const V: f32[4] = 1, 1, 1, 1
b = BatchNormalization(c, S, O: f32[4], M, V, momentum=0.8)
r = Tanh(b)
p = GlobalAveragePool(r)
y = Flatten(p)
output y`
  const image = normal('image', [6, 3, 5, 4])
  const loss = [{ kind: 'mse', output: 'y' }] as const
  const feeds = { x: image, y: normal('target', [6, 4]) }

  it('is by the batch, and trains scale and offset, not statistics', async () => {
    const training = differentiate(normed, { loss, batch: 6 })
    expect(training.chunks.flatMap((c) => c.parts.map((p) => p.id)).sort()).toEqual(['K', 'O', 'S'])
    expect(training.statistics.map((s) => s.id)).toEqual(['M', 'V'])
  })

  it('gives its statistics, from which running ones are kept outside', async () => {
    const training = differentiate(normed, { loss, batch: 6, optimizer: { kind: 'sgd' }, outputs: ['c'] })
    const state = firstState(training, normed)
    const made = await run(training, feeds, state)
    const c = toFloats(made['c'] as Tensor)
    const next = nextState(training, state, made)
    for (let channel = 0; channel < 4; channel++) {
      const of = Array.from(c).filter((_, i) => Math.floor(i / 20) % 4 === channel)
      const mu = of.reduce((a, b) => a + b, 0) / of.length
      const variance = of.reduce((a, b) => a + (b - mu) ** 2, 0) / of.length
      expectClose([toFloats(next.running.get('M') as Tensor)[channel] as number], [0.2 * mu])
      expectClose([toFloats(next.running.get('V') as Tensor)[channel] as number], [0.8 + 0.2 * variance])
    }
    expect(valuesOf(withValues(normed, trainedValues(training, next)), 'M')).toEqual(
      toFloats(next.running.get('M') as Tensor)
    )
  })

  it('frozen, uses running statistics and does not train them', async () => {
    const training = differentiate(normed, { loss, batch: 6, normalization: 'frozen' })
    expect(training.statistics).toEqual([])
    expect(training.chunks.flatMap((c) => c.parts.map((p) => p.id)).sort()).toEqual(['K', 'O', 'S'])
    const made = await run(training, feeds, firstState(training, normed))
    expect(lossOf(training, made)).toBeGreaterThan(0)
  })
})

test('zeros that are meant stay zeros', async () => {
  const data = tensor(
    'float32',
    [4, 8],
    valuesOf(mlp, 'W1').map((v, i) => (i % 2 ? v : 0))
  )
  const values = new Map(mlp.graph.values)
  values.set('W1', { id: 'W1', type: 'tensor', dtype: 'float32', shape: [4, 8], data, sparse: 'any' })
  const pruned: Model = { ...mlp, graph: { ...mlp.graph, values } }
  const training = differentiate(pruned, { loss: entropy, batch: 6, optimizer: { kind: 'adam', weightDecay: 0.01 } })
  let state = firstState(training, pruned)
  for (let i = 0; i < 3; i++) state = nextState(training, state, await run(training, {}, state))
  const after = toFloats(trainedValues(training, state).get('W1') as Tensor)
  expect(after.filter((v) => v === 0).length).toBe(16)
  const mask = tensor(
    'float32',
    [4, 8],
    Array.from({ length: 32 }, (_, i) => (i % 4 === 1 ? 1 : 0))
  )
  state = withMasks(training, state, new Map([['W1', mask]]))
  state = nextState(training, state, await run(training, {}, state))
  expect(toFloats(trainedValues(training, state).get('W1') as Tensor).filter((v) => v !== 0).length).toBe(8)
})

describe('an operator without a gradient', () => {
  const hard = model`
input x: f32[N,4]
h = Gemm(x, W1: f32[4,8], B1: f32[8])
m = Hardmax(h, axis=-1)
y = Gemm(m, W2: f32[8,3], B2: f32[3])
output y`

  it('is an error that names node and operator', () => {
    expect(() => differentiate(hard, { loss: entropy, batch: 6 })).toThrow(
      expect.objectContaining({
        code: 'E_UNSUPPORTED',
        where: 'Hardmax_1',
        message: expect.stringContaining('Hardmax')
      })
    )
  })

  it('ends the gradient when asked to', () => {
    const training = differentiate(hard, { loss: entropy, batch: 6, unsupported: 'freeze' })
    expect(training.chunks.flatMap((c) => c.parts.map((p) => p.id)).sort()).toEqual(['B2', 'W2'])
    expect(training.stopped.map((n) => n.name)).toEqual(['Hardmax_1'])
  })

  it('does no harm before the parameters', () => {
    const training = differentiate(hard, { loss: entropy, batch: 6, parameters: (v) => v.id.endsWith('2') })
    expect(training.stopped).toEqual([])
  })
})

test('parameters above 1 MB are packed in chunks', () => {
  const wide = model`
input x: f32[N,600]
a = MatMul(x, A: f32[600,600])
b = MatMul(a, B: f32[600,400])
c = MatMul(b, C: f32[400,3])
y = Add(c, D: f32[3])
output y`
  const { chunks } = differentiate(wide, { loss: entropy, batch: 2 })
  expect(chunks.map((c) => c.size)).toEqual([360_000, 241_203])
  expect(chunks[1]?.parts.map((p) => p.offset)).toEqual([0, 240000, 241200])
})

test('dropout draws from the noise of the step', async () => {
  const dropping = model`
input x: f32[N,4]
h = Gemm(x, W1: f32[4,8], B1: f32[8])
const q: f32[] = 0.25
d = Dropout(h, q)
y = Gemm(d, W2: f32[8,3], B2: f32[3])
output y`
  const training = differentiate(dropping, { loss: entropy, batch: 6, outputs: ['h', 'd'] })
  const [noise] = training.noises
  expect(noise?.shape).toEqual([6, 8])
  const drawn = tensor(
    'float32',
    [6, 8],
    Array.from({ length: 48 }, (_, i) => (i % 10) / 10)
  )
  const made = await run(training, { [noise?.input ?? '']: drawn }, firstState(training, dropping))
  const [h, d] = [toFloats(made['h'] as Tensor), toFloats(made['d'] as Tensor)]
  expectClose(
    d,
    h.map((v, i) => ((i % 10) / 10 < 0.25 ? 0 : v / 0.75))
  )
})

test('weights in Constant nodes are parameters too, and come back as constants', async () => {
  const inNodes = model`
input x: f32[N,4]
W = Constant(value=f32[4,3]{1,2,3,4,5,6,7,8,9,10,11,12})
y = MatMul(x, W)
output y`
  const training = differentiate(inNodes, { loss: entropy, batch: 6, optimizer: { kind: 'sgd' } })
  const state = firstState(training, inNodes)
  const after = withValues(inNodes, trainedValues(training, nextState(training, state, await run(training, {}, state))))
  expect(after.graph.nodes.map((n) => n.op)).toEqual(['MatMul'])
  expect(after.graph.values.get('W')?.data?.shape).toEqual([4, 3])
})

test('a size that only running tells is an error', () => {
  const open = model`
input x: f32[N,L,4]
h = MatMul(x, W: f32[4,3])
y = ReduceMean(h, a: i64[1]{1}, keepdims=0)
output y`
  expect(() => differentiate(open, { loss: entropy, batch: 6 })).toThrow(
    expect.objectContaining({ code: 'E_UNSUPPORTED', message: expect.stringContaining('not known') })
  )
})

test('fake quantization in four bits is trained through', async () => {
  const quantized = model`
input x: f32[N,4]
a = Abs(W1: f32[4,8])
top = ReduceMax(a, axes: i64[1]{0}, keepdims=0)
const seven: f32[] = 7
s = Div(top, seven)
const z: i4[8] = 0, 0, 0, 0, 0, 0, 0, 0
q = QuantizeLinear(W1, s, z, axis=1)
w = DequantizeLinear(q, s, z, axis=1)
h = Gemm(x, w, B1: f32[8])
r = Relu(h)
const t: f32[] = 0.05
const u: u8[] = 0
rq = QuantizeLinear(r, t, u)
rd = DequantizeLinear(rq, t, u)
y = Gemm(rd, W2: f32[8,3], B2: f32[3])
output y`
  const training = differentiate(quantized, { loss: entropy, batch: 6, optimizer: { kind: 'adam' } })
  expect(training.chunks.flatMap((c) => c.parts.map((p) => p.id)).sort()).toEqual(['B1', 'B2', 'W1', 'W2'])
  let state = firstState(training, quantized)
  const losses: number[] = []
  for (let i = 0; i < 30; i++) {
    const made = await run(training, {}, state, 0.03)
    losses.push(lossOf(training, made))
    state = nextState(training, state, made)
  }
  expect(losses.at(-1)).toBeLessThan(0.5 * (losses[0] as number))
})

test('an opset before the gradients’ operators is refused', () => {
  expect(() => differentiate({ ...mlp, opset: 13 }, { loss: entropy, batch: 6 })).toThrow(
    expect.objectContaining({ code: 'E_OPSET' })
  )
})

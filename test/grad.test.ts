/**
 * The law of gradients: for every operator that has one, the gradient of Σ R·y (R random) agrees with central
 * differences of the operator itself, summed in float64 and, where the engine has double kernels, computed so too.
 */
import { describe, expect, it } from 'vitest'
import { rng } from '../src/base/random.ts'
import { opName } from '../src/ir/graph.ts'
import { elementCount, tensor, toNumbers } from '../src/ir/tensor.ts'
import { parse } from '../src/ir/text.ts'
import { nodeRunner } from '../src/node/runner.ts'
import { algebra, range, sumOver } from '../src/ops/grad.ts'
import { opFor, ops } from '../src/ops/index.ts'
import { inferShapes } from '../src/ops/infer.ts'
import type { Ref } from '../src/ops/types.ts'
import type { Session } from '../src/runtime/types.ts'
import { backward, follow, type Taped } from '../src/train/backward.ts'
import { type TrainingGraph, trainingGraph } from '../src/train/graph.ts'
import type { DType, Model, Tensor, Value } from '../src/types.ts'
import { type GradCase, gradCases } from './grad.cases.ts'

/** Of the largest gradient of the tensor. Float32 differences are good to about 1e-4. */
const tolerance = 1e-3

/** Elements of each tensor that are looked at. */
const looks = 40

const runner = nodeRunner()
const modelOf = (c: GradCase): Model => inferShapes(parse(c.model.replaceAll('; ', '\n')))

function draw(c: GradCase, model: Model): Record<string, Tensor> {
  const random = rng(c.model)
  const feeds: Record<string, Tensor> = {}
  for (const id of model.graph.inputs) {
    const { dtype = 'float32', shape = [] } = model.graph.values.get(id) as Value
    const n = elementCount(shape as number[])
    const place = random.permutation(n)
    // Offsets keep the values of different inputs apart as well.
    const offset = 0.25 + 0.5 * random.next()
    const values = place.map((p) => (c.scale ?? 1) * drawn(c.values ?? 'normal', (p + offset) / n, random.normal()))
    feeds[id] = tensor(dtype, shape as number[], values)
  }
  return feeds
}

/** `t` runs through (0, 1) in steps, shuffled. */
function drawn(kind: NonNullable<GradCase['values']>, t: number, normal: number): number {
  if (kind === 'apart') return 3 * t - 1.5
  if (kind === 'positive') return 0.5 + 1.5 * t
  if (kind === 'unit') return 1.4 * t - 0.7
  if (kind === 'above one') return 1.2 + 2 * t
  if (kind === 'zeros too') return t < 0.25 ? 0 : normal
  return normal
}

// ---------------------------------------------------------------- by the gradient graph

/** A graph that holds the model, with the training form of its operators where asked for. */
function copied(model: Model, trained: boolean): { g: TrainingGraph; tape: Taped[] } {
  const { graph } = model
  const g = trainingGraph(model)
  for (const v of graph.values.values()) if (v.data) g.adopt(v, 'constant')
  for (const id of graph.inputs) {
    g.adopt(graph.values.get(id) as Value, 'input')
    g.wanted.add(id)
  }
  const tape = graph.nodes.map((node) => {
    const form = trained ? opFor(node)?.train?.(g, g.view(node)) : undefined
    if (form) g.alias(form.outputs[0] as Ref, node.outputs[0] as string)
    else g.copy(node)
    follow(g, node)
    return { node, form }
  })
  return { g, tape }
}

async function analytic(
  model: Model,
  feeds: Record<string, Tensor>,
  weights: Record<string, Tensor>,
  trained = false
): Promise<Record<string, Tensor>> {
  const { graph } = model
  const { g, tape } = copied(model, trained)
  const before = g.nodes.length
  const a = algebra(g)
  const parts = graph.outputs.map((id) => {
    const y = g.value(id)
    return sumOver(g, a.mul(y, g.constant(weights[id] as Tensor)), range(y.shape.length))
  })
  const loss = parts.reduce(a.add)
  const added = g.nodes.slice(before)
  for (const node of added) follow(g, node)
  const { of } = backward(g, [...tape, ...added.map((node) => ({ node }))], loss, false)
  const ids = graph.inputs.filter((id) => of.has(id))
  if (ids.length === 0) return {}
  const made = g.model([loss.id, ...ids.map((id) => of.get(id)?.id as string)])
  const session = await runner.open(made)
  const out = await session.run(Object.fromEntries(session.inputs.map((i) => [i.name, feeds[i.name] as Tensor])))
  await session.close()
  return Object.fromEntries(ids.map((id) => [id, out[of.get(id)?.id as string] as Tensor]))
}

// ---------------------------------------------------------------- by differences

/** The model in double precision; `undefined` where the engine has no such kernel. */
async function openDouble(model: Model): Promise<Session | undefined> {
  const wide = (v: Value): Value => {
    const dtype: DType | undefined = v.dtype === 'float32' && v.id !== 's' && v.id !== 'r' ? 'float64' : v.dtype
    const data =
      v.data?.dtype === 'float32' && dtype === 'float64'
        ? tensor('float64', v.data.shape, [...toNumbers(v.data)])
        : v.data
    return { ...v, ...(dtype ? { dtype } : {}), ...(data ? { data } : {}) }
  }
  const values = new Map([...model.graph.values].map(([id, v]) => [id, wide(v)]))
  for (const n of model.graph.nodes) for (const id of n.outputs) if (id) values.set(id, { id, type: 'tensor' })
  try {
    return await runner.open({ ...model, graph: { ...model.graph, values } }, { optimization: 'disabled' })
  } catch {
    return undefined // no double kernel: the float32 reference is used
  }
}

interface Reference {
  readonly session: Session
  readonly dtype: 'float32' | 'float64'
  readonly step: number
}

async function reference(model: Model, c: GradCase): Promise<Reference> {
  const double = await openDouble(model)
  if (double) return { session: double, dtype: 'float64', step: 1e-4 }
  const session = await runner.open(model, { optimization: 'disabled' })
  return { session, dtype: 'float32', step: c.values === 'apart' ? 0.003 : 0.03 }
}

/** (8·(f(h) − f(−h)) − (f(2h) − f(−2h))) / 12h: exact up to the fourth power. */
async function difference(f: (by: number) => Promise<number>, h: number): Promise<number> {
  const [a, b, c, d] = [await f(h), await f(-h), await f(2 * h), await f(-2 * h)]
  return (8 * (a - b) - (c - d)) / (12 * h)
}

function weighted(out: Record<string, Tensor>, weights: Record<string, Tensor>): number {
  let sum = 0
  for (const [id, w] of Object.entries(weights)) {
    const [y, r] = [toNumbers(out[id] as Tensor), toNumbers(w)]
    for (let i = 0; i < r.length; i++) sum += (r[i] as number) * (y[i] as number)
  }
  return sum
}

const noiseOf = (shape: readonly number[]): Tensor =>
  tensor(
    'float32',
    shape,
    Array.from({ length: elementCount(shape) }, (_, i) => (i % 10) / 10)
  )

/** `of`: whose differences are taken where the training form computes what the operator does, or something else. */
async function worst(c: GradCase, trained = false, of: 'operator' | 'form' = 'form'): Promise<number> {
  const model = modelOf(c)
  const feeds = draw(c, model)
  const { g } = copied(model, trained)
  const noise = Object.fromEntries(g.noises.map((n) => [n.input, noiseOf(n.shape)]))
  const random = rng('weights')
  const weights = Object.fromEntries(
    model.graph.outputs.map((id) => {
      const shape = model.graph.values.get(id)?.shape as number[]
      return [
        id,
        tensor(
          'float32',
          shape,
          Array.from({ length: elementCount(shape) }, () => random.normal())
        )
      ]
    })
  )
  const gradients = await analytic(model, { ...feeds, ...noise }, weights, trained)
  const isOther = trained && of === 'form'
  const ref = await reference(isOther ? inferShapes(g.model(model.graph.outputs)) : model, c)
  const wide = Object.fromEntries(Object.entries(feeds).map(([id, t]) => [id, Float64Array.from(toNumbers(t))]))
  const dtypes = Object.fromEntries(ref.session.inputs.map((i) => [i.name, i.dtype ?? ref.dtype]))
  const evaluate = async (): Promise<number> => {
    const given = Object.entries(wide).map(([id, v]) => [id, tensor(dtypes[id] as DType, feeds[id]?.shape ?? [], v)])
    return weighted(await ref.session.run({ ...Object.fromEntries(given), ...noise }), weights)
  }
  let error = 0
  for (const [id, values] of Object.entries(wide)) {
    const found = gradients[id] ? toNumbers(gradients[id]) : new Float32Array(values.length)
    let [largest, apart] = [1e-3, 0]
    for (const i of random.permutation(values.length).slice(0, looks)) {
      const x = values[i] as number
      const numeric = await difference((by) => {
        values[i] = x + by
        return evaluate()
      }, ref.step)
      values[i] = x
      largest = Math.max(largest, Math.abs(numeric))
      apart = Math.max(apart, Math.abs(numeric - (found[i] as number)))
    }
    error = Math.max(error, Number.isNaN(apart) ? Number.POSITIVE_INFINITY : apart / largest)
  }
  await ref.session.close()
  return error
}

describe('gradients agree with central differences', () => {
  it.each(Object.keys(gradCases))('%s', async (name) => {
    expect(await worst(gradCases[name] as GradCase)).toBeLessThan(tolerance)
  })
})

describe('so do those of training forms', () => {
  const cases = {
    BatchNormalization: {
      model:
        'input x: f32[3,4,3,2]; input s: f32[4]; input b: f32[4]; const m: f32[4] = 0,0,0,0; const v: f32[4] = 1,1,1,1; y = BatchNormalization(x, s, b, m, v); output y'
    },
    'BatchNormalization of features': {
      model:
        'input x: f32[9,4]; input s: f32[4]; input b: f32[4]; const m: f32[4] = 0,0,0,0; const v: f32[4] = 1,1,1,1; y = BatchNormalization(x, s, b, m, v, epsilon=0.01); output y'
    },
    Dropout: { model: 'input x: f32[3,4]; const q: f32[] = 0.25; y = Dropout(x, q); output y' }
  }
  it.each(Object.entries(cases))('%s', async (_, c) => {
    expect(await worst(c, true)).toBeLessThan(tolerance)
  })
})

describe('a convolution over small planes trains as products of matrices, to the same numbers', () => {
  const cases = Object.entries(gradCases).filter(
    ([name, c]) => name.startsWith('Conv') && copied(modelOf(c), true).tape[0]?.form
  )

  it('where it is depthwise or of one tap, and nowhere else', () => {
    expect(cases.map(([name]) => name)).toEqual([
      'Conv 1x1 at few positions',
      'Conv depthwise',
      'Conv depthwise stride',
      'Conv depthwise dilation',
      'Conv depthwise bias uneven pads',
      'Conv 1d depthwise'
    ])
  })

  it.each(cases)('%s', async (_, c) => {
    const model = modelOf(c)
    const feeds = draw(c, model)
    const [plain, form] = await Promise.all(
      [model, copied(model, true).g.model(model.graph.outputs)].map(async (m) => {
        const session = await runner.open(m)
        const { y } = await session.run(feeds)
        await session.close()
        return toNumbers(y as Tensor)
      })
    )
    expect(form?.length).toBe(plain?.length)
    for (const [i, value] of [...(plain ?? [])].entries()) expect(form?.[i]).toBeCloseTo(value, 4)
    expect(await worst(c, true, 'operator')).toBeLessThan(tolerance)
  })
})

/** Held to their definition below: a straight-through gradient is not the derivative. */
const byDefinition = new Set(['QuantizeLinear', 'DequantizeLinear'])

it('covers every operator that claims a gradient', () => {
  const seen = new Set(Object.values(gradCases).flatMap((c) => modelOf(c).graph.nodes.map(opName)))
  const claimed = ops
    .filter((op) => op.grad)
    .map((op) => opName({ op: op.name, ...(op.domain ? { domain: op.domain } : {}) }))
  expect(claimed.filter((name) => !seen.has(name) && !byDefinition.has(name))).toEqual([])
  expect(claimed.length).toBeGreaterThanOrEqual(60)
})

it.each([
  ['per tensor', 'const s: f32[] = 0.01; const z: u8[] = 100', [-1, 1.55], ''],
  ['per axis', 'const s: f32[2] = 0.01, 0.02; const z: i8[2] = 0, 0', [-1.28, 1.27, -2.56, 2.54], ', axis=0'],
  ['without zero point', 'const s: f32[] = 0.01', [0, 2.55], '']
] as const)('fake quantization lets through what lies in its range: %s', async (_, constants, bounds, axis) => {
  const hasZero = constants.includes('const z')
  const model = modelOf({
    model: `input x: f32[2,30]; ${constants}; q = QuantizeLinear(x, s${hasZero ? ', z' : ''}${axis}); y = DequantizeLinear(q, s${hasZero ? ', z' : ''}${axis}); output y`
  })
  const feeds = draw({ model: 'quantization', values: 'apart', scale: 2 }, model)
  const weights = { y: tensor('float32', [2, 30], range(60)) }
  const gradients = await analytic(model, feeds, weights)
  const expected = [...toNumbers(feeds['x'] as Tensor)].map((x, i) => {
    const row = bounds.length > 2 && i >= 30 ? 2 : 0
    return x >= (bounds[row] as number) && x <= (bounds[row + 1] as number) ? i : 0
  })
  expect([...toNumbers(gradients['x'] as Tensor)]).toEqual(expected)
  expect(expected.filter((v) => v !== 0).length).toBeGreaterThan(10)
})

it('values that no gradient reaches have none', async () => {
  const model = modelOf({ model: 'input x: f32[3]; i = ArgMax(x, keepdims=0); y = Cast(i, to=1); output y' })
  const gradients = await analytic(model, draw({ model: 'x' }, model), { y: tensor('float32', [], [1]) })
  expect(gradients).toEqual({})
})

import { describe, expect, it } from 'vitest'
import { difference, normalData, optimizedOf, outputsOf, randomFeeds, testContext } from '../../../../test/compare.ts'
import { rng } from '../../../base/random.ts'
import { metricFor } from '../../../data/metrics.ts'
import { readModel, writeModel } from '../../../formats/index.ts'
import { unfolded } from '../../../formats/onnx/forms.ts'
import { constant } from '../../../ir/graph.ts'
import { toNumbers } from '../../../ir/tensor.ts'
import { model } from '../../../ir/text.ts'
import { measurer } from '../../../measure/beside.ts'
import { nodeRunner } from '../../../node/runner.ts'
import { countIntegerKernels } from '../../../runtime/kernels.ts'
import type { Model, Tensor } from '../../../types.ts'
import { parseOptions } from '../../pass.ts'
import { applyRecipe, weigh } from '../../recipe.ts'
import type { Context, Recipe } from '../../types.ts'
import { mixPrecision } from './mix-precision.ts'
import type { MixPlan } from './report.ts'

const net = model`
  input x: f32[N,32]
  a = MatMul(x, A: f32[32,64])
  r = Relu(a)
  y = Gemm(r, B: f32[64,10], C: f32[10])
  output y`

interface Watched {
  readonly ctx: Context
  readonly plans: MixPlan[]
  readonly replayed: Recipe[]
  readonly notes: readonly string[]
}

function watched(m: Model, [calibration, selection]: readonly [number, number] = [128, 256]): Watched {
  const [plans, replayed]: [MixPlan[], Recipe[]] = [[], []]
  const data = { calibration: normalData(m, calibration), selection: normalData(m, selection) }
  const base = testContext()
  const measure = measurer({
    engine: nodeRunner(),
    measured: nodeRunner(),
    parts: [data.selection],
    metric: metricFor('agreement'),
    rng: rng(0)
  })
  const ctx = {
    ...base,
    data,
    measure,
    plan: (p: unknown) => plans.push(p as MixPlan),
    replay: (r: Recipe) => replayed.push(r)
  }
  return { ctx, plans, replayed, notes: base.notes }
}

const run = (m: Model, o: object, ctx: Context): Promise<Model> =>
  mixPrecision.run(m, parseOptions(mixPrecision, o), ctx)

describe('mix-precision', () => {
  it.each([
    [
      'a single layer',
      0.05,
      [5, 7],
      model`
      input x: f32[N,16]
      h = MatMul(x, A: f32[16,32])
      y = Relu(h)
      output y`
    ],
    [
      'a filter bank',
      0.05,
      [6, 9],
      model`
      input x: f32[N,4,6,6]
      c = Conv(x, W: f32[8,4,3,3], B: f32[8])
      p = GlobalAveragePool(c)
      y = Flatten(p)
      output y`
    ],
    ['two layers and a strict bound', 0.01, [40, 60], net]
  ] as const)('takes float16 where it costs nothing and few samples tell little: %s', async (_, maxDrop, parts, m) => {
    const { ctx, plans, notes } = watched(m, parts)
    expect(await run(m, { maxDrop, types: ['float16', 'int8'], minElements: 64 }, ctx)).not.toBe(m)
    expect(plans[0]?.layers.map((l) => l.type)).not.toContain('float')
    expect(notes.join()).not.toContain('no weight can be stored')
  })
  it('gives fewer bits for a larger bound, and says why', async () => {
    const strict = watched(net)
    const loose = watched(net)
    const fine = await run(net, { maxDrop: 0.005 }, strict.ctx)
    const coarse = await run(net, { maxDrop: 0.2 }, loose.ctx)
    expect(weigh(coarse).bytes).toBeLessThan(weigh(net).bytes)
    const [a, b] = [strict.plans[0], loose.plans[0]]
    expect(a?.predicted.bytes).toBeGreaterThan(b?.predicted.bytes as number)
    expect(a?.measured.drop.value).toBeLessThanOrEqual(0.005)
    expect(b?.measured.drop.value).toBeLessThanOrEqual(0.2)
    expect(a?.measured.error).toBeLessThan(b?.measured.error as number)
    expect(fine).not.toBe(net)
    for (const layer of a?.layers ?? []) expect(layer.why).toMatch(/would save|smallest/)
    expect(strict.notes.join('\n')).toMatch(/agreement drop/)
  })
  it('has errors that fall with the bits, alone and in sum', async () => {
    const { ctx, plans } = watched(net)
    await run(net, { maxDrop: 0.1, types: ['palette2', 'palette4', 'int8'], method: 'rtn' }, ctx)
    for (const { ways } of plans[0]?.layers ?? []) {
      const byBits = ['float', 'int8', 'palette4', 'palette2'].map((type) => ways.find((w) => w.type === type)?.error)
      expect(byBits).toEqual(byBits.toSorted((x = 0, y = 0) => x - y))
      expect(ways[0]).toMatchObject({ type: 'float', error: 0 })
    }
    const front = Object.values(plans[0]?.curves ?? {})[0] ?? []
    expect(front.length).toBeGreaterThan(2)
    for (const [i, [bytes, error]] of front.entries()) {
      expect(bytes).toBeGreaterThan(front[i - 1]?.[0] ?? 0)
      expect(error).toBeLessThan(front[i - 1]?.[1] ?? Number.POSITIVE_INFINITY)
    }
  })
  it('replays what it found, without measuring and to the same numbers', async () => {
    const { ctx } = watched(net)
    const found = await applyRecipe(net, [['mix-precision', { maxDrop: 0.05 }]], ctx)
    expect(found.recipe[0]?.[1]).toHaveProperty('assignment')
    const { measure: _, ...rest } = ctx
    const again = await applyRecipe(net, found.recipe, rest)
    const feeds = randomFeeds(net, 1, 4)
    expect(difference(await outputsOf(found.model, feeds), await outputsOf(again.model, feeds))).toBe(0)
  })
  it('reaches a budget of bytes with the least error', async () => {
    const { ctx, plans } = watched(net)
    await run(net, { budget: { bytes: 0.6 } }, ctx)
    const float = plans[0]?.layers.reduce((n, l) => n + (l.ways[0]?.bytes ?? 0), 0) ?? 0
    const rest = weigh(net).bytes - float
    expect((plans[0]?.predicted.bytes ?? 0) + rest).toBeLessThanOrEqual(0.6 * weigh(net).bytes)
    await expect(run(net, { budget: { bytes: 0.01 } }, ctx)).rejects.toMatchObject({
      code: 'E_CONSTRAINT',
      message: expect.stringMatching(/^these types reach 0\.\d+ of the bytes, not 0.01$/)
    })
  })
  it('splits into int8 and float layers by time, and replays as plain passes', async () => {
    const { ctx, replayed, notes } = watched(net)
    const made = await run(net, { objective: 'latency', maxDrop: 0.5 }, ctx)
    expect(notes.join('\n')).toMatch(
      /layers by how they compute, latency and loss, as measured: 2 static, 0 dynamic, 0 in float/
    )
    const again = await applyRecipe(net, replayed[0] ?? [], ctx)
    const feeds = randomFeeds(net, 1, 4)
    expect(difference(await outputsOf(made, feeds), await outputsOf(again.model, feeds))).toBe(0)
  })
  it('mixes integers with ranges taken at run time in, or uses them alone, and replays as plain passes', async () => {
    const { ctx, replayed, notes } = watched(net)
    const made = await run(net, { objective: 'latency', maxDrop: 0.5 }, ctx)
    expect(notes.join('\n')).toMatch(/ 0 static, 2 dynamic, 0 in float: /)
    expect(replayed.length).toBe(1)
    const alone = watched(net)
    const dynamic = await run(net, { objective: 'latency', maxDrop: 0.5, types: ['dynamic'] }, alone.ctx)
    expect(alone.notes.join('\n')).not.toMatch(/[1-9] static/)
    const passes = (alone.replayed[0] ?? []).map(([pass]) => pass)
    // Which is faster is the machine's to say.
    expect([['quantize-dynamic', 'quantize-weights'], []]).toContainEqual(passes)
    for (const [m, w] of [
      [made, replayed],
      [dynamic, alone.replayed]
    ] as const) {
      const again = await applyRecipe(net, w[0] ?? [], ctx)
      const feeds = randomFeeds(net, 1, 4)
      expect(difference(await outputsOf(m, feeds), await outputsOf(again.model, feeds))).toBe(0)
    }
  })
  it('gives the weights that int8 kernels read the bits that they need, and replays as plain passes', async () => {
    const deep = model`
      input x: f32[N,96]
      a = MatMul(x, A: f32[96,64])
      r = Relu(a)
      b = MatMul(r, B: f32[64,96])
      s = Relu(b)
      y = MatMul(s, C: f32[96,64])
      output y`
    const { ctx, plans, replayed } = watched(deep)
    const made = await run(deep, { objective: 'codes', maxDrop: 0.1, leastBytes: true }, ctx)
    const [recipe = []] = replayed
    expect(recipe.map(([pass]) => pass)).toEqual(['quantize-static', 'round'])
    const types = plans[0]?.layers.map((l) => l.type) ?? []
    expect(types.some((t) => t !== 'int8')).toBe(true)
    const bits = types.map((t) => Number(t.replace('int', '')))
    const held = ['A', 'B', 'C'].map((id) => {
      const codes = [...made.graph.values.values()].find((v) => v.data?.dtype === 'int8' && v.id.startsWith(`${id}_`))
      return Math.max(...Array.from(toNumbers(codes?.data as Tensor), Math.abs))
    })
    expect(held).toEqual(bits.map((n) => 2 ** (n - 1) - 1))
    const session = await nodeRunner().open(made, { optimization: 'extended', keepOptimized: true })
    expect(countIntegerKernels(await optimizedOf(session))).toEqual({ QLinearMatMul: 2, MatMulIntegerToFloat: 1 })
    await session.close()
    const again = await applyRecipe(deep, recipe, ctx)
    const feeds = randomFeeds(deep, 1, 4)
    expect(difference(await outputsOf(made, feeds), await outputsOf(again.model, feeds))).toBe(0)
    await expect(run(deep, { objective: 'codes', types: ['palette4'] }, ctx)).rejects.toMatchObject({
      code: 'E_OPTION',
      hint: 'for codes: int8, int6, int5, int4, int3'
    })
  })
  it('weighs loss against bytes within the bound, or takes the least bytes', async () => {
    const [weighed, least] = [watched(net), watched(net)]
    await run(net, { maxDrop: 0.1 }, weighed.ctx)
    await run(net, { maxDrop: 0.1, leastBytes: true }, least.ctx)
    const [a, b] = [weighed.plans[0], least.plans[0]]
    expect(a?.predicted.bytes).toBeGreaterThan(b?.predicted.bytes as number)
    expect(a?.measured.error).toBeLessThan(b?.measured.error as number)
  })
  it('stores bits between 8 and 4 with a scale a channel, which the runtime folds', async () => {
    const wide = model`
      input x: f32[N,96]
      a = MatMul(x, A: f32[96,64])
      y = MatMul(a, B: f32[64,96])
      output y`
    const { ctx } = watched(wide)
    const [a = '', b = ''] = wide.graph.nodes.map((n) => n.name)
    const made = await run(wide, { assignment: { int5: [a], int3: [b] } }, ctx)
    const codes = made.graph.nodes
      .filter((n) => n.op === 'DequantizeLinear')
      .map((n) => constant(made.graph, n.inputs[0]) as Tensor)
    expect(codes.map((t) => [...new Set(toNumbers(t))].length <= 32)).toEqual([true, true])
    expect(Array.from(toNumbers(codes[1] as Tensor)).every((q) => q >= -4 && q <= 3)).toBe(true)
    const { bytes } = writeModel(made)
    const eight = writeModel(await run(wide, { assignment: { int8: [a, b] } }, ctx))
    // 6,144 codes of 5 bits and as many of 3, and what unpacks them.
    expect(bytes.length).toBeLessThan(eight.bytes.length - 12_288 + 3840 + 2304 + 2000)
    const session = await nodeRunner().open(bytes, { keepOptimized: true })
    expect(unfolded(made, await optimizedOf(session))).toEqual([])
    await session.close()
    const feeds = randomFeeds(wide, 1, 4)
    expect(difference(await outputsOf(readModel(bytes), feeds), await outputsOf(made, feeds))).toBe(0)
  })
  it('gives the very same model back where there is nothing to choose', async () => {
    const { ctx } = watched(net)
    expect(await run(net, { exclude: ['MatMul', 'Gemm'] }, ctx)).toBe(net)
    expect(await run(net, { minElements: 10_000 }, ctx)).toBe(net)
    expect(await run(net, { assignment: {} }, ctx)).toBe(net)
  })
  it('says what is missing or cannot be', async () => {
    await expect(run(net, {}, testContext())).rejects.toMatchObject({ code: 'E_DATA', hint: '--data PATH' })
    const { ctx } = watched(net)
    await expect(run(net, { assignment: { int8: ['nowhere'] } }, ctx)).rejects.toMatchObject({
      code: 'E_OPTION',
      message: 'assignment.int8 names a node that is not there: nowhere'
    })
    await expect(run(net, { budget: { latency: 0.5 } }, ctx)).rejects.toMatchObject({ code: 'E_OPTION' })
    await expect(run(net, { types: ['dynamic'] }, ctx)).rejects.toMatchObject({
      code: 'E_OPTION',
      message: 'type dynamic is none of objective size'
    })
    await expect(run(net, { objective: 'latency', types: ['int4'] }, ctx)).rejects.toMatchObject({ code: 'E_OPTION' })
    await expect(run(net, { objective: 'latency', budget: { bytes: 0.5 } }, ctx)).rejects.toMatchObject({
      code: 'E_OPTION'
    })
  })
})

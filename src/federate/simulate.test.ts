import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { clouds } from '../../test/clouds.ts'
import { metricFor } from '../data/metrics.ts'
import { toFloats } from '../ir/tensor.ts'
import { model } from '../ir/text.ts'
import { nodeRunner } from '../node/runner.ts'
import { initialise, meanScore } from '../train/index.ts'
import type { Model, Tensor } from '../types.ts'
import { openLocal } from './local.ts'
import { partition } from './partition.ts'
import { parseRecipe } from './recipe.ts'
import { modelOf, type SimulateState, simulate, type Trainers } from './simulate.ts'
import { decodeState, encodeState } from './state.ts'
import { trainersHere } from './trainers.ts'

const net = initialise(
  model`
input x: f32[N,2]
a = MatMul(x, A: f32[2,48])
const S: f32[48] = ${Array(48).fill(1).join()}
const O: f32[48] = ${Array(48).fill(0).join()}
const M: f32[48] = ${Array(48).fill(0).join()}
const V: f32[48] = ${Array(48).fill(1).join()}
b = BatchNormalization(a, S, O, M, V)
r = Relu(b)
y = Gemm(r, B: f32[48,3], C: f32[3])
output y`,
  1
).model

const engine = nodeRunner()
const data = clouds(600, 'train')
const test = clouds(300, 'test')
const { clients } = partition(data.labels ?? [], { clients: 12, alpha: 0.5, seed: 1 })
const common = { rounds: 6, clientsPerRound: 4, local: { epochs: 2, batch: 10, rate: 0.05 } }
const score = (m: Model): Promise<number> => meanScore(m, { data: test, metric: metricFor('top1') }, { engine })

const open: Trainers[] = []
async function trainers(given: object): Promise<Trainers> {
  const made = await trainersHere(net, parseRecipe(given), { data, clients, engine })
  open.push(made)
  return made
}
afterAll(async () => {
  for (const t of open) await t.close()
})

const stateOf = async (given: object, o: object = {}, change = (t: Trainers): Trainers => t): Promise<SimulateState> =>
  (
    await simulate(
      net,
      parseRecipe(given),
      { clients: 12, seed: 1, ...o },
      { trainers: change(await trainers(given)), score }
    )
  ).state

describe('a simulated federation', () => {
  let plain: SimulateState
  const stc = { ...common, up: { codec: 'stc', share: 0.2 } }
  beforeAll(async () => {
    plain = await stateOf(stc)
  })

  it.each([
    ['floats', { up: { codec: 'float' }, down: { codec: 'float' } }],
    ['8 bits both ways', {}],
    ['4 bits down', { up: { codec: 'quantize', bits: 4 }, down: { codec: 'quantize', bits: 4 } }],
    ['top-k', { up: { codec: 'top-k', share: 0.2 } }],
    ['a public mask', { mask: 0.5 }],
    ['FedAdam', { server: { rule: 'fedadam', rate: 0.05 } }],
    ['FedProx', { local: { ...common.local, proximal: 0.1 } }]
  ])('learns with %s', async (_, given) => {
    const { history } = await stateOf({ ...common, ...given })
    expect(history).toHaveLength(6)
    expect(history.at(-1)?.score).toBeGreaterThan(0.9)
  })

  it('sends fewer bytes than floats, and counts whole messages', async () => {
    expect(plain.history.at(-1)?.score).toBeGreaterThan(0.9)
    for (const { up, upPayload, down, downPayload } of plain.history) {
      expect(up - upPayload).toBe(4 * 80)
      expect(down - downPayload).toBe(4 * 80)
    }
  })

  it('gives the same bits again, and when clients are trained in another order', async () => {
    const backwards = (t: Trainers): Trainers => ({
      ...t,
      run: async (turns, signal) => [...(await t.run([...turns].reverse(), signal))].reverse()
    })
    expect((await stateOf(stc, {}, backwards)).run).toEqual(plain.run)
    expect((await stateOf(stc, { seed: 2 })).run.state).not.toEqual(plain.run.state)
  })

  it('goes on from what was kept as if it had never stopped', async () => {
    const recipe = parseRecipe(stc)
    const kept: Uint8Array[] = []
    const made = await trainers(stc)
    const o = { clients: 12, seed: 1 }
    const onRound = (_: unknown, s: SimulateState): void => void kept.push(encodeState('it', s))
    await simulate(net, recipe, o, { trainers: made, score, onRound })
    const from = decodeState(kept[2] as Uint8Array, { key: 'it', recipe, manifest: made.manifest })
    expect(from.history).toHaveLength(3)
    const { state } = await simulate(net, recipe, o, { trainers: made, score }, from)
    expect(state).toEqual(plain)
    expect(() => decodeState(kept[2] as Uint8Array, { key: 'other', recipe, manifest: made.manifest })).toThrow(
      /another/
    )
    const damaged = (kept[2] as Uint8Array).slice()
    damaged[damaged.length - 1] = (damaged.at(-1) as number) ^ 1
    expect(() => decodeState(damaged, { key: 'it', recipe, manifest: made.manifest })).toThrow(/hash/)
  })

  it('sends the largest changes of the model down to clients that are always there', async () => {
    const given = { ...common, rounds: 10, clientsPerRound: 12, down: { codec: 'stc', share: 0.2 } }
    const { run, history } = await stateOf(given)
    expect(history.at(-1)?.score).toBeGreaterThan(0.9)
    const whole = await stateOf({ ...common, rounds: 2, clientsPerRound: 12 })
    expect(history[1]?.downPayload).toBeLessThan(0.7 * (whole.history[1]?.downPayload as number))
    // What was not sent yet stays little: it goes with the changes of later rounds.
    const off = run.state.model.map((w, i) => w - (run.sent?.[i] as number))
    expect(Math.hypot(...off)).toBeLessThan(0.3 * Math.hypot(...run.state.model))
    const pruned = { ...given, prune: { to: 0.5, from: 1, until: 3 } }
    expect((await stateOf(pruned)).history.at(-1)?.score).toBeGreaterThan(0.85)
    await expect(stateOf({ ...given, clientsPerRound: 4 })).rejects.toThrow(/not to 4 of 12/)
  })

  it('prunes for all alike, and updates hold only what is left', async () => {
    const given = { ...common, up: { codec: 'float' }, prune: { to: 0.5, from: 1, until: 3 } }
    const { run, history } = await stateOf(given)
    const zeros = run.manifest.parts.flatMap((p) => [...run.state.model.subarray(p.offset, p.offset + p.size)])
    expect(zeros.filter((x) => x === 0).length).toBeGreaterThanOrEqual(120)
    expect(history.at(-1)?.score).toBeGreaterThan(0.85)
    expect(history.at(-1)?.upPayload).toBeLessThan(0.8 * (history[0]?.upPayload as number))
  })

  it('ends with rounded weights where clients train with them rounded', async () => {
    const given = { ...common, quantize: { bits: 4, from: 2 } }
    const { run, history } = await stateOf(given)
    expect(history.at(-1)?.score).toBeGreaterThan(0.9)
    const weights = toFloats(modelOf(net, run).graph.values.get('B')?.data as Tensor)
    for (const c of [0, 1, 2]) {
      const codes = weights.filter((_, i) => i % 3 === c)
      const step = codes.map(Math.abs).reduce((a, b) => Math.max(a, b)) / 7
      for (const w of codes) expect(Math.abs(w / step - Math.round(w / step))).toBeLessThan(1e-4)
    }
    const float = modelOf(net, { ...run, round: 2 })
    expect(new Set(toFloats(float.graph.values.get('B')?.data as Tensor)).size).toBeGreaterThan(45)
    expect(() => parseRecipe({ rounds: 3, quantize: { from: 3 } })).toThrow(/the last is 2/)
  })

  it('is led astray by hostile clients, unless another rule than the mean is asked', async () => {
    const hostile = { share: 0.25, factor: -10 }
    const given = { ...common, clientsPerRound: 8 }
    const bad = await stateOf(given, { hostile })
    for (const aggregate of [{ rule: 'median' }, { rule: 'trimmed-mean', share: 0.4 }, { rule: 'krum', share: 0.3 }]) {
      const state = await stateOf({ ...given, aggregate }, { hostile })
      expect(state.history.at(-1)?.score).toBeGreaterThan((bad.history.at(-1)?.score as number) + 0.1)
    }
  })
})

describe('a client', () => {
  it('stays nearer to the model that came down with FedProx', async () => {
    const norms: number[] = []
    for (const proximal of [0, 1]) {
      const options = { epochs: 5, batch: 10, rate: 0.05, momentum: 0, decay: 0, proximal }
      const local = await openLocal(net, { options, engine })
      const { delta } = await local.round({ base: local.initial, data, seed: 1 })
      const weights = local.manifest.parts.filter((p) => p.role === 'weight')
      norms.push(Math.hypot(...weights.flatMap((p) => [...delta.subarray(p.offset, p.offset + p.size)])))
      await local.close()
    }
    expect(norms[1]).toBeLessThan(0.8 * (norms[0] as number))
  })

  it('is refused a model without a loss, and one that diverges', async () => {
    const options = { epochs: 1, batch: 10, rate: 1e20, momentum: 0, decay: 0, proximal: 0 }
    const other = model`
input x: f32[N,2]
a = MatMul(x, A: f32[2,5])
y = Reshape(a, s: i64[3]{-1,5,1})
z = Concat(y, y, axis=2)
output z`
    await expect(openLocal(other, { options, engine })).rejects.toMatchObject({ code: 'E_UNSUPPORTED' })
    const local = await openLocal(net, { options, engine })
    await expect(local.round({ base: local.initial, data, seed: 1 })).rejects.toMatchObject({ code: 'E_DATA' })
    await local.close()
  })
})

import { expect, test } from 'vitest'
import { rng } from '../base/random.ts'
import { layOut } from './manifest.ts'
import { parseRecipe } from './recipe.ts'
import { serverStep } from './rules.ts'
import { commitRound, openRound, type Round, type Run, startRun, takeUpdate } from './server.ts'
import { addTo, meanOf, noSums } from './sums.ts'
import { zerosAt } from './support.ts'
import type { ServerRule } from './types.ts'
import { encodeMessage } from './wire.ts'

const room = { bound: 16, weights: 10 * 65_535 }
const normals = (n: number, seed: string, size = 1): Float32Array => {
  const random = rng(seed)
  return Float32Array.from({ length: n }, () => size * random.normal())
}

test('sums have the same bits in any order, and are the weighted mean', () => {
  const updates = Array.from({ length: 10 }, (_, i) => normals(500, `u${i}`))
  const sumOf = (order: readonly number[]): Float32Array => {
    const sums = noSums(500, room)
    for (const i of order) addTo(sums, updates[i] as Float32Array, 100 * (i + 1))
    return meanOf(sums)
  }
  const mean = sumOf([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  expect(sumOf([9, 3, 5, 1, 0, 2, 8, 6, 4, 7])).toEqual(mean)
  mean.forEach((x, n) => {
    const exact = updates.reduce((s, u, i) => s + (u[n] as number) * (i + 1), 0) / 55
    expect(x).toBeCloseTo(exact, 6)
  })
})

test.each([Number.NaN, Number.POSITIVE_INFINITY, 17])(
  'an update with %d is refused, and nothing of it is added',
  (x) => {
    const sums = noSums(3, room)
    addTo(sums, Float32Array.of(1, 2, 3), 5)
    expect(() => addTo(sums, Float32Array.of(1, 1, x), 5)).toThrow(/at most 16/)
    expect(meanOf(sums)).toEqual(Float32Array.of(1, 2, 3))
  }
)

test('weights that there is no room for are refused', () => {
  const sums = noSums(1, { bound: 1, weights: 10 })
  addTo(sums, Float32Array.of(1), 8)
  expect(() => addTo(sums, Float32Array.of(1), 3)).toThrow(/more than 10/)
})

test('rules of the server, two rounds by hand', () => {
  const after = (rule: ServerRule): number => {
    const once = serverStep(rule, { model: Float32Array.of(1) }, Float32Array.of(0.5))
    return serverStep(rule, once, Float32Array.of(0.25)).model[0] as number
  }
  expect(after({ rule: 'fedavg', rate: 1 })).toBeCloseTo(1.75, 6)
  // v = .5, then .9 · .5 + .25 = .7
  expect(after({ rule: 'fedavgm', rate: 1, momentum: 0.9 })).toBeCloseTo(1 + 0.5 + 0.7, 6)
  const tau = 0.001
  // m = .05, then .9 · .05 + .1 · .25 = .07
  const v1 = 0.99 * tau ** 2 + 0.01 * 0.25
  const v2 = 0.99 * v1 + 0.01 * 0.0625
  const steps = 0.05 / (Math.sqrt(v1) + tau) + 0.07 / (Math.sqrt(v2) + tau)
  expect(after({ rule: 'fedadam', rate: 0.1, betas: [0.9, 0.99], tau })).toBeCloseTo(1 + 0.1 * steps, 5)
  // sign(v − D²) is −1 in both rounds: τ² < .25 and .0025 < .0625
  const y1 = tau ** 2 + 0.01 * 0.25
  const y2 = y1 + 0.01 * 0.0625
  const yogi = 0.05 / (Math.sqrt(y1) + tau) + 0.07 / (Math.sqrt(y2) + tau)
  expect(after({ rule: 'fedyogi', rate: 0.1, betas: [0.9, 0.99], tau })).toBeCloseTo(1 + 0.1 * yogi, 5)
})

const manifest = layOut([
  { name: 'b', shape: [20], role: 'weight' },
  { name: 'w', shape: [40, 20], role: 'weight' }
])

/** A round in which one client sends these numbers. */
async function roundWith(run: Run, update: Float32Array): Promise<{ round: Round; after: Run }> {
  const round = await openRound(run, 1)
  const message = await encodeMessage({
    header: { kind: 'update', run: run.id, round: run.round, base: round.base, nonce: new Uint8Array(8), weight: 10 },
    ...{ manifest, values: update, codec: { codec: 'float' }, mask: round.mask }
  })
  await takeUpdate(run, round, message)
  return { round, after: commitRound(run, round) }
}

const start = (given: object): Run => {
  const recipe = parseRecipe({ rounds: 20, clientsPerRound: 1, ...given })
  return startRun(recipe, manifest, normals(manifest.size, 'model', 0.1), new Uint8Array(16))
}

test('an update changes the server’s own model, not the coded one', async () => {
  const run = start({ down: { codec: 'quantize', bits: 4 } })
  const { round, after } = await roundWith(run, new Float32Array(manifest.size).fill(0.25))
  expect(round.values).not.toEqual(run.state.model)
  after.state.model.forEach((w, i) => {
    expect(w).toBeCloseTo((run.state.model[i] as number) + 0.25, 5)
  })
})

test('what four bits lose of the model comes down in the next rounds', async () => {
  let run = start({ down: { codec: 'quantize', bits: 4 } })
  const none = new Float32Array(manifest.size)
  const sum = new Float64Array(manifest.size)
  const rounds = 16
  let once = 0
  for (let r = 0; r < rounds; r++) {
    const { round, after } = await roundWith(run, none)
    round.values.forEach((x, i) => {
      sum[i] = (sum[i] as number) + x
    })
    if (r === 0) once = errorOf(round.values, run.state.model)
    run = after
  }
  const mean = errorOf(
    sum.map((s) => s / rounds),
    run.state.model
  )
  expect(mean).toBeLessThan(once / 5)
})

const errorOf = (a: ArrayLike<number>, b: Float32Array): number =>
  Math.sqrt(b.reduce((s, x, i) => s + ((a[i] as number) - x) ** 2, 0))

test('updates hold a share of the weights, half of them those that moved most', async () => {
  const run = start({ mask: 0.2 })
  const moving = new Float32Array(manifest.size)
  moving.fill(1, 20, 90)
  const { round, after } = await roundWith(run, moving)
  const count = (m: Uint8Array | undefined): number => m?.reduce((n, x) => n + x, 0) ?? 0
  expect(count(round.mask)).toBe(4 + 160)
  const next = await openRound(after, 1)
  expect(count(next.mask)).toBe(4 + 160)
  const moved = manifest.parts[1] as { offset: number }
  const taken = after.state.model.reduce(
    (n, w, i) => n + (i >= moved.offset && w - (run.state.model[i] as number) > 0.5 ? (next.mask?.[i] as number) : 0),
    0
  )
  const all = after.state.model.filter((w, i) => i >= moved.offset && w - (run.state.model[i] as number) > 0.5).length
  expect(all).toBeGreaterThan(0)
  expect(taken).toBe(all)
})

test('weights go by their magnitude, step by step, and stay away', async () => {
  const prune = { to: 0.8, from: 2, until: 6, every: 2 }
  // Of three steps, by a cube: 1 − 8/27, 1 − 1/27, 1.
  const wanted = [0, 0, 19 / 27, 19 / 27, 26 / 27, 1, 1]
  for (const [i, round] of [0, 1, 2, 3, 4, 6, 9].entries())
    expect(zerosAt(prune, round)).toBeCloseTo(0.8 * (wanted[i] as number), 12)
  let run = start({ prune, down: { codec: 'float' } })
  const supports: Uint8Array[] = []
  for (let r = 0; r < 8; r++) {
    const { round, after } = await roundWith(run, normals(manifest.size, `update ${r}`, 0.05))
    if (run.support) {
      supports.push(run.support)
      round.values.forEach((w, i) => void (run.support?.[i] === 0 && expect(w).toBe(0)))
    }
    run = after
  }
  const last = supports.at(-1) as Uint8Array
  expect(last.filter((s) => s === 0)).toHaveLength(640)
  // Biases stay whole.
  expect(last.subarray(0, 20)).toEqual(new Uint8Array(20).fill(1))
  for (const [i, s] of supports.entries())
    for (const later of supports.slice(i)) later.forEach((x, n) => void (s[n] === 0 && expect(x).toBe(0)))
  run.state.model.forEach((w, i) => void (last[i] === 0 && expect(w).toBe(0)))
})

test('recipes with what does not exist or fit are refused', () => {
  expect(() => parseRecipe({ rounds: 0 })).toThrow()
  expect(() => parseRecipe({ speed: 1 })).toThrow(/no option speed/)
  expect(() => parseRecipe({ up: { codec: 'zip' } })).toThrow()
  expect(() => parseRecipe({ rounds: 5, prune: { to: 0.5, from: 2, until: 9 } })).toThrow(/the last is 4/)
})

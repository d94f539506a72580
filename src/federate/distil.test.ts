import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { clouds } from '../../test/clouds.ts'
import { metricFor } from '../data/metrics.ts'
import { subset } from '../data/split.ts'
import { model } from '../ir/text.ts'
import { nodeRunner } from '../node/runner.ts'
import { initialise, meanScore } from '../train/index.ts'
import { distilled, meanScores, scoresManifest, scoresTurn } from './distil.ts'
import { type Local, localFor } from './local.ts'
import { parseRecipe } from './recipe.ts'
import { openRound, type Round, type Run, startRun } from './server.ts'
import { headerBytes } from './wire.ts'

const net = initialise(
  model`
input x: f32[N,2]
r = Gemm(x, A: f32[2,32], B: f32[32])
h = Relu(r)
y = Gemm(h, C: f32[32,3], D: f32[3])
output y`,
  1
).model
const other = initialise(
  model`
input x: f32[N,2]
a = MatMul(x, A: f32[2,8])
r = Tanh(a)
y = MatMul(r, B: f32[8,3])
p = Softmax(y)
output p`,
  2
).model

const engine = nodeRunner()
const data = clouds(400, 'train')
const { labels: _, ...open } = clouds(300, 'public')
const recipe = parseRecipe({
  rounds: 1,
  local: { epochs: 6, batch: 10, rate: 0.1 },
  distil: { epochs: 20, rate: 0.02 }
})
const distil = recipe.distil as NonNullable<typeof recipe.distil>

describe('a student of what clients say', () => {
  let local: Local
  let run: Run
  let round: Round
  const messages: Uint8Array[] = []
  beforeAll(async () => {
    local = await localFor(net, recipe, engine)
    run = startRun(recipe, local.manifest, local.initial, new Uint8Array(16).fill(5))
    round = await openRound(run, 1)
    for (const k of [0, 1, 2]) {
      const mine = subset(
        data,
        Array.from({ length: 100 }, (_all, i) => 100 * k + i)
      )
      const turn = { local, recipe, message: round.message, data: mine, seed: k, model: net, engine }
      messages.push(await scoresTurn({ ...turn, open: { ...open, labelled: false } }, distil))
    }
  })
  afterAll(() => local.close())

  const manifest = scoresManifest(300, 3)
  const at = (): Parameters<typeof meanScores>[2] => ({ run: run.id, round: 0, base: round.base, bound: 256 })

  it('learns without a label, and may be another network', async () => {
    const scores = await meanScores(messages, manifest, at())
    expect(scores).toHaveLength(900)
    const made = await distilled(other, distil, { open: { ...open, labelled: false }, scores, engine, seed: 1 })
    const test = clouds(300, 'test')
    const top1 = await meanScore(made, { data: test, metric: metricFor('top1') }, { engine })
    expect(top1).toBeGreaterThan(0.9)
    expect(await meanScore(other, { data: test, metric: metricFor('top1') }, { engine })).toBeLessThan(top1)
  })

  it('is sent a byte a score, whatever the order of the clients', async () => {
    for (const m of messages) expect(m.length).toBeLessThan(headerBytes + 900 + 60)
    const [a, b] = await Promise.all([messages, [...messages].reverse()].map((m) => meanScores(m, manifest, at())))
    expect(a).toEqual(b)
  })

  it('takes scores of this round and these samples alone', async () => {
    await expect(meanScores(messages, manifest, { ...at(), base: new Uint8Array(32) })).rejects.toThrow(/another model/)
    await expect(meanScores(messages, scoresManifest(299, 3), at())).rejects.toMatchObject({ code: 'E_FORMAT' })
    await expect(meanScores(messages, manifest, { ...at(), bound: 1e-3 })).rejects.toMatchObject({ code: 'E_DATA' })
  })
})

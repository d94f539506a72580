import { describe, expect, it } from 'vitest'
import { rng } from '../../base/random.ts'
import { nodeRunner } from '../../node/runner.ts'
import type { Interval } from '../../types.ts'
import { madeSpace } from './cases.ts'
import { drive } from './drive.ts'
import { edgeOf } from './edge.ts'
import { leastCost } from './goal.ts'
import { bestTried } from './outcome.ts'
import { costing, encoded, harmOf, type Point } from './space.ts'
import { explorers } from './strategies/index.ts'
import { packed, type Trials } from './trial.ts'

const space = madeSpace(12, 5, 7)
const shareOf = (p: Point): number => costing(space, ['bytes']).of(p)[0] as number

/** What a model really loses: the additive guess, but some units do less harm together than alone. */
const trueHarm = (p: Point): number => harmOf(space, p) * (p[0] === p[1] ? 0.7 : 1)
/** Points of accuracy for a unit of harm. */
const k = 0.2

const around = (value: number): Interval => ({ value, low: value - 0.002, high: value + 0.002, n: 500 })
const measure = async (p: Point) => ({ error: trueHarm(p), drop: around(k * trueHarm(p)) })

describe('the edge', () => {
  it('is a share at which a model keeps the bound, and a harm that means no larger drop', async () => {
    for (const maxDrop of [0.05, 0.2]) {
      const edge = await edgeOf(space, 'bytes', maxDrop, measure)
      expect(k * edge.harm).toBeLessThanOrEqual(maxDrop)
      expect(k * edge.harm).toBeGreaterThan(0.5 * maxDrop)
      expect(edge.share).toBeLessThan(1)
    }
  })

  it('is refused where every model that was measured loses more', async () => {
    const lossy = async (p: Point) => ({ error: 1 + trueHarm(p), drop: around(0.5) })
    await expect(edgeOf(space, 'bytes', 0.01, lossy)).rejects.toMatchObject({ code: 'E_CONSTRAINT' })
    await expect(edgeOf(space, 'latency', 0.01, measure)).rejects.toThrow(/latency of this model are not known/)
  })
})

const edge = { cost: 'bytes', harm: 0.8, share: 0.4 } as const

describe('the least of a cost', () => {
  const goal = leastCost(space, edge)

  it('projects every point onto the budget that it names itself, and changes nothing when done again', () => {
    const random = rng(1)
    for (let i = 0; i < 200; i++) {
      const point = goal.project(goal.space.units.map(() => random.next()))
      const budget = Number(goal.space.units.at(-1)?.choices[point.at(-1) as number])
      expect(shareOf(goal.part(point))).toBeLessThanOrEqual(budget * 1.005)
      expect(goal.project(encoded(goal.space, point))).toEqual(point)
    }
  })

  it('puts what is allowed before what is not, and the cheaper first', () => {
    const point = goal.project(goal.starts[1] ?? [])
    expect(goal.score(point, 0.79)).toBeCloseTo(shareOf(goal.part(point)), 12)
    expect(goal.score(point, 0.9)).toBeGreaterThan(goal.score(goal.project(goal.space.units.map(() => 1)), 0.8))
  })
})

const workers: Trials = {
  slots: 1,
  run: async ({ point, from, to }) => {
    const random = rng(`losses ${point.join()} ${from}`)
    const losses = Float32Array.from({ length: to - from }, () => trueHarm(point) * (0.5 + random.next()))
    return { losses: packed(losses), drop: { sum: 0, squares: 0 }, ms: 1 }
  },
  close: async () => {}
}

it.each(explorers.map((e) => e.name))('%s finds no dearer point than it began with, within the bound', async (name) => {
  const found = await edgeOf(space, 'bytes', 0.1, measure)
  const goal = leastCost(space, found)
  const trials = name === 'ddpg' ? 20 : 60
  const explorer = explorers
    .find((e) => e.name === name)
    ?.make({ ...goal, trials, objectives: 1, engine: nodeRunner() })
  if (!explorer) throw new Error(name)
  const tried = await drive({
    ...{ run: `${name}/0`, seed: 0, explorer, goal, trials, ahead: 2, problem: 'p', samples: 600 },
    ...{ workers, known: new Map(), lines: [], signal: new AbortController().signal },
    journal: { open: async () => [], append: async () => {} }
  })
  await explorer.close?.()
  const best = bestTried(tried)
  expect(best?.isWhole).toBe(true)
  expect(best?.score).toBeLessThanOrEqual(found.share * 1.02)
  if (name === 'local' || name === 'evolution') expect(best?.score).toBeLessThan(found.share)
})

import { describe, expect, it } from 'vitest'
import { rng } from '../../base/random.ts'
import { nodeRunner } from '../../node/runner.ts'
import { madeSpace } from './cases.ts'
import { type DriveOptions, drive, type Tried } from './drive.ts'
import type { Task } from './explorer.ts'
import { withinBudgets } from './goal.ts'
import type { SearchLine } from './records.ts'
import { harmOf } from './space.ts'
import { explorers } from './strategies/index.ts'
import { packed, type Trials } from './trial.ts'

const space = madeSpace(12, 5, 7)
const budgets = { bytes: 0.35 }
const goal = withinBudgets(space, budgets)

/** Workers whose losses are the additive harm with a spread over samples; they take different times. */
function workers(slots: number): Trials & { ran: number } {
  const at = {
    slots,
    ran: 0,
    run: async (job: Parameters<Trials['run']>[0]) => {
      at.ran++
      for (let i = 0; i < (job.k * 7) % 5; i++) await new Promise((go) => setTimeout(go, 1))
      const random = rng(`losses ${job.point.join()} ${job.from}`)
      const harm = harmOf(space, job.point)
      const losses = Float32Array.from({ length: job.to - job.from }, () => harm * (0.5 + random.next()))
      return { losses: packed(losses), drop: { sum: 0, squares: 0 }, ms: 1 }
    },
    close: async () => {}
  }
  return at
}

async function searched(
  strategy: string,
  o: Partial<DriveOptions> & { readonly starts?: boolean } = {}
): Promise<{ tried: readonly Tried[]; lines: SearchLine[] }> {
  const { starts = true, ...rest } = o
  const lines: SearchLine[] = []
  const trials = o.trials ?? 60
  const task: Task = {
    ...{ ...goal, trials, objectives: 1, engine: nodeRunner() },
    starts: starts ? goal.starts : []
  }
  const explorer = (explorers.find((e) => e.name === strategy) ?? explorers[0]).make(task)
  const tried = await drive({
    ...{ run: `${strategy}/0`, seed: 0, explorer, goal, trials, ahead: 4, problem: 'p', samples: 600 },
    ...{ workers: workers(1), known: new Map(), lines: [], signal: new AbortController().signal },
    journal: { open: async () => [], append: async (l) => void lines.push(l) },
    ...rest
  })
  await explorer.close?.()
  return { tried, lines }
}

const plain = (lines: readonly SearchLine[]): string[] => lines.map((l) => JSON.stringify({ ...l, ms: 0 })).sort()

describe('a run', () => {
  // Networks take their time.
  const trialsOf = (name: string): number => (name === 'ddpg' ? 20 : 60)

  it.each(explorers.map((e) => e.name))('of %s is the same with one and with three workers', async (name) => {
    const one = await searched(name, { trials: trialsOf(name) })
    const three = await searched(name, { trials: trialsOf(name), workers: workers(3) })
    expect(plain(three.lines)).toEqual(plain(one.lines))
    expect(one.tried.length).toBeGreaterThan(1)
  })

  it.each(explorers.map((e) => e.name))('of %s goes on from any line to the very same end', async (name) => {
    const trials = trialsOf(name)
    const whole = await searched(name, { trials })
    for (const cut of name === 'ddpg' ? [33] : [1, 2, 37, 90, whole.lines.length]) {
      const w = workers(2)
      const rest = await searched(name, { trials, lines: whole.lines.slice(0, cut), workers: w })
      const known = whole.lines.slice(0, cut)
      expect(plain([...known, ...rest.lines])).toEqual(plain(whole.lines))
      expect(rest.tried.map((t) => t.score)).toEqual(whole.tried.map((t) => t.score))
    }
  })

  it('refuses a journal that proposed something else', async () => {
    const { lines } = await searched('local')
    const other = lines.map((l) =>
      l.kind === 'proposed' && l.k === 5 ? { ...l, point: l.point.with(0, 4 - (l.point[0] as number)) } : l
    )
    await expect(searched('local', { lines: other })).rejects.toThrow(/trial 5 of local\/0 would be another one/)
  })

  it('measures a point once, whoever proposes it', async () => {
    const known = new Map()
    const first = workers(1)
    await searched('random', { known, workers: first })
    const second = workers(1)
    const { tried } = await searched('random', { known, workers: second })
    expect(second.ran).toBe(0)
    expect(tried.every((t) => t.isKnown || t.isGuessed)).toBe(true)
  })

  it('drops what is worse on few samples, and keeps the best for all of them', async () => {
    const { tried } = await searched('random')
    const best = tried.reduce((a, b) => (b.score < a.score ? b : a))
    expect(best.isWhole).toBe(true)
    const dropped = tried.filter((t) => !t.isWhole)
    expect(dropped.length).toBeGreaterThan(10)
    expect(dropped.every((t) => t.losses.length < 600)).toBe(true)
    // Of those that were dropped by the guess, none is better than it seems.
    const guessed = dropped.filter((t) => t.isGuessed)
    expect(guessed.length).toBeGreaterThan(0)
    for (const t of guessed) expect(harmOf(space, t.point)).toBeGreaterThan(best.score)
  })
})

describe('strategies', () => {
  it.each([
    ['local', 100],
    ['evolution', 100],
    ['ddpg', 200]
  ] as const)(
    '%s comes nearer to the optimum than random at equal trials, %i',
    async (name, trials) => {
      const least = (tried: readonly Tried[]): number => Math.min(...tried.map((t) => harmOf(space, t.point)))
      const [own, random] = await Promise.all([
        searched(name, { starts: false, trials }),
        searched('random', { starts: false, trials })
      ])
      const optimum = harmOf(space, goal.solved({}))
      expect(least(own.tried) - optimum).toBeLessThan(0.8 * (least(random.tried) - optimum))
    },
    180_000
  )
})

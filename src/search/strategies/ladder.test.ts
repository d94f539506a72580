import { describe, expect, it } from 'vitest'
import { rng } from '../../base/random.ts'
import { model } from '../../ir/text.ts'
import { targetFor } from '../../targets/index.ts'
import type { Problem } from '../strategy.ts'
import type { Measured, Proposal, Trial } from '../trial.ts'
import { ladder } from './ladder.ts'

const problem: Problem = {
  model: model`
input x: f32[1,2]
y = Relu(x)
output y`,
  target: targetFor('ort-cpu'),
  objective: 'balanced',
  metric: 'top1',
  maxDrop: 0.01,
  isCalibrated: true,
  bytes: 1000
}

interface Figures {
  readonly bytes?: number
  readonly drop?: number
  readonly latency?: number
}

const measured = (proposal: Proposal, { bytes = 500, drop = 0, latency = 1 }: Figures): Measured => ({
  ...{ key: proposal.name, proposal, recipe: proposal.recipe, bytes, macs: 10, metrics: {}, error: 0 },
  drop: { top1: { value: drop, low: drop, high: drop, n: 100 } },
  timing: {
    before: { p50: 1, p90: 1, p99: 1, n: 50 },
    after: { p50: latency, p90: latency, p99: latency, n: 50 },
    ratio: { median: latency, low: latency, high: latency }
  },
  ...{ steps: [], refusals: [], notes: [] }
})

/** All that is proposed where candidates come to these figures, or fail. */
function proposed(figures: Readonly<Record<string, Figures | 'fails'>>, o: Partial<Problem> = {}): Trial[] {
  const strategy = ladder.make({ ...problem, ...o })
  const history: Trial[] = []
  for (;;) {
    const next = strategy.next(history, [], rng(0))
    if (next === 'done') return history
    const known = figures[next.name] ?? {}
    history.push(
      known === 'fails'
        ? { key: next.name, proposal: next, failed: 'does not run: as the test says' }
        : measured(next, known)
    )
  }
}

const names = (trials: readonly Trial[]): string[] => trials.map((t) => t.proposal.name)
const whole = ['float, simplified', 'int8 weights', '16-bit weights', 'int8']

describe('the ladder', () => {
  it('tries every variant, and no mixture where none is needed', () => {
    expect(names(proposed({ int8: { latency: 0.5 } }))).toEqual(whole)
  })

  it('mends what is slow or loses too much, where the mixture could win', () => {
    const slow = proposed({ int8: { latency: 0.9 } })
    expect(names(slow).at(-1)).toBe('int8 but for layers that it slows or harms')
    expect(slow.at(-1)?.proposal.recipe.map(([pass]) => pass)).toEqual(['simplify', 'fuse', 'mix-precision'])
    const lossy = proposed({ 'int8 weights': { bytes: 250, drop: 0.02 }, int8: { latency: 0.5, bytes: 900 } })
    expect(names(lossy).at(-1)).toBe('int8 weights but for some of 16 bits')
    const hopeless = proposed({ 'int8 weights': { bytes: 990, drop: 0.02 }, int8: { latency: 0.5, bytes: 250 } })
    expect(names(hopeless)).toEqual(whole)
  })

  it('looks for the fewest bits where size counts, and without samples makes what needs none', () => {
    expect(names(proposed({ int8: { latency: 0.5 } }, { objective: 'size' }))).toEqual([
      ...whole,
      'weights of mixed bits'
    ])
    expect(names(proposed({}, { isCalibrated: false, objective: 'size' }))).toEqual(whole.slice(0, 3))
  })

  it('goes on where a candidate fails, from the model as it is where the simplified one does', () => {
    expect(names(proposed({ 'int8 weights': 'fails', int8: { latency: 0.5 } }))).toEqual(whole)
    const all = proposed({ 'float, simplified': 'fails', int8: { latency: 0.5 } })
    expect(names(all)).toEqual(whole)
    expect(all[1]?.proposal.recipe.map(([pass]) => pass)).toEqual(['quantize-weights'])
  })

  it('proposes the same again from every part of its history', () => {
    const strategy = ladder.make({ ...problem, objective: 'size' })
    const history = proposed({ 'int8 weights': { drop: 0.02, bytes: 100 } }, { objective: 'size' })
    expect(history.length).toBe(6)
    for (const [i, t] of history.entries()) expect(strategy.next(history.slice(0, i), [], rng(i))).toEqual(t.proposal)
    expect(strategy.next(history, [], rng(0))).toBe('done')
  })

  it('waits for what is pending before it decides by it', () => {
    const strategy = ladder.make(problem)
    const [first, second, third, fourth] = proposed({ int8: { latency: 0.9 } }) as [Trial, Trial, Trial, Trial]
    expect(strategy.next([], [first.proposal], rng(0))).toBe('done')
    expect(strategy.next([first], [second.proposal], rng(0))).toEqual(third.proposal)
    expect(strategy.next([first, second, third], [fourth.proposal], rng(0))).toBe('done')
  })
})

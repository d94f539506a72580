import { expect, it } from 'vitest'
import { rng } from '../../base/random.ts'
import { model } from '../../ir/text.ts'
import type { Recipe } from '../../passes/types.ts'
import { targetFor } from '../../targets/index.ts'
import type { Problem, Strategy } from '../strategy.ts'
import type { Measured, Proposal, Trial } from '../trial.ts'
import { mayCascade, withCascades } from './cascades.ts'

const problem: Problem = {
  model: model`
input x: f32[1,2]
y = Relu(x)
output y`,
  ...{
    target: targetFor('ort-cpu'),
    objective: 'latency',
    metric: 'top1',
    maxDrop: 0.01,
    isCalibrated: true,
    bytes: 1000
  }
}

const measured = (proposal: Proposal, latency: number, drop: number): Measured => ({
  ...{ key: proposal.name, proposal, recipe: proposal.recipe, bytes: 500, macs: 10, metrics: {}, error: 0 },
  drop: { top1: { value: drop, low: drop, high: drop, n: 100 } },
  timing: {
    before: { p50: 1, p90: 1, p99: 1, n: 50 },
    after: { p50: latency, p90: latency, p99: latency, n: 50 },
    ratio: { median: latency, low: latency, high: latency }
  },
  ...{ steps: [], refusals: [], notes: [] }
})

const forms: readonly (readonly [name: string, recipe: Recipe, latency: number, drop: number])[] = [
  ['float', [['simplify', {}]], 1, 0],
  ['int8', [['quantize-static', {}]], 0.7, 0.005],
  ['half of it', [['prune-channels', {}]], 0.3, 0.05]
]

/** Proposes the forms in order. */
const inner: Strategy = {
  next: (history, pending) => {
    const form = forms[history.length + pending.length]
    return form ? { name: form[0], recipe: form[1] } : 'done'
  }
}

function proposed(strategy: Strategy, skip: readonly string[] = []): Trial[] {
  const history: Trial[] = []
  for (;;) {
    const next = strategy.next(history, [], rng(0))
    if (next === 'done') return history
    const [, , latency = 0.5, drop = 0] = forms.find(([name]) => name === next.name) ?? []
    history.push(
      skip.includes(next.name)
        ? { key: next.name, proposal: next, failed: 'as the test says' }
        : measured(next, latency, drop)
    )
  }
}

it('puts the fastest candidate, also a lossy one, in front of the original and of the best form', () => {
  const [, , , first, second, ...rest] = proposed(withCascades(inner, problem)).map((t) => t.proposal)
  expect(rest).toEqual([])
  expect(first?.recipe).toEqual([
    ['simplify', {}],
    ['cascade', { small: [['prune-channels', {}]], maxDrop: 0.01 }]
  ])
  expect(second?.recipe).toEqual([
    ['quantize-static', {}],
    ['cascade', { small: [['prune-channels', {}]], maxDrop: 0.01 }]
  ])
})

it('promises answers where those are what is judged by', () => {
  const of = { ...problem, metric: 'agreement' }
  const last = proposed(withCascades(inner, of)).at(-1)
  expect(last?.proposal.recipe.at(-1)?.[1]).toHaveProperty('maxDisagreement', 0.01)
})

it('tries none where nothing is fast, nothing can be promised, or the target runs none', () => {
  expect(proposed(withCascades(inner, problem), ['half of it'])).toHaveLength(3)
  expect(mayCascade(problem)).toBe(true)
  expect(mayCascade({ ...problem, metric: 'cosine' })).toBe(false)
  expect(mayCascade({ ...problem, isCalibrated: false })).toBe(false)
  expect(mayCascade({ ...problem, target: targetFor('litert-cpu') })).toBe(false)
})

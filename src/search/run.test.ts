import { describe, expect, it } from 'vitest'
import { rng } from '../base/random.ts'
import type { Journal } from './input.ts'
import { runStrategy } from './run.ts'
import type { Strategy } from './strategy.ts'
import { keyOf, type Proposal, type Trial } from './trial.ts'

const identity = { model: 'abc', seed: 0 }
const failed = (proposal: Proposal, key: string): Trial => ({ key, proposal, failed: 'does not run' })

/** Draws a recipe of three, five times. */
const drawing: Strategy = {
  next(history, _, random) {
    if (history.length === 5) return 'done'
    const n = random.below(3)
    return { name: `number ${history.length}`, recipe: [['fuse', { n }]], point: [n / 2] }
  }
}

async function run(journaled: readonly Trial[]): Promise<{ trials: readonly Trial[]; asked: string[]; notes: string }> {
  const asked: string[] = []
  const written: Trial[] = []
  const journal: Journal = {
    open: async () => ({ trials: journaled, notes: [] }),
    append: async (trial) => {
      written.push(trial)
    }
  }
  const measure = async (proposal: Proposal, key: string): Promise<Trial> => {
    asked.push(key)
    return failed(proposal, key)
  }
  const { trials, notes } = await runStrategy({ strategy: drawing, rng: rng(1), identity, journal, measure })
  expect(written.map((t) => t.key)).toEqual(asked)
  return { trials, asked, notes: notes.join('\n') }
}

describe('running a strategy', () => {
  it('measures a recipe once, however often it is proposed, and keeps where it lay', async () => {
    const { trials, asked } = await run([])
    expect(trials).toHaveLength(5)
    expect(asked.length).toBeLessThan(5)
    expect(new Set(asked).size).toBe(asked.length)
    for (const { proposal } of trials) expect(proposal.point).toEqual([Number(proposal.recipe[0]?.[1]['n']) / 2])
  })

  it('proposes the same again behind any part of a journal', async () => {
    const whole = await run([])
    for (let n = 1; n <= whole.asked.length; n++) {
      const done = whole.trials.filter((t, i) => whole.trials.findIndex((u) => u.key === t.key) === i).slice(0, n)
      const again = await run(done)
      expect(again.trials).toEqual(whole.trials)
      expect(again.asked).toEqual(whole.asked.slice(n))
      expect(again.notes).toBe(
        `went on after ${n === 1 ? '1 candidate' : `${n} candidates`} that a run before had measured`
      )
    }
  })

  it('begins no candidate that would not end in the time left', async () => {
    let left = 1000
    const asked: string[] = []
    const measure = async (proposal: Proposal, key: string): Promise<Trial> => {
      asked.push(key)
      left -= 300
      return failed(proposal, key)
    }
    let n = 0
    const endless: Strategy = { next: () => ({ name: 'next', recipe: [['fuse', { n: n++ }]] }) }
    const { trials, notes } = await runStrategy({
      strategy: endless,
      rng: rng(1),
      identity,
      measure,
      timeLeft: () => left
    })
    expect([trials.length, asked.length]).toEqual([3, 3])
    expect(notes.join()).toBe('the time allowed ended the search after 3 candidates: others were not tried')
  })

  it('ends with a candidate that the time was up for: it is no trial, and not written down', async () => {
    const written: Trial[] = []
    const { trials, notes } = await runStrategy({
      strategy: { next: (history) => ({ name: 'next', recipe: [['fuse', { n: history.length }]] }) },
      rng: rng(1),
      identity,
      measure: async (proposal, key) => (written.length < 2 ? failed(proposal, key) : undefined),
      journal: { open: async () => ({ trials: [], notes: [] }), append: async (t) => void written.push(t) }
    })
    expect([trials.length, written.length]).toEqual([2, 2])
    expect(notes.join()).toBe('the time allowed ended the search after 2 candidates: others were not tried')
  })

  it('says what of a journal was not asked for', async () => {
    const recipe = [['simplify', {}]] as const
    const other = failed({ name: 'other', recipe }, keyOf(identity, { recipe }))
    expect((await run([other])).notes).toBe('1 candidate of the journal not asked for this time')
  })

  it('tells recipes by content, whatever the order of their options', () => {
    const key = keyOf(identity, { recipe: [['fuse', { a: 1, b: { c: 2, d: 3 } }]] })
    expect(keyOf(identity, { recipe: [['fuse', { b: { d: 3, c: 2 }, a: 1 }]] })).toBe(key)
    expect(keyOf(identity, { recipe: [['fuse', { a: 1, b: { c: 2, d: 4 } }]] })).not.toBe(key)
    expect(keyOf({ ...identity, seed: 1 }, { recipe: [['fuse', { a: 1, b: { c: 2, d: 3 } }]] })).not.toBe(key)
    const search = { behind: 1, least: 'bytes', maxDrop: 0.01 } as const
    expect(keyOf(identity, { recipe: [['fuse', { a: 1, b: { c: 2, d: 3 } }]], search })).not.toBe(key)
  })
})

import { describe, expect, it } from 'vitest'
import type { SearchReport } from './search.ts'
import { comparisonText, searchLines, searchSection } from './search-page.ts'

const run = (strategy: string, seed: number, harm: number): SearchReport['runs'][number] => ({
  ...{ strategy, seed, trials: 20, whole: 6, known: 1, guessed: 3, failed: 0, msPerTrial: 800, starts: [0.5, 0.2] },
  ...{ best: 7, harm, costs: { bytes: 0.1 }, fresh: { harm: 1.1 * harm, drop: 0.02, dropError: 0.004, n: 300 } },
  curve: [
    [1, 0.5],
    [8, harm]
  ]
})
const search: SearchReport = {
  ...{ budgets: { bytes: 0.1 }, ahead: 4, workers: 1, rungs: [128, 700], freshN: 300, prepareMs: 1000, finalists: [] },
  units: [
    { id: 'keep <b>a</b>', kind: 'keep', choices: ['8 of 16', '16 of 16'], importance: 0.7 },
    { id: 'type b', kind: 'type', choices: ['int4', 'int8', 'float'], importance: 0.3 }
  ],
  runs: [run('local', 0, 0.1), run('random', 0, 0.2)],
  comparisons: [
    { strategy: 'local', what: 'harm', seeds: 3, ratio: 0.5, low: 0.4, high: 0.6, wins: 3, verdict: 'better' }
  ],
  points: ['local', 'random'].flatMap((strategy, s) =>
    [0, 1, 2].map((k) => ({
      ...{ strategy, seed: 0, k, harm: 0.1 * (s + k + 1), costs: { bytes: 0.05 + 0.01 * k } },
      ...{ point: [k % 2, k % 3], isWhole: k < 2 }
    }))
  ),
  chosen: { 'type b': 'int4' }
}

describe('the section of a search', () => {
  it('holds every run, the comparison, four pictures, and no markup of names', () => {
    const { markup } = searchSection(search) ?? { markup: '' }
    expect(markup).toContain('0.11')
    expect(markup).toContain('2.0 ± 0.8')
    expect(markup.match(/class="chart"/g)).toHaveLength(3)
    expect(markup).toContain('70.0 %')
    expect(markup).not.toContain('<b>a</b>')
    expect(markup).not.toMatch(/NaN|undefined|Infinity/)
  })

  it('says what is least under a drop, and what that drop was found to mean', () => {
    const edge = { cost: 'bytes', harm: 0.012, share: 0.2 } as const
    const { markup } = searchSection({ ...search, budgets: {}, maxDrop: 0.01, edge }) ?? { markup: '' }
    expect(markup).toMatch(/least bytes at a drop of at most 1 points, which is a harm of 0\.012/)
    expect(markup).toContain('Least bytes so far')
  })

  it('says when nothing better than random was shown, and when one seed cannot tell', () => {
    const one = {
      strategy: 'ddpg',
      what: 'harm',
      seeds: 3,
      ratio: 1.02,
      low: 0.9,
      high: 1.15,
      wins: 1,
      verdict: 'same'
    } as const
    expect(comparisonText(one)).toMatch(/not shown to be better than random/)
    expect(
      comparisonText({ strategy: 'tpe', what: 'bytes', seeds: 1, ratio: 0.8, wins: 1, verdict: 'unknown' })
    ).toMatch(/0\.8 × the bytes of random, under one seed: luck cannot/)
    expect(searchLines(search).join('\n')).toMatch(/local, seed 0\s+20 trials\s+harm\s+0\.1/)
  })
})

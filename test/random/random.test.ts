/** Every pass over random graphs of all operators; `bench/random-graphs.mjs` asks for more, and of other seeds. */
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { hunt, spelledFault } from './hunt.ts'

const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')

it('makes no file that does not open, does not run or is wrong', { timeout: 600_000 }, async () => {
  const found = await hunt({ root, seed: 1, runs: 600, shrink: false })
  console.info(
    `${found.runs} pass runs over ${found.graphs} random graphs of seed 1: ${found.counts.same} had nothing to do, ` +
      `${found.counts.good} files as good as asked, ${found.counts.unjudged} not judged by numbers, ${found.counts.refused} refused`
  )
  expect(found.faults.map((f) => spelledFault(1, f))).toEqual([])
  expect(found.counts.good).toBeGreaterThan(60)
})

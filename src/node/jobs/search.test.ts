import { copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { rng } from '../../base/random.ts'
import { arrayDataset } from '../../data/arrays.ts'
import { tensor } from '../../ir/tensor.ts'
import type { Dataset } from '../../types.ts'
import { runJob } from '../jobs.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-test-'))
const model = join(folder, 'digits.onnx')
beforeAll(() => copyFileSync(fileURLToPath(new URL('../../../examples/demo/digits.onnx', import.meta.url)), model))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

it('refuses a journal that is there, or is none, before anything is read', async () => {
  const out = join(folder, 'small.onnx')
  writeFileSync(`${out}.search`, '{"pareJournal":1}\n')
  const search = { strategies: ['random'], trials: 1, seeds: 1, budget: { bytes: 0.5 }, ahead: 1 }
  const job = { command: 'search' as const, line: '', model: join(folder, 'absent.onnx'), out, search }
  await expect(runJob(job)).rejects.toMatchObject({ code: 'E_EXISTS' })
  await expect(runJob({ ...job, resume: true })).rejects.toMatchObject({ code: 'E_FORMAT' })
})

/** Digits as the bundled network takes them. */
function digits(count: number): Dataset {
  const sets = createRequire(import.meta.url)('mnist') as Record<number, { readonly raw: readonly number[] }>
  const random = rng('digits')
  const labels = Array.from({ length: count }, (_, i) => i % 10)
  const x = labels.flatMap((label) => {
    const { raw } = sets[label] as { readonly raw: readonly number[] }
    const from = random.below(raw.length / 784) * 784
    return raw.slice(from, from + 784)
  })
  return arrayDataset({ inputs: { image: tensor('float32', [count, 1, 28, 28], x) }, labels })
}

describe('the fewest bytes within a drop', () => {
  it('are found, are those that were reckoned, and the journal goes on to the same file', async () => {
    const out = join(folder, 'least.onnx')
    const search = {
      strategies: ['local', 'random'],
      trials: 4,
      seeds: 1,
      budget: {},
      least: 'bytes',
      ahead: 2
    } as const
    const job = {
      ...{ command: 'search' as const, line: '', model, out, maxDrop: 0.02, data: { data: digits(500) }, search },
      ...{ threads: 1, check: false }
    }
    const first = await runJob({ ...job, search: { ...search, only: true } })
    const { edge, runs } = first.report.search ?? {}
    expect(edge?.share).toBeLessThan(0.4)
    expect(runs?.map((r) => r.strategy)).toEqual(['local', 'random'])
    for (const r of runs ?? []) expect(r.costs?.bytes).toBeLessThanOrEqual(1.02 * (edge?.share ?? 0))
    const lines = readFileSync(`${out}.search`, 'utf8').split('\n')
    writeFileSync(`${out}.search`, `${lines.slice(0, 10).join('\n')}\n`)
    const { report, unmet } = await runJob({ ...job, resume: true })
    expect(unmet).toBe(false)
    expect(report.search?.edge).toEqual(edge)
    expect(report.search?.chosen).toEqual(first.report.search?.chosen)
    const bytes = statSync(out).size / statSync(model).size
    const guess = report.search?.finalists[0]?.costs.bytes ?? 0
    expect(Math.abs(bytes / guess - 1)).toBeLessThan(0.01)
  }, 120_000)
})

describe('zeros and ranks', () => {
  it('are found by every strategy within the budgets, and the file holds them', async () => {
    const out = join(folder, 'forms.onnx')
    const search = {
      strategies: ['solve', 'local', 'evolution', 'random', 'tpe', 'ddpg'],
      ...{ trials: 5, seeds: 1, budget: { bytes: 0.12, macs: 0.7 }, ahead: 2, types: ['int8', 'int4'] },
      ...{ sparsity: [0.6, 0.9], ranks: [0.2, 0.5] }
    } as const
    const job = { command: 'search' as const, line: '', model, out, data: { data: digits(500) }, search }
    const { report } = await runJob({ ...job, threads: 1, check: false })
    const { runs = [], units = [] } = report.search ?? {}
    expect(new Set(units.map((u) => u.kind))).toEqual(new Set(['keep', 'type', 'sparsity', 'rank']))
    for (const r of runs) {
      expect(r.costs?.bytes, r.strategy).toBeLessThanOrEqual(0.12)
      expect(r.costs?.macs, r.strategy).toBeLessThanOrEqual(0.7)
    }
    expect(runs.map((r) => r.strategy)).toEqual(search.strategies)
    expect(statSync(out).size).toBeLessThan(0.125 * statSync(model).size)
  }, 240_000)
})

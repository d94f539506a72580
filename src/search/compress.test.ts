import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { testContext } from '../../test/compare.ts'
import { digits, network } from '../../test/digits.ts'
import { PareError } from '../base/errors.ts'
import { rng } from '../base/random.ts'
import { metricFor } from '../data/metrics.ts'
import { splitData } from '../data/split.ts'
import { writeModel } from '../formats/index.ts'
import { nodeRunner } from '../node/runner.ts'
import { applyRecipe } from '../passes/recipe.ts'
import type { Context, Recipe } from '../passes/types.ts'
import type { Runner } from '../runtime/types.ts'
import { targetFor } from '../targets/index.ts'
import type { Model } from '../types.ts'
import { compress } from './compress.ts'
import type { CompressInput, Journal, Staged } from './input.ts'
import type { Trial } from './trial.ts'

const net = network('search')
const file = writeModel(net).bytes
const engine = nodeRunner()

/** Counts runs of the original with more than one sample: those of comparing, not of timing. */
function counting(): { readonly runner: Runner; readonly runs: () => number } {
  let runs = 0
  const open: Runner['open'] = async (source, o) => {
    const session = await engine.open(source, o)
    if (source !== file) return session
    return {
      ...session,
      run: (feeds) => {
        if (Object.values(feeds).some((t) => (t.shape[0] ?? 0) > 1)) runs++
        return session.run(feeds)
      }
    }
  }
  return { runner: { ...engine, open }, runs: () => runs }
}

/** A journal in memory. */
function memory(trials: readonly Trial[] = []): Journal & { readonly written: Trial[] } {
  const written: Trial[] = []
  return {
    written,
    open: async () => ({ trials, notes: [] }),
    append: async (trial) => {
      written.push(trial)
    }
  }
}

function stagedOf(model: Model): Staged {
  const { bytes } = writeModel(model)
  return { source: bytes, bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
}

function input(o: Partial<CompressInput> = {}): CompressInput {
  return {
    model: net,
    original: { source: file, bytes: file.length },
    data: splitData(digits(120, 'search'), 0),
    synthetic: false,
    metrics: [metricFor('relativeError')],
    objective: 'size',
    target: targetFor('ort-cpu'),
    engine,
    measured: engine,
    rng: rng(0),
    threads: 1,
    signal: new AbortController().signal,
    progress: () => {},
    stage: async (model) => stagedOf(model),
    ...o
  }
}

const applied = async (model: Model, recipe: Recipe, data: Context['data']): Promise<Model> =>
  (await applyRecipe(model, recipe, { ...testContext(), data })).model

const bytesOf = (model: Model | undefined): Buffer => Buffer.from(model ? writeModel(model).bytes : [])

describe('compress', () => {
  it('runs the original once for all comparisons, measures nothing that is written down, and comes to the same', async () => {
    const counted = counting()
    const journal = memory()
    const staged: number[] = []
    const first = await compress(
      input({
        measured: counted.runner,
        journal,
        stage: async (model) => {
          const made = stagedOf(model)
          staged.push(made.bytes)
          return made
        },
        discard: async ({ bytes }) => {
          staged.splice(staged.indexOf(bytes), 1)
        }
      })
    )
    expect(first.report.candidates.map((c) => c.name)).toContain('int8')
    // 36 samples to select, 24 to calibrate and 60 to test, 32 a run: 2 + 1, and 2 in the end; and two
    // samples are tried together first.
    expect(counted.runs()).toBe(6)
    expect(staged).toEqual([first.chosen?.staged.bytes])
    expect(journal.written.map((t) => t.proposal.name)).toEqual(first.report.candidates.map((c) => c.name))

    const again = memory(JSON.parse(JSON.stringify(journal.written)) as Trial[])
    const second = await compress(input({ journal: again }))
    expect(again.written).toEqual([])
    expect(second.report.candidates).toEqual(first.report.candidates)
    expect(bytesOf(second.chosen?.model).equals(bytesOf(first.chosen?.model))).toBe(true)
    expect(second.report.notes.join('\n')).toMatch(/went on after 4 candidates/)
  }, 120_000)

  it('goes on where a candidate fails, whatever with', async () => {
    let staged = 0
    const { report, chosen } = await compress(
      input({
        stage: async (model) => {
          staged++
          if (staged === 1) throw new PareError('E_LIMIT', 'too large for the test')
          if (staged === 2) throw new RangeError('Invalid typed array length')
          return stagedOf(model)
        }
      })
    )
    expect(chosen).toBeDefined()
    const why = (name: string): string => report.candidates.find((c) => c.name === name)?.why ?? ''
    expect(why('float, simplified')).toBe('failed: too large for the test')
    expect(why('int8 weights')).toContain('Invalid typed array length')
    expect(why('int8')).not.toBe('')
  }, 120_000)

  it('trains candidates where there is data for it, the model itself and with fewer blocks', async () => {
    const train = digits(300, 'train')
    const trained = await applied(net, [['train', { epochs: 8, batch: 30, optimizer: { rate: 0.004 } }]], { train })
    const bytes = writeModel(trained).bytes
    const { report } = await compress(
      input({
        ...{ model: trained, original: { source: bytes, bytes: bytes.length }, train },
        ...{ metrics: [metricFor('top1')], maxDrop: 0.2, objective: 'balanced' }
      })
    )
    const tried = report.candidates.filter((c) => c.recipe.some(([pass]) => pass === 'finetune'))
    expect(tried.length).toBe(3)
    for (const c of tried) expect(c.why).not.toMatch(/failed|does not run/)
    const half = tried.find((c) => c.name.startsWith('50 % less work by blocks'))
    expect(half?.ratios.bytes).toBeLessThan(1)
  }, 300_000)

  it('takes what a search finds, where the time is limited and samples suffice, and says why not where they do not', async () => {
    const train = digits(300, 'train')
    const trained = await applied(net, [['train', { epochs: 8, batch: 30, optimizer: { rate: 0.004 } }]], { train })
    const bytes = writeModel(trained).bytes
    const searched = async (samples: number) => {
      const { report } = await compress(
        input({
          ...{ model: trained, original: { source: bytes, bytes: bytes.length }, timeLeft: () => 60_000, maxDrop: 0.1 },
          ...{ data: splitData(digits(samples, 'search'), 0), metrics: [metricFor('top1')] }
        })
      )
      return report.candidates.find((c) => c.name === 'channels and types that a search found')
    }
    const found = await searched(400)
    expect(found?.recipe.map(([pass]) => pass)).toContain('mix-precision')
    expect(found?.ratios.bytes).toBeLessThan(0.6)
    expect((await searched(120))?.why).toMatch(/a search takes 100 samples to choose by: there are 36/)
  }, 120_000)

  it('ends where all would fail', async () => {
    const full = async (): Promise<never> => {
      throw new PareError('E_FILE', 'the disk is full')
    }
    await expect(compress(input({ stage: full }))).rejects.toMatchObject({ code: 'E_FILE' })
    await expect(compress(input({ strategy: 'leader' }))).rejects.toMatchObject({ code: 'E_USAGE' })
  })
})

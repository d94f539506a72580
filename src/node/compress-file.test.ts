import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { PareError } from '../base/errors.ts'
import { arrayDataset } from '../data/arrays.ts'
import { tensor } from '../ir/tensor.ts'
import { model } from '../ir/text.ts'
import type { Dataset, Metric } from '../types.ts'
import { type CompressFileOptions, compressFile } from './compress-file.ts'
import { save } from './files.ts'
import type { Job } from './job.ts'
import { runJob } from './jobs.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-test-'))
const [net, out] = [join(folder, 'net.onnx'), join(folder, 'out.onnx')]
beforeAll(async () => {
  await save(
    model`
    input x: f32[N,16]
    h: f32[N,64] = Gemm(x, W: f32[16,64], b: f32[64])
    r: f32[N,64] = Relu(h)
    y: f32[N,4] = Gemm(r, V: f32[64,4], c: f32[4])
    output y`,
    net
  )
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** 48 samples that the program made. */
const dataset = arrayDataset({
  inputs: {
    x: tensor(
      'float32',
      [48, 16],
      Float32Array.from({ length: 48 * 16 }, (_, i) => Math.sin(i * 1.3))
    )
  },
  labels: Array.from({ length: 48 }, (_, i) => i % 4)
})
const recipe = [['quantize-weights', { minElements: 16 }]] as const

const failure = async (run: Promise<unknown>): Promise<PareError> => {
  const thrown = await run.then(() => undefined).catch((error: unknown) => error)
  expect(thrown).toBeInstanceOf(PareError)
  return thrown as PareError
}

describe('compressFile', () => {
  it('takes a Dataset and a Metric of the program', async () => {
    const metric: Metric = {
      name: 'first',
      better: 'higher',
      scale: 'real',
      needs: { labels: false, reference: false },
      scores: (_, { n }) => Array.from({ length: n }, () => 1)
    }
    const { report } = await compressFile(net, { out, data: dataset, metric, recipe, maxDrop: 0.5 })
    expect(report.data).toMatchObject({ path: 'a Dataset of the program', synthetic: false })
    expect(report.data?.testN).toBeGreaterThan(10)
    expect(Object.keys(report.before.metrics)).toContain('first')
    expect(report.after?.bytes).toBe(readFileSync(out).length)
  })

  it('keeps the best so far when it is stopped, says so, and goes on from there', async () => {
    const stop = new AbortController()
    const progress = (stage: string): void => {
      if (stage === 'scoring int8') stop.abort()
    }
    const path = join(folder, 'stopped.onnx')
    const o = { out: path, data: dataset, metric: 'relativeError', objective: 'size' } as const
    const e = await failure(compressFile(net, o, { signal: stop.signal, progress }))
    const kept = join(folder, 'stopped.best.onnx')
    expect(e).toMatchObject({
      code: 'E_ABORTED',
      message: expect.stringContaining('the best so far is kept: int8 weights')
    })
    expect(readFileSync(kept).length).toBeLessThan(readFileSync(net).length)
    expect(existsSync(path)).toBe(false)
    const { report } = await compressFile(net, { ...o, resume: true })
    expect(report.notes.join()).toMatch(/went on after \d candidates/)
    expect([existsSync(path), existsSync(kept)]).toEqual([true, false])
  })

  it('checks the batches of a Dataset', async () => {
    const wrong: Dataset = {
      size: 48,
      labelled: false,
      async *batches({ indices }) {
        const n = indices?.length ?? 48
        yield { n, inputs: { z: tensor('float32', [n, 16], new Float32Array(n * 16)) } }
      }
    }
    const e = await failure(compressFile(net, { out, data: wrong, recipe, force: true }))
    expect(e).toMatchObject({ code: 'E_DATA', message: expect.stringContaining('input x') })
  })

  it.each([
    [{ objectve: 'size' }, 'objectve', 'objective'],
    [{ objective: 'siz' }, 'objective', undefined],
    [{ seed: 'abc' }, 'seed', undefined],
    [{ seed: 1.5 }, 'seed', undefined],
    [{ threads: 0 }, 'threads', undefined],
    [{ maxDrop: 1 }, 'maxDrop', undefined],
    [{ out: '' }, 'out', undefined],
    [{ data: { path: 'x.npz', preproces: 'imagenet' } }, 'data.preproces', undefined],
    [{ data: 7 }, 'data', undefined],
    [{ metric: {} }, 'metric', undefined],
    [{ recipe: [['fuse']] }, 'recipe', undefined],
    [{ recipe: { fuse: {} } }, 'recipe', undefined]
  ])('refuses %j by name', async (given, name, near) => {
    const e = await failure(compressFile(net, { out, force: true, ...given } as unknown as CompressFileOptions))
    expect(e.code).toBe('E_OPTION')
    expect(`${e.where} ${e.message}`).toContain(name)
    if (near) expect(e.hint).toContain(near)
  })

  it('names options as a program writes them', async () => {
    const e = await failure(compressFile(net, { out, maxDrop: 0.01, force: true }))
    expect(`${e.message} ${e.hint}`).not.toContain('--')
    expect(e.hint).toBe('data beside maxDrop')
  })
})

describe('a job', () => {
  const job: Job = { command: 'inspect', line: 'test', model: net }
  it.each([
    [{ modle: net }, 'modle'],
    [{ threads: 0 }, 'threads'],
    [{ command: 'inspct' }, 'command'],
    [{ data: { dta: { path: 'x' } } }, 'dta']
  ])('refuses %j', async (given, name) => {
    const e = await failure(runJob({ ...job, ...given } as unknown as Job))
    expect(e.code).toBe('E_OPTION')
    expect(`${e.where} ${e.message}`).toContain(name)
  })
})

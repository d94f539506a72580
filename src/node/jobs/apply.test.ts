import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { noStyle } from '../../report/table.ts'
import { printReport } from '../../report/text.ts'
import type { Job } from '../job.ts'
import { runJob } from '../jobs.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-test-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const text = join(folder, 'network.txt')
writeFileSync(text, 'opset 21\ninput x: f32[N,4]\ny = Gemm(x, W: f32[3,4], B: f32[3], transB=1)\noutput y\n')

/** 200 samples of three classes; every fourth has a label. */
const data = join(folder, 'data.mjs')
writeFileSync(
  data,
  `const all = Array.from({ length: 200 }, (_, i) => i)
export default {
  size: 200,
  labelled: true,
  async *batches({ batch, indices = all }) {
    for (let at = 0; at < indices.length; at += batch) {
      const picked = indices.slice(at, at + batch)
      const x = Float32Array.from({ length: 4 * picked.length }, (_, k) => Math.cos(picked[k >> 2] * (1 + (k & 3))))
      const bytes = new Uint8Array(x.buffer)
      yield {
        n: picked.length,
        inputs: { x: { dtype: 'float32', shape: [picked.length, 4], bytes } },
        labels: picked.map((i) => (i % 4 === 0 ? (i / 4) % 3 : -1))
      }
    }
  }
}
`
)

const job = (options: object): Job => ({
  ...{ command: 'apply', line: 'pare train', model: text, out: join(folder, 'network.onnx'), force: true },
  recipe: [['train', { epochs: 1, batch: 8, ...options }]],
  data: { data: { path: data } }
})

describe('a pass that trains', () => {
  it('claims no ratio against the bytes of a text', async () => {
    const { report } = await runJob(job({}))
    expect(report.ratios).toBeUndefined()
    expect(report.after?.bytes).toBeGreaterThan(60)
    const converted = await runJob({
      command: 'convert',
      line: 'pare convert',
      model: report.output?.path ?? '',
      out: join(folder, 'b.onnx')
    })
    expect(converted.report.ratios?.bytes).toBe(1)
  })

  it('has all of the data to train on where it says itself what it holds out', async () => {
    const notes = async (options: object) => (await runJob(job(options))).report.notes.join('\n')
    expect(await notes({})).toMatch(/of 140 training samples have a label/)
    expect(await notes({ holdout: 0.2 })).toMatch(/40 samples to train on; top1 on 10 that choose/)
    expect(await notes({ holdout: 0 })).toMatch(/50 of 200 training samples have a label.*\n.*the last was kept/s)
  })

  it('does not choose by what another pass trains on', async () => {
    const both = (...[first, second]: object[]): Promise<unknown> =>
      runJob({
        ...job({}),
        recipe: [
          ['train', { epochs: 1, batch: 8, ...first }],
          ['finetune', { epochs: 1, batch: 8, ...second }]
        ]
      })
    await expect(both({ holdout: 0.1 }, {})).rejects.toMatchObject({
      code: 'E_OPTION',
      message: expect.stringMatching(/^finetune would choose by samples that train trains on/)
    })
    await expect(both({}, { holdout: 0 })).rejects.toMatchObject({ code: 'E_OPTION' })
    await both({ holdout: 0.2 }, { holdout: 0.2 })
    const own = { ...job({ holdout: 0.2 }), data: { data: { path: data }, train: { path: data } } }
    await runJob({ ...own, recipe: [...(own.recipe ?? []), ['finetune', { epochs: 1, batch: 8 }]] })
  })

  it('takes samples without a label to train alone', async () => {
    const path = join(folder, 'network.onnx')
    await expect(
      runJob({
        command: 'verify',
        line: 'pare verify',
        model: path,
        other: path,
        data: { data: { path: data } },
        seconds: 0.02
      })
    ).rejects.toMatchObject({ code: 'E_LABELS' })
  })
})

describe('a pass that prunes', () => {
  it('tells in its report what is sent, what opening takes and how much is zero', async () => {
    const wide = join(folder, 'wide.txt')
    writeFileSync(wide, 'opset 21\ninput x: f32[N,64]\ny = Gemm(x, W: f32[64,64], B: f32[64], transB=1)\noutput y\n')
    const dense = join(folder, 'dense.onnx')
    await runJob({ command: 'convert', line: 'pare convert', model: wide, out: dense, force: true })
    const pruned = {
      command: 'apply',
      line: 'pare prune-weights',
      model: dense,
      out: join(folder, 'pruned.onnx')
    } as const
    const recipe: Job['recipe'] = [['prune-weights', { ratio: 0.9 }]]
    const { report } = await runJob({ ...pruned, force: true, recipe, reports: true })
    for (const m of [report.before, report.after])
      for (const figure of ['gzipBytes', 'brotliBytes', 'loadMs', 'peakBytes'] as const)
        expect(m?.[figure]).toBeGreaterThan(0)
    expect(report.ratios).toMatchObject({ loadMs: expect.any(Number), peakBytes: expect.any(Number) })
    const text = printReport(report, noStyle)
    expect(text).toMatch(/gzip +\S+ kB +\S+ kB +\d.* smaller/)
    expect(text).toMatch(/brotli +\S+ kB +\S+ kB +\d.* smaller/)
    expect(text).toMatch(/zeros +0\.0 % +88\.\d %/)
    expect(text).toMatch(/first load .*\n.*peak memory/)
    const quick = await runJob({ ...pruned, force: true, recipe })
    expect(quick.report.after).not.toHaveProperty('loadMs')
  })
})

it('counts samples once where all of them calibrate', async () => {
  const labelled = join(folder, 'labelled.mjs')
  writeFileSync(labelled, readFileSync(data, 'utf8').replace('i % 4 === 0 ? (i / 4) % 3 : -1', 'i % 3'))
  const { report } = await runJob({
    ...job({}),
    ...{ recipe: [['quantize-static', {}]], data: { calibration: { path: labelled } }, check: false }
  })
  expect(report.data).toMatchObject({ calibrationN: 200, selectionN: 0, testN: 0 })
})

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
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

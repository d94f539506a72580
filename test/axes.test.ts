/** Models whose samples are not in front everywhere, through the commands. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { model } from '../src/ir/text.ts'
import { save } from '../src/node/files.ts'
import type { Report } from '../src/report/types.ts'
import type { Model } from '../src/types.ts'
import { isBuilt, pare } from './program.ts'

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-axes-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const cases: Readonly<Record<string, { readonly model: Model; readonly note: RegExp | undefined }>> = {
  recogniser: {
    model: model`
      input x: f32[N,8,T]
      a = Conv(x, w: f32[16,8,3], pads=[1,1])
      b = Relu(a)
      t = Transpose(b, perm=[2,0,1])
      y: f32[T,N,12] = MatMul(t, v: f32[16,12])
      output y`,
    note: /\[N, 8, \d+\] was guessed/
  },
  windows: {
    model: model`
      input x: f32[N,32]
      r = Reshape(x, s: i64[2]{-1, 8})
      y: f32[?,6] = Gemm(r, w: f32[8,6])
      output y`,
    note: undefined
  },
  voice: {
    model: model`
      input x: f32[batch,T]
      input sr: i64[]
      input h: f32[1,batch,16]
      input c: f32[1,batch,16]
      u = Unsqueeze(x, a: i64[1]{1})
      f = Conv(u, k: f32[8,1,32], strides=[16])
      s = Transpose(f, perm=[2,0,1])
      l, hn, cn = LSTM(s, W: f32[1,64,8], R: f32[1,64,16], B: f32[1,128], _, h, c, hidden_size=16)
      z = Squeeze(hn, q: i64[1]{0})
      p = MatMul(z, O: f32[16,1])
      r = Cast(sr, to=1)
      one = Div(r, r)
      y: f32[batch,1] = Mul(p, one)
      output y, hn, cn`,
    note: /inputs sr, h, c have no batch axis in front/
  },
  whole: {
    model: model`
      input x: f32[N,16]
      m = MatMul(x, w: f32[16,24])
      y: f32[2,12] = Reshape(m, s: i64[2]{2, 12})
      output y`,
    note: /samples run one by one/
  }
}

describe.skipIf(!isBuilt)('samples are not in front everywhere (skipped before npm run build)', () => {
  for (const [name, { model: m, note }] of Object.entries(cases))
    it(`compress, verify and bench: ${name}`, async () => {
      const file = join(folder, `${name}.onnx`)
      await save(m, file)
      const out = join(folder, `${name}.small.onnx`)
      const made = await pare(['compress', file, '-o', out, '--json'], { cwd: folder })
      expect(made.status, made.err).toBe(0)
      const { notes } = JSON.parse(made.out) as Report
      if (note) expect(notes.join('\n')).toMatch(note)
      const verified = await pare(['verify', file, out, '--seconds', '0.05', '--json'], { cwd: folder })
      expect(verified.status, verified.err).toBe(0)
      const timed = await pare(['bench', file, '--seconds', '0.05', '--json'], { cwd: folder })
      expect(timed.status, timed.err).toBe(0)
    }, 120_000)

  it('--max-time: a length of time, with which the search ends, whether it found a candidate or none', async () => {
    const file = join(folder, 'timed.onnx')
    await save(cases['windows']?.model as Model, file)
    const args = ['compress', file, '-o', join(folder, 'timed.small.onnx'), '--json', '--max-time']
    const wrong = await pare([...args, 'soon'], { cwd: folder })
    expect([wrong.status, /90s, 30min, 2h/.test(wrong.err)]).toEqual([2, true])
    const { status, out, err } = await pare([...args, '1s'], { cwd: folder })
    expect([0, 3], err).toContain(status)
    expect((JSON.parse(out) as Report).notes.join('\n')).toMatch(/the time allowed ended the search after/)
  }, 120_000)
})

import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { npy } from '../../../test/program.ts'
import { bertFolder, bertModel, seq2seqFolder } from '../../../test/transformers-folder.ts'
import { allGraphs } from '../../ir/graph.ts'
import { model } from '../../ir/text.ts'
import { printFamily } from '../../report/family.ts'
import { noStyle } from '../../report/table.ts'
import type { Family } from '../../report/types.ts'
import { dtypes, suffixes } from '../../search/presets.ts'
import { load, save } from '../files.ts'
import type { Job } from '../job.ts'
import { runJob } from '../jobs.ts'

/** Least SQNR in dB that a type must keep on the small models: 6 dB for each bit, less what layers add up. */
const leastDb = { fp16: 50, q8: 30, int8: 30, uint8: 30, q4: 12, q4f16: 12, bnb4: 12 } as const

let folder = ''
const at = (...path: string[]): string => join(folder, ...path)
const make = (model: string, o: Partial<Job> = {}) =>
  runJob({ command: 'quantize-for', line: 'pare quantize-for', model: at(model), ...o })
const familyOf = async (made: ReturnType<typeof make>): Promise<Family> => (await made).report.family as Family

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-family-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('quantize-for transformers-js', () => {
  it('writes every type of an encoder, each checked in every engine', async () => {
    await bertFolder(at('bert'))
    const { report, unmet } = await make('bert')
    const family = report.family as Family
    expect(unmet).toBe(false)
    expect(readdirSync(at('bert', 'onnx')).sort()).toEqual(
      ['model.onnx', ...dtypes.map((d) => `model${suffixes[d]}.onnx`)].sort()
    )
    for (const f of family.files) {
      expect(f.failed).toBeUndefined()
      expect(f.runs[0]?.engine).toBe('onnxruntime-node')
      for (const run of f.runs) expect(run.sqnrDb).toBeGreaterThan(leastDb[f.dtype as keyof typeof leastDb])
      expect(f.ratio).toBeLessThan(0.6)
      expect(f.bytes).toBe(readFileSync(at('bert', f.path)).length)
    }
    const text = printFamily(report, family, noStyle, 1000)
    for (const f of family.files) expect(text).toContain(f.path)
    expect(text).toContain('7 of 7 files written')
  }, 60_000)

  it('quantizes every model of a folder, subgraphs included', async () => {
    await seq2seqFolder(at('t5'))
    const family = await familyOf(make('t5', { only: ['q4', 'q8', 'bnb4'] }))
    expect(family.files).toHaveLength(6)
    expect(family.files.every((f) => f.failed === undefined)).toBe(true)
    const inside = { q8: 'MatMulInteger', bnb4: 'MatMulBnb4' }
    for (const [dtype, op] of Object.entries(inside)) {
      const m = await load(at('t5', 'onnx', `decoder_model_merged${suffixes[dtype as 'q8']}.onnx`))
      expect(
        allGraphs(m)
          .slice(1)
          .flatMap((g) => g.nodes.map((n) => n.op))
      ).toContain(op)
    }
  }, 60_000)

  it('keeps weights beside the model where the original has them, named as they are asked for', async () => {
    mkdirSync(at('large', 'onnx'), { recursive: true })
    await save(bertModel(), at('large', 'onnx', 'model.onnx'), {
      write: { external: true },
      weightsName: 'model.onnx_data'
    })
    const { report } = await make('large', { only: ['fp16', 'q4'], out: at('elsewhere') })
    expect(readdirSync(at('elsewhere', 'onnx')).sort()).toEqual(
      ['fp16', 'q4'].flatMap((d) => [`model_${d}.onnx`, `model_${d}.onnx_data`])
    )
    expect(report.notes.join()).toContain('{"use_external_data_format":{"model_fp16.onnx":1,"model_q4.onnx":1}}')
    expect(report.family?.files.map((f) => f.failed)).toEqual([undefined, undefined])
    writeFileSync(
      at('large', 'config.json'),
      JSON.stringify({ 'transformers.js_config': { use_external_data_format: { 'model_q4.onnx': 1 } } })
    )
    const said = await make('large', { only: ['fp16', 'q4'] })
    expect(
      readdirSync(at('large', 'onnx'))
        .filter((f) => f.startsWith('model_'))
        .sort()
    ).toEqual(['model_fp16.onnx', 'model_q4.onnx', 'model_q4.onnx_data'])
    expect(said.report.notes.join()).not.toContain('use_external_data_format')
  }, 60_000)

  it('does not touch what is there, and makes no family of a family', async () => {
    await bertFolder(at('twice'))
    await make('twice', { only: ['q4'] })
    const before = readFileSync(at('twice', 'onnx', 'model_q4.onnx'))
    await expect(make('twice', { only: ['q4', 'fp16'] })).rejects.toMatchObject({
      code: 'E_EXISTS',
      facts: { files: 'model_q4.onnx' }
    })
    expect(existsSync(at('twice', 'onnx', 'model_fp16.onnx'))).toBe(false)
    const family = await familyOf(make('twice', { only: ['q4'], force: true }))
    expect(family.files.map((f) => f.model)).toEqual(['model'])
    expect(readFileSync(at('twice', 'onnx', 'model_q4.onnx'))).toEqual(before)
  }, 60_000)

  it('keeps in float what float16 cannot hold', async () => {
    mkdirSync(at('beyond', 'onnx'), { recursive: true })
    const large = model`
      input x: f32[1,16]
      const up: f32[1] = 60000.0
      const down: f32[1] = 0.0001
      big = Mul(x, up)
      sum = MatMul(big, V: f32[16,16])
      back = Mul(sum, down)
      y: f32[1,8] = MatMul(back, W: f32[16,8])
      output y
    `
    await save(large, at('beyond', 'onnx', 'model.onnx'))
    const { report, unmet } = await make('beyond', { only: ['fp16'] })
    const [half] = (report.family as Family).files
    expect(unmet).toBe(false)
    expect(half?.refusals.map((r) => r.op)).toEqual(['Mul', 'MatMul', 'Mul'])
    expect(half?.runs[0]?.sqnrDb).toBeGreaterThan(leastDb.fp16)
    expect(printFamily(report, report.family as Family, noStyle, 1)).toMatch(
      /fp16: model: 3 nodes stay as they are: big reaches/
    )
  }, 60_000)

  it('leaves out what cannot be checked, and tells', async () => {
    mkdirSync(at('odd', 'onnx'), { recursive: true })
    const odd = model`
      input x: f32[rows,columns]
      const three: i64[2] = 3, 16
      r: f32[3,16] = Reshape(x, three)
      y: f32[3,16] = MatMul(r, W: f32[16,16])
      output y
    `
    await save(odd, at('odd', 'onnx', 'odd.onnx'))
    await save(bertModel(), at('odd', 'onnx', 'model.onnx'))
    const { report, unmet } = await make('odd', { only: ['q4'] })
    const family = report.family as Family
    expect(unmet).toBe(true)
    expect(family.files.map((f) => [f.model, f.failed?.slice(0, 49)])).toEqual([
      ['model', undefined],
      ['odd', 'the original does not run on made-up inputs: the ']
    ])
    expect(readdirSync(at('odd', 'onnx')).sort()).toEqual(['model.onnx', 'model_q4.onnx', 'odd.onnx'])
    const text = printFamily(report, family, noStyle, 1)
    expect(text).toContain('not written  onnx/odd_q4.onnx: the original does not run')
    expect(text).toContain('1 of 2 files written')
  }, 60_000)

  it('checks on the user’s data where a model has its inputs', async () => {
    mkdirSync(at('data', 'onnx'), { recursive: true })
    const net = model`
      input x: f32[N,16]
      y: f32[N,8] = MatMul(x, W: f32[16,8])
      output y
    `
    await save(net, at('data', 'onnx', 'model.onnx'))
    await save(bertModel(), at('data', 'onnx', 'other.onnx'))
    const values = Float32Array.from({ length: 40 * 16 }, (_, i) => Math.sin(i))
    writeFileSync(at('x.npy'), npy('<f4', [40, 16], values))
    const { report, unmet } = await make('data', { only: ['q8'], data: { data: { path: at('x.npy') } } })
    expect(unmet).toBe(false)
    expect(report.notes.join()).toMatch(/the data does not fit other/)
    expect(report.family?.files[0]?.recipe[1]?.[1]).toMatchObject({ correctBias: true })
    expect(report.family?.files[1]?.recipe[1]?.[1]).toMatchObject({ correctBias: false })
  }, 60_000)

  it('leaves nothing behind when it is stopped', async () => {
    await bertFolder(at('stopped'))
    const stop = new AbortController()
    const job = { command: 'quantize-for' as const, line: '', model: at('stopped') }
    const hooks = { signal: stop.signal, progress: (_: string, done: number) => done === 2 && stop.abort() }
    await expect(runJob(job, hooks as never)).rejects.toMatchObject({ code: 'E_ABORTED' })
    expect(readdirSync(at('stopped', 'onnx'))).toEqual(['model.onnx'])
  }, 60_000)

  it('says what is wrong with a folder', async () => {
    mkdirSync(at('bare'))
    await expect(make('bare')).rejects.toMatchObject({ code: 'E_FILE' })
    mkdirSync(at('bare', 'onnx'))
    await expect(make('bare')).rejects.toMatchObject({ code: 'E_FILE', message: 'the folder onnx holds no model' })
    writeFileSync(at('bare', 'onnx', 'model.onnx'), 'no model')
    await expect(make('bare')).rejects.toMatchObject({ code: 'E_FORMAT' })
    await bertFolder(at('broken'))
    writeFileSync(at('broken', 'config.json'), '{')
    await expect(make('broken')).rejects.toMatchObject({ code: 'E_FORMAT' })
  })
})

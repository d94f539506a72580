import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { testContext } from '../../../test/compare.ts'
import { saturates } from '../../../test/shared.ts'
import { rng } from '../../base/random.ts'
import { arrayDataset } from '../../data/index.ts'
import { tensor } from '../../ir/tensor.ts'
import { model } from '../../ir/text.ts'
import { applyRecipe } from '../../passes/recipe.ts'
import type { Coverage, Layer } from '../../report/types.ts'
import { targetFor } from '../../targets/index.ts'
import { load, save } from '../files.ts'
import { runJob } from '../jobs.ts'
import { machineOf } from '../machine.ts'
import { nodeRunner } from '../runner.ts'
import { runnersFor, runtimeNotes } from '../runtimes.ts'
import { otherEngine } from './engines.ts'
import { layerAdvice } from './layers.ts'
import { guessedSizes } from './synthetic.ts'

const digits = fileURLToPath(new URL('../../../examples/demo/digits.onnx', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'pare-test-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

async function quantized(): Promise<string> {
  const random = rng('verify')
  const image = tensor(
    'float32',
    [64, 1, 28, 28],
    Float32Array.from({ length: 64 * 784 }, () => random.normal())
  )
  const recipe = [
    ['fuse', {}],
    ['quantize-static', {}]
  ] as const
  const data = { calibration: arrayDataset({ inputs: { image } }) }
  const made = await applyRecipe(await load(digits), recipe, { ...testContext(), data })
  const path = join(folder, 'digits.int8.onnx')
  await save(made.model, path, { force: true })
  return path
}

it('measures what fits into the time allowed, and says what did not', async () => {
  const other = await quantized()
  const x = arrayDataset({ inputs: { image: tensor('float32', [500, 1, 28, 28], new Float32Array(500 * 784)) } })
  const job = { command: 'verify' as const, line: '', model: digits, other, data: { data: x }, maxSeconds: 1e-3 }
  const { report } = await runJob(job)
  expect(report.data?.testN).toBe(1)
  expect(report.layers).toEqual([])
  expect(report.scores).toBeUndefined()
  expect(report.before.latencyMs?.n).toBe(1)
  const said = report.notes.join('\n')
  expect(said).toMatch(/1 of 500 samples, drawn by the seed, fit into the time allowed/)
  expect(said).toMatch(/load time and memory were not measured: the time allowed/)
  expect(said).toMatch(/layers were not compared: the time allowed was up/)
})

describe('verify', () => {
  it.skipIf(saturates)('tells of every layer and of both engines when asked to (skipped without VNNI)', async () => {
    const other = await quantized()
    const job = { command: 'verify' as const, line: 'pare verify', model: digits, other, seconds: 0.05 }
    const { report } = await runJob({ ...job, layers: true, engines: true })
    const coded = report.layers.filter((l) => l.activation)
    expect(coded.length).toBeGreaterThan(0)
    for (const { activation: a } of coded) expect(a?.codes.reduce((x, y) => x + y, 0)).toBeCloseTo(1, 2)
    expect(report.layers.some((l) => l.weight?.dtype === 'int8')).toBe(true)
    expect(report.layers.every((l) => l.sqnrDb === undefined || l.outputSqnrDb !== undefined)).toBe(true)
    expect(report.engines?.names[1]).toMatch(/^onnxruntime-web \d/)
    expect(report.engines?.models.map((m) => [m.model, m.agrees])).toEqual([
      ['original', true],
      ['compressed', true]
    ])

    const plain = (await runJob(job)).report
    expect(plain.engines).toBeUndefined()
    expect(plain.layers.every((l) => l.outputSqnrDb === undefined)).toBe(true)
  })

  it('of a web target measures in its runtime, and compares that with the engine unless told not to', async () => {
    const job = { command: 'verify' as const, line: '', model: digits, other: digits, seconds: 0.05, target: 'ort-web' }
    const { report } = await runJob(job)
    expect(report.engines?.models.every((m) => m.agrees)).toBe(true)
    expect(report.machine.engine.name).toBe('onnxruntime-node')
    expect(report.machine.measured?.name).toBe('onnxruntime-web')
    // A process of onnxruntime-web holds its compiled WebAssembly: no process of onnxruntime-node is as large.
    expect(report.before.peakBytes).toBeGreaterThan(100e6)
    const runners = { target: targetFor('ort-web'), engine: nodeRunner() }
    expect(await otherEngine({ engines: false }, runners)).toEqual({ notes: [] })
  }, 120_000)

  it('of a web target says how many threads ran where more were asked for', async () => {
    const job = { command: 'bench' as const, line: '', model: digits, seconds: 0.05, target: 'ort-web', threads: 4 }
    const { report } = await runJob(job)
    expect(report.threads).toBe(1)
    const said = '4 threads were asked for; onnxruntime-web computes on 1 thread, and that is what was measured'
    expect(report.notes).toContain(said)
    expect((await runJob({ ...job, target: 'ort-cpu' })).report).toMatchObject({ threads: 4, notes: [] })
  }, 60_000)

  it('times nothing where the runtime of the target is not here, and says so', async () => {
    const engine = nodeRunner()
    const target = { name: 'elsewhere', runtime: 'another-runtime' }
    const runners = await runnersFor(target)
    expect(runners.measured).toBeUndefined()
    expect(machineOf(runners)).toMatchObject({ engine: { name: engine.name, version: engine.version } })
    expect(runtimeNotes(runners, target)).toEqual([
      'another-runtime, in which models for elsewhere run, is not here; nothing was timed, and the scores are those of onnxruntime-node'
    ])
  })
})

it.each(['verify', 'bench'] as const)('%s looks at the second file too before it runs', async (command) => {
  const bomb = model`
    input image: f32[N,1,28,28]
    const s: i64[4] = 1000000, 1000000, 28, 28
    y = Expand(image, s)
    z = ReduceMax(y)
    output z`
  const other = join(folder, 'bomb.onnx')
  await save(bomb, other, { force: true })
  await expect(runJob({ command, line: '', model: digits, other, seconds: 0.05 })).rejects.toMatchObject({
    code: 'E_LIMIT',
    facts: { file: other }
  })
})

describe('what ranges say of a model', () => {
  const layer = (node: string, op: string, over: Partial<Coverage>): Layer => ({
    node,
    op,
    activation: {
      dtype: 'uint8',
      range: { min: 0, max: 4 },
      covered: { low: 0, high: 4 },
      saturation: { low: 0, high: 0 },
      clipped: 0,
      codes: [],
      ...over
    }
  })

  it('is nothing where they fit', () => {
    expect(layerAdvice([layer('a', 'Conv', {}), { node: 'b', op: 'Softmax' }])).toEqual([])
  })

  it('is that half of the codes are unused, that values are cut off, or that probabilities are coarse', () => {
    const symmetric = { covered: { low: -4, high: 3.97 } }
    const all = ['a', 'b', 'c', 'd'].map((n) => layer(n, 'Conv', symmetric))
    const notes = layerAdvice([...all, layer('e', 'Gemm', { clipped: 0.02 }), layer('f', 'Softmax', {})])
    expect(notes[0]).toMatch(/^a, b, c and 1 more: half of the codes .* instead of symmetrically$/)
    expect(notes[1]).toMatch(/^e: more than 1 % of the values are cut off: calibrate on more samples/)
    expect(notes[2]).toMatch(/^f: probabilities in steps of 1\/256.*exclude the Softmax$/)
    expect(notes).toHaveLength(3)
  })
})

it('names the sizes that were guessed for open inputs', () => {
  const inputs = [
    { name: 'x', dtype: 'float32' as const, shape: ['N', 3, 'H', 'W'] },
    { name: 'y', dtype: 'float32' as const, shape: ['N', 8] }
  ]
  expect(guessedSizes(inputs)).toEqual([
    'input x is of any size [N, 3, H, W]: [N, 3, 224, 224] was guessed; give --data for the real one'
  ])
})

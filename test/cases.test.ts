/**
 * Structures that compression stumbles on, as small models with inputs and the outputs of the unchanged model, one sample
 * at a time (test/cases). The built program makes a file of each, and the file is run sample by sample.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readNpz } from '../src/data/npz.ts'
import { readModel, readNoted, writeModel } from '../src/formats/index.ts'
import { edit } from '../src/ir/edit.ts'
import { constants } from '../src/ir/graph.ts'
import { byteLength, elementCount, tensorOf, toFloats } from '../src/ir/tensor.ts'
import { nodeRunner } from '../src/node/runner.ts'
import type { Report } from '../src/report/types.ts'
import type { Node, Tensor } from '../src/types.ts'
import { cpuTarget } from './compare.ts'
import { isBuilt, pare as run } from './program.ts'

let scratch = ''
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'pare-cases-'))
})
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const file = (name: string, part: string): string => fileURLToPath(new URL(`cases/${name}/${part}`, import.meta.url))

interface Made {
  readonly status: number | null
  readonly report: Report
  readonly err: string
  readonly path: string
}

/** Runs a command over a case; `DATA` stands for its inputs. */
async function make(name: string, command: string, path = join(scratch, `${name}.onnx`)): Promise<Made> {
  const [verb = '', ...flags] = command.split(' ').map((w) => (w === 'DATA' ? file(name, 'input.npz') : w))
  const target = flags.includes('--target') ? [] : ['--target', cpuTarget]
  const args = [verb, file(name, 'model.onnx'), ...flags, ...target, '-o', path, '--force', '--json']
  const { status, out, err } = await run(args, { cwd: scratch })
  return { status, err, path, report: (out === '' ? {} : JSON.parse(out)) as Report }
}

/** One sample: [1, …]. */
function row(t: Tensor, i: number): Tensor {
  const size = byteLength(t.dtype, elementCount(t.shape.slice(1)))
  return tensorOf(t.dtype, [1, ...t.shape.slice(1)], t.bytes.slice(i * size, (i + 1) * size))
}

const arrays = async (path: string): Promise<ReadonlyMap<string, () => Tensor>> => readNpz(await readFile(path), path)

/** Outputs of a file on the case's samples, each run alone, rows one after the other; and what is expected. */
async function outputs(name: string, path: string): Promise<Record<string, { is: number[]; was: number[] }>> {
  const inputs = await arrays(file(name, 'input.npz'))
  const expected = await arrays(file(name, 'expected.npz'))
  const session = await nodeRunner().open({ path })
  try {
    const feeds = session.inputs.map((i) => [i.name, inputs.get(i.name)?.() as Tensor] as const)
    const n = feeds[0]?.[1].shape[0] as number
    const is: Record<string, number[]> = {}
    for (let i = 0; i < n; i++) {
      const out = await session.run(Object.fromEntries(feeds.map(([k, t]) => [k, row(t, i)])))
      for (const [k, t] of Object.entries(out)) is[k] = [...(is[k] ?? []), ...toFloats(t)]
    }
    return Object.fromEntries(
      Object.entries(is).map(([k, v]) => [k, { is: v, was: [...toFloats(expected.get(k)?.() as Tensor)] }])
    )
  } finally {
    await session.close()
  }
}

/** 20·log10(‖was‖/‖was − is‖) of some elements. */
function decibels({ is, was }: { is: number[]; was: number[] }, take: (i: number) => boolean = () => true): number {
  let [signal, noise] = [0, 0]
  expect(is.length).toBe(was.length)
  for (const [i, w] of was.entries()) {
    if (!take(i)) continue
    signal += w * w
    noise += (w - (is[i] as number)) ** 2
  }
  return noise === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(signal / noise)
}

/** Share of rows with the same greatest element. */
function agreement({ is, was }: { is: number[]; was: number[] }, classes: number): number {
  const top = (a: number[], row: number): number => {
    const one = a.slice(row * classes, (row + 1) * classes)
    return one.indexOf(Math.max(...one))
  }
  const rows = was.length / classes
  return Array.from({ length: rows }, (_, r) => top(is, r) === top(was, r)).filter(Boolean).length / rows
}

/** The model with all its scores the same value, 0.5. The boxes are as they were. */
async function spoil(path: string): Promise<string> {
  const model = edit(readModel(await readFile(path)), (d) => {
    const scores = d.producer('cs') as Node
    d.replace(scores, { ...scores, op: 'HardSigmoid', attrs: { alpha: { kind: 'float', value: 0 } } })
  })
  const spoiled = join(scratch, 'spoiled.onnx')
  await writeFile(spoiled, writeModel(model).bytes)
  return spoiled
}

describe.skipIf(!isBuilt)('small cases (skipped before npm run build)', () => {
  it('cast-float --compute: a Scan that reads weights around it opens, at 55 dB', async () => {
    const made = await make('scan-outer-weights', 'cast-float --compute')
    expect(made.status, made.err).toBe(0)
    const { y } = await outputs('scan-outer-weights', made.path)
    expect(decibels(y as never)).toBeGreaterThan(55)
  })

  it('cast-float --compute: scales of QLinearConv stay float32', async () => {
    const made = await make('qlinearconv-then-float', 'cast-float --compute')
    expect(made.status, made.err).toBe(0)
    const { y } = await outputs('qlinearconv-then-float', made.path)
    expect(decibels(y as never)).toBeGreaterThan(40)
  })

  it('train-quantized: a weight that is read along two axes has steps for each', async () => {
    const command = 'train-quantized --train-data DATA --calibration-data DATA --epochs 1'
    const made = await make('one-weight-two-layouts', command)
    expect(made.status, made.err).toBe(0)
    const { y } = await outputs('one-weight-two-layouts', made.path)
    expect(agreement(y as never, 36)).toBeGreaterThan(0.95)
  })

  it('quantize-static and compress: −∞ of a mask that is a constant is left out of ranges', async () => {
    const name = 'attention-mask-minus-inf'
    const made = await make(name, 'quantize-static --data DATA')
    expect(made.status, made.err).toBe(0)
    expect(decibels((await outputs(name, made.path)).y as never)).toBeGreaterThan(25)
    const kinds = (await readNoted(await readFile(made.path))).model.graph
    expect(constants(kinds).filter((v) => v.dtype === 'int8' && elementCount(v.data.shape) === 256)).toHaveLength(4)
    const found = await make(name, 'compress --data DATA --metric relativeError --max-drop 5%')
    expect(found.status, found.err).toBe(0)
    expect(decibels((await outputs(name, found.path)).y as never)).toBeGreaterThan(25)
  }, 120_000)

  it('quantize-static: stacks of weights that data pick from are stored in int8', async () => {
    const made = await make('expert-stack', 'quantize-static --data DATA --target ort-cpu')
    expect(made.status, made.err).toBe(0)
    const was = (await stat(file('expert-stack', 'model.onnx'))).size
    expect((await stat(made.path)).size).toBeLessThan(0.4 * was)
    expect(decibels((await outputs('expert-stack', made.path)).y as never)).toBeGreaterThan(16)
  })

  it('quantize-static: scores beside boxes in pixels keep their codes', async () => {
    const made = await make('boxes-beside-scores', 'quantize-static --data DATA')
    expect(made.status, made.err).toBe(0)
    const { y } = await outputs('boxes-beside-scores', made.path)
    const isScore = (i: number): boolean => Math.floor(i / 64) % 9 >= 4
    expect(decibels(y as never, isScore)).toBeGreaterThan(30)
    expect(decibels(y as never, (i) => !isScore(i))).toBeGreaterThan(40)
    const over = (v: number[]): number => v.filter((x, i) => isScore(i) && x > 0.5).length
    const { is, was } = y as { is: number[]; was: number[] }
    expect(over(was)).toBe(2848)
    expect(Math.abs(over(is) / over(was) - 1)).toBeLessThan(0.01)
    expect(JSON.stringify(made.report)).toContain('compared with a threshold at the end of the model')
  })

  it('quantize-static and compress: a past of no tokens is no lack of samples', async () => {
    const name = 'empty-past'
    const made = await make(name, 'quantize-static --data DATA')
    expect(made.status, made.err).toBe(0)
    const { logits, present } = await outputs(name, made.path)
    expect(decibels(logits as never)).toBeGreaterThan(20)
    expect(decibels(present as never)).toBeGreaterThan(20)
    const found = await make(name, 'compress --data DATA --max-drop 5% --metric relativeError')
    expect(found.status, found.err).toBe(0)
  }, 120_000)

  it('mix-precision: few samples do not refuse what costs nothing', async () => {
    const made = await make('few-samples', 'mix-precision --data DATA --max-drop 5%')
    expect(made.status, made.err).toBe(0)
    const { y } = await outputs('few-samples', made.path)
    expect(decibels(y as never)).toBeGreaterThan(45)
    const was = (await stat(file('few-samples', 'model.onnx'))).size
    expect((await stat(made.path)).size).toBeLessThan(0.85 * was)
  }, 120_000)

  it('verify: boxes beside scores whose scores have become one value do not pass, by any metric that fits', async () => {
    const name = 'boxes-beside-scores'
    const spoiled = await spoil(file(name, 'model.onnx'))
    for (const metric of [[], ['--metric', 'relativeError']]) {
      const flags = ['--data', file(name, 'input.npz'), '--max-drop', '1%', '--seconds', '0.1', '--json', ...metric]
      const { status, out, err } = await run(['verify', file(name, 'model.onnx'), spoiled, ...flags], { cwd: scratch })
      expect(status, err).toBe(3)
      const { constraint, notes } = JSON.parse(out) as Report
      expect(constraint?.metric).toBe(metric[1] ?? 'detections')
      expect(notes.join('\n')).toMatch(
        metric[1] ? /positions 4 to 8 of axis 1: 0\.\d+ \(the worst\)/ : /beside 5 scores each in y/
      )
    }
    const itself = ['verify', file(name, 'model.onnx'), file(name, 'model.onnx'), '--data', file(name, 'input.npz')]
    expect((await run([...itself, '--max-drop', '1%', '--seconds', '0.1', '--quiet'], { cwd: scratch })).status).toBe(0)
  })
  it('fuse: a weight that others read is not copied; size: no more bytes than int8 weights alone take', async () => {
    const name = 'shared-head-batchnorm'
    const was = (await stat(file(name, 'model.onnx'))).size
    const fused = await make(name, 'fuse')
    expect(fused.status, fused.err).toBe(0)
    expect((await stat(fused.path)).size).toBeLessThan(1.02 * was)
    expect(JSON.stringify(fused.report.refusals)).toContain('a second copy takes')
    expect(decibels((await outputs(name, fused.path)).y as never)).toBeGreaterThan(100)
    const found = await make(name, 'compress --data DATA --metric relativeError --max-drop 5% --objective size')
    expect(found.status, found.err).toBe(0)
    expect((await stat(found.path)).size).toBeLessThanOrEqual(13_100)
  }, 240_000)

  it.each([
    ['simplify', 100],
    ['fuse', 100],
    ['quantize-weights --min-elements 1', 30]
  ])('%s: nodes that draw numbers stay, each with its own', async (command, least) => {
    const made = await make('noise-nodes', command)
    expect(made.status, made.err).toBe(0)
    const { y, spread } = await outputs('noise-nodes', made.path)
    expect(decibels(y as never)).toBeGreaterThan(least)
    expect(Math.min(...(spread?.is ?? []))).toBeGreaterThan(0)
  })

  it('simplify: constants that Tile and Expand enlarge are not folded into the file', async () => {
    const made = await make('tile-stays-small', 'simplify')
    expect(made.status, made.err).toBe(0)
    expect((await stat(made.path)).size).toBeLessThanOrEqual(1300)
    const found = await outputs('tile-stays-small', made.path)
    for (const pair of Object.values(found)) expect(decibels(pair)).toBe(Number.POSITIVE_INFINITY)
  })

  it('reports: the bytes behind each step are those of the file that is written', async () => {
    const made = await make('shared-head-batchnorm', 'quantize-weights --bits 4 --form palette')
    expect(made.status, made.err).toBe(0)
    const size = (await stat(made.path)).size
    expect(made.report.steps.at(-1)?.after.bytes).toBe(size)
    expect(size).toBeLessThan(0.3 * (await stat(file('shared-head-batchnorm', 'model.onnx'))).size)
  })
})

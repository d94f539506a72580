/**
 * A page has onnxruntime-web alone, as engine and as measured runtime: it quantizes and runs the whole ladder there. The
 * same program runs here over onnxruntime-web too, and its files are the same bytes.
 */
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import * as pare from '../src/index.ts'
import { producer } from '../src/ir/graph.ts'
import { nodeRunner } from '../src/node/runner.ts'
import { webRunner } from '../src/node/web-runner.ts'
import type { Runner } from '../src/runtime/types.ts'
import { type Chromium, executable, openChromium } from './browser.ts'
import { sharedData } from './shared.ts'

const dsCnn = sharedData('kws', 'ds_cnn.onnx')
const models = {
  digits: fileURLToPath(new URL('../examples/demo/digits.onnx', import.meta.url)),
  ...(dsCnn === undefined ? {} : { 'DS-CNN': dsCnn })
}
const files = Object.fromEntries(
  await Promise.all(Object.entries(models).map(async ([name, path]) => [`/${name}`, await readFile(path)] as const))
)

interface Outcome {
  /** Notes of quantize-static, and its file. */
  readonly notes: readonly string[]
  readonly integer: string
  /** Files of the ladder in the order they were written, in hexadecimal. */
  readonly staged: readonly string[]
  readonly tried: readonly string[]
  readonly chosen: string
  readonly timed: number
}

/** Finds `pare`, `runner` and `bytesAt`; `path` names the model. */
const program = (path: string): string => `
  const model = pare.readModel(await bytesAt(${JSON.stringify(path)}))
  const id = model.graph.inputs[0]
  const shape = model.graph.values.get(id).shape.slice(1)
  const random = pare.rng('samples')
  const samples = (count) => {
    const all = [count, ...shape]
    const values = Float32Array.from({ length: all.reduce((a, b) => a * b) }, () => random.normal())
    return pare.arrayDataset({ inputs: { [id]: pare.tensor('float32', all, values) } })
  }
  const data = { calibration: samples(48), selection: samples(16), test: samples(16) }
  const common = {
    engine: runner,
    measured: runner,
    target: pare.targetFor('ort-web'),
    rng: pare.rng(0),
    signal: new AbortController().signal,
    progress: () => {}
  }
  const hex = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('')
  const recipe = [['simplify', {}], ['fuse', {}], ['quantize-static', {}]]
  const applied = await pare.applyRecipe(model, recipe, { ...common, data: { calibration: data.calibration } })
  const staged = []
  const tried = []
  const original = pare.writeModel(model).bytes
  const { chosen, report } = await pare.compress({
    ...common,
    model,
    original: { source: original, bytes: original.length },
    data,
    synthetic: false,
    metrics: [pare.metricFor('relativeError')],
    objective: 'size',
    threads: 1,
    stage: async (made) => {
      const { bytes } = pare.writeModel(made)
      staged.push(hex(bytes))
      return { source: bytes, bytes: bytes.length }
    },
    onCandidate: (c) => tried.push(c.name)
  })
  return {
    notes: applied.notes,
    integer: hex(pare.writeModel(applied.model).bytes),
    staged,
    tried,
    chosen: hex(pare.writeModel(chosen.model).bytes),
    timed: report.ratios.latency.median
  }
`

type Program = (core: typeof pare, runner: Runner, bytesAt: (path: string) => Promise<unknown>) => Promise<Outcome>

async function here(path: string, runner: Runner): Promise<Outcome> {
  const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor as new (...text: string[]) => Program
  return new AsyncFunction('pare', 'runner', 'bytesAt', program(path))(pare, runner, async (at) => files[at])
}

async function web(): Promise<Runner> {
  const runner = await webRunner()
  if (!runner) throw new Error('onnxruntime-web is a development dependency')
  return runner
}

/** Every quantizer and dequantizer of a file with its scale. */
function scalesIn(file: string): Map<string, readonly number[]> {
  const { graph } = pare.readModel(new Uint8Array(Buffer.from(file, 'hex')))
  const out = new Map<string, readonly number[]>()
  for (const n of graph.nodes)
    for (const [i, id] of n.inputs.entries()) {
      const scale = i === 1 && producer(graph, id ?? '') === undefined ? pare.constant(graph, id) : undefined
      if (scale && /QuantizeLinear$/.test(n.op)) out.set(`${n.op} ${n.outputs[0]}`, [...pare.toFloats(scale)])
    }
  return out
}

describe.skipIf(!executable)('compress in headless Chromium (skipped where Chromium is not installed)', () => {
  let browser: Chromium | undefined
  beforeAll(async () => {
    browser = await openChromium(files)
  }, 60_000)
  afterAll(() => browser?.close())

  it.each(Object.keys(models))(
    'runs the ladder on %s, with the bytes that Node gets over onnxruntime-web',
    async (name) => {
      const page = (await browser?.run(program(`/${name}`))) as Outcome
      const node = await here(`/${name}`, await web())
      expect(page.notes).toContain('not proven fused: onnxruntime-web does not tell its kernels')
      expect(page.integer).toBe(node.integer)
      expect(page.tried).toEqual(expect.arrayContaining(['float, simplified', 'int8 weights', 'int8']))
      expect(page.staged.slice(0, 4)).toEqual(node.staged.slice(0, 4))
      expect(page.chosen).toBe(node.chosen)
      expect(page.timed).toBeGreaterThan(0)
    },
    240_000
  )
})

it.each(Object.keys(models))(
  'quantizes the same layers of %s over onnxruntime-node, with the same scales',
  async (name) => {
    const over = async (runner: Runner): Promise<Map<string, readonly number[]>> => {
      const model = pare.readModel(files[`/${name}`] as Uint8Array)
      const id = model.graph.inputs[0] as string
      const shape = [48, ...(model.graph.values.get(id)?.shape?.slice(1) ?? []).map(Number)]
      const random = pare.rng('samples')
      const values = Float32Array.from({ length: pare.elementCount(shape) }, () => random.normal())
      const recipe: pare.Recipe = [
        ['simplify', {}],
        ['fuse', {}],
        ['quantize-static', {}]
      ]
      const made = await pare.applyRecipe(model, recipe, {
        ...{ engine: runner, measured: runner, target: pare.targetFor('ort-web'), rng: pare.rng(0) },
        ...{ signal: new AbortController().signal, progress: () => {} },
        data: { calibration: pare.arrayDataset({ inputs: { [id]: pare.tensor('float32', shape, values) } }) }
      })
      return scalesIn(Buffer.from(pare.writeModel(made.model).bytes).toString('hex'))
    }
    const [there, expected] = [await over(await web()), await over(nodeRunner())]
    expect(expected.size).toBeGreaterThan(5)
    expect([...there.keys()]).toEqual([...expected.keys()])
    for (const [at, scales] of expected)
      for (const [i, s] of scales.entries())
        expect(Math.abs((there.get(at)?.[i] ?? 0) - s)).toBeLessThanOrEqual(1e-5 * s)
  },
  120_000
)

/** Training in a browser: the same code trains on onnxruntime-web in a page as on onnxruntime-node here. */
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import * as pare from '../src/index.ts'
import { nodeRunner } from '../src/node/runner.ts'
import type { Runner } from '../src/runtime/types.ts'
import { type Chromium, executable, openChromium } from './browser.ts'

const text = await readFile(fileURLToPath(new URL('../bench/lenet.txt', import.meta.url)), 'utf8')

const batch = 64
const trained = 2000
const held = 500

/** Digits of the `mnist` package, classes in turn, none twice. */
function digits(count: number): Float32Array {
  const sets = createRequire(import.meta.url)('mnist') as Record<number, { readonly raw: readonly number[] }>
  const x = new Float32Array(count * 784)
  for (let i = 0; i < count; i++) {
    const from = Math.floor(i / 10) * 784
    x.set((sets[i % 10] as { readonly raw: readonly number[] }).raw.slice(from, from + 784), i * 784)
  }
  return x
}

const files: Readonly<Record<string, Uint8Array>> = {
  '/lenet.onnx': pare.writeModel(pare.initialise(pare.parse(text), 'browser').model).bytes as Uint8Array,
  '/digits.f32': new Uint8Array(digits(trained + held).buffer)
}

interface Outcome {
  /** Of the first batch, by parameter. */
  readonly gradients: Readonly<Record<string, readonly number[]>>
  /** Loss of the first batch before and after the epoch. */
  readonly before: number
  readonly after: number
  readonly steps: number
  /** Of the digits that were held out. */
  readonly score: number
}

/** Finds `pare`, `runner` and `bytesAt`. */
const program = `
  const model = pare.readModel(await bytesAt('/lenet.onnx'))
  const values = new Float32Array((await bytesAt('/digits.f32')).buffer)
  const labels = Array.from({ length: ${trained + held} }, (_, i) => i % 10)
  const data = pare.arrayDataset({ inputs: { x: pare.tensor('float32', [labels.length, 1, 28, 28], values) }, labels })
  const loss = [{ kind: 'cross-entropy', output: 'logits' }]

  const evaluated = async (m) => {
    const training = pare.differentiate(m, { loss, batch: ${batch} })
    const session = await pare.openTraining(training, { engine: runner })
    const made = await session.run({
      x: pare.tensor('float32', [${batch}, 1, 28, 28], values.slice(0, ${batch} * 784)),
      [training.targets[0].input]: pare.tensor('int64', [${batch}], labels.slice(0, ${batch})),
      ...pare.firstState(training, m).feeds
    })
    await session.close()
    const gradients = {}
    for (const chunk of training.chunks) {
      const packed = pare.toFloats(made[chunk.outputs[0]])
      for (const { id, offset, shape } of chunk.parts)
        gradients[id] = [...packed.slice(offset, offset + pare.elementCount(shape))]
    }
    return { loss: pare.toFloats(made[training.outputs.loss])[0], gradients }
  }

  const before = await evaluated(model)
  const training = pare.differentiate(model, { loss, batch: ${batch}, optimizer: { kind: 'adam' } })
  const order = labels.map((_, i) => i)
  const { model: made, state, epochs } = await pare.train(model, training, { epochs: 1, rate: 2e-3, seed: 1 }, {
    engine: runner,
    data: pare.subset(data, order.slice(0, ${trained})),
    validation: { data: pare.subset(data, order.slice(${trained})), metric: pare.metricFor('top1') }
  })
  const after = await evaluated(made)
  return {
    gradients: before.gradients,
    before: before.loss,
    after: after.loss,
    steps: state.step,
    score: epochs[0].score
  }
`

type Program = (core: typeof pare, runner: Runner, bytesAt: (path: string) => Promise<unknown>) => Promise<Outcome>

function here(): Promise<Outcome> {
  const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor as new (...text: string[]) => Program
  return new AsyncFunction('pare', 'runner', 'bytesAt', program)(pare, nodeRunner(), async (path) => files[path])
}

describe.skipIf(!executable)('training in headless Chromium (skipped where Chromium is not installed)', () => {
  let browser: Chromium | undefined
  let there: Outcome
  beforeAll(async () => {
    browser = await openChromium(files)
    there = (await browser.run(program)) as Outcome
  }, 60_000)
  afterAll(() => browser?.close())

  it('trains LeNet for an epoch: the loss falls, and digits that were held out are told apart', () => {
    expect(there.steps).toBe(Math.floor(trained / batch))
    expect(there.after).toBeLessThan(there.before / 2)
    expect(there.score).toBeGreaterThan(0.5)
  })

  it('computes the gradients that Node computes, and ends the epoch where Node does', async () => {
    const { gradients, after } = await here()
    expect(Math.abs(there.after / after - 1)).toBeLessThan(1e-3)
    expect(Object.keys(there.gradients)).toEqual(Object.keys(gradients))
    for (const [id, mine] of Object.entries(gradients)) {
      const its = there.gradients[id] as readonly number[]
      const largest = Math.max(...mine.map(Math.abs))
      const error = Math.max(...mine.map((g, i) => Math.abs(g - (its[i] as number))))
      expect(largest, id).toBeGreaterThan(0)
      // Sums of up to 64·28·28 products in single precision, taken in another order.
      expect(error / largest, id).toBeLessThan(1e-5)
    }
  })
})

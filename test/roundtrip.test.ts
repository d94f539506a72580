import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { describe, expect, it } from 'vitest'
import { PareError } from '../src/base/errors.ts'
import { rng } from '../src/base/random.ts'
import { readModel, writeModel } from '../src/formats/index.ts'
import { check } from '../src/ir/check.ts'
import { elementCount, tensor, toNumbers } from '../src/ir/tensor.ts'
import { nodeRunner } from '../src/node/runner.ts'
import { inferShapes } from '../src/ops/infer.ts'
import type { Model, Tensor } from '../src/types.ts'
import { caseNames, failureOf, readCase } from './cases.ts'
import { corpus } from './corpus.ts'
import { onnxCases, sharedData } from './shared.ts'

const folder = onnxCases()

/** What must survive: all but types that follow from the rest, and notes on the file that was read. */
function facts(m: Model): Model {
  const header = { producerName: 'pare', ...m.origin?.header }
  return inferShapes({ ...m, origin: { format: 'onnx', header } })
}

/** Reads, writes, and reads again; what differs, `undefined` when nothing does. */
function drift(bytes: Uint8Array, external?: () => Uint8Array): string | undefined {
  const o = external ? { external } : {}
  const once = check(readModel(bytes, o))
  const written = writeModel(once).bytes
  const again = check(readModel(written))
  if (!isDeepStrictEqual(facts(again), facts(once))) return 'another model'
  return isDeepStrictEqual(writeModel(again).bytes, written) ? undefined : 'other bytes'
}

describe('reading what was written', () => {
  it('is the identity for every part of the format', () => {
    const all = Object.entries(corpus()).map(([name, bytes]) => [name, drift(bytes, () => new Uint8Array(16))])
    expect(all.filter(([, what]) => what !== undefined)).toEqual([])
  })
  it.skipIf(!folder)('is the identity for all conformance cases', { timeout: 120_000 }, () => {
    const all = caseNames(folder ?? '').map((name) => [
      name,
      drift(new Uint8Array(readFileSync(join(folder ?? '', name, 'model.onnx'))))
    ])
    expect(all.length).toBeGreaterThan(1000)
    expect(all.filter(([, what]) => what !== undefined)).toEqual([])
  })
})

describe.skipIf(!folder)('conformance cases of libonnx-testdata, read and written', () => {
  it('run as the untouched files do', { timeout: 300_000 }, async () => {
    const failures: string[] = []
    let passed = 0
    for (const name of caseNames(folder ?? '')) {
      const c = readCase(folder ?? '', name)
      if (!c || (await failureOf(c.model, c)) !== undefined) continue
      passed++
      const why = await rewrittenFailure(c)
      if (why !== undefined) failures.push(`${name}: ${why}`)
    }
    const found = `${passed} cases pass untouched, ${passed - failures.length} after reading and writing`
    console.info([found, ...failures].join('\n'))
    expect(passed).toBeGreaterThan(900)
    expect(failures.length).toBeLessThanOrEqual(passed * 0.01)
  })
})

async function rewrittenFailure(c: Parameters<typeof failureOf>[1]): Promise<string | undefined> {
  try {
    return await failureOf(writeModel(check(readModel(c.model))).bytes, c)
  } catch (error) {
    if (error instanceof PareError) return `${error.code} ${error.message} (${error.where})`
    throw error
  }
}

const real = [
  ['kws', 'ds_cnn.onnx'],
  ['imagenet', 'mobilenet_v1_025_224.onnx'],
  ['cifar10-jpeg', 'resnet20.onnx'],
  ['cifar10-jpeg', 'resnet56.onnx'],
  ['mnist', 'mnist-8.onnx']
] as const

describe.skipIf(!sharedData())('real models, read and written', () => {
  it.each(real)('%s/%s gives the same outputs', async (...parts) => {
    const bytes = new Uint8Array(readFileSync(sharedData(...parts) ?? ''))
    expect(drift(bytes)).toBeUndefined()
    const [before, after] = [await run(bytes), await run(writeModel(readModel(bytes)).bytes)]
    const worst = Math.max(...before.map((x, i) => Math.abs(x - (after[i] ?? Number.NaN))))
    // The same kernels, but an older opset can be fused otherwise: a few units in the last place.
    expect(worst).toBeLessThanOrEqual(1e-5 * Math.max(...before.map(Math.abs)))
  })
})

/** The first output for seeded inputs, one sample. */
async function run(bytes: Uint8Array): Promise<number[]> {
  const session = await nodeRunner().open(bytes)
  const random = rng(7)
  const feeds = session.inputs.map(({ name, shape }): [string, Tensor] => {
    const fixed = (shape ?? []).map((d) => (typeof d === 'number' && d > 0 ? d : 1))
    return [
      name,
      tensor(
        'float32',
        fixed,
        Array.from({ length: elementCount(fixed) }, () => random.normal())
      )
    ]
  })
  const made = await session.run(Object.fromEntries(feeds))
  await session.close()
  const [name] = session.outputs.map((o) => o.name)
  return Array.from(toNumbers(made[name ?? ''] as Tensor))
}

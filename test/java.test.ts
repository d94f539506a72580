/**
 * `examples/java` says of a model that Pare made what Node says. It needs a JDK of 11 or newer, the jar of ONNX Runtime in
 * `examples/java/lib`, and those of DL4J in `examples/java/lib-dl4j` (its README has the commands).
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { tensor, toFloats } from '../src/ir/tensor.ts'
import { applyRecipe, load, nodeRunner, openDataset, rng, save, targetFor } from '../src/node/index.ts'
import type { Recipe } from '../src/passes/types.ts'
import type { Tensor } from '../src/types.ts'

const example = fileURLToPath(new URL('../examples/java/', import.meta.url))
const lib = join(example, 'lib')
const missing =
  spawnSync('java', ['-version']).status !== 0
    ? 'no java here'
    : !existsSync(lib) || !readdirSync(lib).some((name) => /^onnxruntime-.*\.jar$/.test(name))
      ? 'no jar of ONNX Runtime in examples/java/lib'
      : undefined

const folder = mkdtempSync(join(tmpdir(), 'pare-java-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe.skipIf(missing)(`examples/java${missing ? ` (${missing})` : ''}`, () => {
  it.each(['.onnx', '.ort'])(
    'chooses the classes that Node chooses, of a model in %s',
    { timeout: 60_000 },
    async (ending) => {
      const digits = await load(fileURLToPath(new URL('../examples/demo/digits.onnx', import.meta.url)))
      const engine = nodeRunner()
      const { model } = await applyRecipe(digits, [['quantize-weights', {}]], {
        ...{ engine, target: targetFor('ort-cpu'), rng: rng(0), data: {} },
        ...{ signal: new AbortController().signal, progress: () => undefined }
      })
      const path = join(folder, `digits${ending}`)
      await save(model, path)
      const session = await engine.open(model)
      const [input] = session.inputs
      const shape = (input?.shape ?? []).map((d) => (typeof d === 'number' ? d : 1))
      const size = shape.reduce((n, d) => n * d, 1)
      const samples = Array.from({ length: 5 }, (_, k) =>
        Float32Array.from({ length: size }, (_, i) => Math.sin(i * (k + 1)))
      )
      const file = join(folder, 'samples.f32')
      writeFileSync(file, Buffer.concat(samples.map((s) => Buffer.from(s.buffer))))
      const wanted: string[] = []
      for (const [k, sample] of samples.entries()) {
        const [scores] = Object.values(await session.run({ [input?.name ?? '']: tensor('float32', shape, sample) }))
        const values = Array.from(toFloats(scores as Tensor))
        wanted.push(`top-1    ${k}: class ${values.indexOf(Math.max(...values))},`)
      }
      await session.close()
      const ran = spawnSync('java', ['-cp', join(lib, '*'), join(example, 'RunModel.java'), path, file, '5'], {
        encoding: 'utf8'
      })
      expect(ran.stderr.replace(/^WARNING:.*$/gm, '').trim()).toBe('')
      const said = ran.stdout.split('\n').filter((line) => line.startsWith('top-1'))
      expect(said.map((line) => line.slice(0, line.indexOf(',') + 1))).toEqual(wanted)
      expect(ran.stdout).toMatch(/latency {2}\d+\.\d+ ms/)
    }
  )
})

const dl4j = join(example, 'lib-dl4j')
const noDl4j =
  spawnSync('java', ['-version']).status !== 0
    ? 'no java here'
    : !existsSync(dl4j) || !readdirSync(dl4j).some((name) => /^deeplearning4j-nn-.*\.jar$/.test(name))
      ? 'no jars of DL4J in examples/java/lib-dl4j'
      : undefined

describe.skipIf(noDl4j)(`archives in DL4J itself${noDl4j ? ` (${noDl4j})` : ''}`, () => {
  const recipes: Readonly<Record<string, Recipe>> = {
    'as it was': [],
    'of fewer channels': [['prune-channels', { ratio: 0.5 }]],
    'with zeros': [['prune-weights', { ratio: 0.5 }]],
    'in palettes': [['quantize-weights', { form: 'palette', bits: 4 }]],
    'trained further': [['finetune', { epochs: 1, optimizer: { name: 'adam' } }]]
  }

  it.each(Object.keys(recipes))('%s: the scores of ONNX Runtime', { timeout: 120_000 }, async (name) => {
    const digits = await load(join(example, 'digits.zip'))
    const engine = nodeRunner()
    const inputs = [{ name: 'input', dtype: 'float32' as const, shape: ['N', 1, 28, 28] }]
    const data = await openDataset({ path: join(example, 'digits-data.mjs') }, inputs, { modules: true })
    const { model } = await applyRecipe(digits, recipes[name] ?? [], {
      ...{ engine, target: targetFor('dl4j'), rng: rng(0), data: { train: data } },
      ...{ signal: new AbortController().signal, progress: () => undefined }
    })
    const path = join(folder, `${name.replace(/ /g, '-')}.zip`)
    await save(model, path)
    const sample = Float32Array.from({ length: 784 }, (_, i) => Math.sin(i))
    const session = await engine.open(model)
    const [scores] = Object.values(await session.run({ input: tensor('float32', [1, 1, 28, 28], sample) }))
    await session.close()
    const values = Array.from(toFloats(scores as Tensor))
    const most = Math.max(...values)
    const file = join(folder, 'sample.f32')
    writeFileSync(file, Buffer.from(sample.buffer))
    const ran = spawnSync('java', ['-cp', join(dl4j, '*'), join(example, 'RunDl4j.java'), path, '1,28,28', file, '5'], {
      encoding: 'utf8'
    })
    const [, best, score] = /top-1 {4}0: class (\d+), ([\d.]+)/.exec(ran.stdout) ?? []
    expect({ best: Number(best), stderr: ran.stderr.replace(/^(WARNING|SLF4J).*$/gm, '').trim() }).toEqual({
      best: values.indexOf(most),
      stderr: ''
    })
    expect(Math.abs(Number(score) - most)).toBeLessThan(1e-5)
  })
})

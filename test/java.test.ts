/**
 * `examples/java` says of a model that Pare made what Node says. It needs a JDK of 11 or newer, and the jar of ONNX Runtime in
 * `examples/java/lib` (its README has the command).
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { tensor, toFloats } from '../src/ir/tensor.ts'
import { applyRecipe, load, nodeRunner, rng, save, targetFor } from '../src/node/index.ts'
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

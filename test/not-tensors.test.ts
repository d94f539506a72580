/** Classifiers that give maps beside tensors, as scikit-learn's exports do by ZipMap, or only maps. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { TensorProto_DataType as Type } from 'onnx-buf'
import * as ort from 'onnxruntime-node'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readModel } from '../src/formats/index.ts'
import { tensor } from '../src/ir/tensor.ts'
import type { Report } from '../src/report/types.ts'
import { ortRunner } from '../src/runtime/index.ts'
import { file, floats, int, ints, node, tensorType, value, weights } from './corpus.ts'
import { isBuilt, npz, pare as run } from './program.ts'

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-maps-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const at = (name: string): string => join(folder, name)

const classes = 5
const numbers = (n: number): number[] => Array.from({ length: n }, (_, i) => Math.sin(3 * i + 1))

/** sequence(map(int64, float)) */
const maps = value('maps', {
  value: {
    case: 'sequenceType',
    value: {
      elemType: { value: { case: 'mapType', value: { keyType: Type.INT64, valueType: tensorType(Type.FLOAT) } } }
    }
  }
} as never)

const classifier = (outputs: readonly string[]): Uint8Array =>
  file(
    {
      input: [floats('x', 'N', 64)],
      output: [value('label', tensorType(Type.INT64, 'N')), floats('scores', 'N', classes), maps].filter((v) =>
        outputs.includes(v.name as string)
      ),
      initializer: [weights('w', [64, 48], ...numbers(64 * 48)), weights('v', [48, classes], ...numbers(48 * classes))],
      node: [
        node('MatMul', ['x', 'w'], ['h']),
        node('Tanh', ['h'], ['t']),
        node('MatMul', ['t', 'v'], ['l']),
        node('Softmax', ['l'], ['scores']),
        node('ArgMax', ['scores'], ['label'], [int('axis', 1), int('keepdims', 0)]),
        node('ZipMap', ['scores'], ['maps'], [ints('classlabels_int64s', 0, 1, 2, 3, 4)], { domain: 'ai.onnx.ml' })
      ]
    },
    {
      opsetImport: [
        { domain: '', version: 17n },
        { domain: 'ai.onnx.ml', version: 1n }
      ] as never
    }
  )

describe('a session', () => {
  it('gives the tensors among the outputs', async () => {
    const session = await ortRunner(ort).open(readModel(classifier(['label', 'scores', 'maps'])))
    const out = await session.run({ x: tensor('float32', [2, 64], numbers(128)) })
    expect(Object.keys(out)).toEqual(['label', 'scores'])
    expect(session.outputs.map((o) => o.name)).toEqual(['label', 'scores'])
    await session.close()
  })
})

describe.skipIf(!isBuilt)('commands (skipped before npm run build)', () => {
  const commands = ['simplify', 'quantize-static --data data.npz', 'quantize-weights', 'bench --seconds 0.1']
    .concat('verify --data data.npz --seconds 0.1 model.onnx')
    .concat('compress --data data.npz --metric relativeError --max-drop 5% --max-time 5s')
  it.each(commands)(
    '%s: asks for tensors, says so, and goes on',
    async (command) => {
      const [verb = '', ...rest] = command.split(' ')
      writeFileSync(at('model.onnx'), classifier(['label', 'scores', 'maps']))
      writeFileSync(at('data.npz'), npz([128, 64], Float32Array.from(numbers(128 * 64)), new Array(128).fill(0)))
      const writes = !['bench', 'verify'].includes(verb)
      const out = writes ? ['-o', 'out.onnx', '--force'] : []
      const { status, out: said, err } = await run([verb, 'model.onnx', ...rest, ...out, '--json'], { cwd: folder })
      expect(status, err).toBe(0)
      expect((JSON.parse(said) as Report).notes.join('\n')).toContain('maps is no tensor (a sequence or map)')
      if (writes) expect(readModel(readFileSync(at('out.onnx'))).graph.outputs).toEqual(['label', 'scores', 'maps'])
    },
    60_000
  )
  it('end with one message where no output is a tensor', async () => {
    writeFileSync(at('only.onnx'), classifier(['maps']))
    const { status, err } = await run(['bench', 'only.onnx'], { cwd: folder })
    expect(status).toBe(2)
    expect(err).toContain('the model gives no outputs that are tensors')
  })
})

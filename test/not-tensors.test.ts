/** Classifiers that give maps beside tensors, as scikit-learn's exports do by ZipMap, or only maps; and what else is no tensor of numbers. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AttributeProto_AttributeType as AttributeType, TensorProto_DataType as Type } from 'onnx-buf'
import * as ort from 'onnxruntime-node'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readModel } from '../src/formats/index.ts'
import { tensor } from '../src/ir/tensor.ts'
import { runJob } from '../src/node/jobs.ts'
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

const sequence = (elemType: unknown): unknown => ({ value: { case: 'sequenceType', value: { elemType } } })
const optional = (elemType: unknown): unknown => ({ value: { case: 'optionalType', value: { elemType } } })
const map = (keyType: Type, valueType: unknown): unknown => ({
  value: { case: 'mapType', value: { keyType, valueType } }
})
const strings = (name: string, ...all: string[]): ReturnType<typeof ints> =>
  ({ name, type: AttributeType.STRINGS, strings: all.map((t) => new TextEncoder().encode(t)) }) as never
const ml = { domain: 'ai.onnx.ml' }
const letters = ['a', 'b', 'c', 'd', 'e']
const parts = node('SplitToSequence', ['scores'], ['parts'], [int('axis', 1), int('keepdims', 1)])

/** What stands behind the scores, the type of what it gives, and whether that is asked for. */
const relatives: Readonly<Record<string, readonly [ReturnType<typeof node>[], unknown, boolean]>> = {
  'a sequence of maps by text': [
    [node('ZipMap', ['scores'], ['extra'], [strings('classlabels_strings', ...letters)], ml)],
    sequence(map(Type.STRING, tensorType(Type.FLOAT))),
    false
  ],
  'a sequence of tensors': [[{ ...parts, output: ['extra'] } as typeof parts], sequence(tensorType(Type.FLOAT)), false],
  'an optional tensor': [[node('Optional', ['scores'], ['extra'])], optional(tensorType(Type.FLOAT, 'N', 5)), false],
  'an optional sequence': [
    [parts, node('Optional', ['parts'], ['extra'])],
    optional(sequence(tensorType(Type.FLOAT))),
    false
  ],
  'labels that are texts': [
    [
      node('ArgMax', ['scores'], ['i'], [int('axis', 1), int('keepdims', 0)]),
      node(
        'LabelEncoder',
        ['i'],
        ['extra'],
        [ints('keys_int64s', 0, 1, 2, 3, 4), strings('values_strings', ...letters)],
        ml
      )
    ],
    tensorType(Type.STRING, 'N'),
    true
  ]
}

const relative = (name: string): Uint8Array => {
  const [behind, type] = relatives[name] ?? [[], undefined]
  return file(
    {
      input: [floats('x', 'N', 64)],
      output: [value('extra', type as never), floats('scores', 'N', classes)],
      initializer: [weights('w', [64, classes], ...numbers(64 * classes))],
      node: [node('MatMul', ['x', 'w'], ['l']), node('Softmax', ['l'], ['scores']), ...behind]
    },
    {
      opsetImport: [
        { domain: '', version: 18n },
        { domain: 'ai.onnx.ml', version: 2n }
      ] as never
    }
  )
}

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

  it.each(Object.keys(relatives))('gives the scores beside %s', async (name) => {
    const session = await ortRunner(ort).open(readModel(relative(name)))
    const out = await session.run({ x: tensor('float32', [2, 64], numbers(128)) })
    const asked = relatives[name]?.[2] ? ['extra', 'scores'] : ['scores']
    expect(Object.keys(out)).toEqual(asked)
    expect(session.outputs.map((o) => o.name)).toEqual(asked)
    await session.close()
  })
})

describe('a job', () => {
  it.each(Object.keys(relatives))(
    'changes and checks a model that gives %s, and keeps all outputs',
    async (name) => {
      const [model, out] = [at('relative.onnx'), at('relative-out.onnx')]
      writeFileSync(model, relative(name))
      writeFileSync(at('data.npz'), npz([64, 64], Float32Array.from(numbers(64 * 64)), new Array(64).fill(0)))
      const recipe = [['quantize-static', {}]] as const
      const data = { data: { path: at('data.npz') } }
      const { report } = await runJob({ line: '', command: 'apply', model, out, recipe, data, force: true })
      const told = report.notes.filter((n) => n.includes('no tensor'))
      expect(told).toEqual(
        relatives[name]?.[2]
          ? []
          : [
              'extra is no tensor (a sequence, a map or optional): it is kept in the model, but neither run nor compared'
            ]
      )
      const { graph } = readModel(readFileSync(out))
      expect(graph.outputs).toEqual(['extra', 'scores'])
      expect(graph.nodes.map((n) => n.op)).toContain('DequantizeLinear')
    },
    120_000
  )
})

describe.skipIf(!isBuilt)('commands (skipped before npm run build)', () => {
  const commands = ['simplify', 'quantize-static --data data.npz', 'quantize-weights', 'bench --seconds 0.1']
    .concat('verify --data data.npz --seconds 0.1 model.onnx')
    .concat('compress --data data.npz --metric relativeError --max-drop 5% --max-time 15s')
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
      expect((JSON.parse(said) as Report).notes.join('\n')).toContain(
        'maps is no tensor (a sequence, a map or optional)'
      )
      if (writes) expect(readModel(readFileSync(at('out.onnx'))).graph.outputs).toEqual(['label', 'scores', 'maps'])
    },
    120_000
  )
  it('end with one message where no output is a tensor', async () => {
    writeFileSync(at('only.onnx'), classifier(['maps']))
    const { status, err } = await run(['bench', 'only.onnx'], { cwd: folder })
    expect(status).toBe(2)
    expect(err).toContain('the model gives no outputs that are tensors')
  })
})

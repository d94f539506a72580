import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { unzipSync } from 'fflate'
import { describe, expect, it } from 'vitest'
import { activation, archive, fixture, fixtureNames, layer, zip } from '../../../test/dl4j.ts'
import { PareError } from '../../base/errors.ts'
import { equalTensors, tensor, toFloats } from '../../ir/tensor.ts'
import { applyRecipe, nodeRunner, openDataset, rng, targetFor } from '../../node/index.ts'
import type { Recipe } from '../../passes/types.ts'
import type { Dataset, Model, Node, Value } from '../../types.ts'
import { formats, readModel, writeModel } from '../index.ts'
import { readArray, writeArray } from './arrays.ts'
import { parseJson, printJson } from './json.ts'
import { difference } from './same.ts'

const read = (bytes: Uint8Array, choices: Record<string, unknown> = {}): Model => readModel(bytes, { formats, choices })
const written = (model: Model): Uint8Array => writeModel(model, { format: 'dl4j' }).bytes

const names = fixtureNames()

describe.skipIf(names.length === 0)('read and written, an archive is the same model', () => {
  it.each(names)('%s', (name) => {
    const f = fixture(name)
    const choices = f.isNormalized ? { normalizer: 'graph' } : {}
    const model = read(f.bytes, choices)
    const bytes = written(model)
    const again = read(bytes, choices)
    expect(difference(model.graph, again.graph)).toBeUndefined()
    for (const [id, { data }] of model.graph.values)
      if (data) expect(equalTensors(data, again.graph.values.get(id)?.data ?? data)).toBe(true)
    expect(written(again)).toEqual(bytes)
  })
})

const digits = read(
  new Uint8Array(readFileSync(fileURLToPath(new URL('../../../examples/java/digits.zip', import.meta.url))))
)

const applied = async (model: Model, recipe: Recipe, data: { readonly train?: Dataset } = {}): Promise<Model> =>
  (
    await applyRecipe(model, recipe, {
      ...{ engine: nodeRunner(), target: targetFor('dl4j'), rng: rng(0), data },
      ...{ signal: new AbortController().signal, progress: () => undefined }
    })
  ).model

/** The fields of a layer in the configuration that is written. */
const layerIn = (bytes: Uint8Array, i: number): Record<string, unknown> =>
  JSON.parse(new TextDecoder().decode(unzipSync(bytes)['configuration.json'])).confs[i].layer

const fault = (run: () => unknown): string => {
  try {
    run()
    return 'written'
  } catch (e) {
    if (!(e instanceof PareError)) throw e
    return `${e.code} ${e.where ?? ''}: ${e.message}`
  }
}

describe('a changed model', () => {
  it('with fewer channels has their widths in the configuration, also those of preprocessors', async () => {
    const narrow = await applied(digits, [['prune-channels', { ratio: 0.5, align: 1 }]])
    const bytes = written(narrow)
    expect([0, 2, 4, 5].map((i) => [layerIn(bytes, i).nin, layerIn(bytes, i).nout])).toEqual([
      [1, 4],
      [4, 8],
      [128, 32],
      [32, 10]
    ])
    expect(layerIn(bytes, 0).dropOut).toBeUndefined()
    const { inputPreProcessors } = JSON.parse(new TextDecoder().decode(unzipSync(bytes)['configuration.json']))
    expect(inputPreProcessors[4].numChannels).toBe(8)
    expect(difference(narrow.graph, read(bytes).graph)).toBeUndefined()
  })

  it('that was pruned in rounds while it trained keeps its zeros in the archive', async () => {
    const path = fileURLToPath(new URL('../../../examples/java/digits-data.mjs', import.meta.url))
    const inputs = [{ name: 'input', dtype: 'float32' as const, shape: ['N', 1, 28, 28] }]
    const data = { train: await openDataset({ path }, inputs, { modules: true }) }
    const adam = { name: 'adam', rate: 0.001 }
    const trained = await applied(
      digits,
      [['finetune', { epochs: 3, optimizer: adam, prune: { to: 0.5, step: 0.25 } }]],
      data
    )
    const again = read(written(trained))
    expect(difference(trained.graph, again.graph)).toBeUndefined()
    const weights = [...again.graph.values.values()].flatMap(({ id, data }) =>
      data && id.endsWith('.W') ? Array.from(toFloats(data)) : []
    )
    expect(weights.filter((w) => w === 0).length / weights.length).toBeCloseTo(0.5, 2)
  })

  it('with biases that repair has computed, also of a layer that had none', () => {
    const fields = { nin: 1, nout: 2, activationFn: activation('Identity'), layerName: 'out', hasBias: false }
    const model = read(archive([layer('OutputLayer', fields)], [1, 2]))
    const [gemm] = model.graph.nodes as [Node]
    const [x, w] = gemm.inputs as [string, string]
    const values = new Map(model.graph.values)
    const constant = (id: string, shape: readonly number[], all: readonly number[]): void => {
      values.set(id, { id, type: 'tensor', dtype: 'float32', shape, data: tensor('float32', shape, all) })
    }
    values.delete(w)
    constant('repaired', [2, 1], [3, 4])
    constant('shift', [2], [5, 6])
    const nodes = [{ ...gemm, inputs: [x, 'repaired', 'shift'] }]
    const bytes = written({ ...model, graph: { ...model.graph, nodes, values } })
    expect(layerIn(bytes, 0).hasBias).toBe(true)
    expect(Array.from(readArray(unzipSync(bytes)['coefficients.bin'] as Uint8Array, 0, '').values)).toEqual([
      3, 4, 5, 6
    ])
  })

  it('with other numbers, zeros and few values is written', async () => {
    const pruned = await applied(digits, [['prune-weights', { ratio: 0.5 }]])
    expect(difference(pruned.graph, read(written(pruned)).graph)).toBeUndefined()
    const palette = await applied(digits, [['quantize-weights', { form: 'palette', bits: 4 }]])
    expect(written(palette).length).toBeLessThan(0.4 * written(digits).length)
  })

  it.each([
    [
      'int8 kernels',
      [['quantize-weights', {}]] as Recipe,
      'E_UNSUPPORTED layer0.W: an archive of DL4J holds the parameter layer0.W, which the model no longer has by itself'
    ]
  ])('that DL4J cannot say is refused: %s', async (_, recipe, message) => {
    const model = await applied(digits, recipe)
    expect(fault(() => written(model))).toBe(message)
  })

  it('with a node more or less is refused by that node', () => {
    const { graph } = digits
    const without = {
      ...digits,
      graph: { ...graph, nodes: graph.nodes.filter((n) => n.op !== 'Softmax'), outputs: ['output/Gemm'] }
    }
    expect(fault(() => written(without as Model))).toContain('E_UNSUPPORTED')
  })

  it('that was not read from an archive is refused', () => {
    const { origin: _, ...model } = digits
    expect(fault(() => written(model))).toBe(
      'E_UNSUPPORTED : only a model that was read from an archive of DL4J is written as one'
    )
  })
})

describe('numbers', () => {
  const half = (w: number): Uint8Array => {
    const fields = { nin: 1, nout: 1, activationFn: activation('Identity'), layerName: 'out', hasBias: false }
    const entries = unzipSync(archive([layer('OutputLayer', fields)], [w], { dataType: 'HALF' }))
    return zip({ ...entries, 'coefficients.bin': writeArray(Float32Array.of(w), 'HALF') })
  }
  const typeOf = (bytes: Uint8Array): readonly [string, unknown] => {
    const entries = unzipSync(bytes)
    const coefficients = entries['coefficients.bin'] as Uint8Array
    return [
      readArray(coefficients, 0, '').type,
      JSON.parse(new TextDecoder().decode(entries['configuration.json'])).dataType
    ]
  }

  it('stay of the archive’s own type where that holds them, else become FLOAT', () => {
    const model = read(half(0.5))
    expect(typeOf(written(model))).toEqual(['HALF', 'HALF'])
    const values = new Map(model.graph.values)
    const id = 'out.W'
    values.set(id, { ...(values.get(id) as Value), data: tensor('float32', [1, 1], [1 / 3]) })
    expect(typeOf(written({ ...model, graph: { ...model.graph, values } }))).toEqual(['FLOAT', 'FLOAT'])
  })

  it.each(['JAVACPP', 'LONG_SHAPE', 'MIXED_DATA_TYPES'] as const)(
    'are spelled as the release did that wrote them: %s',
    (dialect) => {
      const bytes = writeArray(Float32Array.of(1, -2.5, 3), 'FLOAT', 2, dialect)
      const { values, ...facts } = readArray(new Uint8Array(bytes), 0, '')
      expect(Array.from(values)).toEqual([1, -2.5, 3])
      expect(facts).toEqual({ type: 'FLOAT', rank: 2, dialect, end: bytes.length })
    }
  )
})

it('the configuration keeps the order of its keys and its long numbers', () => {
  const text = '{\n  "b": 1,\n  "10": {\n    "seed": 12345678901234567890,\n    "9": 1.5\n  },\n  "2": "1"\n}'
  expect(printJson(parseJson(text, ''))).toBe(text)
})

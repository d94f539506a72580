/** What files say of their parts: documentation and metadata outlast reading, every pass, other opsets and writing. */
import { create, fromBinary } from '@bufbuild/protobuf'
import { ModelProtoSchema, StringStringEntryProtoSchema } from 'onnx-buf'
import { describe, expect, it } from 'vitest'
import { readModel, readNoted, writeModel } from '../src/formats/index.ts'
import { allGraphs } from '../src/ir/graph.ts'
import { applyRecipe } from '../src/passes/recipe.ts'
import type { Recipe } from '../src/passes/types.ts'
import type { Model } from '../src/types.ts'
import { normalData, testContext } from './compare.ts'
import { file, floats, graph, ints, node, tensorType, value, weights } from './corpus.ts'

const metadataProps = (key: string) => [create(StringStringEntryProtoSchema, { key, value: `of ${key}` })]
const pads = ints('pads', 1, 1)
const random = (n: number): number[] => Array.from({ length: n }, (_, i) => Math.sin(7 * i + 1))

type Value = ReturnType<typeof floats>

/** Two layers of a size that every pass has something to do with, a call of a function and a branch. */
const remarked = (): Uint8Array =>
  file(
    {
      docString: 'the graph',
      metadataProps: metadataProps('graph'),
      input: [{ ...floats('x', 'N', 16, 8), docString: 'the input', metadataProps: metadataProps('x') } as Value],
      output: [{ ...floats('y', 'N', 16, 8), docString: 'the output' } as Value],
      initializer: [
        weights('w', [24, 16, 3], ...random(24 * 48)),
        weights('b', [24], ...random(24)),
        weights('ones', [24], ...Array(24).fill(1)),
        weights('v', [16, 24, 3], ...random(16 * 72))
      ],
      node: [
        node('Conv', ['x', 'w', 'b'], ['a'], [pads], {
          name: 'first',
          docString: 'line 12',
          metadataProps: metadataProps('first')
        }),
        node('Identity', ['a'], ['i']),
        node('BatchNormalization', ['i', 'ones', 'b', 'b', 'ones'], ['n']),
        node('activate', ['n'], ['r'], [], { domain: 'own', docString: 'call', metadataProps: metadataProps('call') }),
        node('Conv', ['r', 'v'], ['y'], [pads], { name: 'second', docString: 'line 14' })
      ]
    },
    {
      functions: [
        {
          name: 'activate',
          domain: 'own',
          docString: 'a function',
          metadataProps: metadataProps('function'),
          input: ['p'],
          output: ['q'],
          node: [node('Tanh', ['p'], ['q'], [], { metadataProps: metadataProps('inner') })]
        }
      ]
    }
  )

/** All that is said anywhere in a file. */
function said(bytes: Uint8Array): string[] {
  const { graph: g } = fromBinary(ModelProtoSchema, bytes)
  const all = [g, ...(g?.input ?? []), ...(g?.output ?? []), ...(g?.node ?? [])]
  return all
    .flatMap((p) => [p?.docString, ...(p?.metadataProps ?? []).map((e) => e.value)])
    .filter((s): s is string => !!s)
    .sort()
}

const whole = ['call', 'line 12', 'line 14', 'of call', 'of first', 'of function', 'of graph', 'of inner', 'of x']
  .concat(['the graph', 'the input', 'the output'])
  .sort()

const recipes: readonly (readonly [string, Recipe])[] = [
  ['simplify', [['simplify', {}]]],
  [
    'simplify and fuse',
    [
      ['simplify', {}],
      ['fuse', {}]
    ]
  ],
  ['quantize-weights', [['quantize-weights', {}]]],
  ['palette', [['quantize-weights', { bits: 4, form: 'palette' }]]],
  ['quantize-static', [['quantize-static', { exclude: ['second'] }]]],
  ['quantize-dynamic', [['quantize-dynamic', { include: ['Conv'] }]]],
  ['cast-float', [['cast-float', { compute: true }]]],
  ['cast-float to float16 storage', [['cast-float', {}]]]
]

describe('documentation and metadata', () => {
  it('are read with nothing left behind, and written again', () => {
    const { model, notes } = readNoted(remarked())
    expect(notes).toEqual([])
    expect(said(writeModel(model).bytes)).toEqual(whole)
    expect(said(writeModel(readModel(writeModel(model).bytes)).bytes)).toEqual(whole)
  })
  it.each([13, 15, 23, 25])('are written at opset %i', (opset) => {
    expect(said(writeModel(readModel(remarked()), { opset }).bytes)).toEqual(whole)
  })
  it('are left out where that is asked for', () => {
    expect(said(writeModel(readModel(remarked()), { remarks: false }).bytes)).toEqual([])
  })
  it.each(recipes)('outlast %s', async (_, recipe) => {
    const model = readModel(remarked())
    const data = normalData(model, 32)
    const ctx = { ...testContext(), data: { calibration: data, selection: data } }
    const made: Model = (await applyRecipe(model, recipe, ctx)).model
    expect(made).not.toBe(model)
    expect(said(writeModel(made).bytes)).toEqual(whole)
  })
  it('of subgraphs are kept as those around them', async () => {
    const branch = (name: string) =>
      graph(name, {
        docString: `branch ${name}`,
        output: [floats(`${name}_y`, 'N', 4)],
        node: [node('Relu', ['x'], [`${name}_y`], [], { docString: `node of ${name}` })]
      })
    const bytes = file({
      input: [floats('x', 'N', 4), value('c', tensorType(9))],
      output: [floats('y', 'N', 4)],
      node: [node('If', ['c'], ['y'], [branch('then_branch'), branch('else_branch')])]
    })
    const spoken = (b: Uint8Array): string[] =>
      allGraphs(readModel(b))
        .flatMap((g) => [g.remarks?.doc, ...g.nodes.map((n) => n.remarks?.doc)])
        .filter((d) => d !== undefined)
    expect(spoken(bytes)).toHaveLength(4)
    const { model } = await applyRecipe(readModel(bytes), [['simplify', {}]], testContext())
    expect(spoken(writeModel(model).bytes)).toEqual(spoken(bytes))
    expect(spoken(writeModel(model, { remarks: false }).bytes)).toEqual([])
  })
})

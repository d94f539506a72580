/**
 * Laws of small facets, held against what ONNX Runtime returns, on the cases of one operator that shape inference has:
 * `homogeneous` (twice the inputs of a set give twice the output, exactly: doubling a float changes only its exponent) `divides` and
 * `elements` (the output holds the elements of the first input).
 */
import { describe, expect, it } from 'vitest'
import { evaluateDim } from '../src/base/dim.ts'
import { rng } from '../src/base/random.ts'
import { builder } from '../src/ir/build.ts'
import { constant, opName, recordName } from '../src/ir/graph.ts'
import { isFloat, tensor, toNumbers } from '../src/ir/tensor.ts'
import { parse } from '../src/ir/text.ts'
import { opFor, ops } from '../src/ops/index.ts'
import { shapeCases } from '../src/ops/shapes.cases.ts'
import type { Op } from '../src/ops/types.ts'
import type { Model, Node, Tensor } from '../src/types.ts'
import { outputsOf } from './compare.ts'

/** Operators that shape inference has no case of: one of each. */
const more: Readonly<Record<string, string>> = {
  relu: 'input x: f32[2,3,4]; y = Relu(x); output y',
  'leaky relu': 'input x: f32[2,3,4]; y = LeakyRelu(x, alpha=0.3); output y',
  prelu: 'input x: f32[2,3,4]; input s: f32[3,1]; y = PRelu(x, s); output y',
  add: 'input x: f32[2,3,4]; input z: f32[3,1]; y = Add(x, z); output y',
  div: 'input x: f32[2,3,4]; input z: f32[3,1]; y = Div(x, z); output y',
  mul: 'input x: f32[2,3,4]; input z: f32[3,1]; y = Mul(x, z); output y',
  'global max pool': 'input x: f32[2,3,4,5]; y = GlobalMaxPool(x); output y',
  'reduce mean': 'input x: f32[2,4,5]; y = ReduceMean(x, a: i64[1]{1}); output y',
  identity: 'input x: f32[2,3]; y = Identity(x); output y',
  reshape: 'input x: f32[2,3,4]; y = Reshape(x, s: i64[2]{6,4}); output y',
  flatten: 'input x: f32[2,3,4]; y = Flatten(x, axis=2); output y',
  squeeze: 'input x: f32[2,1,4]; y = Squeeze(x, a: i64[1]{1}); output y',
  unsqueeze: 'input x: f32[2,3]; y = Unsqueeze(x, a: i64[2]{0,3}); output y',
  transpose: 'input x: f32[2,3,4]; y = Transpose(x, perm=[2,0,1]); output y'
}

const symbols = { N: 2, H: 11, W: 14, S: 5, T: 3 }

/** A node alone, with the tensors that it reads. */
interface Alone {
  readonly model: Model
  readonly node: Node
  readonly feeds: Readonly<Record<string, Tensor>>
}

/** Cases of one float node that reads inputs and constants; all of them are made inputs, so that each can be changed. */
function casesOf(has: (op: Op) => boolean): readonly (readonly [name: string, alone: Alone])[] {
  return Object.entries({ ...shapeCases, ...more }).flatMap(([name, text]) => {
    const { graph } = parse(text.replaceAll('; ', '\n'))
    const [node, ...others] = graph.nodes
    const op = node && opFor(node)
    if (!node || others.length > 0 || !op || !has(op)) return []
    const random = rng(name)
    const b = builder()
    const feeds: Record<string, Tensor> = {}
    const inputs = node.inputs.map((id) => {
      if (id === null) return null
      const v = graph.values.get(id)
      const shape = v?.shape?.map((d) => evaluateDim(d, symbols) ?? Number.NaN) ?? []
      const data = constant(graph, id)
      // Axes, shapes and the like stay constants: operators want them so.
      if (data && !isFloat(data.dtype)) return b.constant(data)
      if (v?.dtype === undefined || !isFloat(v.dtype)) return undefined
      const count = shape.reduce((n, d) => n * d, 1)
      feeds[id] = tensor(
        'float32',
        shape,
        Array.from({ length: count }, () => random.normal())
      )
      return b.input(id, 'float32', shape)
    })
    if (inputs.includes(undefined) || graph.values.get(node.inputs[0] ?? '')?.dtype !== 'float32') return []
    const { domain } = node
    const y = b.op(node.op, inputs as (string | null)[], node.attrs, domain ? { domain } : {})
    const model = b.model([y], domain ? { domains: { [domain]: 1 } } : {})
    return [[name, { model, node, feeds }]] as const
  })
}

/** Operators with a facet that no case holds. */
function unseen(cases: ReturnType<typeof casesOf>, has: (op: Op) => boolean): readonly string[] {
  const seen = new Set(cases.map(([, { node }]) => opName(node)))
  return ops
    .filter(has)
    .map((op) => recordName(op))
    .filter((name) => !seen.has(name))
}

const run = async ({ model }: Alone, feeds: Alone['feeds']): Promise<readonly number[]> =>
  Array.from(toNumbers(Object.values(await outputsOf(model, feeds))[0] as Tensor))

const doubled = (t: Tensor): Tensor =>
  tensor(
    t.dtype,
    t.shape,
    Array.from(toNumbers(t), (x) => 2 * x)
  )

describe('homogeneous: twice the inputs of a set give twice the output', () => {
  const cases = casesOf((op) => op.homogeneous !== undefined)

  it.each(cases)('%s', async (_, alone) => {
    const before = await run(alone, alone.feeds)
    for (const set of opFor(alone.node)?.homogeneous ?? []) {
      const ids = set.map((i) => alone.node.inputs[i] as string)
      const feeds = Object.fromEntries(
        Object.entries(alone.feeds).map(([id, t]) => [id, ids.includes(id) ? doubled(t) : t])
      )
      expect(await run(alone, feeds)).toEqual(before.map((x) => 2 * x))
    }
  })

  it('has a case for every operator', () => {
    expect(unseen(cases, (op) => op.homogeneous !== undefined)).toEqual([])
  })
})

describe('divides: twice the input gives half the output', () => {
  const cases = casesOf((op) => op.divides !== undefined)

  it.each(cases)('%s', async (_, alone) => {
    const before = await run(alone, alone.feeds)
    for (const i of opFor(alone.node)?.divides ?? []) {
      const id = alone.node.inputs[i] as string
      const feeds = { ...alone.feeds, [id]: doubled(alone.feeds[id] as Tensor) }
      expect(await run(alone, feeds)).toEqual(before.map((x) => x / 2))
    }
  })

  it('has a case for every operator', () => {
    expect(unseen(cases, (op) => op.divides !== undefined)).toEqual([])
  })
})

describe('elements: the output holds those of the first input', () => {
  const cases = casesOf((op) => op.elements !== undefined)

  it.each(cases)('%s', async (_, alone) => {
    const x = Array.from(toNumbers(alone.feeds[alone.node.inputs[0] as string] as Tensor))
    const y = await run(alone, alone.feeds)
    if (opFor(alone.node)?.elements === 'inOrder') expect(y).toEqual(x)
    else expect(y.toSorted()).toEqual(x.toSorted())
  })

  it('has a case for every operator', () => {
    expect(unseen(cases, (op) => op.elements !== undefined)).toEqual([])
  })
})

/**
 * A law for passes that keep the function: on every case of the ONNX project that the runtime runs, simplify and fuse
 * keep names, types and values of the outputs. Each case is tried three ways: as it is, with all inputs but the first
 * made constants, and with all of them constants, so that folding and merging have work to do.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fromBinary } from '@bufbuild/protobuf'
import { TensorProtoSchema } from 'onnx-buf'
import { expect, it } from 'vitest'
import { PareError } from '../src/base/errors.ts'
import { readModel } from '../src/formats/index.ts'
import { readTensor } from '../src/formats/onnx/tensors.ts'
import { edit } from '../src/ir/edit.ts'
import { allGraphs } from '../src/ir/graph.ts'
import { opFor } from '../src/ops/index.ts'
import { applyRecipe, weigh } from '../src/passes/recipe.ts'
import type { Model, Tensor } from '../src/types.ts'
import { difference, outputsOf, randomFeeds, testContext } from './compare.ts'
import { onnxCases, sharedData } from './shared.ts'

/** Relative to the largest output. The engine sums in another order when a buffer it is given is aligned otherwise. */
const SIMPLIFIED = 1e-6
/** Folded weights are rounded once more, and sums change their order. */
const FUSED = 2e-5

const root = onnxCases()
const groups = ['node', 'pytorch-converted', 'pytorch-operator', 'simple']
const cases = root
  ? groups.flatMap((g) => readdirSync(join(root, g)).map((name) => ({ name, path: join(root, g, name) })))
  : []

interface Variant {
  readonly model: Model
  readonly feeds: Readonly<Record<string, Tensor>>
}

/** The case, or `undefined` where its inputs are no tensors or Pare does not read it. */
function open(path: string): Variant | undefined {
  try {
    const model = readModel(readFileSync(join(path, 'model.onnx')))
    const source = { bytes: new Uint8Array(0), external: () => new Uint8Array(0), grow: () => {} }
    const wanted = model.graph.inputs.filter((id) => !model.graph.values.get(id)?.data)
    const feeds = wanted.map((id, i) => {
      const bytes = readFileSync(join(path, 'test_data_set_0', `input_${i}.pb`))
      return [id, readTensor(fromBinary(TensorProtoSchema, bytes), source)] as const
    })
    return { model, feeds: Object.fromEntries(feeds) }
  } catch (error) {
    if (error instanceof PareError || (error as { code?: string }).code === 'ENOENT') return undefined
    if (error instanceof Error && /decode|invalid wire|illegal tag|premature/i.test(error.message)) return undefined
    throw error
  }
}

/** Inputs from a position on become constants; outputs go through an Identity, since folding leaves outputs alone. */
function withConstants({ model, feeds }: Variant, from: number): Variant {
  const fixed = Object.keys(feeds).slice(from)
  const made = edit(model, (d) => {
    d.setInputs(d.inputs.filter((id) => !fixed.includes(id)))
    for (const id of fixed) {
      const data = feeds[id] as Tensor
      d.set({ id, type: 'tensor', dtype: data.dtype, shape: data.shape, data })
    }
    const outputs = d.outputs.map((id) => {
      const value = d.value(id)
      return value?.type === 'tensor' ? d.add('Identity', [id], { outputs: [d.fresh(`${id}_out`)], type: value }) : id
    })
    d.setOutputs(outputs)
  })
  return { model: made, feeds: Object.fromEntries(Object.entries(feeds).slice(0, from)) }
}

async function outputs(v: Variant, model: Model): Promise<Record<string, Tensor> | undefined> {
  try {
    return await outputsOf(model, v.feeds)
  } catch (error) {
    if (error instanceof PareError && error.code !== 'E_INTERNAL') return undefined
    throw error
  }
}

interface Outcome {
  ran: number
  changed: number
  readonly broken: string[]
}

async function tryVariant(name: string, v: Variant, seen: Outcome): Promise<void> {
  if (allGraphs(v.model).some((g) => g.nodes.some((n) => opFor(n)?.impure))) return
  const before = await outputs(v, v.model)
  if (!before) return
  seen.ran++
  const fail = (what: string): number => seen.broken.push(`${name}: ${what}`)
  try {
    const simplified = await applyRecipe(v.model, [['simplify', {}]], testContext())
    const done = await applyRecipe(simplified.model, [['fuse', {}]], testContext())
    if (done.model === v.model) return
    seen.changed++
    if (weigh(simplified.model).bytes > weigh(v.model).bytes + 1024) fail('grew')
    for (const [label, model, tolerance] of [
      ['simplify', simplified.model, SIMPLIFIED],
      ['fuse', done.model, FUSED]
    ] as const) {
      const after = await outputs(v, model)
      const d = after ? difference(before, after) : Number.NaN
      if (!(d <= tolerance)) fail(`${label} changes the outputs by ${d}`)
    }
    const once = await applyRecipe(
      done.model,
      [
        ['simplify', {}],
        ['fuse', {}],
        ['simplify', {}]
      ],
      testContext()
    )
    const twice = await applyRecipe(
      once.model,
      [
        ['simplify', {}],
        ['fuse', {}]
      ],
      testContext()
    )
    if (twice.model !== once.model) fail('does not come to rest')
  } catch (error) {
    fail(String(error))
  }
}

it.skipIf(!root)('simplify and fuse keep the outputs of the ONNX cases', { timeout: 240_000 }, async () => {
  const seen: Outcome = { ran: 0, changed: 0, broken: [] }
  for (const { name, path } of cases) {
    const v = open(path)
    if (!v) continue
    await tryVariant(name, v, seen)
    await tryVariant(`${name}, all inputs constant`, withConstants(v, 0), seen)
    if (Object.keys(v.feeds).length > 1) await tryVariant(`${name}, one input`, withConstants(v, 1), seen)
  }
  expect(seen.broken).toEqual([])
  expect(seen.ran).toBeGreaterThan(1500)
  expect(seen.changed).toBeGreaterThan(700)
})

/** What must be left of real models. */
const real: readonly (readonly [readonly string[], Readonly<Record<string, number>>])[] = [
  [['mnist', 'mnist-8.onnx'], { Conv: 2, Relu: 2, MaxPool: 2, Reshape: 1, Gemm: 1 }],
  [['kws', 'ds_cnn.onnx'], { Conv: 9, Relu: 9, GlobalAveragePool: 1, Flatten: 1, Gemm: 1, Softmax: 1 }],
  [['imagenet', 'mobilenet_v1_025_224.onnx'], { Conv: 28, Clip: 27, GlobalAveragePool: 1, Flatten: 1, Softmax: 1 }],
  [['cifar10-jpeg', 'resnet20.onnx'], { Conv: 19, Relu: 19, Add: 9, Slice: 2, Pad: 2, ReduceMean: 1, Gemm: 1 }],
  [['cifar10-jpeg', 'resnet56.onnx'], { Conv: 55, Relu: 55, Add: 27, Slice: 2, Pad: 2, ReduceMean: 1, Gemm: 1 }]
]

it.skipIf(!sharedData('README.md')).each(real)('%j is clean after simplify and fuse', async (parts, ops) => {
  const path = sharedData(...parts) as string
  const model = readModel(readFileSync(path))
  const done = await applyRecipe(
    model,
    [
      ['simplify', {}],
      ['fuse', {}]
    ],
    testContext()
  )
  const left: Record<string, number> = {}
  for (const node of done.model.graph.nodes) left[node.op] = (left[node.op] ?? 0) + 1
  expect(left).toEqual(ops)
  expect(done.refusals).toEqual([])
  const feeds = randomFeeds(model, 1)
  expect(difference(await outputsOf(model, feeds), await outputsOf(done.model, feeds))).toBeLessThan(FUSED)
  expect(weigh(done.model).bytes).toBeLessThanOrEqual(weigh(model).bytes)
})

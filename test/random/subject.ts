/** A random graph as a file, what it is fed, and what ONNX Runtime returns for it: what passes are judged by. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { AttributeProto_AttributeType, AttributeProtoSchema, ModelProtoSchema, NodeProtoSchema } from 'onnx-buf'
import { toArray } from '../../src/base/bytes.ts'
import { PareError } from '../../src/base/errors.ts'
import { type Rng, rng } from '../../src/base/random.ts'
import { arrayDataset } from '../../src/data/index.ts'
import { readModel, writeModel } from '../../src/formats/index.ts'
import { check } from '../../src/ir/check.ts'
import { allGraphs } from '../../src/ir/graph.ts'
import { elementCount, isFloat, tensor, tensorOf } from '../../src/ir/tensor.ts'
import { parse } from '../../src/ir/text.ts'
import { nodeRunner } from '../../src/node/runner.ts'
import { opFor } from '../../src/ops/index.ts'
import { fedOf, wholeInputs } from '../../src/runtime/batches.ts'
import type { OpenOptions, Source } from '../../src/runtime/types.ts'
import type { Dataset, Dim, DType, Model, Tensor } from '../../src/types.ts'

/** How a graph is spelled in its file. */
export interface Spelling {
  /** By default the model's. */
  readonly opset?: number
  /** Constants stand in nodes instead of beside them. */
  readonly nodes?: boolean
}

export type Outputs = Readonly<Record<string, Tensor>>

export interface Subject {
  /** The text form, from which all else follows. */
  readonly text: string
  readonly spelling: Spelling
  readonly bytes: Uint8Array
  readonly model: Model
  readonly feeds: Outputs
  /** As it stands, and as ONNX Runtime runs it by default. */
  readonly plain: Outputs
  readonly full: Outputs
  /** It draws numbers, so that no two runs are alike. */
  readonly impure: boolean
}

/** Why a text is no subject. */
export type Unfit = { readonly unfit: string }

const runner = nodeRunner()

export async function subjectOf(text: string, spelling: Spelling = {}): Promise<Subject | Unfit> {
  let bytes: Uint8Array
  try {
    bytes = spelled(check(parse(text)), spelling)
  } catch (error) {
    if (error instanceof PareError && error.code !== 'E_INTERNAL') return { unfit: error.message }
    throw error
  }
  const model = readModel(bytes)
  const feeds = feedsOf(model, batchSize)
  const plain = await runOf(bytes, feeds, { optimization: 'disabled' })
  if (typeof plain === 'string') return { unfit: plain }
  // A batch that is called open may still have to be of one size.
  for (const samples of [1, batchSize + 1]) {
    const others = await runOf(bytes, feedsOf(model, samples), { optimization: 'disabled' })
    if (typeof others === 'string') return { unfit: others }
  }
  const full = await runOf(bytes, feeds)
  if (typeof full === 'string') return { unfit: full }
  const impure = allGraphs(model).some((g) => g.nodes.some((n) => opFor(n)?.impure))
  return { text, spelling, bytes, model, feeds, plain, full, impure }
}

/** Runs a model on one set of inputs; the message where it does not open or run. */
export async function runOf(source: Source, feeds: Outputs, o: OpenOptions = {}): Promise<Outputs | string> {
  try {
    const session = await runner.open(source, o)
    try {
      const asked = Object.fromEntries(session.inputs.flatMap(({ name }) => (feeds[name] ? [[name, feeds[name]]] : [])))
      return await session.run(asked)
    } finally {
      await session.close()
    }
  } catch (error) {
    if (error instanceof PareError && error.code !== 'E_INTERNAL')
      return `${error.message} ${Object.values(error.facts).join(' ')}`
    throw error
  }
}

function spelled(model: Model, { opset, nodes }: Spelling): Uint8Array {
  const { bytes } = writeModel(model, opset === undefined ? {} : { opset })
  return nodes ? withConstantNodes(bytes) : bytes
}

function withConstantNodes(bytes: Uint8Array): Uint8Array {
  const proto = fromBinary(ModelProtoSchema, bytes)
  const graph = proto.graph
  if (!graph) return bytes
  const inputs = new Set(graph.input.map((v) => v.name))
  const moved = graph.initializer.filter((t) => !inputs.has(t.name))
  const made = moved.map((t) =>
    create(NodeProtoSchema, {
      opType: 'Constant',
      output: [t.name],
      attribute: [create(AttributeProtoSchema, { name: 'value', type: AttributeProto_AttributeType.TENSOR, t })]
    })
  )
  graph.initializer = graph.initializer.filter((t) => inputs.has(t.name))
  graph.node = [...made, ...graph.node]
  return toBinary(ModelProtoSchema, proto)
}

// ---------------------------------------------------------------- inputs

/** Samples of an open batch. A model that takes some inputs as they are runs on one sample at a time. */
const batchSize = 3
const otherSizes: Readonly<Record<string, number>> = { H: 8, W: 9, S: 5, T: 4 }
/** How often the data of a pass holds what the graph is fed. */
const repeats = 4

function drawn(random: Rng, dtype: DType, shape: readonly number[]): Tensor {
  const values = new Float64Array(elementCount(shape))
  const draw = isFloat(dtype) ? random.normal : (): number => random.below(2)
  for (let i = 0; i < values.length; i++) values[i] = draw()
  return tensor(dtype, shape, values)
}

function feedsOf(model: Model, samples: number): Outputs {
  const random = rng('feeds')
  const fed = fedOf(model)
  const batch = wholeInputs(fed).size > 0 ? 1 : samples
  const sizeOf = (d: Dim): number => (typeof d === 'number' ? d : d === 'N' ? batch : (otherSizes[d] ?? 3))
  return Object.fromEntries(
    fed.inputs.map(({ name, dtype, shape }) => [name, drawn(random, dtype ?? 'float32', (shape ?? []).map(sizeOf))])
  )
}

/**
 * What the graph is fed, several times, as the samples that passes are given, with a class each: calibration then sees the
 * very values that the graph is judged by. `undefined` where they make no samples.
 */
export function samplesOf({ model, feeds }: Subject): Dataset | undefined {
  const fed = fedOf(model)
  const whole = wholeInputs(fed)
  const batches = Object.entries(feeds).flatMap(([name, t]) => (whole.has(name) ? [] : [t.shape[0] ?? 0]))
  const batch = whole.size > 0 ? Math.max(1, ...batches) : batches[0]
  if (!batch || batches.some((b) => b !== batch)) return undefined
  const size = repeats * batch
  const inputs = Object.entries(feeds).map(([name, t]) => {
    const isWhole = whole.has(name)
    const times = isWhole ? size : repeats
    const bytes = toArray(t.bytes)
    const repeated = new Uint8Array(bytes.length * times)
    for (let i = 0; i < times; i++) repeated.set(bytes, i * bytes.length)
    return [name, tensorOf(t.dtype, isWhole ? [size, ...t.shape] : [size, ...t.shape.slice(1)], repeated)] as const
  })
  const last = model.graph.values.get(model.graph.outputs[0] ?? '')?.shape?.at(-1)
  const classes = typeof last === 'number' && last > 0 ? last : 2
  const labels = Array.from({ length: size }, (_, i) => (i % batch) % classes)
  return arrayDataset({ inputs: Object.fromEntries(inputs), labels })
}

/**
 * Laws that hold for every operator, checked against the engine itself. `infer`: on the ONNX project's own cases no
 * inferred size or element type may differ from what ONNX Runtime returns, for any value of the graph; and nearly
 * every size that is determined before running must be inferred.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { type ModelProto, ModelProtoSchema, ValueInfoProtoSchema } from 'onnx-buf'
import * as ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { PareError } from '../src/base/errors.ts'
import { readModel } from '../src/formats/index.ts'
import { bind } from '../src/ir/bind.ts'
import { producer } from '../src/ir/graph.ts'
import { printType } from '../src/ir/print.ts'
import { elementCount, tensor } from '../src/ir/tensor.ts'
import { inferShapes } from '../src/ops/infer.ts'
import { toEngine } from '../src/runtime/convert.ts'
import type { OrtModule } from '../src/runtime/engine.ts'
import type { Dim, Graph, Model, Node, Tensor, Value, ValueType } from '../src/types.ts'
import { readFeeds } from './onnx-cases.ts'
import { onnxCases, sharedData } from './shared.ts'

/** Sizes of these depend on what the data is, not on its shape; so do those of everything made from them. */
const dataDependent: Readonly<Record<string, string>> = {
  NonZero: 'counts the elements that are not zero',
  Unique: 'counts different elements',
  Compress: 'counts the true conditions',
  NonMaxSuppression: 'counts the boxes that survive',
  StringSplit: 'counts the words',
  StringNormalizer: 'counts the words that are no stop words',
  ImageDecoder: 'size of the picture',
  Loop: 'may stop by a computed condition',
  If: 'branches may differ in shape',
  SequenceAt: 'elements of a sequence may differ in shape',
  ConcatFromSequence: 'the length of a sequence is not part of its type'
}

interface Case {
  readonly name: string
  readonly model: Model
  readonly feeds: Readonly<Record<string, Tensor>>
  /** What the engine returned, by value. */
  readonly got: Readonly<Record<string, ValueType>>
}

const root = onnxCases()

/** Reads a case and runs it with every value of its graph as an output; `undefined` where the engine cannot. */
async function runCase(group: string, name: string): Promise<Case | string> {
  const folder = join(root as string, group, name)
  const bytes = readFileSync(join(folder, 'model.onnx'))
  const proto = fromBinary(ModelProtoSchema, bytes)
  let feeds: Record<string, Tensor>
  try {
    feeds = readFeeds(proto, join(folder, 'test_data_set_0'))
  } catch (e) {
    return `input: ${message(e)}`
  }
  const got = (await run(exposed(proto), feeds)) ?? (await run(bytes, feeds))
  if (!got) return 'the engine does not run it'
  try {
    return { name, model: readModel(bytes), feeds, got }
  } catch (e) {
    if (e instanceof PareError && (e.code === 'E_OPSET' || e.code === 'E_UNSUPPORTED')) return `${e.code}: ${e.message}`
    throw e
  }
}

const message = (e: unknown): string => (e instanceof Error ? e.message : String(e))

/** The file with every value of the outer graph as an output. */
function exposed(proto: ModelProto): Uint8Array {
  const copy = fromBinary(ModelProtoSchema, toBinary(ModelProtoSchema, proto))
  const known = new Set(copy.graph?.output.map((v) => v.name))
  for (const node of copy.graph?.node ?? [])
    for (const id of node.output)
      if (id && !known.has(id)) copy.graph?.output.push(create(ValueInfoProtoSchema, { name: id }))
  return toBinary(ModelProtoSchema, copy)
}

async function run(
  bytes: Uint8Array,
  feeds: Readonly<Record<string, Tensor>>
): Promise<Record<string, ValueType> | undefined> {
  let session: ort.InferenceSession | undefined
  try {
    session = await ort.InferenceSession.create(bytes, {
      graphOptimizationLevel: 'disabled',
      logSeverityLevel: 4,
      intraOpNumThreads: 1
    })
    const names = session.inputNames.filter((id) => feeds[id])
    const given = Object.fromEntries(
      names.map((id) => [id, toEngine(ort as unknown as OrtModule, id, feeds[id] as Tensor)])
    )
    const results = await session.run(given as ort.InferenceSession.OnnxValueMapType)
    return Object.fromEntries(
      Object.entries(results).map(([id, t]) => [id, { type: 'tensor', dtype: t.type, shape: t.dims } as ValueType])
    )
  } catch {
    return undefined // not a case for this law: its inputs or outputs cannot cross the engine's interface
  } finally {
    await session?.release()
  }
}

/** Without what the file says of any value that a node makes, so that it is inference that is tested. */
function undeclared(model: Model): Model {
  const strip = (graph: Graph): Graph => {
    const values = new Map<string, Value>()
    for (const v of graph.values.values())
      values.set(v.id, v.data || graph.inputs.includes(v.id) ? v : { id: v.id, type: 'tensor' })
    return { ...graph, values }
  }
  return { ...model, graph: strip(model.graph) }
}

/** Every size of the inputs as a symbol of its own, and what each stands for. */
function withSymbols(model: Model): { model: Model; symbols: Record<string, number> } {
  const symbols: Record<string, number> = {}
  const values = new Map(model.graph.values)
  for (const [i, id] of model.graph.inputs.entries()) {
    const v = values.get(id)
    if (v?.shape) values.set(id, { ...v, shape: v.shape.map((d, axis) => symbolFor(d, `d${i}_${axis}`, symbols)) })
  }
  return { model: { ...model, graph: { ...model.graph, values } }, symbols }
}

function symbolFor(d: Dim, name: string, symbols: Record<string, number>): Dim {
  if (typeof d === 'string') return d
  symbols[name] = d
  return name
}

/** Small inputs as constants: the sizes that operators such as Reshape take from them are then known before running. */
function withConstants(model: Model, feeds: Readonly<Record<string, Tensor>>): Model {
  const values = new Map(model.graph.values)
  const isSmall = (t: Tensor | undefined): t is Tensor => !!t && t.shape.length <= 1 && elementCount(t.shape) <= 64
  const inputs = model.graph.inputs.filter((id) => {
    const t = feeds[id]
    const v = values.get(id)
    if (!v || !isSmall(t)) return true
    values.set(id, { id, type: 'tensor', dtype: t.dtype, shape: t.shape, data: t })
    return false
  })
  return { ...model, graph: { ...model.graph, inputs, values } }
}

/** Is a value made, directly or not, by an operator whose sizes only running tells? */
function isOpen(graph: Graph, id: string, seen = new Map<string, boolean>()): boolean {
  const known = seen.get(id)
  if (known !== undefined) return known
  seen.set(id, false)
  const maker = producer(graph, id)
  const open =
    maker !== undefined && (maker.op in dataDependent || maker.inputs.some((i) => i !== null && isOpen(graph, i, seen)))
  seen.set(id, open)
  return open
}

interface Tally {
  known: number
  determined: number
  readonly wrong: string[]
  readonly open: string[]
}

function compare(c: Case, model: Model, tally: Tally, symbols: Readonly<Record<string, number>> = {}): void {
  const inferred = bind(inferShapes(model), symbols).graph
  for (const [id, real] of Object.entries(c.got)) {
    const v = inferred.values.get(id)
    const maker: Node | undefined = producer(inferred, id)
    if (!v || !maker) continue
    const where = `${c.name} ${maker.op} ${id}: inferred ${printType(v)}, real ${printType(real)}`
    if (!agrees(v, real)) tally.wrong.push(where)
    if (isOpen(inferred, id)) continue
    tally.determined++
    if (v.dtype && v.shape?.every((d) => typeof d === 'number')) tally.known++
    else tally.open.push(where)
  }
}

function agrees(v: ValueType, real: ValueType): boolean {
  if (v.type !== 'tensor' || (v.dtype !== undefined && v.dtype !== real.dtype)) return false
  if (!v.shape) return true
  return (
    v.shape.length === real.shape?.length && v.shape.every((d, i) => typeof d === 'string' || d === real.shape?.[i])
  )
}

describe.skipIf(root === undefined)('infer (needs Debian libonnx-testdata)', () => {
  it('is never wrong, and rarely at a loss', { timeout: 120_000 }, async () => {
    const asGiven: Tally = { known: 0, determined: 0, wrong: [], open: [] }
    const bound: Tally = { known: 0, determined: 0, wrong: [], open: [] }
    const symbolic: Tally = { known: 0, determined: 0, wrong: [], open: [] }
    const left = new Map<string, number>()
    let ran = 0
    for (const group of ['node', 'simple', 'pytorch-operator', 'pytorch-converted'])
      for (const name of readdirSync(join(root as string, group))) {
        const c = await runCase(group, name)
        if (typeof c === 'string') {
          left.set(c, (left.get(c) ?? 0) + 1)
          continue
        }
        ran++
        compare(c, undeclared(c.model), asGiven)
        const constant = withConstants(undeclared(c.model), c.feeds)
        compare(c, constant, bound)
        const open = withSymbols(constant)
        compare(c, open.model, symbolic, open.symbols)
      }
    const share = bound.known / bound.determined
    console.log(
      `infer: ${ran} cases, ${bound.determined} values, ${bound.known} fully known (${(100 * share).toFixed(2)} %), ` +
        `${symbolic.known} from symbolic inputs`
    )
    if (process.env['PARE_LAW_DETAILS']) console.log([...left], bound.open.join('\n'), symbolic.open.join('\n'))
    expect(asGiven.wrong).toEqual([])
    expect(bound.wrong).toEqual([])
    expect(symbolic.wrong).toEqual([])
    expect(ran).toBeGreaterThan(700)
    expect(share).toBeGreaterThanOrEqual(0.95)
  })
})

const models = [
  ['cifar10-jpeg', 'resnet20.onnx'],
  ['imagenet', 'mobilenet_v1_025_224.onnx'],
  ['kws', 'ds_cnn.onnx'],
  ['mnist', 'mnist-8.onnx']
] as const

describe('infer on real models (needs the shared data folder)', () => {
  for (const [folder, file] of models) {
    const path = sharedData(folder, file)
    it.skipIf(path === undefined)(`${file}: every size of every value`, async () => {
      const bytes = readFileSync(path as string)
      const model = readModel(bytes)
      const feeds = Object.fromEntries(
        model.graph.inputs.map((id) => [id, sample(model.graph.values.get(id) as Value)])
      )
      const got = await run(exposed(fromBinary(ModelProtoSchema, bytes)), feeds)
      const tally: Tally = { known: 0, determined: 0, wrong: [], open: [] }
      compare({ name: file, model, feeds, got: got ?? {} }, undeclared(model), tally, { N: 2 })
      expect(tally.wrong).toEqual([])
      expect(tally.open).toEqual([])
      expect(tally.known).toBeGreaterThan(5)
    })
  }
})

/** Two samples of zeros where the batch is open. */
function sample(v: Value): Tensor {
  const shape = (v.shape ?? []).map((d) => (typeof d === 'number' ? d : 2))
  return tensor(v.dtype ?? 'float32', shape, new Float32Array(elementCount(shape)))
}

/**
 * float16, bfloat16 and float64 as float32: every constant, value and attribute that names the type. Inputs and outputs of
 * the model keep theirs, with a Cast behind or in front. float64 loses what 24 significant bits and ±3.4e38 do not hold.
 */
import { attrInt } from '../../../ir/attrs.ts'
import { codeOfDtype, dtypeOfCode } from '../../../ir/dtype-code.ts'
import { type Draft, edit, mapGraphs, renameReads } from '../../../ir/edit.ts'
import { allGraphs, constant } from '../../../ir/graph.ts'
import { tensor, toFloats } from '../../../ir/tensor.ts'
import { inferShapes } from '../../../ops/infer.ts'
import type { Attr, DType, Graph, Model, Node, Tensor, Value } from '../../../types.ts'

const raisedTypes: readonly DType[] = ['float16', 'bfloat16', 'float64']

const isRaised = (dtype: DType | undefined): boolean => dtype !== undefined && raisedTypes.includes(dtype)

const hasValues = (model: Model): boolean =>
  allGraphs(model).some((g) => [...g.values.values()].some((v) => isRaised(v.dtype)))

/** The model in float32. The very same model where nothing is of another float type. */
export function raised(model: Model): Model {
  if (!hasValues(model)) return model
  const { inputs, outputs, values } = inferShapes(model).graph
  const inside = mapGraphs(model, raiseGraph)
  const wide = (ids: readonly string[]): Value[] =>
    ids.map((id) => values.get(id) as Value).filter((v) => v.type === 'tensor' && isRaised(v.dtype))
  return edit(inside, (d) => {
    for (const v of wide(inputs)) castInput(d, v)
    for (const v of wide(outputs)) castOutput(d, v)
  })
}

function raiseGraph(graph: Graph): Graph {
  const values = new Map([...graph.values].map(([id, v]) => [id, raiseValue(v)]))
  return { ...graph, values, nodes: graph.nodes.map(raiseNode) }
}

function raiseValue(v: Value): Value {
  if (v.type !== 'tensor' || !isRaised(v.dtype)) return v
  return { ...v, dtype: 'float32', ...(v.data ? { data: asFloat(v.data) } : {}) }
}

const asFloat = (t: Tensor): Tensor => tensor('float32', t.shape, toFloats(t))

/** Attributes that hold the code of an element type. */
const typeAttributes = ['to', 'dtype', 'output_dtype', 'output_datatype', 'stash_type']

function raiseNode(node: Node): Node {
  const changed = Object.entries(node.attrs).flatMap(([name, a]): [string, Attr][] => {
    if (a.kind === 'tensor') return isRaised(a.value.dtype) ? [[name, { ...a, value: asFloat(a.value) }]] : []
    const isType = a.kind === 'int' && typeAttributes.includes(name) && isRaised(dtypeOfCode(attrInt(node, name, 0)))
    return isType ? [[name, { kind: 'int', value: codeOfDtype('float32') }]] : []
  })
  return changed.length === 0 ? node : { ...node, attrs: { ...node.attrs, ...Object.fromEntries(changed) } }
}

/** The input has its own type again, and all that reads it reads a Cast of it. */
function castInput(d: Draft, v: Value): void {
  const readers = d.consumers(v.id)
  const made = d.fresh(`${v.id}_f32`)
  d.set(v)
  for (const n of readers) d.replace(n, renameReads(n, v.id, made))
  if (readers.length > 0) cast(d, v.id, 'float32', made)
}

/** What made the output makes a float32 value, which is cast to the type of the output. */
function castOutput(d: Draft, v: Value): void {
  const { data, ...type } = v
  const maker = d.producer(v.id)
  if (!maker && !data) return
  const made = d.fresh(`${v.id}_f32`)
  const readers = d.consumers(v.id)
  if (maker) d.replace(maker, { ...maker, outputs: maker.outputs.map((id) => (id === v.id ? made : id)) })
  d.set({ ...type, id: made, dtype: 'float32', ...(data ? { data: asFloat(data) } : {}) })
  for (const n of readers.filter((r) => r !== maker)) d.replace(n, renameReads(n, v.id, made))
  d.set(v)
  if (maker) cast(d, made, v.dtype as DType, v.id)
}

function cast(d: Draft, from: string, to: DType, output: string): void {
  d.addNode({
    name: output,
    op: 'Cast',
    inputs: [from],
    outputs: [output],
    attrs: { to: { kind: 'int', value: codeOfDtype(to) } }
  })
}

/** In words, what to run before a pass that works on float32; `undefined` where the model has float32 weights. */
export function raiseFirst(model: Model): string | undefined {
  const has = (dtype: DType | undefined): boolean =>
    allGraphs(model).some((g) => [...g.values.values()].some((v) => v.dtype === dtype && constant(g, v.id)))
  const types = raisedTypes.filter(has)
  if (types.length === 0 || has('float32')) return undefined
  return `weights are ${types.join(' and ')}: run cast-float --type float32 first`
}

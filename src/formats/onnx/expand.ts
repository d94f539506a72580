/**
 * Expansions: a constant stored in fewer bytes, and nodes that make it again, which ONNX Runtime runs once, when it opens
 * the model. An expansion is recognised by guessing what it stores and building it anew: it counts only where the nodes
 * found are the very ones that are built, so what was read is written again as it was.
 */
import { attrs } from '../../ir/attrs.ts'
import { codeOfDtype } from '../../ir/dtype-code.ts'
import { mapGraphs } from '../../ir/edit.ts'
import { producer } from '../../ir/graph.ts'
import { elementCount, equalTensors, ints, tensor } from '../../ir/tensor.ts'
import type { Attr, AttrInput, DType, Form, Graph, Model, Node, Tensor, Value } from '../../types.ts'
import { type Constant, constantValue, type Whole, wholeOf } from './whole.ts'

/** Makes the nodes of expansions. What is the same is made once per graph, save payloads. */
export interface Builder {
  /** Bytes that only this constant has. */
  payload(data: Tensor): string
  /** A small constant. */
  constant(data: Tensor): string
  node(op: string, inputs: readonly string[], attrs?: Readonly<Record<string, AttrInput>>): string
}

/** One lossless way to store a constant. */
export interface Stored {
  /** Bytes of its payloads and own small constants. */
  readonly bytes: number
  /** Its own nodes. */
  readonly nodes: number
  /** The oldest opset that has these nodes. */
  readonly opset: number
  /** Returns the id of the value that equals the constant; sub-byte integers come as int8 or uint8. */
  build(b: Builder): string
}

/** Bytes that a node takes in a file, with the names it makes and constants of its own such as shapes. */
const nodeBytes = 70

/** The smallest in a file; of equals the one of fewest nodes. */
export function cheapest(ways: readonly Stored[]): Stored {
  const cost = (s: Stored): number => s.bytes + nodeBytes * s.nodes
  return ways.reduce((a, b) => (cost(b) < cost(a) || (cost(b) === cost(a) && b.nodes < a.nodes) ? b : a))
}

/** A family of ways to store constants. */
export interface Encoding {
  readonly form: Form
  /** All ways for this tensor; none where the form cannot hold it, or a reason. */
  store(t: Tensor): readonly Stored[] | string
  /** What the nodes that make `id` seem to store; checked by the caller. */
  read(find: Find, id: string): { readonly data: Tensor; readonly stored: Stored } | undefined
}

// ---------------------------------------------------------------- building

class Expansion implements Builder {
  readonly nodes: Node[] = []
  readonly constants = new Map<string, Value & { readonly data: Tensor }>()
  readonly payloads: string[] = []
  /** The constant that is being stored. */
  owner = 'stored'
  private readonly fresh: (hint: string) => string
  private readonly known = new Map<string, string>()
  private readonly made = new Map<string, Node>()
  private count: number
  constructor(fresh: (hint: string) => string, count = 0) {
    this.fresh = fresh
    this.count = count
  }

  get reached(): number {
    return this.count
  }

  payload(data: Tensor): string {
    const id = this.fresh(`${this.owner}_${this.payloads.length}`)
    this.constants.set(id, constantValue(id, data) as Constant)
    this.payloads.push(id)
    return id
  }

  constant(data: Tensor): string {
    return this.once(`${data.dtype}[${data.shape}]${data.bytes.slice()}`, () => {
      const id = this.next()
      this.constants.set(id, constantValue(id, data) as Constant)
      return id
    })
  }

  node(op: string, inputs: readonly string[], input: Readonly<Record<string, AttrInput>> = {}): string {
    const made = attrs(input)
    return this.once(`${op}(${inputs})${Object.entries(made).map(([k, a]) => `${k}=${attrText(a)}`)}`, () => {
      const id = this.next()
      const node: Node = { name: '', op, inputs, outputs: [id], attrs: made }
      this.nodes.push(node)
      this.made.set(id, node)
      return id
    })
  }

  /** Gives the value built last a name. */
  close(built: string, id: string): void {
    const node = this.made.get(built) as Node
    this.nodes.splice(this.nodes.indexOf(node), 1, { ...node, outputs: [id] })
  }

  maker = (id: string): Node | undefined => this.made.get(id)

  /** Short: names are a good part of what an expansion costs. */
  private next(): string {
    return this.fresh(`_${this.count++}`)
  }

  private once(key: string, make: () => string): string {
    const known = this.known.get(key)
    if (known !== undefined) return known
    const id = make()
    this.known.set(key, id)
    return id
  }
}

const attrText = (a: Attr): string =>
  a.kind === 'tensor' ? `${a.value.dtype}[${a.value.shape}]${a.value.bytes.slice()}` : `${a.kind}:${a.value}`

export interface Expanded {
  readonly model: Model
  /** Payload ids, with the id of the constant they store. */
  readonly payloads: ReadonlyMap<string, string>
}

/** Replaces constants by expansions, where `choose` gives one. They stand at the beginning of their graph. */
export function spellExpansions(model: Model, choose: (v: Constant) => Stored | undefined): Expanded {
  const whole = wholeOf(model)
  const payloads = new Map<string, string>()
  let count = 0
  const made = mapGraphs(model, (graph) => {
    const values = new Map(graph.values)
    const e = new Expansion(whole.fresh, count)
    for (const v of graph.values.values()) {
      const constant = whole.constant(v.id)
      const stored = constant === v && v.data ? choose(v as Constant) : undefined
      if (!stored) continue
      e.owner = v.id
      e.payloads.length = 0
      e.close(stored.build(e), v.id)
      for (const id of e.payloads) payloads.set(id, v.id)
      const { data, form: _form, sparse: _sparse, ...type } = v
      values.set(v.id, { ...type, dtype: unpackedType((data as Tensor).dtype) })
    }
    if (e.nodes.length === 0) return graph
    count = e.reached
    for (const v of e.constants.values()) values.set(v.id, v)
    for (const n of e.nodes) for (const id of n.outputs) if (!values.has(id)) values.set(id, { id, type: 'tensor' })
    return { ...graph, nodes: [...e.nodes, ...graph.nodes], values }
  })
  return { model: made, payloads }
}

/** The type in which an expansion gives integers of less than a byte. */
export function unpackedType(dtype: DType): DType {
  if (dtype === 'int4' || dtype === 'int2') return 'int8'
  return dtype === 'uint4' || dtype === 'uint2' ? 'uint8' : dtype
}

// ---------------------------------------------------------------- parts of expansions

/** A shape as a constant. */
export const shapeConstant = (b: Builder, shape: readonly number[]): string =>
  b.constant(tensor('int64', [shape.length], shape))

export const castTo = (b: Builder, id: string, dtype: DType): string => b.node('Cast', [id], { to: codeOfDtype(dtype) })

/** Indices from bytes. */
export const indices = (b: Builder, id: string): string => castTo(b, id, 'int32')

export const reshape = (b: Builder, id: string, shape: readonly number[]): string =>
  b.node('Reshape', [id, shapeConstant(b, shape)])

/** The first `count` elements of a vector. */
export const first = (b: Builder, id: string, count: number): string =>
  b.node('Slice', [id, shapeConstant(b, [0]), shapeConstant(b, [count])])

// ---------------------------------------------------------------- recognising

/** Looks at what makes a value in one graph. */
export class Find {
  private readonly graph: Graph
  private readonly whole: Whole
  constructor(graph: Graph, whole: Whole) {
    this.graph = graph
    this.whole = whole
  }

  maker(id: string | undefined): Node | undefined {
    const node = id === undefined ? undefined : producer(this.graph, id)
    return node?.domain === undefined ? node : undefined
  }

  /** Is a value read by nodes of this operator only? */
  isOnlyReadBy(id: string, op: string): boolean {
    const all = this.whole.readers(id)
    return all.length === this.whole.readCount(id) && all.every((n) => n.op === op && n.domain === undefined)
  }

  /** Follows a path such as `Reshape.0/Slice?.0/Gather.1`: operators, and the input to go on with; `?`: if there is one. */
  at(id: string | undefined, path: string): string | undefined {
    let at = id
    for (const step of path.split('/')) {
      const [name = '', input] = step.split('.')
      const node = this.maker(at)
      const isOptional = name.endsWith('?')
      if (node?.op === (isOptional ? name.slice(0, -1) : name)) at = node.inputs[Number(input)] ?? undefined
      else if (!isOptional) return undefined
    }
    return at
  }

  constant(id: string): Tensor | undefined {
    return this.whole.constant(id)?.data
  }

  /** The constant at the end of a path. */
  tensor(id: string | undefined, path: string): Tensor | undefined {
    return this.whole.constant(this.at(id, path))?.data
  }

  /**
   * The same for bytes that one constant stores: what lies between may be read twice at most where an expansion itself
   * does so. Otherwise a small file could hold the same bytes as any number of large constants.
   */
  payload(id: string | undefined, path: string): Tensor | undefined {
    for (let at = path.indexOf('/'); at > 0; at = path.indexOf('/', at + 1)) {
      const between = this.at(id, path.slice(0, at))
      const op = this.maker(between)?.op
      const most = op === 'Cast' || op === 'Reshape' ? 2 : 1
      if (between === undefined || (between !== id && this.whole.readCount(between) > most)) return undefined
    }
    const end = this.at(id, path)
    return end !== undefined && this.whole.readCount(end) === 1 ? this.whole.constant(end)?.data : undefined
  }

  /** The same as integers: of a shape. */
  shape(id: string | undefined, path: string): number[] | undefined {
    const data = this.tensor(id, path)
    const all = data?.dtype === 'int64' && data.shape.length === 1 ? ints(data) : undefined
    return all?.every((d) => d >= 0) && elementCount(all) <= 2 ** 40 ? all : undefined
  }
}

interface Found {
  readonly id: string
  readonly data: Tensor
  readonly form: Form
  readonly end: Node
  /** The nodes that make it, the end among them. */
  readonly nodes: ReadonlySet<Node>
}

/** Turns expansions back into constants. The very same model when there are none. */
export function recogniseExpansions(model: Model, encodings: readonly Encoding[]): Model {
  const whole = wholeOf(model)
  return mapGraphs(model, (graph) => {
    const find = new Find(graph, whole)
    const found: Found[] = []
    for (const node of graph.nodes) {
      const one = roots.has(node.op) ? expansionAt(find, whole, node, encodings) : undefined
      if (one) found.push(one)
    }
    const outer = found.filter((f) => !found.some((g) => g !== f && g.nodes.has(f.end)))
    return outer.length > 0 ? restored(graph, outer, whole) : graph
  })
}

/** The operators that end an expansion. */
const roots: ReadonlySet<string> = new Set(['Reshape', 'Gather', 'GatherElements'])

function expansionAt(find: Find, whole: Whole, node: Node, encodings: readonly Encoding[]): Found | undefined {
  const [id = ''] = node.outputs
  for (const e of encodings) {
    const guess = e.read(find, id)
    if (!guess) continue
    const built = new Expansion((hint) => hint)
    const nodes = new Set<Node>()
    if (isSame(find, whole, id, built, guess.stored.build(built), nodes))
      return { id, data: guess.data, form: e.form, end: node, nodes }
  }
  return undefined
}

/** Do the nodes that make `id` do what the built ones do? Collects them. */
function isSame(find: Find, whole: Whole, id: string, built: Expansion, wanted: string, nodes: Set<Node>): boolean {
  const constant = built.constants.get(wanted)
  if (constant) {
    const found = whole.constant(id)
    return found !== undefined && equalTensors(found.data, constant.data)
  }
  const [node, like] = [find.maker(id), built.maker(wanted)]
  if (!node || !like || node.op !== like.op || node.inputs.length !== like.inputs.length) return false
  const names = Object.keys(node.attrs)
  if (names.length !== Object.keys(like.attrs).length) return false
  for (const name of names) {
    const [a, b] = [node.attrs[name], like.attrs[name]]
    if (!a || !b || attrText(a) !== attrText(b)) return false
  }
  nodes.add(node)
  return node.inputs.every(
    (input, i) => input !== null && isSame(find, whole, input, built, like.inputs[i] as string, nodes)
  )
}

/** The graph with constants in place of the nodes that made them; nodes that others read too stay. */
function restored(graph: Graph, found: readonly Found[], whole: Whole): Graph {
  const candidates = new Set(found.flatMap((f) => [...f.nodes]))
  const values = new Map(graph.values)
  const ends = new Set(found.map((f) => f.id))
  const counts = new Map<string, number>()
  const kept: Node[] = []
  for (const n of [...graph.nodes].reverse()) {
    const isEnd = ends.has(n.outputs[0] ?? '')
    const isUnread = n.outputs.every((id) => whole.readCount(id) === (counts.get(id) ?? 0))
    if (!isEnd && !(candidates.has(n) && isUnread)) {
      kept.push(n)
      continue
    }
    for (const id of n.inputs) if (id !== null) counts.set(id, (counts.get(id) ?? 0) + 1)
    if (!isEnd) for (const id of n.outputs) values.delete(id)
  }
  for (const [id, count] of counts)
    if (values.get(id)?.data && whole.readCount(id) === count && !ends.has(id)) values.delete(id)
  for (const f of found) values.set(f.id, { ...constantValue(f.id, f.data), form: f.form })
  return { ...graph, nodes: kept.reverse(), values }
}

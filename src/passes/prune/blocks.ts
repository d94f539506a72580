/**
 * Blocks between residual joins: y = x + f(x), where f is all that leads from x to the join. Without its block a network is
 * shallower and still fits together. What follows the join in the way in which x was made behind the join before it (a
 * Relu, a normalization, as in ResNets and in transformers that normalize last) goes with the block.
 */
import { sameDim, unknownDim } from '../../base/dim.ts'
import { edit } from '../../ir/edit.ts'
import { constant, consumers, isOutput, producer, reads } from '../../ir/graph.ts'
import { tensorBytes } from '../../ir/tensor.ts'
import { isAdd } from '../../ops/ask.ts'
import type { ModelCost } from '../../ops/cost.ts'
import { opFor } from '../../ops/index.ts'
import { inferShapes } from '../../ops/infer.ts'
import type { Dim, Graph, Model, Node } from '../../types.ts'
import { sameShape } from '../shapes.ts'

/** A block that can be left out. */
export interface Block {
  /** The join: makes x + f(x). */
  readonly add: Node
  /** x, which stands in for `output` without the block. */
  readonly skip: string
  /** What the block gives to the rest. */
  readonly output: string
  /** The nodes of f. */
  readonly branch: ReadonlySet<Node>
  /** Nodes from the join to `output`. */
  readonly tail: readonly Node[]
}

/** A join whose block has to stay. */
export interface HeldBlock {
  readonly add: Node
  readonly reason: string
}

/**
 * The innermost blocks whose skip connection is the value itself, in order, and the joins of two computed values whose
 * blocks have to stay. Only of the outermost graph.
 */
export function findBlocks(given: Model): { readonly blocks: readonly Block[]; readonly held: readonly HeldBlock[] } {
  const { graph } = inferShapes(given)
  const places = new Map(graph.nodes.map((n, i) => [n, i]))
  const all: Block[] = []
  const held: HeldBlock[] = []
  for (const add of graph.nodes) {
    if (!isAdd(add)) continue
    const [a, b] = add.inputs as readonly [string, string]
    const found = blockOf(graph, places, add, a, b) ?? blockOf(graph, places, add, b, a)
    if (found) all.push(found)
    else held.push(...heldBlock(graph, places, add, a, b))
  }
  return { blocks: all.filter((block) => !all.some((other) => block.branch.has(other.add))), held }
}

function blockOf(
  graph: Graph,
  places: ReadonlyMap<Node, number>,
  add: Node,
  skip: string,
  end: string
): Block | undefined {
  const [x, y] = [graph.values.get(skip), graph.values.get(add.outputs[0] as string)]
  if (skip === end || constant(graph, skip) || !sameShape(x?.shape, y?.shape)) return undefined
  const branch = between(graph, places, add, skip, end)
  const isInside = (n: Node): boolean => branch.has(n) || n === add
  const isClosed = [...branch].every((n) =>
    n.outputs.every((id) => !id || (!isOutput(graph, id) && consumers(graph, id).every(isInside)))
  )
  if (!isClosed || !hasLayer(branch)) return undefined
  const tail = tailOf(graph, places, add, skip)
  return { add, skip, branch, tail, output: (tail.at(-1) ?? add).outputs[0] as string }
}

/** Arithmetic without weights, as in a Gelu that is spelled out, is no block. */
const hasLayer = (branch: ReadonlySet<Node>): boolean =>
  [...branch].some((n) => opFor(n)?.linear !== undefined || opFor(n)?.weights !== undefined)

/** Nodes on the ways from `skip` to `end`; what they read from elsewhere, as a mask, is none of them. */
function between(
  graph: Graph,
  places: ReadonlyMap<Node, number>,
  add: Node,
  skip: string,
  end: string
): ReadonlySet<Node> {
  const maker = producer(graph, skip)
  const from = maker ? (places.get(maker) as number) + 1 : 0
  const reached = new Set([skip])
  const behind = new Set<Node>()
  for (const n of graph.nodes.slice(from, places.get(add)))
    if (reads(n).some((id) => reached.has(id))) {
      behind.add(n)
      for (const id of n.outputs) reached.add(id)
    }
  const branch = new Set<Node>()
  const open = [end]
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    const n = producer(graph, id)
    if (id === skip || !n || !behind.has(n) || branch.has(n)) continue
    branch.add(n)
    open.push(...reads(n))
  }
  return branch
}

/** A normalization that is spelled out takes up to so many nodes. */
const longestTail = 12

/** Nodes behind the join that do again what made `skip`: the same operators in the same order, none that multiplies by a matrix. */
function tailOf(graph: Graph, places: ReadonlyMap<Node, number>, add: Node, skip: string): readonly Node[] {
  const sum = add.outputs[0] as string
  const made = new Set([sum])
  const nodes: Node[] = []
  let tail: readonly Node[] = []
  for (const n of graph.nodes.slice((places.get(add) as number) + 1)) {
    const own = reads(n).filter((id) => !constant(graph, id))
    if (!own.some((id) => made.has(id))) continue
    if (!own.every((id) => made.has(id)) || opFor(n)?.linear || nodes.length === longestTail) break
    nodes.push(n)
    for (const id of n.outputs) if (id) made.add(id)
    const [last, ...others] = openEnds(graph, made, nodes)
    const isWhole = others.length === 0 && last === n.outputs[0]
    if (isWhole && sameNames(nodes, nodesBefore(graph, places, skip, nodes.length))) tail = [...nodes]
  }
  const [x, y] = [skip, tail.at(-1)?.outputs[0] ?? skip].map((id) => graph.values.get(id)?.shape)
  return sameShape(x, y) ? tail : []
}

const openEnds = (graph: Graph, made: ReadonlySet<string>, nodes: readonly Node[]): string[] =>
  [...made].filter((id) => isOutput(graph, id) || consumers(graph, id).some((c) => !nodes.includes(c)))

/** The last nodes that lead to a value, in order. */
function nodesBefore(graph: Graph, places: ReadonlyMap<Node, number>, id: string, count: number): readonly Node[] {
  const found: Node[] = []
  const open = new Set([producer(graph, id)])
  while (found.length < count) {
    const [last] = [...open]
      .flatMap((n) => n ?? [])
      .sort((a, b) => (places.get(b) as number) - (places.get(a) as number))
    if (!last) break
    open.delete(last)
    found.unshift(last)
    for (const read of reads(last)) open.add(producer(graph, read))
  }
  return found
}

const sameNames = (a: readonly Node[], b: readonly Node[]): boolean =>
  a.length === b.length && a.every((n, i) => n.op === b[i]?.op && n.domain === b[i]?.domain)

// ---------------------------------------------------------------- joins whose blocks stay

/** Why the block has to stay that a node joins; none where it joins no ways of one value with a layer on them. */
function heldBlock(graph: Graph, places: ReadonlyMap<Node, number>, add: Node, a: string, b: string): HeldBlock[] {
  const sum = graph.values.get(add.outputs[0] as string)?.shape
  const fork = forkOf(graph, a, b)
  if (fork === undefined || ![a, b].every((id) => mayBeSame(graph.values.get(id)?.shape, sum))) return []
  if (![a, b].some((end) => hasLayer(between(graph, places, add, fork, end)))) return []
  return [{ add, reason: whyHeld(graph.values.get(fork)?.shape, sum) }]
}

const mayBeSame = (a: readonly Dim[] | undefined, b: readonly Dim[] | undefined): boolean =>
  !a || !b || (a.length === b.length && a.every((d, i) => [d, b[i]].includes(unknownDim) || sameDim(d, b[i] as Dim)))

function whyHeld(from: readonly Dim[] | undefined, to: readonly Dim[] | undefined): string {
  if (sameShape(from, to)) return 'its skip connection is computed, or what lies between is read elsewhere'
  if (!mayBeSame(from, to))
    return `its block makes ${spelled(to)} of ${spelled(from)}, so that nothing fits in its place`
  return `its block makes ${spelled(to)} of ${spelled(from)}, and nobody can tell that these are the same size`
}

const spelled = (shape: readonly Dim[] | undefined): string => (shape ? `[${shape.join(', ')}]` : 'another shape')

/** The nearest value that both are made of, and that is no constant. */
function forkOf(graph: Graph, a: string, b: string): string | undefined {
  if ([a, b].some((id) => constant(graph, id))) return undefined
  const [seen, other] = [a, b].map((id) => madeOf(graph, id)) as [ReadonlySet<string>, ReadonlySet<string>]
  return [...seen].find((id) => other.has(id))
}

/** A value and those that it is made of, the nearest first. */
function madeOf(graph: Graph, id: string): ReadonlySet<string> {
  const seen = new Set([id])
  for (const at of seen) {
    const n = producer(graph, at)
    for (const read of n ? reads(n) : []) if (!constant(graph, read)) seen.add(read)
  }
  return seen
}

// ---------------------------------------------------------------- without them

/**
 * The model without some blocks; all else keeps its weights. What a block gave keeps its name: an Identity makes it, which
 * `simplify` takes out.
 */
export function withoutBlocks(model: Model, dropped: readonly Block[]): Model {
  return edit(model, (d) => {
    for (const { add, skip, output, branch, tail } of dropped) {
      for (const n of [...branch, add, ...tail]) {
        const now = d.producer(n.outputs.find((id) => id !== '') ?? '')
        if (now) d.remove(now)
      }
      d.add('Identity', [skip], { outputs: [output], name: add.name })
    }
    d.sweep()
  })
}

/** What a block costs. */
export interface BlockCost {
  /** Absent: not known. */
  readonly macs?: number
  /** Bytes of the constants that nothing else reads. */
  readonly bytes: number
}

/** What goes with a block. */
export function blockCost({ graph }: Model, { add, branch, tail }: Block, { byNode }: ModelCost): BlockCost {
  const nodes = new Set([...branch, add, ...tail])
  const ids = new Set([...nodes].flatMap(reads))
  const own = [...ids].flatMap((id) =>
    consumers(graph, id).every((n) => nodes.has(n)) ? (constant(graph, id) ?? []) : []
  )
  const bytes = own.reduce((n, t) => n + tensorBytes(t), 0)
  const macs = [...nodes].reduce<number | undefined>((sum, n) => {
    const one = byNode.get(n)
    return sum === undefined || one === undefined ? undefined : sum + one
  }, 0)
  return macs === undefined ? { bytes } : { macs, bytes }
}

/**
 * Reading an engine's optimised graph: which kernel became of every operator, and what stayed float that should not.
 *
 * ONNX Runtime keeps a trace of what it fused in names: the fused node has the name of the operator at its heart
 * (`Conv_4`, with `_token_1` after a change of layout, `fused Gemm_2/MatMulAddFusion` and the like), or, in blocked
 * layout, that of the last value it makes (`r1_nchwc`). Values between fused operators are gone.
 */

import { allGraphs, constant, consumers, isOutput, producer } from '../ir/graph.ts'
import { isDequantize, isQdq, isQuantize } from '../ops/quantized.ts'
import type { Graph, Model, Node } from '../types.ts'
import type { FloatIsland, Kernel, Kernels } from './types.ts'

const unknown: Kernel = { kernel: '?', integer: false }
const folded: Kernel = { kernel: 'folded', integer: false }
const blocked = 'com.microsoft.nchwc'

/** What the engine made of a model, by its optimised graph. */
export function kernelsOf(opened: Model, optimized: Model): Kernels {
  const byNode = kernelsByNode(opened, optimized)
  return { byNode, islands: floatIslands(opened, byNode), integer: countIntegerKernels(optimized) }
}

function kernelsByNode(opened: Model, optimized: Model): ReadonlyMap<string, Kernel> {
  const made = indexOf(optimized)
  const out = new Map<string, Kernel>()
  for (const graph of allGraphs(opened)) {
    const constants = constantNodes(graph)
    for (const node of graph.nodes) {
      const canFold = constants.has(node) && !isQdq(node)
      const found = canFold ? ownNode(node, made) : nodeFor(graph, node, made)
      out.set(node.name, found ? kernelOf(found, made) : canFold ? folded : unknown)
    }
  }
  return out
}

/** Kernels of the optimised graph that compute on integers, by operator, such as `{ QLinearConv: 9 }`. */
export function countIntegerKernels(optimized: Model): Readonly<Record<string, number>> {
  const out: Record<string, number> = {}
  for (const g of allGraphs(optimized)) for (const n of g.nodes) if (isIntegerOp(n.op)) out[n.op] = (out[n.op] ?? 0) + 1
  return out
}

/**
 * Nodes that read a dequantized activation and did not become integer kernels, with the reason as far as the graph
 * shows it. QuantizeLinear and DequantizeLinear themselves are not among them.
 */
function floatIslands(opened: Model, kernels: ReadonlyMap<string, Kernel>): readonly FloatIsland[] {
  const out: FloatIsland[] = []
  for (const graph of allGraphs(opened))
    for (const node of graph.nodes) {
      const { kernel, integer } = kernels.get(node.name) ?? unknown
      if (integer || kernel === 'folded' || isQdq(node)) continue
      if (!node.inputs.some((id) => id !== null && isDequantizedActivation(graph, id))) continue
      out.push({ node, kernel, reason: reasonFor(graph, node) })
    }
  return out
}

// ---------------------------------------------------------------- the optimised graph

interface Index {
  readonly byName: ReadonlyMap<string, Node>
  readonly byOutput: ReadonlyMap<string, Node>
  /** Values that hold codes rather than floats. */
  readonly codes: ReadonlySet<string>
}

function indexOf(optimized: Model): Index {
  const byName = new Map<string, Node>()
  const byOutput = new Map<string, Node>()
  const codes = new Set<string>()
  for (const g of allGraphs(optimized))
    for (const n of g.nodes) {
      const plain = plainName(n.name)
      if (plain && !byName.has(plain)) byName.set(plain, n)
      for (const id of n.outputs) byOutput.set(id, n)
      const first = n.inputs[0]
      const carries = movers.has(n.op) && first != null && codes.has(first)
      if (isQuantize(n) || carries || (isIntegerOp(n.op) && !toFloat.has(n.op)))
        for (const id of n.outputs) codes.add(id)
    }
  for (const g of allGraphs(optimized)) for (const n of g.nodes) if (n.name) byName.set(n.name, n)
  return { byName, byOutput, codes }
}

/** The name of the operator at a fused node's heart. */
const plainName = (name: string): string =>
  name
    .replace(/_token_\d+$/, '')
    .replace(/^fused /, '')
    .replace(/\/(?:MatMulAddFusion|MatmulTransposeFusion|MatMulScaleFusion).*$/, '')

/** Integer kernels whose result is float already. */
const toFloat: ReadonlySet<string> = new Set(['MatMulIntegerToFloat', 'DynamicQuantizeMatMul', 'DynamicQuantizeLSTM'])

/** Operators that move codes about without computing. */
const movers: ReadonlySet<string> = new Set([
  'Concat',
  'DepthToSpace',
  'Expand',
  'Flatten',
  'Gather',
  'GatherElements',
  'Identity',
  'MaxPool',
  'NhwcMaxPool',
  'Pad',
  'ReduceMax',
  'ReduceMin',
  'Reshape',
  'Resize',
  'Slice',
  'SpaceToDepth',
  'Split',
  'Squeeze',
  'Tile',
  'Transpose',
  'Unsqueeze'
])

const isIntegerOp = (op: string): boolean =>
  /^(?:QLinear|QGemm|QAttention|QEmbed|ConvInteger|MatMulInteger|DynamicQuantize(?:MatMul|LSTM))/.test(op)

const reorders: ReadonlySet<string> = new Set(['ReorderOutput', 'ReorderInput'])

function kernelOf(node: Node, made: Index): Kernel {
  const kernel = node.domain === blocked ? `${node.op} (nchwc)` : node.op
  const onCodes = movers.has(node.op) && node.inputs[0] != null && made.codes.has(node.inputs[0])
  return { at: node.name, kernel, integer: onCodes || isIntegerOp(node.op) }
}

// ---------------------------------------------------------------- from the opened graph to it

/** Longest run of operators that the engine fuses into the one before. */
const longestChain = 8

/**
 * The optimised node that stands for a node: its own by name; the maker of its value, or of that of an operator after
 * it, which it was fused with; the operator before it, which it was fused into.
 */
function nodeFor(graph: Graph, node: Node, made: Index): Node | undefined {
  const own = named(node, made)
  if (own) return own
  let at: Node | undefined = node
  for (let i = 0; at && i < longestChain; i++) {
    const value: string | undefined = at.outputs[0]
    if (!value) break
    const found = made.byName.get(`${value}_nchwc`) ?? behind(made.byOutput.get(value), made)
    if (found) return found
    const readers = consumers(graph, value)
    const next: Node | undefined = isDequantize(at) || readers.length === 1 ? readers[0] : undefined
    if (!next || isOutput(graph, value) || (isDequantize(next) && at !== node)) break
    const heart = named(next, made)
    if (heart) return heart
    at = next
  }
  return fusedInto(graph, node, made)
}

/** How far before an operator the one is that it was fused into, such as Conv → Add → Relu. */
const longestTail = 3

function fusedInto(graph: Graph, node: Node, made: Index): Node | undefined {
  let level: readonly Node[] = [node]
  for (let i = 0; i < longestTail; i++) {
    const before = level.flatMap((n) => n.inputs.flatMap((id) => (id === null ? [] : (producer(graph, id) ?? []))))
    level = before.filter((n) => !isQdq(n))
    // The latest first: an Add joins the convolution just before it rather than the branch that waited.
    const ordered = level.toSorted((x, y) => graph.nodes.indexOf(y) - graph.nodes.indexOf(x))
    for (const n of ordered) {
      const found = named(n, made)
      if (found) return found
    }
  }
  return undefined
}

/** A node of the same name, or made for its value in blocked layout; not one that merely stands in its place. */
function named(node: Node, made: Index): Node | undefined {
  const value = node.outputs[0]
  return (node.name ? made.byName.get(node.name) : undefined) ?? (value ? made.byName.get(`${value}_nchwc`) : undefined)
}

const ownNode = (node: Node, made: Index): Node | undefined =>
  named(node, made) ?? made.byOutput.get(node.outputs[0] ?? '')

/** Skips changes of layout that the engine put after a kernel. */
function behind(node: Node | undefined, made: Index): Node | undefined {
  let at = node
  while (at && (reorders.has(at.op) || (at.op === 'Transpose' && /^Transpose(?:_token_\d+)?$/.test(at.name)))) {
    const from: string | null | undefined = at.inputs[0]
    at = from == null ? undefined : made.byOutput.get(from)
  }
  return at
}

/** Nodes that depend on nothing but constants and shapes: those that an engine may compute once. */
function constantNodes(graph: Graph): ReadonlySet<Node> {
  const made = new Set<string>()
  const out = new Set<Node>()
  for (const n of graph.nodes) {
    const isFixed = n.op === 'Shape' || n.op === 'Size'
    if (!isFixed && !n.inputs.every((id) => id === null || made.has(id) || constant(graph, id))) continue
    out.add(n)
    for (const id of n.outputs) made.add(id)
  }
  return out
}

// ---------------------------------------------------------------- why a node stayed float

function dequantizer(graph: Graph, id: string): Node | undefined {
  const node = producer(graph, id)
  return isDequantize(node) ? node : undefined
}

function isDequantizedActivation(graph: Graph, id: string): boolean {
  const codes = dequantizer(graph, id)?.inputs[0]
  return codes != null && constant(graph, codes) === undefined
}

function reasonFor(graph: Graph, node: Node): string {
  const floats = node.inputs.filter((id) => id !== null && !dequantizer(graph, id) && !isIndex(graph, id))
  if (floats.length) return `its input ${floats.join(', ')} is float`
  const output = node.outputs[0] ?? ''
  if (isOutput(graph, output)) return `its output ${output} is an output of the model in float`
  const readers = consumers(graph, output)
  const floatReaders = readers.filter((n) => !isQuantize(n))
  if (floatReaders.length) return `its output ${output} is read in float by ${floatReaders.map(spell).join(', ')}`
  if (readers.length > 1) return `its output ${output} is quantized more than once`
  const open = node.inputs.flatMap((id) => {
    const d = id === null ? undefined : dequantizer(graph, id)
    return d && d.inputs[2] == null ? [id] : []
  })
  if (open.length) return `the zero point of ${open.join(', ')} is not given, which this kernel asks for`
  return 'the runtime has no integer kernel for this form of the operator'
}

/** A constant of integers, such as a shape, which is no operand of the arithmetic. */
function isIndex(graph: Graph, id: string): boolean {
  const dtype = constant(graph, id)?.dtype
  return dtype === 'int64' || dtype === 'int32' || dtype === 'bool'
}

const spell = (node: Node): string => `${node.op} ${node.name}`

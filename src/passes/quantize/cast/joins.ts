/**
 * Nodes that must keep float32 because of what ONNX Runtime joins while it opens a float16 model (seen in 1.30 and 1.32):
 *
 * - Mean and deviation spelled in single nodes become one LayerNormalization. Where the value they read is cast to float16,
 *   the joined node reads the float32 value before the Cast and the float16 scale, and the file is refused.
 * - A Transpose that moves the first axis and is read by a MatMul is taken into the product. In float16, where the product
 *   itself runs in float32, that ends in a crash of the process.
 */
import { attrInts } from '../../../ir/attrs.ts'
import { allGraphs, constant, consumers, isInput, producer } from '../../../ir/graph.ts'
import type { Graph, Model, Node } from '../../../types.ts'

/** Operators that mean and deviation are spelled in. */
const spelling: ReadonlySet<string> = new Set([
  'Abs',
  'Add',
  'Cast',
  'Div',
  'Identity',
  'Mul',
  'Neg',
  'Pow',
  'Reciprocal',
  'ReduceMean',
  'Sqrt',
  'Sub'
])

/** The nodes to keep beside those that are kept already, with the reason. */
export function keptForJoins(model: Model, kept: ReadonlyMap<Node, unknown>): ReadonlyMap<Node, string> {
  const out = new Map<Node, string>()
  const graphs = allGraphs(model)
  const homes = new Map(graphs.flatMap((g) => [...g.values.keys()].map((id) => [id, g] as const)))
  /** The graph that a value belongs to: a graph inside a node reads those around it. */
  const home = (id: string): Graph => homes.get(id) ?? model.graph
  for (const graph of graphs) {
    for (const node of graph.nodes)
      if (!kept.has(node) && movesFirstAxis(graph, node))
        out.set(node, 'ONNX Runtime cannot join a float16 Transpose of the first axis with the MatMul that reads it')
    for (const id of singles(model, graph, home, kept))
      for (const node of normalization(graph, id, home, kept))
        out.set(node, `it normalises the float32 value ${id}, and ONNX Runtime joins it to one node of one type`)
  }
  return out
}

function movesFirstAxis(graph: Graph, node: Node): boolean {
  if (node.op !== 'Transpose' || node.domain !== undefined) return false
  const perm = attrInts(node, 'perm')
  // Without perm all axes are turned around.
  if (perm?.[0] === 0) return false
  return consumers(graph, node.outputs[0] as string).some((n) => n.op === 'MatMul')
}

/** Values that stay float32 and are read by nodes that do not. */
type Home = (id: string) => Graph

function singles(model: Model, graph: Graph, home: Home, kept: ReadonlyMap<Node, unknown>): readonly string[] {
  const ids = new Set<string>()
  for (const node of graph.nodes) {
    if (kept.has(node)) continue
    for (const id of node.inputs) {
      if (id === null || constant(home(id), id) || home(id).values.get(id)?.dtype !== 'float32') continue
      const maker = producer(home(id), id)
      if (maker ? kept.has(maker) : home(id) === model.graph && isInput(model.graph, id)) ids.add(id)
    }
  }
  return [...ids]
}

/** What is computed from one value and constants alone in the operators of the spelling, where a mean and a root are among it. */
function normalization(graph: Graph, from: string, home: Home, kept: ReadonlyMap<Node, unknown>): readonly Node[] {
  const made = new Set([from])
  const found: Node[] = []
  for (const node of graph.nodes) {
    if (kept.has(node) || node.domain !== undefined || !spelling.has(node.op)) continue
    const read = node.inputs.filter((id): id is string => id !== null && !constant(home(id), id))
    if (read.length === 0 || !read.every((id) => made.has(id))) continue
    found.push(node)
    for (const id of node.outputs) made.add(id)
  }
  const has = (op: string): boolean => found.some((n) => n.op === op)
  return has('ReduceMean') && (has('Sqrt') || has('Pow')) ? found : []
}

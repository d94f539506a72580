/** Shape arithmetic: what is known of small integer vectors without running anything. */
import { unknownDim } from '../../base/dim.ts'
import { PareError } from '../../base/errors.ts'
import { subgraphs } from '../../ir/attrs.ts'
import type { Draft } from '../../ir/edit.ts'
import { isInput, opsetOf } from '../../ir/graph.ts'
import { isInteger, tensor } from '../../ir/tensor.ts'
import { opFor } from '../../ops/index.ts'
import type { Known, NodeView, Op } from '../../ops/types.ts'
import type { Dim, Graph, Model, Node, Value } from '../../types.ts'
import { reshapeTarget } from '../shapes.ts'

/** Longer contents would take more bytes in the file than the node that computes them. */
const maxElements = 16

/** Contents by id, of the values of one graph (types inferred) that have one. */
export function contentsOf(model: Model, graph: Graph, around: readonly Graph[]): ReadonlyMap<string, readonly Dim[]> {
  const contents = new Map<string, readonly Dim[]>()
  const known = (id: string): Known | undefined => {
    const content = contents.get(id)
    for (const g of [graph, ...[...around].reverse()]) {
      const v = g.values.get(id)
      if (v) return bare(named(v), isInput(g, id), content)
    }
    return undefined
  }
  for (const node of graph.nodes) {
    const op = opFor(node)
    if (!op || op.impure || subgraphs(node).length > 0) continue
    const found = inferred(op, {
      node,
      opset: opsetOf(model, node),
      inputs: node.inputs.map((id) => (id === null ? undefined : known(id))),
      outputs: [],
      inferGraph: () => []
    })
    for (const [i, id] of node.outputs.entries()) if (id && found[i]?.content) contents.set(id, found[i].content)
  }
  return contents
}

/**
 * A value whose unknown sizes have names of their own: a size that is read off a value is that of the value, whatever it is.
 * The names are no one's symbols, and stay in here.
 */
function named(v: Value): Value {
  if (!v.shape?.includes(unknownDim)) return v
  const own = v.id.replace(/\W/g, (c) => `_${c.charCodeAt(0)}_`)
  return { ...v, shape: v.shape.map((d, i) => (d === unknownDim ? `size_${i}_of_${own}` : d)) }
}

/** A model whose declared types contradict its operators tells nothing here. */
function inferred(op: Op, view: NodeView): readonly (Known | undefined)[] {
  try {
    return op.infer(view)
  } catch (error) {
    if (error instanceof PareError && error.code === 'E_SHAPE') return []
    throw error
  }
}

function bare(v: Value, canChange: boolean, content: readonly Dim[] | undefined): Known {
  const { data, form: _form, sparse: _sparse, id: _id, ...type } = v
  return { ...type, ...(data && !canChange ? { data } : {}), ...(content ? { content } : {}) }
}

/** Turns values with a known content into constants, and computed shapes of Reshape into constants with a −1 or 0. */
export function foldShapes(
  draft: Draft,
  contents: ReadonlyMap<string, readonly Dim[]>,
  value: (id: string) => Value | undefined
): void {
  for (const node of draft.nodes()) {
    const [id = ''] = node.outputs
    if (node.outputs.length === 1 && !draft.isOutput(id)) foldContent(draft, node, contents.get(id))
    if (node.op === 'Reshape' && draft.producer(id) === node) fixReshape(draft, node, contents, value)
  }
}

function foldContent(draft: Draft, node: Node, content: readonly Dim[] | undefined): void {
  const [id = ''] = node.outputs
  const v = draft.value(id)
  if (!v?.dtype || !(isInteger(v.dtype) || v.dtype === 'bool')) return
  if (!content?.every((d): d is number => typeof d === 'number') || content.length > maxElements) return
  const shape = v.shape?.length === 0 ? [] : v.shape?.length === 1 ? [content.length] : undefined
  if (!shape || (shape.length === 0 && content.length !== 1)) return
  draft.remove(node)
  draft.set({ id, type: 'tensor', dtype: v.dtype, shape, data: tensor(v.dtype, shape, content) })
}

/** A sum of products of symbols with positive factors: at least 1 wherever all symbols are. */
const isPositive = (d: Dim): boolean => (typeof d === 'number' ? d > 0 : d !== unknownDim && !/[-(]/.test(d))

function fixReshape(
  draft: Draft,
  node: Node,
  contents: ReadonlyMap<string, readonly Dim[]>,
  value: (id: string) => Value | undefined
): void {
  const [x, shapeId] = node.inputs
  const content = shapeId == null || draft.constant(shapeId) ? undefined : contents.get(shapeId)
  if (!content?.every(isPositive) || x == null) return
  const data = value(x)
  const target = reshapeTarget(data && named(data).shape, content)
  if (!target) return
  const shape = draft.addConstant(tensor('int64', [target.length], target), `${shapeId}_fixed`)
  const { allowzero: _, ...attrs } = node.attrs
  draft.replace(node, { ...node, inputs: [x, shape], attrs })
}

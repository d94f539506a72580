/** Which nodes become dynamic int8, with which weights, and why others do not. Looks at types and uses, not at values. */

import { attrInt } from '../../../ir/attrs.ts'
import { allGraphs, constant, opName, producer } from '../../../ir/graph.ts'
import { elementCount } from '../../../ir/tensor.ts'
import { opFor } from '../../../ops/index.ts'
import { viewOf } from '../../../ops/infer.ts'
import type { NodeView } from '../../../ops/types.ts'
import type { DynamicRow, Target } from '../../../targets/types.ts'
import type { Graph, Model, Node } from '../../../types.ts'
import type { Context } from '../../types.ts'
import { channelsOf, needScalesPerChannel } from '../common/codes.ts'
import { matcher } from '../common/select.ts'
import { smallTable, smallTables } from '../common/tables.ts'
import { type UsedWeight, weightPlaces, weightUses } from '../common/uses.ts'

export interface DynamicOptions {
  readonly include: readonly string[]
  readonly exclude: readonly string[]
  readonly type: 'auto' | 'int8' | 'uint8'
  readonly perChannel: boolean
  readonly microsoft: boolean
  readonly minElements: number
}

/** A weight to be stored as integers. `axis` absent: one scale. `isTable`: nodes only look up its rows. */
export interface DynamicWeight {
  readonly id: string
  readonly isTable: boolean
  readonly type: 'int8' | 'uint8'
  readonly axis?: number
}

/** A node that computes on integers. Its first output names it for sure; `weights` by input position. */
export interface DynamicNode {
  readonly node: string
  readonly op: string
  readonly output: string
  readonly weights: Readonly<Record<number, string>>
}

/** All that was decided, as plain data. */
export interface DynamicPlan {
  readonly weights: readonly DynamicWeight[]
  readonly nodes: readonly DynamicNode[]
  readonly microsoft: boolean
}

/** An operator with a dynamic form: where its weights are, and why a node of it may not have that form. */
interface Kind {
  readonly weights: readonly number[]
  /**
   * The input that is rounded at run time. Absent: the operator only moves rows of the weight, and a node whose weight
   * is computed is passed over.
   */
  readonly data?: number
  /** The rank of a weight, where only one will do. */
  readonly rank?: number
  obstacle?(n: NodeView, o: DynamicOptions): string | undefined
}

const kinds: Readonly<Record<string, Kind>> = {
  MatMul: { weights: [1], data: 0 },
  Gemm: {
    weights: [1],
    data: 0,
    rank: 2,
    obstacle: ({ node }) => (attrInt(node, 'transA', 0) === 0 ? undefined : 'its first input is transposed')
  },
  Gather: {
    weights: [0],
    obstacle: ({ node }) => (attrInt(node, 'axis', 0) === 0 ? undefined : 'it does not gather rows')
  },
  Conv: { weights: [1], data: 0 },
  LSTM: { weights: [1, 2], data: 0, obstacle: recurrentObstacle }
}

function recurrentObstacle({ node }: NodeView, o: DynamicOptions): string | undefined {
  if (!o.microsoft) return 'its only dynamic form is DynamicQuantizeLSTM of com.microsoft: set the option microsoft'
  return attrInt(node, 'layout', 0) === 0 ? undefined : 'DynamicQuantizeLSTM has no batch-first layout'
}

/** Which nodes become dynamic, and how their weights are stored. Looks at types and uses, not at values. */
export function planDynamic(
  model: Model,
  o: DynamicOptions,
  ctx: Pick<Context, 'refuse' | 'target' | 'note'>
): DynamicPlan {
  needScalesPerChannel(model)
  const isIncluded = matcher(o.include)
  const isExcluded = matcher(o.exclude)
  const uses = weightUses(model)
  const weighty = new Set(
    [...uses.values()].flatMap((w) => (elementCount(w.data.shape) < o.minElements ? [] : w.uses.map((u) => u.node)))
  )
  const nodes: Rooted[] = []
  for (const graph of allGraphs(model))
    for (const node of graph.nodes) {
      if (isExcluded(node)) continue
      if (!isIncluded(node)) {
        if (weighty.has(node)) ctx.refuse(node, unasked(node, ctx.target))
        continue
      }
      const found = rootsOf(model, graph, node, { o, uses, isExcluded, target: ctx.target })
      if (typeof found === 'string') ctx.refuse(node, `${found}: stays in float`)
      else if (found) nodes.push({ node, roots: found })
    }
  const small = smallTables(model, uses)
  const isSmall = ({ roots }: Rooted): boolean => Object.values(roots).every((id) => small.has(id))
  for (const { node } of nodes.filter(isSmall)) ctx.refuse(node, smallTable)
  const weights = new Map<string, Node[]>()
  const taken = nodes.filter((n) => !isSmall(n))
  for (const { node, roots } of taken)
    for (const id of Object.values(roots)) weights.set(id, [...(weights.get(id) ?? []), node])
  return {
    weights: [...weights].map(([id, readers]) => weightFor(id, readers, uses.get(id) as UsedWeight, o, ctx)),
    nodes: taken.map(({ node, roots }) => ({
      node: node.name,
      op: node.op,
      output: node.outputs.find((id) => id !== '') as string,
      weights: roots
    })),
    microsoft: o.microsoft
  }
}

/** ONNX Runtime has no operator for it: of recurrent layers only LSTM is there, as DynamicQuantizeLSTM. */
const noForm = (node: Node): string => `${opName(node)} has no dynamic form`

/** Why a node that the options do not name stays in float, and what would change that. */
function unasked(node: Node, target: Target): string {
  const op = opName(node)
  if (!kinds[op]) return `${noForm(node)}; quantize-weights stores its weights in 8 bits`
  if (!dynamicTypes(target, node)) return `${target.name} has no dynamic form of ${op}`
  const also = kinds[op].obstacle === recurrentObstacle ? ', with microsoft,' : ''
  return `not among the operators to quantize: name ${op} in include${also} to quantize it too`
}

interface Rooted {
  readonly node: Node
  readonly roots: Readonly<Record<number, string>>
}

interface Where {
  readonly o: DynamicOptions
  readonly uses: ReadonlyMap<string, UsedWeight>
  readonly isExcluded: (node: Node) => boolean
  readonly target: Target
}

/** The constants behind a node's weights by input, or why it cannot be dynamic; `undefined` where nothing is to be said. */
function rootsOf(
  model: Model,
  graph: Graph,
  node: Node,
  { o, uses, isExcluded, target }: Where
): Record<number, string> | string | undefined {
  const kind = kinds[opName(node)]
  const view = viewOf(model, graph, node)
  const types = dynamicTypes(target, node)
  if (!kind || !types) return weightPlaces(node).length > 0 ? noForm(node) : undefined
  const roots: Record<number, string> = {}
  for (const input of kind.weights) {
    const id = rootOf(model, graph, node.inputs[input])
    const weight = id === undefined ? undefined : uses.get(id)
    if (id === undefined || !weight) return kind.data === undefined ? undefined : notConstant(model, node.inputs[input])
    const { data, readers } = weight
    if (elementCount(data.shape) < o.minElements) return undefined
    if (data.dtype !== 'float32') return `its weight is ${data.dtype}, not float32`
    const rank = view.inputs[input]?.shape?.length ?? data.shape.length
    if (rank < 2 || (kind.rank !== undefined && rank !== kind.rank)) return `its weight is of rank ${rank}`
    const barred = readers.find(isExcluded)
    if (barred) return `its weight ${id} is read by ${barred.name} too, which is excluded`
    roots[input] = id
  }
  const x = kind.data === undefined ? undefined : view.inputs[kind.data]
  if (kind.data !== undefined && x?.dtype !== 'float32')
    return `its input is ${x?.dtype ?? 'of unknown type'}, not float32`
  if (o.type !== 'auto' && !types.includes(o.type))
    return `with ${o.type} weights its dynamic form does not load on ${target.name}: use ${types.join(' or ')}`
  return kind.obstacle?.(view, o) ?? roots
}

const dynamicTypes = (target: Target, node: Node): DynamicRow['weights'] | undefined =>
  target.dynamic.find((row) => row.op === opName(node))?.weights

/** Why a weight is none that could be stored in other numbers. */
function notConstant(model: Model, id: string | null | undefined): string {
  const graphs = allGraphs(model)
  const isComputed = (at: string | null | undefined): boolean => {
    if (at == null || graphs.some((g) => constant(g, at))) return true
    const maker = graphs.flatMap((g) => producer(g, at) ?? [])[0]
    return maker !== undefined && maker.inputs.length > 0 && maker.inputs.every(isComputed)
  }
  return isComputed(id)
    ? 'its weight is computed from constants, which simplify folds: apply that first'
    : 'its weight is not a constant'
}

/** The constant that a value is a reordered copy of. */
function rootOf(model: Model, graph: Graph, id: string | null | undefined): string | undefined {
  const graphs = allGraphs(model)
  for (let at = id; at != null; ) {
    const here = at
    if (graphs.some((g) => constant(g, here))) return here
    const maker: Node | undefined = producer(graph, here) ?? graphs.flatMap((g) => producer(g, here) ?? [])[0]
    if (!maker || !isMove(maker)) return undefined
    at = maker.inputs[0]
  }
  return undefined
}

/** Does a node only move elements? Weights are followed through such. */
export const isMove = (node: Node): boolean => opFor(node)?.elements !== undefined

function weightFor(
  id: string,
  readers: readonly Node[],
  { data, uses }: UsedWeight,
  o: DynamicOptions,
  ctx: Pick<Context, 'target' | 'note'>
): DynamicWeight {
  const axes = new Set(uses.filter((u) => readers.includes(u.node)).map((u) => u.axis))
  const axis = o.perChannel && axes.size === 1 ? [...axes][0] : undefined
  const canSaturate = ctx.target.saturates && readers.some((n) => kinds[opName(n)]?.data !== undefined)
  const isWide = canSaturate || !readers.every((n) => dynamicTypes(ctx.target, n)?.includes('int8'))
  const type = o.type === 'auto' ? (isWide ? 'uint8' : 'int8') : o.type
  if (type === 'int8' && ctx.target.saturates && o.type === 'int8')
    ctx.note(`weight ${id}: pair sums of int8 can saturate on ${ctx.target.name}; uint8 does not`)
  // A channel along an axis that reordering splits has no vector of scales.
  const fits = axis !== undefined && channelsOf(data.shape, axis).count > 1
  const isTable = uses.every((u) => readers.includes(u.node) && kinds[opName(u.node)]?.data === undefined)
  return { id, type, isTable, ...(fits ? { axis } : {}) }
}

/**
 * Decides which parts of a model become integer, before any range is known: the nodes, the groups of values that share one
 * scale and zero point, and the Relus and Clips whose work saturation does.
 *
 * - A node with weights becomes integer by itself, and so does a MatMul: these nodes do most of the work.
 * - A light node becomes integer where every value that it reads is quantized already. Data movement gives its output the
 *   scale and zero point of its input.
 * - A Relu or Clip is removed where it is the only reader of a quantized output, data movement between them included. The
 *   bounds of the clamp then limit the range of every value from that output on.
 * - Some kernels want all their inputs under the scale of the output. Those inputs share one range with the output where
 *   their bounds are the same. The others keep their scale, and get a second set of codes under the scale of the output.
 */
import { greatest, least } from '../../../base/extremes.ts'
import { subgraphs } from '../../../ir/attrs.ts'
import { allGraphs, consumers, graphView, opName, producer, soleConsumer } from '../../../ir/graph.ts'
import { type CodeType, codeTypes, rowFor } from '../../../ir/rows.ts'
import { elementCount } from '../../../ir/tensor.ts'
import { thresholdValues } from '../../../observe/scores.ts'
import { linearOf } from '../../../ops/ask.ts'
import { opFor } from '../../../ops/index.ts'
import { viewOf } from '../../../ops/infer.ts'
import { dequantizedConstant, isDequantize } from '../../../ops/quantized.ts'
import type { QuantRule } from '../../../ops/types.ts'
import type { Context, Dim, IntegerRow, Model, Node, Target, Tensor } from '../../../types.ts'

/** A node to become integer. */
export interface IntegerNode {
  readonly node: Node
  readonly rule: QuantRule
  /** What the target's kernel asks for. */
  readonly row: IntegerRow
  /** Input positions of values (not constants) that are read as integers. */
  readonly data: readonly number[]
  /** Input positions of constants that become integers by their own range. */
  readonly constants: readonly number[]
  /** The weight with a scale per channel, where it is a constant. */
  readonly weight?: { readonly input: number; readonly id: string; readonly axis: number | undefined }
  readonly bias?: { readonly input: number; readonly id: string }
  /** Its output may stay float: the integer kernel dequantizes it, and nothing reads it as integers. */
  readonly givesFloat: boolean
  /** Input positions of data under another scale than the output's: they need a second set of codes, under the output's. */
  readonly requantized: readonly number[]
}

/** Values with one scale and zero point. */
export interface Group {
  readonly ids: readonly string[]
  /**
   * The values whose observed ranges make the range of the group; behind a removed clamp, its output. None where the
   * range is fixed.
   */
  readonly taps: readonly string[]
  /** Constants that are quantized by the same scale. */
  readonly constants: readonly string[]
  /** Bounds by the clamps that saturation replaces. */
  readonly low: number
  readonly high: number
  /** The range is the operator's own, whatever values were observed. */
  readonly isFixed?: true
}

export interface Layout {
  readonly nodes: readonly IntegerNode[]
  readonly groups: readonly Group[]
  /** Relus and Clips that are removed. */
  readonly clamps: readonly Node[]
}

type Where = Pick<Context, 'refuse'> & {
  readonly target: Target
  readonly activations: CodeType
  readonly isExcluded: (node: Node) => boolean
}

/** Decides what becomes integer. The model's types should have been inferred. Refuses what could not, with the reason. */
export function layout(model: Model, where: Where): Layout {
  refuseSubgraphs(model, where)
  const kept = settle(model, candidates(model, where), where.activations)
  const clamps = absorbable(model, kept)
  const nodes = [...kept.values()]
    .filter((n) => !clamps.has(n.node))
    .map((n) => ({ ...n, givesFloat: givesFloat(model, n, kept, clamps) }))
  const { groups, requantized } = groupValues(model, nodes, clamps)
  return {
    nodes: nodes.map((n) => ({ ...n, requantized: requantized.get(n.node) ?? [] })),
    clamps: [...clamps],
    groups
  }
}

// ---------------------------------------------------------------- candidates

type Candidates = Map<Node, IntegerNode>

function candidates(model: Model, where: Where): Candidates {
  const out: Candidates = new Map()
  const compared = thresholdValues(model)
  const isCompared = (id: string | null): boolean => compared.has(id ?? '')
  for (const node of model.graph.nodes) {
    if (!computesFloat(model, node)) continue
    if (where.isExcluded(node) || subgraphs(node).length > 0) continue
    const rule = opFor(node)?.quant
    const row = rule && rowFor(where.target, viewOf(model, model.graph, node))
    if (rule?.clamp && row === undefined) continue
    const made = rule && row && typeof row !== 'string' ? candidate(model, node, rule, row, where) : undefined
    if (typeof row === 'string') where.refuse(node, row)
    else if (rule?.weights === undefined && [...node.inputs, ...node.outputs].some(isCompared)) continue
    else if (node.outputs.some(isCompared) && row?.floatOutput !== true) where.refuse(node, comparedText)
    else if (made === undefined)
      where.refuse(node, `not among the operators that ${where.target.name} computes on integers: stays in float`)
    else if (typeof made === 'string') where.refuse(node, made)
    else out.set(node, made)
  }
  return out
}

const comparedText = 'what it gives is compared with a threshold at the end of the model: stays in float'

/** Values in subgraphs are not watched: they do not run for every sample. */
function refuseSubgraphs(model: Model, where: Where): void {
  for (const graph of allGraphs(model).slice(1))
    for (const node of graph.nodes)
      if (opFor(node)?.quant?.weights && !where.isExcluded(node))
        where.refuse(node, 'inside a subgraph, where nothing is calibrated: stays in float')
}

function computesFloat(model: Model, node: Node): boolean {
  if (isDequantize(node)) return false
  const id = node.outputs[0]
  const type = id ? model.graph.values.get(id) : undefined
  return type?.dtype === 'float32' && type.type === 'tensor' && node.inputs.some((i) => i !== null && !dataOf(model, i))
}

const dataOf = (model: Model, id: string): Tensor | undefined =>
  model.graph.inputs.includes(id) ? undefined : model.graph.values.get(id)?.data

/** The node as integer, or why not. */
function candidate(
  model: Model,
  node: Node,
  rule: QuantRule,
  row: IntegerRow,
  { target, activations }: Where
): IntegerNode | string {
  const positions = rule.inputs.length > 0 ? rule.inputs : node.inputs.map((_, i) => i)
  const data: number[] = []
  const constants: number[] = []
  let weight: IntegerNode['weight']
  for (const input of positions) {
    const id = node.inputs[input] ?? null
    if (id === null) continue
    const tensor = dataOf(model, id)
    const dtype = tensor?.dtype ?? model.graph.values.get(id)?.dtype
    if (dtype !== 'float32') return `input ${input} is ${dtype ?? 'of unknown type'}, not float32`
    if (!tensor && rule.weights?.input === input && dequantizedConstant(model.graph, id))
      return 'its weight is rounded already: quantize the float model that it came from'
    if (!tensor) data.push(input)
    else if (rule.weights?.input === input) weight = { input, id, axis: weightAxis(model, rule, node, tensor) }
    else constants.push(input)
  }
  if (rule.bias !== undefined && rule.weights && !weight) return 'its weight is not a constant'
  if (data.length === 0 && !isStack(model, node, rule))
    return 'it reads constants only: quantize-weights can store them'
  const types = codeTypes(row, weight !== undefined)
  if (!types.includes(activations))
    return `${target.name} does not compute it on ${activations}${weight ? ' with weights of int8' : ''}`
  if (weight && !row.scales) return `${target.name} takes no constant for input ${weight.input}`
  const bias = weight && rule.bias !== undefined ? biasOf(model, node, rule.bias, weight) : undefined
  if (typeof bias === 'string') return bias
  if (bias && row.bias !== 'int32') return `${target.name} adds no bias of int32 to it`
  const parts = { ...(weight ? { weight } : {}), ...(bias ? { bias } : {}) }
  return { node, rule, row, data, constants, ...parts, givesFloat: false, requantized: [] }
}

/** Stacks that stay float, with the node that picks from them. */
export function stacksLeft(model: Model, made: Layout): { readonly node: Node; readonly id: string }[] {
  const kept = new Set(made.nodes.map((n) => n.node))
  return model.graph.nodes.flatMap((node) => {
    const id = node.inputs[0] ?? ''
    const isLeft = dataOf(model, id)?.dtype === 'float32' && computesFloat(model, node) && !kept.has(node)
    return isLeft && isStack(model, node, opFor(node)?.quant) ? [{ node, id }] : []
  })
}

/** Does data movement pick from a constant stack of weights by what the data say, for a matrix product to read? */
function isStack(model: Model, node: Node, rule: QuantRule | undefined): boolean {
  if (rule?.output !== 'same') return false
  const made = node.outputs[0] as string
  return consumers(model.graph, made).some((reader) => {
    const own = opFor(reader)?.quant
    // An embedding is read as data: it is no weight of the product.
    return (own?.weights !== undefined && reader.inputs[own.weights.input] === made) || isStack(model, reader, own)
  })
}

/** One scale per channel where the kernels can: along one axis of a matrix or filter bank. */
function weightAxis(model: Model, rule: QuantRule, node: Node, weight: Tensor): number | undefined {
  const axis = rule.weights?.axis(node) ?? 0
  const own = axis < 0 ? axis + weight.shape.length : axis
  return linearOf(graphView(model.graph), node) ? own : undefined
}

function biasOf(
  model: Model,
  node: Node,
  input: number,
  weight: NonNullable<IntegerNode['weight']>
): IntegerNode['bias'] | string {
  const id = node.inputs[input] ?? null
  if (id === null) return undefined
  const bias = dataOf(model, id)
  if (!bias) return 'its bias is not a constant'
  const channels = dataOf(model, weight.id)?.shape[weight.axis ?? 0]
  const n = elementCount(bias.shape)
  if (n !== channels || bias.shape.at(-1) !== n) return `a bias of shape [${bias.shape}] has no int32 form`
  return { input, id }
}

// ---------------------------------------------------------------- what stays

/** Removes light nodes from the candidates, until each one left reads only quantized values and is worth its conversions. */
function settle(model: Model, all: Candidates, activations: CodeType): Candidates {
  const kept: Candidates = new Map(all)
  for (let changed = true; changed; ) {
    changed = false
    for (const [node, n] of kept) {
      if (pays(model, n, kept, activations)) continue
      kept.delete(node)
      changed = true
    }
  }
  return kept
}

const isHeavy = (n: IntegerNode): boolean => n.rule.weights !== undefined

/**
 * Is a node worth the conversions around it? Data movement on int8 codes always is: left in float, ONNX Runtime moves the
 * DequantizeLinear behind it, and then writes a QuantizeLinear whose zero point and output differ in type.
 */
function pays(model: Model, n: IntegerNode, kept: Candidates, activations: CodeType): boolean {
  if (isHeavy(n)) return true
  const reads = n.data.map((i) => n.node.inputs[i] as string)
  if (!reads.every((id) => isQuantized(model, id, kept))) return false
  if (n.rule.output !== 'same' || activations === 'int8') return true
  return n.node.outputs.some((id) => readAsInteger(model, id, kept)) || shrinks(model, n.node)
}

/** Is a value the output of an integer node, with or without a clamp between, or the data of a node with weights? */
function isQuantized(model: Model, id: string, kept: Candidates): boolean {
  const maker = producer(model.graph, id)
  if (maker && kept.has(maker)) return true
  if (consumers(model.graph, id).some((c) => isHeavyReader(c, id, kept))) return true
  const source = maker && opFor(maker)?.quant?.clamp ? maker.inputs[0] : undefined
  return source != null && soleConsumer(model.graph, source) === maker && isQuantized(model, source, kept)
}

function isHeavyReader(node: Node, id: string, kept: Candidates): boolean {
  const n = kept.get(node)
  return n !== undefined && isHeavy(n) && n.data.some((i) => node.inputs[i] === id)
}

function readAsInteger(model: Model, id: string, kept: Candidates): boolean {
  return consumers(model.graph, id).some((c) => {
    const n = kept.get(c)
    if (n) return n.data.some((i) => c.inputs[i] === id)
    return (
      opFor(c)?.quant?.clamp !== undefined && c.inputs[0] === id && readAsInteger(model, c.outputs[0] as string, kept)
    )
  })
}

function shrinks(model: Model, node: Node): boolean {
  const size = (id: string | null | undefined): number => sizeOf(id ? model.graph.values.get(id)?.shape : undefined)
  return size(node.outputs[0]) < size(node.inputs[0])
}

/** Elements of a sample; NaN where unknown. */
const sizeOf = (shape: readonly Dim[] | undefined): number =>
  shape ? shape.slice(1).reduce<number>((n, d) => n * (typeof d === 'number' ? d : Number.NaN), 1) : Number.NaN

// ---------------------------------------------------------------- clamps

/**
 * Relus and Clips whose work saturation does: each is the only reader of a quantized value, data movement between
 * included.
 */
function absorbable(model: Model, kept: Candidates): Set<Node> {
  const out = new Set<Node>()
  for (const node of model.graph.nodes) {
    const bounds = clampBounds(model, node)
    if (!bounds || bounds.low > 0 || bounds.high < 0) continue
    const owner = ownerOf(model, node.inputs[0] as string, kept, out)
    if (owner?.row.fusesWith?.includes(opName(node))) out.add(node)
  }
  return out
}

function clampBounds(model: Model, node: Node): { low: number; high: number } | undefined {
  const clamp = opFor(node)?.quant?.clamp
  return clamp?.(viewOf(model, model.graph, node))
}

/**
 * The node whose output has a range of its own and becomes this value through clamps and data movement; `undefined` where
 * another node reads any value between.
 */
function ownerOf(model: Model, id: string, kept: Candidates, clamps: ReadonlySet<Node>): IntegerNode | undefined {
  const maker = producer(model.graph, id)
  if (!maker || soleConsumer(model.graph, id) === undefined) return undefined
  const n = kept.get(maker)
  const isMove = n?.rule.output === 'same' && maker.outputs.length === 1
  if (clamps.has(maker) || isMove) return ownerOf(model, maker.inputs[0] as string, kept, clamps)
  const hasOwnScale = n && !n.row.sameScale && !n.row.fixedOutput
  return hasOwnScale && maker.outputs.length === 1 ? n : undefined
}

// ---------------------------------------------------------------- groups

function givesFloat(model: Model, n: IntegerNode, kept: Candidates, clamps: ReadonlySet<Node>): boolean {
  const id = n.node.outputs[0] as string
  if (!n.row.floatOutput || readAsInteger(model, id, kept)) return false
  return !consumers(model.graph, id).some((c) => clamps.has(c))
}

interface Growing extends Group {
  readonly ids: string[]
  readonly taps: string[]
  readonly constants: string[]
  low: number
  high: number
}

const open = { low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY }
const groupOf = (id: string): Growing => ({ ids: [id], taps: [id], constants: [], ...open })

/**
 * Groups all values that are read or made as integers; `requantized`: by node, the input positions that need a second set
 * of codes.
 */
function groupValues(
  model: Model,
  nodes: readonly IntegerNode[],
  clamps: ReadonlySet<Node>
): { readonly groups: Group[]; readonly requantized: ReadonlyMap<Node, readonly number[]> } {
  const byNode = new Map(nodes.map((n) => [n.node, n]))
  const groups = new Map<string, Growing>()
  const requantized = new Map<Node, readonly number[]>()
  for (const node of model.graph.nodes) {
    const n = byNode.get(node)
    if (n) {
      const others = groupNode(groups, n)
      if (others.length > 0) requantized.set(node, others)
    } else if (clamps.has(node)) {
      const shared = groups.get(node.inputs[0] as string)
      const bounds = clampBounds(model, node)
      if (shared && bounds) groupClamp(groups, shared, node.outputs[0] as string, bounds)
    }
  }
  return { groups: [...new Set(groups.values())], requantized }
}

/** Puts the inputs and outputs of a node into groups. Returns the input positions that need a second set of codes. */
function groupNode(groups: Map<string, Growing>, n: IntegerNode): readonly number[] {
  const { node, rule, row } = n
  for (const i of n.data) {
    const id = node.inputs[i] as string
    if (!groups.has(id)) groups.set(id, groupOf(id))
  }
  if (n.givesFloat) return []
  const made = node.outputs.filter(Boolean)
  if (rule.output === 'same') {
    const shared = groups.get(node.inputs[n.data[0] as number] as string) ?? stackGroup(n)
    for (const id of made) groups.set(id, shared)
    shared.ids.push(...made)
    return []
  }
  const bounds = row.fixedOutput && typeof rule.output === 'object' ? rule.output : undefined
  for (const id of made) groups.set(id, bounds ? { ...groupOf(id), taps: [], ...bounds, isFixed: true } : groupOf(id))
  const own = groups.get(made[0] as string)
  return row.sameScale && own ? join(groups, n, own) : []
}

/** The group of a value that data movement picks from constants: the constants make its range. */
const stackGroup = ({ node, constants }: IntegerNode): Growing => ({
  ...{ ids: [], taps: [], constants: constants.map((i) => node.inputs[i] as string) },
  ...open
})

/**
 * Merges the groups of a node's inputs into that of its output, where their bounds are the same. Returns the positions of
 * the other inputs.
 */
function join(groups: Map<string, Growing>, n: IntegerNode, own: Growing): readonly number[] {
  const groupAt = (i: number): Growing => groups.get(n.node.inputs[i] as string) as Growing
  const all = n.data.map(groupAt)
  if (n.constants.length === 0) {
    own.low = least(all.map((g) => g.low))
    own.high = greatest(all.map((g) => g.high))
  }
  own.constants.push(...n.constants.map((i) => n.node.inputs[i] as string))
  const others: number[] = []
  for (const i of n.data) {
    const g = groupAt(i)
    if (g === own) continue
    if (g.isFixed || g.low !== own.low || g.high !== own.high) {
      others.push(i)
      continue
    }
    own.ids.push(...g.ids)
    own.taps.push(...g.taps)
    own.constants.push(...g.constants)
    for (const id of g.ids) groups.set(id, own)
  }
  return others
}

/** Limits the range of a group by the bounds of a removed clamp; the range is observed at the output of the clamp. */
function groupClamp(
  groups: Map<string, Growing>,
  shared: Growing,
  to: string,
  bounds: { readonly low: number; readonly high: number }
): void {
  shared.low = Math.max(shared.low, bounds.low)
  shared.high = Math.min(shared.high, bounds.high)
  shared.taps.splice(0, shared.taps.length, to)
  shared.ids.push(to)
  groups.set(to, shared)
}

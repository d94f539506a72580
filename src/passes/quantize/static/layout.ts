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
import { subgraphs } from '../../../ir/attrs.ts'
import { allGraphs, consumers, graphView, opName, producer, soleConsumer } from '../../../ir/graph.ts'
import { type CodeType, codeTypes, rowFor } from '../../../ir/rows.ts'
import { elementCount, toFloats } from '../../../ir/tensor.ts'
import { thresholdValues } from '../../../observe/scores.ts'
import { linearOf } from '../../../ops/ask.ts'
import { opFor } from '../../../ops/index.ts'
import { viewOf } from '../../../ops/infer.ts'
import { dequantizedConstant, isDequantize } from '../../../ops/quantized.ts'
import type { QuantRule } from '../../../ops/types.ts'
import type { IntegerRow, Target } from '../../../targets/types.ts'
import type { Dim, Model, Node, Tensor } from '../../../types.ts'
import type { Context } from '../../types.ts'
import { clampBounds, type Group, groupValues, type IntegerNode } from './groups.ts'

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
  const added = rule.output === 'same' ? whatIsAdded(model, node, data, constants) : undefined
  if (added !== undefined) return added
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

/**
 * What data movement puts among the values that it moves, other than 0: values of another input may need other codes, and
 * another constant can lie outside the range of the codes.
 */
function whatIsAdded(
  model: Model,
  node: Node,
  [first, second]: readonly number[],
  constants: readonly number[]
): string | undefined {
  if (first === undefined) return undefined
  if (second !== undefined) return `input ${second} is put among the values of input ${first}, and is not a constant`
  const added = constants.find((i) => toFloats(dataOf(model, node.inputs[i] as string) as Tensor).some((x) => x !== 0))
  return added === undefined
    ? undefined
    : `input ${added} puts constants other than 0 among the values of input ${first}`
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
 * DequantizeLinear behind it, and then writes a QuantizeLinear whose zero point and output differ in type. So is movement
 * whose output a graph inside a node reads: there ONNX Runtime ends the process when it moves the DequantizeLinear.
 */
function pays(model: Model, n: IntegerNode, kept: Candidates, activations: CodeType): boolean {
  if (isHeavy(n)) return true
  const reads = n.data.map((i) => n.node.inputs[i] as string)
  if (!reads.every((id) => isQuantized(model, id, kept))) return false
  if (n.rule.output !== 'same' || activations === 'int8') return true
  const isKept = (id: string): boolean => readAsInteger(model, id, kept) || readInside(model, id)
  return n.node.outputs.some(isKept) || shrinks(model, n.node)
}

/** Does a graph inside a node read the value? */
const readInside = (model: Model, id: string): boolean => consumers(model.graph, id).some((c) => !c.inputs.includes(id))

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

// ---------------------------------------------------------------- float outputs

function givesFloat(model: Model, n: IntegerNode, kept: Candidates, clamps: ReadonlySet<Node>): boolean {
  const id = n.node.outputs[0] as string
  if (!n.row.floatOutput || readAsInteger(model, id, kept)) return false
  return !consumers(model.graph, id).some((c) => clamps.has(c))
}

/**
 * What of a model becomes integer, before any number is known: the nodes, the values that share scale and zero point, and
 * the Relus and Clips that saturation replaces.
 *
 * Nodes with weights (and MatMul) are what pays. Lighter nodes join where all they read is quantized anyway; data
 * movement keeps the parameters of its input. A clamp goes where only it reads a quantized output, also through data
 * movement: its bounds then limit the range of all values between.
 */
import { subgraphs } from '../../../ir/attrs.ts'
import { allGraphs, consumers, graphView, opName, producer, soleConsumer } from '../../../ir/graph.ts'
import { elementCount } from '../../../ir/tensor.ts'
import { linearOf } from '../../../ops/ask.ts'
import { opFor } from '../../../ops/index.ts'
import { viewOf } from '../../../ops/infer.ts'
import { dequantizedConstant, isDequantize } from '../../../ops/quantized.ts'
import type { Context, Dim, Model, Node, QuantRule, Target, Tensor } from '../../../types.ts'

/** A node to become integer. */
export interface IntegerNode {
  readonly node: Node
  readonly rule: QuantRule
  /** Input positions of values (not constants) that are read as integers. */
  readonly data: readonly number[]
  /** Input positions of constants that become integers by their own range. */
  readonly constants: readonly number[]
  /** The weight with a scale per channel, where it is a constant. */
  readonly weight?: { readonly input: number; readonly id: string; readonly axis: number | undefined }
  readonly bias?: { readonly input: number; readonly id: string }
  /** Its output may stay float: the integer kernel dequantizes it, and nothing reads it as integers. */
  readonly givesFloat: boolean
}

/** Values with one scale and zero point. */
export interface Group {
  readonly ids: readonly string[]
  /** The value whose observed range counts: behind the clamps. */
  readonly tap: string
  /** Bounds by the clamps that saturation replaces. */
  readonly low: number
  readonly high: number
}

export interface Layout {
  readonly nodes: readonly IntegerNode[]
  readonly groups: readonly Group[]
  /** Clamps that go. */
  readonly clamps: readonly Node[]
}

type Where = Pick<Context, 'refuse'> & { readonly target: Target; readonly isExcluded: (node: Node) => boolean }

/** Decides what becomes integer. The model's types should have been inferred. Refuses what could not, with the reason. */
export function layout(model: Model, where: Where): Layout {
  refuseSubgraphs(model, where)
  const nodes = settle(model, candidates(model, where))
  const clamps = absorbable(model, nodes)
  const all = [...nodes.values()].map((n) => ({ ...n, givesFloat: givesFloat(model, n, nodes, clamps) }))
  return { nodes: all, clamps: [...clamps], groups: groupValues(model, all, clamps) }
}

// ---------------------------------------------------------------- candidates

type Candidates = Map<Node, IntegerNode>

function candidates(model: Model, where: Where): Candidates {
  const out: Candidates = new Map()
  for (const node of model.graph.nodes) {
    const op = opFor(node)
    if (op?.quant?.clamp || !computesFloat(model, node)) continue
    if (where.isExcluded(node) || subgraphs(node).length > 0) continue
    const hasKernel = op?.quant && where.target.integerOps.includes(opName(node))
    const made = hasKernel ? (op.quant.declines?.(node) ?? candidate(model, node, op.quant)) : undefined
    if (made === undefined)
      where.refuse(node, `not among the operators that ${where.target.name} computes on integers: stays in float`)
    else if (typeof made === 'string') where.refuse(node, made)
    else out.set(node, made)
  }
  return out
}

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
function candidate(model: Model, node: Node, rule: QuantRule): IntegerNode | string {
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
  if (data.length === 0) return 'it reads constants only: quantize-weights can store them'
  const bias = weight && rule.bias !== undefined ? biasOf(model, node, rule.bias, weight) : undefined
  if (typeof bias === 'string') return bias
  return { node, rule, data, constants, ...(weight ? { weight } : {}), ...(bias ? { bias } : {}), givesFloat: false }
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

/** Takes out light nodes until each that is left reads only what is quantized anyway, and pays. */
function settle(model: Model, all: Candidates): Candidates {
  const kept: Candidates = new Map(all)
  for (let changed = true; changed; ) {
    changed = false
    for (const [node, n] of kept) {
      if (pays(model, n, kept)) continue
      kept.delete(node)
      changed = true
    }
  }
  return kept
}

const isHeavy = (n: IntegerNode): boolean => n.rule.weights !== undefined

function pays(model: Model, n: IntegerNode, kept: Candidates): boolean {
  if (isHeavy(n)) return true
  const reads = n.data.map((i) => n.node.inputs[i] as string)
  if (!reads.every((id) => isQuantized(model, id, kept))) return false
  if (n.rule.output !== 'same') return true
  return n.node.outputs.some((id) => readAsInteger(model, id, kept)) || shrinks(model, n.node)
}

/** Is a value made by an integer node, also before a clamp, or read by a heavy one? */
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

/** Clamps whose work saturation does: the only reader of a quantized value, also through data movement. */
function absorbable(model: Model, kept: Candidates): Set<Node> {
  const out = new Set<Node>()
  for (const node of model.graph.nodes) {
    const bounds = clampBounds(model, node)
    if (!bounds || bounds.low > 0 || bounds.high < 0) continue
    if (ownerOf(model, node.inputs[0] as string, kept, out)) out.add(node)
  }
  return out
}

function clampBounds(model: Model, node: Node): { low: number; high: number } | undefined {
  const clamp = opFor(node)?.quant?.clamp
  return clamp?.(viewOf(model, model.graph, node))
}

/** The node with a range of its own that a value comes from, if nothing else reads anything on the way. */
function ownerOf(model: Model, id: string, kept: Candidates, clamps: ReadonlySet<Node>): Node | undefined {
  const maker = producer(model.graph, id)
  if (!maker || soleConsumer(model.graph, id) === undefined) return undefined
  const n = kept.get(maker)
  if (n?.rule.output === 'own' && maker.outputs.length === 1) return maker
  if (n?.rule.output === 'same' && maker.outputs.length === 1)
    return ownerOf(model, maker.inputs[0] as string, kept, clamps)
  return clamps.has(maker) ? ownerOf(model, maker.inputs[0] as string, kept, clamps) : undefined
}

// ---------------------------------------------------------------- groups

/** Operators whose integer kernels can give float. */
const canGiveFloat = new Set(['Gemm', 'MatMul'])

function givesFloat(model: Model, n: IntegerNode, kept: Candidates, clamps: ReadonlySet<Node>): boolean {
  const id = n.node.outputs[0] as string
  if (!canGiveFloat.has(n.node.op) || readAsInteger(model, id, kept)) return false
  return !consumers(model.graph, id).some((c) => clamps.has(c))
}

/** Every value that is read or made as integers, with those that share its parameters. */
function groupValues(model: Model, nodes: readonly IntegerNode[], clamps: ReadonlySet<Node>): Group[] {
  const byNode = new Map(nodes.map((n) => [n.node, n]))
  const groups = new Map<string, { ids: string[]; tap: string; low: number; high: number }>()
  const groupOf = (id: string): void => {
    if (!groups.has(id))
      groups.set(id, { ids: [id], tap: id, low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY })
  }
  for (const node of model.graph.nodes) {
    const n = byNode.get(node)
    if (n) {
      for (const i of n.data) groupOf(node.inputs[i] as string)
      if (n.givesFloat) continue
      const shared = n.rule.output === 'same' ? groups.get(node.inputs[n.data[0] as number] as string) : undefined
      for (const id of node.outputs.filter(Boolean)) {
        if (!shared) groupOf(id)
        else {
          groups.set(id, shared)
          shared.ids.push(id)
        }
      }
    } else if (clamps.has(node)) {
      const [from, to] = [node.inputs[0] as string, node.outputs[0] as string]
      const shared = groups.get(from)
      const bounds = clampBounds(model, node)
      if (!shared || !bounds) continue
      shared.low = Math.max(shared.low, bounds.low)
      shared.high = Math.min(shared.high, bounds.high)
      shared.tap = to
      shared.ids.push(to)
      groups.set(to, shared)
    }
  }
  return [...new Set(groups.values())]
}

/** Values that share scale and zero point, with the bounds that removed clamps give them. */
import { greatest, least } from '../../../base/extremes.ts'
import { opFor } from '../../../ops/index.ts'
import { viewOf } from '../../../ops/infer.ts'
import type { QuantRule } from '../../../ops/types.ts'
import type { IntegerRow } from '../../../targets/types.ts'
import type { Model, Node } from '../../../types.ts'

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
export function groupValues(
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

/** Bounds of what a clamp gives; `undefined` of another node. */
export function clampBounds(model: Model, node: Node): { low: number; high: number } | undefined {
  const clamp = opFor(node)?.quant?.clamp
  return clamp?.(viewOf(model, model.graph, node))
}

/** Which of a target's rows a node meets, and in words why it meets none. */
import type { NodeView } from '../ops/types.ts'
import type { Condition, Feature, FusedRow, IntegerRow, Node, Target } from '../types.ts'
import { attrInt, attrInts, attrString } from './attrs.ts'
import { opName } from './graph.ts'

type Fact = number | string | readonly number[]

/** How each feature is read from a node. */
const features: Readonly<Record<Feature, (n: Pick<NodeView, 'node'>) => Fact | undefined>> = {
  // Of Resize, the only operator that rows ask it of.
  mode: ({ node }) => attrString(node, 'mode', 'nearest'),
  dilation: ({ node }) => attrInts(node, 'dilations') ?? [1],
  outputs: ({ node }) => node.outputs.filter((id) => id !== '').length,
  groups: ({ node }) => attrInt(node, 'group', 1)
}

const relations: Readonly<Record<Condition[1], (have: number | string, want: Condition[2]) => boolean>> = {
  '==': (have, want) => have === want,
  '!=': (have, want) => have !== want,
  '<=': (have, want) => Number(have) <= Number(want),
  '>=': (have, want) => Number(have) >= Number(want),
  in: (have, want) => (want as readonly (number | string)[]).includes(have)
}

/** What of a condition a node does not meet, in words; `undefined` where it meets it. */
function missed(n: Pick<NodeView, 'node'>, [feature, relation, value]: Condition): string | undefined {
  const fact = features[feature](n)
  const all = typeof fact === 'object' ? fact : fact === undefined ? [] : [fact]
  const isMet = fact !== undefined && all.every((have) => relations[relation](have, value))
  return isMet ? undefined : `its ${feature} is ${fact ?? 'not known'}, and must be ${relation} ${value}`
}

/**
 * The row of a node's operator that it meets. A text: the target has rows for the operator, but none for this node;
 * `undefined`: it has none at all.
 */
export function rowFor(target: Pick<Target, 'name' | 'integer'>, n: NodeView): IntegerRow | string | undefined {
  let reason: string | undefined
  for (const row of rowsOf(target, n.node)) {
    const misses = (row.when ?? []).flatMap((c) => missed(n, c) ?? [])
    if (misses.length === 0) return row
    reason ??= `${misses.join('; ')} for ${target.name} to compute it on integers`
  }
  return reason
}

/** The row of an operator that stands for several, as a node of it is to be written; `undefined` where there is none. */
export const fusedRowFor = (target: Pick<Target, 'fused'>, op: string, node: Node): FusedRow | undefined =>
  target.fused?.find((row) => row.op === op && (row.when ?? []).every((c) => missed({ node }, c) === undefined))

/** Types of activations that quantization can make. */
export type CodeType = 'uint8' | 'int8'

/** The type of activations that most of a target's operators compute on; of those the one that is named first. */
export function preferredType(target: Pick<Target, 'integer'>): CodeType {
  const counts = new Map<CodeType, number>()
  for (const row of target.integer)
    for (const type of codeTypes(row, true)) counts.set(type, (counts.get(type) ?? 0) + 1)
  let best: CodeType = 'uint8'
  for (const [type, n] of counts) if (n > (counts.get(best) ?? 0)) best = type
  return best
}

/** Types of activations of a row, for a node with int8 weights or without constant weights. */
export const codeTypes = (row: IntegerRow, isWeighted: boolean): readonly CodeType[] =>
  row.types.flatMap(({ values, weights = 'int8' }) =>
    (values === 'uint8' || values === 'int8') && (!isWeighted || weights === 'int8') ? [values] : []
  )

/** A target's rows of a node's operator, whatever the node. */
export const rowsOf = (target: Pick<Target, 'integer'>, node: Pick<Node, 'op' | 'domain'>): readonly IntegerRow[] =>
  target.integer.filter((row) => row.op === opName(node))

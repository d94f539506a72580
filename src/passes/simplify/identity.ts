/** Nodes that provably hand on one of their inputs unchanged. */
import { attrInt, attrInts } from '../../ir/attrs.ts'
import type { Draft } from '../../ir/edit.ts'
import { elementCount, ints, toNumbers } from '../../ir/tensor.ts'
import type { Node, Tensor, Value } from '../../types.ts'
import { canRewire, sameShape } from '../shapes.ts'

/** What the rules look at. `value` also sees the graphs around; `constant` only what cannot be overridden. */
export interface Look {
  value(id: string | null | undefined): Value | undefined
  constant(id: string | null | undefined): Tensor | undefined
}

/** The position of the input that a node hands on; `undefined` where it may do something. */
type Rule = (node: Node, look: Look) => number | undefined

const when = (condition: boolean): number | undefined => (condition ? 0 : undefined)

const keepsShape = (node: Node, look: Look, input = 0): boolean =>
  sameShape(look.value(node.inputs[input])?.shape, look.value(node.outputs[0])?.shape)

/** Constants above this many bytes are not read to see whether they are all one number. */
const lookBytes = 1024 * 1024

const all = (t: Tensor | undefined, wanted: number): boolean =>
  t !== undefined && t.bytes.length <= lookBytes && !t.strings && Array.from(toNumbers(t)).every((x) => x === wanted)

const reshaping: Rule = (node, look) => when(keepsShape(node, look))
const single: Rule = (node) => when(node.inputs.length === 1)

/** Hands on the one operand where the other is a constant full of the neutral element. */
const neutral =
  (element: number, positions: readonly number[]): Rule =>
  (node, look) => {
    const at = positions.find((i) => all(look.constant(node.inputs[i]), element) && keepsShape(node, look, 1 - i))
    return at === undefined ? undefined : 1 - at
  }

/** By operator of the default domain. x + 0 turns −0 into 0, which is the same number. */
const rules: Readonly<Record<string, Rule>> = {
  Identity: () => 0,
  Dropout: (node, look) => when(node.inputs[2] == null || all(look.constant(node.inputs[2]), 0)),
  Cast: (node, look) => {
    const [from, to] = [look.value(node.inputs[0])?.dtype, look.value(node.outputs[0])?.dtype]
    return when(from !== undefined && from === to && from !== 'string')
  },
  CastLike: (node, look) => {
    const [from, to] = [look.value(node.inputs[0])?.dtype, look.value(node.inputs[1])?.dtype]
    return when(from !== undefined && from === to)
  },
  Reshape: reshaping,
  Flatten: reshaping,
  Squeeze: reshaping,
  Unsqueeze: reshaping,
  Expand: reshaping,
  Transpose: (node, look) => {
    const perm = attrInts(node, 'perm')
    const rank = look.value(node.inputs[0])?.shape?.length
    return when(perm ? perm.every((d, i) => d === i) : rank !== undefined && rank < 2)
  },
  Slice: (node, look) =>
    when(keepsShape(node, look) && (node.inputs[4] == null || all(look.constant(node.inputs[4]), 1))),
  Pad: (node, look) => when(all(look.constant(node.inputs[1]), 0)),
  Tile: (node, look) => when(all(look.constant(node.inputs[1]), 1)),
  Concat: single,
  Sum: single,
  Mean: single,
  Max: single,
  Min: single,
  Clip: (node) => when(node.inputs.slice(1).every((id) => id === null)),
  Mul: neutral(1, [0, 1]),
  Div: neutral(1, [1]),
  Add: neutral(0, [0, 1]),
  Sub: neutral(0, [1]),
  Pow: neutral(1, [1]),
  Split: (node, look) => {
    const sizes = node.inputs[1] == null ? undefined : look.constant(node.inputs[1])
    return when(
      node.outputs.length === 1 && (sizes ? elementCount(sizes.shape) === 1 : attrInt(node, 'num_outputs', 1) === 1)
    )
  },
  ReduceSum: (node, look) => when(reducesNothing(node, look)),
  ReduceMean: (node, look) => when(reducesNothing(node, look))
}

function reducesNothing(node: Node, look: Look): boolean {
  if (attrInt(node, 'noop_with_empty_axes', 0) !== 1) return false
  const axes = node.inputs[1] == null ? undefined : look.constant(node.inputs[1])
  return node.inputs[1] == null || (axes !== undefined && ints(axes).length === 0)
}

/** Removes nodes that hand on an input. */
export function dropIdentities(draft: Draft, look: Look): void {
  for (const old of draft.nodes()) {
    // Rewiring renames what later nodes read, so the node at hand may have been replaced.
    const node = draft.producer(old.outputs[0] ?? '')
    if (!node || node.domain !== undefined || node.name !== old.name) continue
    const at = Object.hasOwn(rules, node.op) ? rules[node.op]?.(node, look) : undefined
    const from = at === undefined ? undefined : node.inputs[at]
    const [out = '', ...others] = node.outputs
    if (from == null || out === '' || !canRewire(node, from, draft)) continue
    if (others.some((id) => id !== '' && (draft.isOutput(id) || draft.consumers(id).length > 0))) continue
    draft.remove(node)
    draft.rewire(out, from)
  }
}

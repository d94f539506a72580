/** Reorderings, cuts and joins of a constant's elements that its axes can be followed through. */
import { attrInt, attrInts } from '../ir/attrs.ts'
import { opName } from '../ir/graph.ts'
import { elementCount, ints } from '../ir/tensor.ts'
import type { Node, Tensor } from '../types.ts'

/** What became of a constant. Sizes that are not known are NaN, which equals no other. */
interface Move {
  readonly ids: readonly string[]
  readonly shape: readonly number[]
  /** The input's axis that an output's axis comes from, if it is one axis. */
  back(axis: number): number | undefined
}

/** The content of a constant; `undefined` for anything else. */
type Find = (id: string | null | undefined) => Tensor | undefined

type Moved = Pick<Move, 'shape' | 'back'>
type Rule = (node: Node, shape: readonly number[], find: Find) => Moved | undefined

const same = (axis: number): number => axis
const unsized = (shape: readonly number[]): Moved => ({ shape: shape.map(() => Number.NaN), back: same })

/** By operator. Of several inputs only the first is followed, but for Concat, which all inputs pass alike. */
const rules: Readonly<Record<string, Rule>> = {
  Identity: (_, shape) => ({ shape, back: same }),
  Slice: (_, shape) => unsized(shape),
  Split: (_, shape) => unsized(shape),
  Concat: (_, shape) => unsized(shape),
  Transpose: (node, shape) => {
    const perm = attrInts(node, 'perm') ?? shape.map((_, i) => shape.length - 1 - i)
    return { shape: perm.map((i) => shape[i] as number), back: (axis) => perm[axis] }
  },
  Reshape: (node, shape, find) => {
    const wanted = find(node.inputs[1])
    const made = wanted && reshaped(shape, ints(wanted), attrInt(node, 'allowzero', 0) === 1)
    return made && { shape: made, back: (axis) => sameAxis(made, axis, shape) }
  },
  Unsqueeze: (node, shape, find) => {
    const axes = axesOf(node, find)
    if (!axes) return undefined
    const rank = shape.length + axes.length
    const added = new Set(axes.map((a) => (a < 0 ? a + rank : a)))
    const kept = Array.from({ length: rank }, (_, i) => i).filter((i) => !added.has(i))
    const from = (axis: number): number | undefined => (added.has(axis) ? undefined : kept.indexOf(axis))
    return {
      shape: Array.from({ length: rank }, (_, i) => (added.has(i) ? 1 : (shape[from(i) ?? 0] as number))),
      back: from
    }
  },
  Squeeze: (node, shape, find) => {
    const given = axesOf(node, find)
    if (!given && (node.inputs[1] != null || shape.some(Number.isNaN))) return undefined
    const gone = new Set(
      (given ?? shape.flatMap((d, i) => (d === 1 ? [i] : []))).map((a) => (a < 0 ? a + shape.length : a))
    )
    const kept = shape.flatMap((_, i) => (gone.has(i) ? [] : [i]))
    return { shape: kept.map((i) => shape[i] as number), back: (axis) => kept[axis] }
  }
}

/** What became of a constant of a `shape` at an input of a node; `undefined` where it is not only moved. */
export function moveOf(node: Node, shape: readonly number[], find: Find, input = 0): Move | undefined {
  const name = opName(node)
  if (input > 0 && name !== 'Concat') return undefined
  const ids = node.outputs.filter((id) => id !== '')
  const made = ids.length > 0 && Object.hasOwn(rules, name) ? rules[name]?.(node, shape, find) : undefined
  return made && { ids, ...made }
}

/** From opset 13 on an input, an attribute before. */
function axesOf(node: Node, find: Find): readonly number[] | undefined {
  const given = find(node.inputs[1])
  return given ? ints(given) : attrInts(node, 'axes')
}

function reshaped(shape: readonly number[], wanted: readonly number[], keepsZero: boolean): number[] | undefined {
  const out = wanted.map((d, i) => (d === 0 && !keepsZero ? (shape[i] ?? 0) : d))
  const rest = elementCount(out.filter((d) => d !== -1))
  return out.map((d) => (d === -1 ? elementCount(shape) / rest : d))
}

/** The axis of `to` that has the same size and as many elements before it as `axis` of `from`. */
function sameAxis(from: readonly number[], axis: number, to: readonly number[]): number | undefined {
  const before = elementCount(from.slice(0, axis))
  const found = to.findIndex((d, i) => d === from[axis] && elementCount(to.slice(0, i)) === before)
  return found < 0 ? undefined : found
}

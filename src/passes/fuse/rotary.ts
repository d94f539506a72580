/**
 * Rotary position embedding (Su et al. 2021), spelled with halves, of x [batch, heads, length, size] by angles
 * [batch or 1, 1, length, size]:
 *
 *   y = x·cos + (−x₂, x₁)·sin        x = (x₁, x₂) in halves of the last axis; cos and sin are the same in both halves
 */
import { sameDim } from '../../base/dim.ts'
import { attrInt } from '../../ir/attrs.ts'
import { opName } from '../../ir/graph.ts'
import { elementCount, ints, tensor, toNumbers } from '../../ir/tensor.ts'
import type { Dim, Node, Tensor } from '../../types.ts'
import { pattern } from './pattern.ts'
import { existing, shared } from './reuse.ts'
import type { Site } from './rule.ts'
import { spelling } from './spelling.ts'

export const rotary = spelling({
  name: 'rotary',
  makes: 'com.microsoft:RotaryEmbedding',
  pattern: pattern('Add(Mul(x, cos), Mul(joined=Concat(Neg(high=Slice(x, _)), low=Slice(x, _)), sin))'),
  write: ({ named, values: { x = '', cos = '', sin = '' } }, _root, site) => {
    const [shape, angles] = [site.value(x)?.shape, site.value(cos)?.shape]
    const size = shape?.[3]
    if (shape?.length !== 4 || typeof size !== 'number' || size % 2 !== 0) return undefined
    const half = size / 2
    if (![-1, 3].includes(attrInt(named['joined'] as Node, 'axis', 0))) return undefined
    if (!cuts(named['low'] as Node, 0, half, site) || !cuts(named['high'] as Node, half, size, site))
      return 'what it turns are not the halves of the last axis'
    if (!isDoubled(cos, site) || !isDoubled(sin, site)) return 'its angles are not known to be the same in both halves'
    if (angles?.length !== 4 || angles[1] !== 1 || site.value(sin)?.shape?.join() !== angles.join())
      return 'the shape of its angles is not known'
    if (!sameDim(angles[2] ?? '?', shape[2] ?? '?')) return 'it has other angles than one for each position'
    const isShared = angles[0] === 1
    if (!isShared && !sameDim(angles[0] ?? '?', shape[0] ?? '?')) return 'the batch of its angles is not known'
    const dtype = site.value(x)?.dtype ?? 'float32'
    const table = (id: string) => (): string => halfOf(id, half, dtype, site)
    const positions = isShared ? tensor('int64', [1], [0]) : (): string => positionsOf(cos, half, dtype, site)
    return { inputs: [x, positions, table(cos), table(sin)], attrs: { num_heads: 0 } }
  }
})

/** Does a Slice take [from, to) of the last of four axes? */
function cuts(node: Node, from: number, to: number, site: Site): boolean {
  const [starts, ends, axes, steps] = [1, 2, 3, 4].map((i) => {
    const data = site.constant(node.inputs[i])
    return data && elementCount(data.shape) === 1 ? ints(data)[0] : undefined
  })
  if (axes === undefined || ![3, -1].includes(axes) || (node.inputs[4] != null && steps !== 1)) return false
  return starts === from && (ends === to || (to === 2 * from && (ends ?? 0) >= to))
}

/** Operators that keep what is equal along the last axis equal; of some with a condition below. */
const pointwise = new Set(['Cast', 'Cos', 'Sin', 'Identity', 'Unsqueeze', 'Mul'])

/** Are both halves of the last axis the same? */
function isDoubled(id: string | null | undefined, site: Site, depth = 20): boolean {
  const data = site.constant(id)
  if (data) return isTwice(data)
  const node = id == null || depth === 0 ? undefined : site.producer(id)
  if (!node) return false
  const op = opName(node)
  const rank = site.value(node.outputs[0])?.shape?.length
  if (op === 'Concat')
    return node.inputs.length === 2 && node.inputs[0] === node.inputs[1] && isLast(attrInt(node, 'axis', 0), rank)
  if (op === 'Gather') return attrInt(node, 'axis', 0) === 0 && isDoubled(node.inputs[0], site, depth - 1)
  if (op === 'Mul') {
    const other = node.inputs.findIndex((x) => elementCount(site.constant(x)?.shape ?? [0]) === 1)
    return other >= 0 && isDoubled(node.inputs[1 - other], site, depth - 1)
  }
  if (op === 'Unsqueeze' && ints(site.constant(node.inputs[1]) ?? empty).some((a) => isLast(a, rank))) return false
  return pointwise.has(op) && isDoubled(node.inputs[0], site, depth - 1)
}

/** An axis that is not there counts as the last: nothing is known of it. */
const empty: Tensor = tensor('int64', [1], [-1])
const isLast = (axis: number, rank: number | undefined): boolean =>
  axis === -1 || (rank !== undefined && axis === rank - 1)

function isTwice(data: Tensor): boolean {
  const size = data.shape.at(-1) ?? 0
  if (size % 2 !== 0) return false
  const all = toNumbers(data)
  for (let row = 0; row < all.length; row += size)
    for (let i = 0; i < size / 2; i++) if (all[row + i] !== all[row + i + size / 2]) return false
  return true
}

/** The first half of angles as rows, [batch·length, half]. */
function halfOf(id: string, half: number, dtype: Tensor['dtype'], site: Site): string {
  const list = (name: string, values: readonly number[]): string =>
    shared(tensor('int64', [values.length], values), `${id}_${name}`, site)
  const cut = [id, list('from', [0]), list('to', [half]), list('last', [3])]
  const kept = existing('Slice', cut, `${id}_half`, { dtype }, site)
  const rows: readonly Dim[] = ['?', half]
  return existing('Reshape', [kept, list('rows', [-1, half])], `${id}_table`, { dtype, shape: rows }, site)
}

/** The row of each position, [batch, length]. */
function positionsOf(cos: string, half: number, dtype: Tensor['dtype'], site: Site): string {
  const number = (name: string, shape: readonly number[], value: number): string =>
    shared(tensor('int64', shape, [value]), `${cos}_${name}`, site)
  const table = halfOf(cos, half, dtype, site)
  const [int, batch] = [{ dtype: 'int64' } as const, site.value(cos)?.shape?.[0] ?? '?']
  const known = site.consumers(table).find((n) => opName(n) === 'Shape')
  const count =
    known?.outputs[0] ?? site.draft.add('Shape', [table], { name: `${cos}_count`, attrs: { start: 0, end: 1 } })
  const scalar = existing('Squeeze', [count], `${cos}_rows_n`, int, site)
  const zero = number('zero', [], 0)
  const range = site.consumers(scalar).find((n) => opName(n) === 'Range')?.outputs[0]
  const all = range ?? site.draft.add('Range', [zero, scalar, number('one', [], 1)], { name: `${cos}_range` })
  // [batch·length] as [batch, length]: the shape of cos without its axes of heads and size.
  const shape = existing('Shape', [cos], `${cos}_sizes`, int, site)
  const pick = shared(tensor('int64', [2], [0, 2]), `${cos}_axes`, site)
  const target = existing('Gather', [shape, pick], `${cos}_where`, int, site)
  return existing('Reshape', [all, target], `${cos}_positions`, { ...int, shape: [batch, '?'] }, site)
}

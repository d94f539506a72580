/** Taking channels out of a model: constants are cut, sizes that nodes hold are written anew. */
import { toArray } from '../../base/bytes.ts'
import { assert, PareError } from '../../base/errors.ts'
import { edit } from '../../ir/edit.ts'
import { bitsOf, codes, elementCount, ints, pack, tensor } from '../../ir/tensor.ts'
import { inferShapes } from '../../ops/infer.ts'
import type { Dim, Model, Node, Tensor, Value } from '../../types.ts'
import type { ChannelGroup, Channels, Written } from './groups.ts'

/** Channels that stay, of groups that lose some. */
export type Kept = ReadonlyMap<ChannelGroup, readonly number[]>

/** Indices that are gone, by value and axis. */
export type Gone = ReadonlyMap<string, ReadonlyMap<number, ReadonlySet<number>>>

/**
 * The model with only the kept channels of some groups; groups not named keep all. The very same model where nothing
 * goes. Throws `E_UNSUPPORTED` where sizes are computed in a way that does not follow.
 */
export function withoutChannels({ model, counts }: Channels, kept: Kept): Model {
  const gone = goneOf(kept)
  if (gone.size === 0) return model
  const made = edit(model, (d) => {
    for (const [id, axes] of gone) {
      const v = d.value(id)
      if (v) d.set(narrowed(v, axes))
    }
    const touched = counts.filter((c) => gone.get(c.value)?.has(c.axis))
    for (const node of new Set(touched.map((c) => c.node))) {
      const stale = touched.filter((c) => c.node === node)
      const inputs = node.inputs.map((id, at) => {
        const own = stale.filter((c) => c.in === at)
        const data = id === null || own.length === 0 ? undefined : d.value(id)?.data
        return data && id !== null ? d.addConstant(rewritten(data, own, gone), id) : id
      })
      d.replace(node, { ...node, inputs, attrs: rewrittenAttrs(node, stale, gone) })
    }
  })
  checkSizes(model, made, gone)
  return made
}

/** The same choice for a model of the same channels, whose constants may have other names. */
export function keptIn({ groups }: Channels, kept: Kept): Kept {
  const own = new Map(groups.map((g) => [placeOf(g), g]))
  return new Map(
    [...kept].flatMap(([g, left]) => (own.has(placeOf(g)) ? [[own.get(placeOf(g)) as ChannelGroup, left]] : []))
  )
}

/** Where the first channel lies that the group is named after. */
const placeOf = ({ name, slices }: ChannelGroup): string =>
  `${name} ${slices.filter((s) => s.value === name).map((s) => `${s.axis} ${s.indices[0]?.[0]}`)}`

export function goneOf(kept: Kept): Gone {
  const gone = new Map<string, Map<number, Set<number>>>()
  for (const [group, indices] of kept) {
    const left = new Set(indices)
    assert(group.blockers.length === 0 && left.size > 0, `channels of ${group.name} cannot go`)
    if (left.size === group.channels) continue
    for (const { value, axis, indices: all } of group.slices) {
      const axes = gone.get(value) ?? new Map<number, Set<number>>()
      const out = axes.get(axis) ?? new Set<number>()
      for (const [c, own] of all.entries()) if (!left.has(c)) for (const i of own) out.add(i)
      gone.set(value, axes.set(axis, out))
    }
  }
  return gone
}

function narrowed(v: Value, axes: ReadonlyMap<number, ReadonlySet<number>>): Value {
  if (!v.data) return v.shape ? { ...v, shape: narrowShape(v.shape, axes) } : v
  let data = v.data
  for (const [axis, out] of axes) {
    const left = Array.from({ length: data.shape[axis] as number }, (_, i) => i).filter((i) => !out.has(i))
    data = takeAlong(data, axis, left)
  }
  const { sparse, ...rest } = v
  // A pattern of zeros along an axis need not be one any more; single zeros are still meant.
  const mask = sparse ? { sparse: 'any' as const } : {}
  return { ...rest, ...mask, shape: data.shape, data }
}

const narrowShape = (shape: readonly Dim[], axes: ReadonlyMap<number, ReadonlySet<number>>): readonly Dim[] =>
  shape.map((d, axis) => (typeof d === 'number' ? d - (axes.get(axis)?.size ?? 0) : d))

/** Some indices along an axis. */
function takeAlong(t: Tensor, axis: number, indices: readonly number[]): Tensor {
  const shape = t.shape.with(axis, indices.length)
  const bits = bitsOf(t.dtype)
  const isPacked = bits < 8
  const bytes = isPacked ? codes(t) : toArray(t.bytes)
  const run = (elementCount(t.shape.slice(axis + 1)) * (isPacked ? 8 : bits)) / 8
  const [size, rows] = [t.shape[axis] as number, elementCount(t.shape.slice(0, axis))]
  const out = new Uint8Array(rows * indices.length * run)
  let to = 0
  for (let r = 0; r < rows; r++)
    for (const i of indices) {
      const from = (r * size + i) * run
      out.set(bytes.subarray(from, from + run), to)
      to += run
    }
  return { dtype: t.dtype, shape, bytes: isPacked ? pack(out, bits) : out }
}

function countLeft({ value, axis, indices, each }: Written, gone: Gone): number {
  const out = gone.get(value)?.get(axis)
  return each * indices.filter((i) => !out?.has(i)).length
}

function rewritten(data: Tensor, counts: readonly Written[], gone: Gone): Tensor {
  const values = ints(data)
  for (const c of counts) values[c.element ?? 0] = countLeft(c, gone)
  return tensor(data.dtype, data.shape, values)
}

function rewrittenAttrs(node: Node, counts: readonly Written[], gone: Gone): Node['attrs'] {
  const made = counts.flatMap((c) =>
    typeof c.in === 'string' ? [[c.in, { kind: 'int', value: countLeft(c, gone) }] as const] : []
  )
  return { ...node.attrs, ...Object.fromEntries(made) }
}

/** Every value must have come out as long as it was to. */
function checkSizes(before: Model, after: Model, gone: Gone): void {
  const [old, made] = [inferShapes(before), inferShapes(after)].map((m) => m.graph.values)
  for (const [id, axes] of gone) {
    const shape = old?.get(id)?.shape
    const now = made?.get(id)?.shape
    if (!shape || !now) continue
    const wanted = narrowShape(shape, axes)
    if (wanted.every((d, i) => d === now[i])) continue
    throw new PareError('E_UNSUPPORTED', `the size of ${id} does not follow when channels are taken out`, {
      where: id,
      facts: { wanted: `[${wanted.join(', ')}]`, found: `[${now.join(', ')}]` },
      hint: 'simplify the model first, so that shapes are no longer computed'
    })
  }
}

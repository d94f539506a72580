import { attrInts } from '../../ir/attrs.ts'
import { ints, tensor } from '../../ir/tensor.ts'
import type { Node } from '../../types.ts'
import { canRewire, reshapeTarget, sameShape } from '../shapes.ts'
import { defineRule, type Site, usedElsewhere } from './rule.ts'

const reshapeOps = ['Reshape', 'Flatten', 'Squeeze', 'Unsqueeze'] as const

interface Found {
  readonly first: Node
  readonly second: Node
  readonly x: string
  /** The shape to reshape to, as numbers or as a constant's id; `same`: back to what it was. */
  readonly to: readonly number[] | string | 'same'
}

/** Reshape → Flatten and its like: the second alone, on the input of the first. */
export const reshapeReshape = defineRule<Found | string>({
  name: 'reshape-reshape',
  chain: [reshapeOps, reshapeOps],
  match: ([first, second], site) => {
    const x = first?.inputs[0]
    if (!first || !second || x == null || second.inputs[0] !== first.outputs[0]) return undefined
    const from = site.value(x)?.shape
    const shape = site.value(second.outputs[0])?.shape
    if (sameShape(from, shape)) return canRewire(second, x, site.draft) ? { first, second, x, to: 'same' } : undefined
    const used = usedElsewhere(first, site)
    if (used) return used
    const target = shape && reshapeTarget(from, shape)
    if (target) return { first, second, x, to: target }
    const fixed = fixedShape(second, site)
    return fixed ? { first, second, x, to: fixed } : 'its output shape cannot be told from the input of the one before'
  },
  check: (found) => (typeof found === 'string' ? found : undefined),
  build: (found, site) => {
    if (typeof found === 'string') return
    const { first, second, x, to } = found
    const [out = '', between = ''] = [second.outputs[0], first.outputs[0]]
    site.draft.remove(second)
    if (!site.draft.isOutput(between) && site.draft.consumers(between).length === 0) site.draft.remove(first)
    if (to === 'same') site.draft.rewire(out, x)
    else {
      const shape =
        typeof to === 'string' ? to : site.draft.addConstant(tensor('int64', [to.length], to), `${out}_shape`)
      const { domain: _, ...base } = second
      site.draft.addNode({ ...base, op: 'Reshape', inputs: [x, shape], attrs: {} })
    }
  }
})

/** The constant shape of a Reshape, if it does not refer to the shape before. */
function fixedShape(node: Node, site: Site): string | undefined {
  const id = node.inputs[1]
  const data = node.op === 'Reshape' ? site.draft.constant(id) : undefined
  return data && id != null && !ints(data).includes(0) ? id : undefined
}

/** Transpose → Transpose is one Transpose, or nothing. */
export const transposeTranspose = defineRule<{
  first: Node
  second: Node
  x: string
  perm: readonly number[]
  used: string | undefined
}>({
  name: 'transpose-transpose',
  chain: [['Transpose'], ['Transpose']],
  match: ([first, second], site) => {
    const x = first?.inputs[0]
    if (!first || !second || x == null) return undefined
    const rank = (attrInts(first, 'perm') ?? attrInts(second, 'perm') ?? site.value(x)?.shape)?.length
    if (rank === undefined) return undefined
    const reversed = Array.from({ length: rank }, (_, i) => rank - 1 - i)
    const [p, q] = [attrInts(first, 'perm') ?? reversed, attrInts(second, 'perm') ?? reversed]
    const perm = q.map((i) => p[i] as number)
    const isIdle = perm.every((d, i) => d === i)
    if (isIdle && !canRewire(second, x, site.draft)) return undefined
    return { first, second, x, perm, used: isIdle ? undefined : usedElsewhere(first, site) }
  },
  check: (found) => found.used,
  build: ({ first, second, x, perm }, site) => {
    const [out = '', between = ''] = [second.outputs[0], first.outputs[0]]
    site.draft.remove(second)
    if (!site.draft.isOutput(between) && site.draft.consumers(between).length === 0) site.draft.remove(first)
    if (perm.every((d, i) => d === i)) site.draft.rewire(out, x)
    else site.draft.addNode({ ...second, inputs: [x], attrs: { perm: { kind: 'ints', value: perm } } })
  }
})

interface Cut {
  readonly axis: number
  readonly start: number
  readonly end: number
  readonly step: number
}

/** Slice → Slice along other axes: one Slice, which copies once. */
export const sliceSlice = defineRule<{ first: Node; second: Node; cuts: readonly Cut[]; used: string | undefined }>({
  name: 'slice-slice',
  chain: [['Slice'], ['Slice']],
  match: ([first, second], site) => {
    if (!first || !second || second.inputs[0] !== first.outputs[0]) return undefined
    const rank = site.value(first.inputs[0])?.shape?.length
    const [a, b] = [cutsOf(first, rank, site), cutsOf(second, rank, site)]
    if (!a || !b || b.some((c) => a.some((d) => d.axis === c.axis))) return undefined
    return { first, second, cuts: [...a, ...b], used: usedElsewhere(first, site) }
  },
  check: (found) => found.used,
  build: ({ first, second, cuts }, site) => {
    const list = (name: string, values: readonly number[]): string =>
      site.draft.addConstant(tensor('int64', [values.length], values), `${second.outputs[0]}_${name}`)
    const inputs = [
      first.inputs[0] ?? null,
      list(
        'starts',
        cuts.map((c) => c.start)
      ),
      list(
        'ends',
        cuts.map((c) => c.end)
      ),
      list(
        'axes',
        cuts.map((c) => c.axis)
      ),
      list(
        'steps',
        cuts.map((c) => c.step)
      )
    ]
    site.draft.remove(second)
    site.draft.replace(first, { ...first, inputs, outputs: second.outputs })
  }
})

/** What a Slice with constant bounds cuts; `undefined` where they are computed. */
function cutsOf(node: Node, rank: number | undefined, site: Site): Cut[] | undefined {
  const [starts, ends, axes, steps] = [1, 2, 3, 4].map((i) => {
    const data = site.draft.constant(node.inputs[i])
    return data && ints(data)
  })
  if (!starts || !ends || rank === undefined) return undefined
  if ((node.inputs[3] != null && !axes) || (node.inputs[4] != null && !steps)) return undefined
  return starts.map((start, i) => {
    const axis = axes?.[i] ?? i
    return { axis: axis < 0 ? axis + rank : axis, start, end: ends[i] ?? 0, step: steps?.[i] ?? 1 }
  })
}

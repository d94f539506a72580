/**
 * Padding with zeros moves into the node that reads it: Conv pads with zeros itself, AveragePool does where it counts
 * them, and MaxPool pads with −∞, which is the same as 0 where the input is never negative and no window lies wholly in
 * the padding.
 */
import { attrInt, attrInts, attrString } from '../../ir/attrs.ts'
import { elementCount, ints, toNumbers } from '../../ir/tensor.ts'
import type { Attrs, Node } from '../../types.ts'
import { clampOf } from './clamp.ts'
import { defineRule, type Site, usedElsewhere } from './rule.ts'

interface Found {
  readonly first: Node
  readonly second: Node
  /** Begins, then ends, of the spatial axes. */
  readonly pads: readonly number[]
  readonly value: number
  readonly reason: string | undefined
}

/** Pad → Conv, AveragePool or MaxPool. */
export const padWindow = defineRule<Found>({
  name: 'pad-window',
  chain: [['Pad'], ['Conv', 'AveragePool', 'MaxPool']],
  match: ([first, second], site) => {
    if (!first || !second || second.inputs[0] !== first.outputs[0]) return undefined
    const pads = padsOf(first, second, site)
    if (typeof pads === 'string') return { first, second, pads: [], value: 0, reason: pads }
    const value = padValue(first, site)
    const reason =
      value === undefined ? 'the value that Pad fills in is computed' : misfit(first, second, pads, value, site)
    return { first, second, pads, value: value ?? 0, reason: reason ?? usedElsewhere(first, site) }
  },
  check: (found) => found.reason,
  build: ({ first, second, pads }, site) => {
    const { auto_pad: _, ...rest } = second.attrs
    const own = ownPads(second, pads.length)
    const attrs: Attrs = {
      ...rest,
      pads: { kind: 'ints', value: pads.map((p, i) => p + (own[i] as number)) },
      ...(second.op === 'AveragePool' ? { count_include_pad: { kind: 'int', value: 1 } } : {})
    }
    site.draft.remove(first)
    site.draft.replace(second, { ...second, inputs: [first.inputs[0] ?? null, ...second.inputs.slice(1)], attrs })
  }
})

const ownPads = (node: Node, length: number): readonly number[] =>
  attrInts(node, 'pads') ?? Array.from({ length }, () => 0)

/** Pads of the spatial axes, or why they cannot move. */
function padsOf(pad: Node, reader: Node, site: Site): readonly number[] | string {
  if (attrString(pad, 'mode', 'constant') !== 'constant') return `Pad is of mode ${attrString(pad, 'mode', '')}`
  const data = site.draft.constant(pad.inputs[1])
  if (!data) return 'the pads are computed'
  const given = ints(data)
  const rank = site.value(pad.inputs[0])?.shape?.length ?? site.value(reader.inputs[1])?.shape?.length
  const axesData = pad.inputs[3] == null ? undefined : site.draft.constant(pad.inputs[3])
  if (pad.inputs[3] != null && !axesData) return 'the axes of Pad are computed'
  if (rank === undefined || rank < 3) return 'the rank of its input is not known'
  const axes = axesData ? ints(axesData).map((a) => (a < 0 ? a + rank : a)) : Array.from({ length: rank }, (_, i) => i)
  if (given.length !== 2 * axes.length) return 'the pads do not fit the rank'
  const all = Array.from({ length: 2 * rank }, () => 0)
  for (const [i, axis] of axes.entries()) {
    all[axis] = given[i] as number
    all[axis + rank] = given[i + axes.length] as number
  }
  if (all.some((p) => p < 0)) return 'Pad cuts off'
  if ([0, 1, rank, rank + 1].some((i) => all[i] !== 0)) return 'Pad pads samples or channels'
  return [...all.slice(2, rank), ...all.slice(rank + 2)]
}

function padValue(pad: Node, site: Site): number | undefined {
  if (pad.inputs[2] == null) return 0
  const data = site.draft.constant(pad.inputs[2])
  return data && elementCount(data.shape) === 1 ? toNumbers(data)[0] : undefined
}

/** Why these pads do not fit the node that reads them. */
function misfit(pad: Node, node: Node, pads: readonly number[], value: number, site: Site): string | undefined {
  const auto = attrString(node, 'auto_pad', 'NOTSET')
  if (auto !== 'NOTSET' && auto !== 'VALID') return `${node.op} pads by ${auto}`
  const own = ownPads(node, pads.length)
  if (node.op === 'Conv') return value === 0 ? undefined : `Pad fills in ${value}`
  if (attrInt(node, 'ceil_mode', 0) === 1) return `${node.op} rounds its output size up`
  const kernel = attrInts(node, 'kernel_shape') ?? []
  const dilations = attrInts(node, 'dilations')
  const isWide = pads.some((p, i) => {
    const axis = i % kernel.length
    return p + (own[i] as number) > ((kernel[axis] ?? 1) - 1) * (dilations?.[axis] ?? 1)
  })
  if (isWide) return 'the padding is wider than the window'
  if (node.op === 'AveragePool') {
    if (value !== 0) return `Pad fills in ${value}`
    const counts = attrInt(node, 'count_include_pad', 0) === 1
    return counts || own.every((p) => p === 0) ? undefined : 'AveragePool does not count its own padding'
  }
  if (node.outputs.length > 1) return 'the indices of MaxPool are used'
  if (dilations?.some((d) => d !== 1)) return 'the window is dilated'
  if (value === Number.NEGATIVE_INFINITY || value <= -3.4028234663852886e38) return undefined
  if (value !== 0) return `Pad fills in ${value}`
  const maker = site.draft.producer(pad.inputs[0] ?? '')
  const low = maker && (maker.op === 'Sigmoid' ? 0 : clampOf(maker, site)?.low)
  if (low === undefined || low < 0) return 'MaxPool pads with −∞ and its input may be negative'
  return own.every((p) => p === 0) ? undefined : 'MaxPool pads by itself too'
}

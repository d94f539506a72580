/** Operators that move elements: parts of an axis go with the whole. */
import { attrInt, attrString } from '../ir/attrs.ts'
import type { Dim } from '../types.ts'
import { axesOfData, type ChannelRule, into, link, otherAxes, out, sameAxes, sizeAt } from './channels.ts'
import { axisOf, givenAxes, isGiven, numbersOf, shapeOf } from './op.ts'
import type { Link, NodeView } from './types.ts'

/** Start of each part of an axis; `undefined` where a size is unknown. */
function offsets(sizes: readonly (Dim | undefined)[]): readonly number[] | undefined {
  let from = 0
  const starts: number[] = []
  for (const size of sizes) {
    if (typeof size !== 'number') return undefined
    starts.push(from)
    from += size
  }
  return starts
}

function concat(n: NodeView): readonly Link[] {
  const rank = shapeOf(n, 0)?.length
  if (rank === undefined) return []
  const along = axisOf(n, attrInt(n.node, 'axis', 1), rank)
  const starts = offsets(n.inputs.map((_, i) => shapeOf(n, i)?.[along])) ?? []
  const parts = starts.flatMap((offset, i) => link(shapeOf(n, i)?.[along], [into(i, along), out(0, along, { offset })]))
  const others = axesOfData(n).filter((a) => a !== along)
  return [
    ...parts,
    ...others.flatMap((a) => link(shapeOf(n, 0)?.[a], [...n.inputs.map((_, i) => into(i, a)), out(0, a)]))
  ]
}

/** Parts of given sizes are cut each for itself; equal parts of no given size have to stay equal. */
function split(n: NodeView): readonly Link[] {
  const x = shapeOf(n, 0)
  if (!x) return []
  const along = axisOf(n, attrInt(n.node, 'axis', 0), x.length)
  const sizes = n.outputs.map((k) => k?.shape?.[along])
  const others = axesOfData(n).filter((a) => a !== along)
  const whole = others.flatMap((a) => link(x[a], [into(0, a), ...sizes.map((_, i) => out(i, a))]))
  if (isGiven(n, 1)) {
    const starts = offsets(sizes) ?? []
    return [
      ...whole,
      ...starts.flatMap((offset, i) => {
        const counts = sizeAt(n, 1, i)
        return counts ? link(sizes[i], [into(0, along, { offset }), out(i, along)], { counts }) : []
      })
    ]
  }
  if (sizes.some((s) => s !== sizes[0])) return whole
  const parts = sizes.map((_, i) => out(i, along))
  return [...whole, ...link(sizes[0], [into(0, along, { outer: sizes.length }), ...parts])]
}

/** Axes that are not cut, or are whole after it. */
function slice(n: NodeView): readonly Link[] {
  const [x, axes] = [shapeOf(n, 0), givenAxes(n, 3)]
  const steps = numbersOf(n, 4)
  if (!x || axes === undefined || (isGiven(n, 4) && !steps)) return []
  const count = numbersOf(n, 1)?.length
  if (axes === 'none' && count === undefined) return []
  const at = axes === 'none' ? Array.from({ length: count as number }, (_, i) => i) : axes
  const cut = at.filter((a, i) => n.outputs[0]?.shape?.[axisOf(n, a, x.length)] !== x[a] || (steps?.[i] ?? 1) !== 1)
  return otherAxes(
    n,
    cut.map((a) => axisOf(n, a, x.length))
  )
}

/** What is padded with a constant is channels of its own, as many as the pad says. */
function pad(n: NodeView): readonly Link[] {
  const x = shapeOf(n, 0)
  const pads = numbersOf(n, 1)
  const axes = isGiven(n, 3) ? numbersOf(n, 3) : axesOfData(n)
  if (!x || !pads || !axes) return []
  const isConstant = attrString(n.node, 'mode', 'constant') === 'constant'
  const at = axes.map((a) => axisOf(n, a, x.length))
  return axesOfData(n).flatMap((a) => {
    const i = at.indexOf(a)
    const [begin, end] = i < 0 ? [0, 0] : [pads[i] as number, pads[i + axes.length] as number]
    const size = x[a]
    if (begin === 0 && end === 0) return sameAxes(n, [a])
    if (!isConstant || begin < 0 || end < 0 || typeof size !== 'number') return []
    const added = (count: number, offset: number, element: number): readonly Link[] => {
      const counts = sizeAt(n, 1, element)
      return counts ? link(count, [out(0, a, { offset })], { counts }) : []
    }
    return [
      ...link(size, [into(0, a), out(0, a, { offset: begin })]),
      ...added(begin, 0, i),
      ...added(end, begin + size, i + axes.length)
    ]
  })
}

/** Depth is [block, block, channels], or the channels first. */
function depthToSpace(n: NodeView): readonly Link[] {
  const block = attrInt(n.node, 'blocksize', 1) ** 2
  const cut = attrString(n.node, 'mode', 'DCR') === 'CRD' ? { inner: block } : { outer: block }
  return [...sameAxes(n, [0]), ...link(n.outputs[0]?.shape?.[1], [into(0, 1, cut), out(0, 1)])]
}

function spaceToDepth(n: NodeView): readonly Link[] {
  const block = attrInt(n.node, 'blocksize', 1) ** 2
  return [...sameAxes(n, [0]), ...link(shapeOf(n, 0)?.[1], [into(0, 1), out(0, 1, { outer: block })])]
}

export const moveChannels: Readonly<Record<string, ChannelRule>> = {
  Concat: concat,
  Split: split,
  Slice: slice,
  Pad: pad,
  DepthToSpace: depthToSpace,
  SpaceToDepth: spaceToDepth
}

/**
 * Views of a tensor under another shape. Equal sizes at both ends are the same axes. Between them, runs of axes with the
 * same number of elements are views of each other: the first axes of a run go together, each channel with all that it
 * holds of the other side; or else the last ones do.
 */
import { sameDim } from '../base/dim.ts'
import { attrInt, attrInts } from '../ir/attrs.ts'
import type { Dim } from '../types.ts'
import { axesOfData, type ChannelRule, everyAxis, into, link, out, sizeAt } from './channels.ts'
import { axesOf, contentOf, givenAxes, numbersOf, shapeOf } from './op.ts'
import type { Count, Link, NodeView } from './types.ts'

/** Axes of input and output over the same elements. */
interface Run {
  readonly from: readonly number[]
  readonly to: readonly number[]
}

/** Where the size of an axis of the output is written, given the axis of the input that it goes with; `undefined`: nobody can. */
type CountsOf = (to: number, from: number) => readonly Count[] | undefined

/** `isCopied`: the size of this axis is taken from the same axis of the input, whatever it is. */
function view(n: NodeView, countsOf: CountsOf, isCopied: (axis: number) => boolean = () => false): readonly Link[] {
  const [x, y] = [shapeOf(n, 0), n.outputs[0]?.shape]
  if (!x || !y) return []
  return runsOf(x, y, isCopied).flatMap((run) => {
    const from = run.from.filter((a) => x[a] !== 1)
    const to = run.to.filter((a) => y[a] !== 1)
    const ends = from.length > 1 || to.length > 1 ? ([0, -1] as const) : ([0] as const)
    return ends.flatMap((end) => {
      const [i, j] = [from.at(end), to.at(end)]
      const counts = i === undefined || j === undefined ? undefined : countsOf(j, i)
      return counts ? tied([i as number, x], [j as number, y], end === 0 ? 'inner' : 'outer', counts) : []
    })
  })
}

/**
 * Links two axes where the length of one divides the length of the other. `left` tells where the quotient of the two
 * lengths lies: inside of each channel (`inner`) or around the channels (`outer`).
 */
function tied(
  [i, x]: readonly [number, readonly Dim[]],
  [j, y]: readonly [number, readonly Dim[]],
  left: 'inner' | 'outer',
  counts: readonly Count[]
): readonly Link[] {
  const [p, q] = [x[i], y[j]]
  if (typeof p !== 'number' || typeof q !== 'number') return []
  const channels = Math.min(p, q)
  if (p % channels !== 0 || q % channels !== 0) return []
  return link(channels, [into(0, i, { [left]: p / channels }), out(0, j, { [left]: q / channels })], {
    counts: counts.map((c) => ({ ...c, each: q / channels }))
  })
}

function runsOf(x: readonly Dim[], y: readonly Dim[], isCopied: (axis: number) => boolean): readonly Run[] {
  const runs: Run[] = []
  let [start, end] = [0, 0]
  const isSame = (i: number): boolean => isCopied(i) || sameDim(x[i] as Dim, y[i] as Dim)
  while (start < Math.min(x.length, y.length) && isSame(start)) {
    runs.push({ from: [start], to: [start] })
    start++
  }
  const left = (): number => Math.min(x.length, y.length) - start - end
  while (left() > 0 && sameDim(x.at(-1 - end) as Dim, y.at(-1 - end) as Dim)) {
    runs.push({ from: [x.length - 1 - end], to: [y.length - 1 - end] })
    end++
  }
  const middle = (shape: readonly Dim[]): readonly Dim[] => shape.slice(start, shape.length - end)
  return [...runs, ...factored(middle(x), middle(y), start)]
}

/** Cut wherever both sides have come to the same number of elements. */
function factored(x: readonly Dim[], y: readonly Dim[], start: number): readonly Run[] {
  const runs: Run[] = []
  let [from, to]: [number[], number[]] = [[], []]
  let [p, q, i, j] = [1, 1, 0, 0]
  while (i < x.length || j < y.length) {
    const isLeft = i < x.length && (p <= q || j === y.length)
    const size = isLeft ? x[i] : y[j]
    if (typeof size !== 'number' || size === 0) return runs
    if (isLeft) from.push(start + i++)
    else to.push(start + j++)
    if (isLeft) p *= size
    else q *= size
    if (p !== q || p === 1) continue
    runs.push({ from, to })
    ;[from, to, p, q] = [[], [], 1, 1]
  }
  return runs
}

/** A size in the target is written anew; −1, and 0 for the same axis, follow the data. What is computed cannot be. */
const reshape: ChannelRule = (n) => {
  const target = contentOf(n, 1)
  const isCopied = (axis: number): boolean => target?.[axis] === 0 && attrInt(n.node, 'allowzero', 0) === 0
  return view(
    n,
    (to, from) => {
      if (isCopied(to)) return from === to ? [] : undefined
      return target?.[to] === -1 ? [] : sizeAt(n, 1, to)
    },
    isCopied
  )
}

const flatten: ChannelRule = (n) => view(n, () => [])

function transpose(n: NodeView): readonly Link[] {
  const x = shapeOf(n, 0)
  const perm = attrInts(n.node, 'perm') ?? axesOfData(n).toReversed()
  return perm.flatMap((axis, i) => {
    const from = axis < 0 ? axis + perm.length : axis
    return link(x?.[from], [into(0, from), out(0, i)])
  })
}

/** Without axes to go by, an axis that comes down to size 1 would vanish. */
function squeeze(n: NodeView): readonly Link[] {
  const [x, axes] = [shapeOf(n, 0), givenAxes(n, 1)]
  if (!x || axes === undefined || axes === 'none') return []
  const gone = axesOf(n, axes, x.length)
  return axesOfData(n)
    .filter((a) => !gone.includes(a))
    .flatMap((a, i) => link(x[a], [into(0, a), out(0, i)]))
}

function unsqueeze(n: NodeView): readonly Link[] {
  const [x, axes] = [shapeOf(n, 0), givenAxes(n, 1)]
  if (!x || axes === undefined || axes === 'none') return []
  const rank = x.length + axes.length
  const added = axesOf(n, axes, rank)
  const kept = Array.from({ length: rank }, (_, i) => i).filter((i) => !added.includes(i))
  return kept.flatMap((to, i) => link(x[i], [into(0, i), out(0, to)]))
}

/** Axes that are not repeated. */
function expand(n: NodeView): readonly Link[] {
  const [x, y, target] = [shapeOf(n, 0), n.outputs[0]?.shape, numbersOf(n, 1)]
  if (!x || !y || !target) return []
  return y.flatMap((size, axis) => {
    const from = axis - y.length + x.length
    const element = axis - y.length + target.length
    const isWritten = element >= 0 && target[element] !== 1
    const counts = isWritten ? sizeAt(n, 1, element) : []
    if (from < 0 || x[from] !== size || !counts) return []
    return link(size, [into(0, from), out(0, axis)], { counts })
  })
}

function tile(n: NodeView): readonly Link[] {
  const repeats = numbersOf(n, 1)
  if (!repeats) return []
  return axesOfData(n).flatMap((a) => link(shapeOf(n, 0)?.[a], [into(0, a), out(0, a, { outer: repeats[a] ?? 1 })]))
}

/** What is asked is only how long the axes are. */
const sizes: ChannelRule = (n) => axesOfData(n).flatMap((a) => link(shapeOf(n, 0)?.[a], [into(0, a)]))

export const shapeChannels: Readonly<Record<string, ChannelRule>> = {
  Shape: sizes,
  Reshape: reshape,
  Flatten: flatten,
  Transpose: transpose,
  Squeeze: squeeze,
  Unsqueeze: unsqueeze,
  Expand: expand,
  Tile: tile,
  Identity: everyAxis,
  Dropout: everyAxis
}

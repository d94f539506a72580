/**
 * Gradients of pools. Maximum: dy goes to the element that equals it, equals sharing, where windows tile the input;
 * else to the element that the engine names in Indices, the first of equals. Average: every element of a window gets
 * dy / (elements the window counts).
 */
import { attrInt, attrInts, attrString } from '../ir/attrs.ts'
import { tensor } from '../ir/tensor.ts'
import {
  algebra,
  expand,
  indicator,
  inputOf,
  outputOf,
  range,
  reshape,
  rule,
  slice,
  sumOver,
  total,
  zeros
} from './grad.ts'
import type { Grad, GradBuilder, NodeView, Ref } from './types.ts'

interface Window {
  readonly kernel: readonly number[]
  readonly strides: readonly number[]
  readonly dilations: readonly number[]
  readonly before: readonly number[]
  readonly after: readonly number[]
}

function windowOf(n: NodeView, x: Ref, y: Ref): Window {
  const rank = x.shape.length - 2
  const list = (name: string, fallback: number, count = rank): readonly number[] => {
    const given = attrInts(n.node, name)
    return given?.length ? given : range(count).map(() => fallback)
  }
  const w = { kernel: list('kernel_shape', 1), strides: list('strides', 1), dilations: list('dilations', 1) }
  const auto = attrString(n.node, 'auto_pad', 'NOTSET')
  const pads = list('pads', 0, 2 * rank)
  if (auto === 'NOTSET') return { ...w, before: pads.slice(0, rank), after: pads.slice(rank) }
  const needed = range(rank).map((i) =>
    auto === 'VALID' ? 0 : Math.max(0, span(w, y, i) - (x.shape[i + 2] as number))
  )
  const before = needed.map((p) => (auto === 'SAME_LOWER' ? Math.ceil(p / 2) : Math.floor(p / 2)))
  return { ...w, before, after: needed.map((p, i) => p - (before[i] as number)) }
}

/** Elements from the start of the first window to the end of the last. */
const span = (w: Pick<Window, 'kernel' | 'strides' | 'dilations'>, y: Ref, i: number): number =>
  ((y.shape[i + 2] as number) - 1) * (w.strides[i] as number) +
  ((w.kernel[i] as number) - 1) * (w.dilations[i] as number) +
  1

const maxPool: Grad = rule((g, n, dy) => {
  const x = inputOf(g, n, 0)
  const w = windowOf(n, x, dy)
  if (isTiled(w, x, dy) && w.kernel.length === 2) return [toTiledExtremes(g, x, outputOf(g, n), dy, w)]
  const given = n.node.outputs[1]
  const indices =
    given && attrInt(n.node, 'storage_order', 0) === 0
      ? g.value(given)
      : (g.ops('MaxPool', [x], { ...poolAttrs(w), ceil_mode: attrInt(n.node, 'ceil_mode', 0) }, 2)[1] as Ref)
  const overlaps = w.kernel.some((k, i) => (k - 1) * (w.dilations[i] as number) >= (w.strides[i] as number))
  const flat = g.op(
    'ScatterElements',
    [zeros(g, dy.dtype, [total(x.shape)]), reshape(g, indices, [total(dy.shape)]), reshape(g, dy, [total(dy.shape)])],
    { axis: 0, reduction: overlaps ? 'add' : undefined }
  )
  return [reshape(g, flat, x.shape)]
})

/** Windows that cover the input once, without padding. */
const isTiled = (w: Window, x: Ref, y: Ref): boolean =>
  w.kernel.every((k, i) => k === w.strides[i] && k * (y.shape[i + 2] as number) === x.shape[i + 2]) &&
  w.dilations.every((d) => d === 1)

/** Every element that equals its window's maximum gets its share: four passes, far cheaper than asking for Indices. */
function toTiledExtremes(g: GradBuilder, x: Ref, y: Ref, dy: Ref, w: Window): Ref {
  const a = algebra(g)
  const scales = g.constant(tensor('float32', [4], [1, 1, ...w.kernel]))
  const enlarge = (t: Ref): Ref =>
    g.op('Resize', [t, null, scales], {
      mode: 'nearest',
      nearest_mode: 'floor',
      coordinate_transformation_mode: 'asymmetric'
    })
  const hit = indicator(g, a.equal(x, enlarge(y)), dy.dtype)
  const rate = g.op('AveragePool', [hit], { kernel_shape: w.kernel, strides: w.strides })
  return a.mul(hit, enlarge(a.div(dy, a.mul(rate, total(w.kernel)))))
}

const poolAttrs = (w: Window): Record<string, readonly number[]> => ({
  kernel_shape: w.kernel,
  strides: w.strides,
  dilations: w.dilations,
  pads: [...w.before, ...w.after]
})

const averagePool: Grad = rule((g, n, dy) => {
  const x = inputOf(g, n, 0)
  const w = windowOf(n, x, dy)
  const spatial = x.shape.slice(2)
  if (isTiled(w, x, dy)) return [tiled(g, x, dy, w)]
  const counts = g.constant(tensor(dy.dtype, [1, 1, ...dy.shape.slice(2)], countsOf(w, x, dy, includesPads(n))))
  const share = algebra(g).div(dy, counts)
  const maps = (dy.shape[0] as number) * (dy.shape[1] as number)
  const ones = expand(g, g.constant(tensor(dy.dtype, [], [1])), [1, 1, ...w.kernel])
  const spread = g.op('ConvTranspose', [reshape(g, share, [maps, 1, ...dy.shape.slice(2)]), ones], {
    kernel_shape: w.kernel,
    strides: w.strides,
    dilations: w.dilations
  })
  const padded = range(w.kernel.length).map((i) => (w.before[i] as number) + (spatial[i] as number))
  // Positions behind the last window that nothing counts.
  const missing = padded.map((end, i) => Math.max(0, end - (spread.shape[i + 2] as number)))
  const whole = missing.some((m) => m > 0) ? padEnd(g, spread, missing) : spread
  const cut = padded.map((end, i) => ({ axis: i + 2, start: w.before[i] as number, end }))
  return [reshape(g, slice(g, whole, cut), x.shape)]
})

function padEnd(g: GradBuilder, x: Ref, after: readonly number[]): Ref {
  const pads = tensor('int64', [2 * x.shape.length], [...x.shape.map(() => 0), 0, 0, ...after])
  return g.op('Pad', [x, g.constant(pads)])
}

const includesPads = (n: NodeView): boolean => attrInt(n.node, 'count_include_pad', 0) !== 0

/** Windows that tile the input: each repeats its share. */
function tiled(g: GradBuilder, x: Ref, dy: Ref, w: Window): Ref {
  const share = algebra(g).mul(dy, 1 / total(w.kernel))
  const lead = dy.shape.slice(0, 2)
  const apart = dy.shape.slice(2).flatMap((d) => [d, 1])
  const full = dy.shape.slice(2).flatMap((d, i) => [d, w.kernel[i] as number])
  return reshape(g, expand(g, reshape(g, share, [...lead, ...apart]), [...lead, ...full]), x.shape)
}

/** How many elements each window counts: of the input, or of the padded input. */
function countsOf(w: Window, x: Ref, dy: Ref, include: boolean): Float64Array {
  const perAxis = dy.shape.slice(2).map((size, i) => {
    const d = w.dilations[i] as number
    const end = (x.shape[i + 2] as number) + (include ? (w.after[i] as number) : 0)
    const begin = include ? -(w.before[i] as number) : 0
    return range(size).map((o) => {
      const start = o * (w.strides[i] as number) - (w.before[i] as number)
      return range(w.kernel[i] as number).filter((k) => start + k * d >= begin && start + k * d < end).length
    })
  })
  const all = perAxis.reduce<number[]>((left, counts) => left.flatMap((a) => counts.map((b) => a * b)), [1])
  return Float64Array.from(all)
}

/** The axes of positions. */
const positions = (x: Ref): number[] => range(x.shape.length - 2, 2)

const globalAverage: Grad = rule((g, n, dy) => {
  const x = inputOf(g, n, 0)
  return [expand(g, algebra(g).mul(dy, 1 / total(x.shape.slice(2))), x.shape)]
})

const globalMax: Grad = rule((g, n, dy) => {
  const x = inputOf(g, n, 0)
  return [toExtremes(g, x, outputOf(g, n), dy, positions(x))]
})

/** dy (with 1 for the axes) in equal parts to the elements of x that equal the extreme. */
export function toExtremes(g: GradBuilder, x: Ref, y: Ref, dy: Ref, axes: readonly number[]): Ref {
  const a = algebra(g)
  const hit = indicator(g, a.equal(x, y), dy.dtype)
  return a.mul(hit, a.div(dy, sumOver(g, hit, axes, true)))
}

export const poolGrads: Readonly<Record<string, Grad>> = {
  MaxPool: maxPool,
  AveragePool: averagePool,
  GlobalAveragePool: globalAverage,
  GlobalMaxPool: globalMax
}

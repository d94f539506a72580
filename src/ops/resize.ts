/**
 * Resampling. With scales, out = floor(in · scale), multiplied in float32 as ONNX Runtime does; with sizes, the sizes,
 * made alike by one factor under `keep_aspect_ratio_policy`. Interpolation is not counted as multiply-accumulates.
 */
import { mulDims, unknownDim } from '../base/dim.ts'
import { attrFloats, attrInts, attrString } from '../ir/attrs.ts'
import { toFloats } from '../ir/tensor.ts'
import type { Dim } from '../types.ts'
import { axesOfData, into, link, out, sizeAt } from './channels.ts'
import {
  axisOf,
  contentOf,
  dtypeOf,
  fail,
  freeOp,
  isGiven,
  shapeOf,
  single,
  tensorType,
  unknownDims,
  withGrads,
  withLoops
} from './op.ts'
import { resizes } from './permute.ts'
import { resizeGrads } from './resize.grad.ts'
import { resizeLoops } from './resize.loops.ts'
import type { Known, Link, NodeFacts, NodeView, Op } from './types.ts'
import { floorDiv } from './window.ts'

function inferResize(n: NodeView): readonly (Known | undefined)[] {
  const x = shapeOf(n, 0)
  if (!x) return [tensorType(dtypeOf(n, 0), undefined)]
  const axes = (attrInts(n.node, 'axes') ?? x.map((_, i) => i)).map((a) => axisOf(n, a, x.length))
  const out = [...x]
  const made = resized(
    n,
    axes.map((a) => x[a] as Dim)
  )
  if (made && made.length !== axes.length) fail(n, `${made.length} sizes for ${axes.length} axes`)
  for (const [i, a] of axes.entries()) out[a] = made?.[i] ?? unknownDim
  return [tensorType(dtypeOf(n, 0), out)]
}

/** New sizes of the resized axes. Both inputs may be present, one of them empty. */
function resized(n: NodeView, sizes: readonly Dim[]): readonly Dim[] | undefined {
  if (n.opset < 11) return scaled(sizes, floatsOf(n, 1))
  if (isGiven(n, 3) && shapeOf(n, 3)?.[0] !== 0) return wanted(n, sizes)
  return scaled(sizes, floatsOf(n, 2))
}

const floatsOf = (n: NodeView, input: number): readonly number[] | undefined => {
  const data = n.inputs[input]?.data
  return data && Array.from(toFloats(data))
}

function scaled(sizes: readonly Dim[], scales: readonly number[] | undefined): readonly Dim[] | undefined {
  if (!scales) return undefined
  return scales.map((scale, i) => scaleDim(sizes[i] ?? unknownDim, Math.fround(scale)))
}

function scaleDim(size: Dim, scale: number): Dim {
  if (typeof size === 'number') return Math.trunc(Math.fround(scale * size))
  if (Number.isInteger(scale)) return mulDims(size, scale)
  const divisor = 1 / scale
  // Only powers of two divide exactly in binary.
  return Number.isInteger(Math.log2(divisor)) ? floorDiv(size, divisor) : unknownDim
}

function wanted(n: NodeView, sizes: readonly Dim[]): readonly Dim[] | undefined {
  const given = contentOf(n, 3)
  const policy = attrString(n.node, 'keep_aspect_ratio_policy', 'stretch')
  if (!given || policy === 'stretch') return given
  const ratios = given.map((g, i) => {
    const size = sizes[i]
    return typeof g === 'number' && typeof size === 'number' ? Math.fround(g / size) : Number.NaN
  })
  const factor = policy === 'not_larger' ? Math.min(...ratios) : Math.max(...ratios)
  if (Number.isNaN(factor)) return unknownDims(given.length)
  return sizes.map((size) => Math.round(Math.fround(factor * (size as number))))
}

/** Scales are floats, an input since opset 9; in the blocked layout whole numbers. */
function inferUpsample(n: NodeView, read: typeof attrInts = attrFloats): readonly (Known | undefined)[] {
  const given = read(n.node, 'scales')
  const x = shapeOf(n, 0)
  const made = x && scaled(x, given ?? floatsOf(n, 1))
  return [tensorType(dtypeOf(n, 0), made ?? x?.map(() => unknownDim))]
}

/** The grid's own spatial axes: `[batch, …out, rank]`. */
function inferGridSample(n: NodeView): readonly (Known | undefined)[] {
  const [x, grid] = [shapeOf(n, 0), shapeOf(n, 1)]
  const channels = x?.[1] ?? unknownDim
  const batch = x?.[0] ?? grid?.[0] ?? unknownDim
  return [tensorType(dtypeOf(n, 0), grid && [batch, channels, ...grid.slice(1, -1)])]
}

/** Size `[batch, channels, …spatial]` gives `[batch, …spatial, rank]`. */
function inferAffineGrid(n: NodeView): readonly (Known | undefined)[] {
  const size = contentOf(n, 1)
  return [tensorType(dtypeOf(n, 0), size && [size[0] ?? unknownDim, ...size.slice(2), size.length - 2])]
}

/** Axes that keep their size. */
function resizeChannels(n: NodeView): readonly Link[] {
  const [x, y] = [shapeOf(n, 0), n.outputs[0]?.shape]
  const isStretched = attrString(n.node, 'keep_aspect_ratio_policy', 'stretch') === 'stretch'
  const isCropped = attrString(n.node, 'coordinate_transformation_mode', 'half_pixel') === 'tf_crop_and_resize'
  if (!x || !y || !isStretched || isCropped) return []
  const axes = (attrInts(n.node, 'axes') ?? axesOfData(n)).map((a) => axisOf(n, a, x.length))
  const isSized = isGiven(n, 3) && shapeOf(n, 3)?.[0] !== 0
  return axesOfData(n).flatMap((a) => {
    const element = axes.indexOf(a)
    const counts = isSized && element >= 0 ? sizeAt(n, 3, element) : []
    return x[a] === y[a] && counts ? link(x[a], [into(0, a), out(0, a)], { counts }) : []
  })
}

/** ONNX Runtime computes with the factor out / in, rounded to float32, where sizes are given. */
function resizeEveryAxis({ node, inputs, outputs }: NodeFacts): ReturnType<NonNullable<Op['everyAxis']>> {
  const [x, y] = [inputs[0]?.shape, outputs[0]?.shape]
  const { axes: _, ...attrs } = node.attrs
  const given = attrInts(node, 'axes')
  const isPlain =
    attrString(node, 'keep_aspect_ratio_policy', 'stretch') === 'stretch' &&
    attrString(node, 'coordinate_transformation_mode', 'half_pixel') !== 'tf_crop_and_resize'
  if (!given || !x || !y || !isPlain) return undefined
  const named = given.map((a) => (a < 0 ? a + x.length : a))
  const scales = inputs[2]?.data
  const stated = scales && scales.shape[0] === named.length ? toFloats(scales) : undefined
  const factors = x.map((d, a) => {
    const i = named.indexOf(a)
    if (i < 0) return 1
    const [from, to] = [d, y[a]]
    if (stated) return stated[i] as number
    if (typeof from !== 'number' || typeof to !== 'number') return Number.NaN
    return [0, 2 ** -23].map((by) => Math.fround((to / from) * (1 + by))).find(gives(from, to)) ?? Number.NaN
  })
  return factors.some(Number.isNaN) ? undefined : { input: 2, factors, attrs }
}

/** Does a factor make one size of another, both where the product is rounded to float32 and where it is not? */
const gives =
  (from: number, to: number) =>
  (factor: number): boolean =>
    scaleDim(from, factor) === to && Math.floor(from * factor) === to

/** Resampling. */
export const resizeOps: readonly Op[] = withLoops(
  resizeLoops,
  withGrads(resizeGrads, [
    freeOp('Resize', {
      infer: inferResize,
      channels: resizeChannels,
      everyAxis: resizeEveryAxis,
      permute: resizes,
      quant: { inputs: [0], output: 'same' },
      ...single
    }),
    freeOp('Upsample', { infer: (n) => inferUpsample(n) }),
    freeOp('Upsample', { domain: 'com.microsoft.nchwc', infer: (n) => inferUpsample(n, attrInts) }),
    freeOp('GridSample', { infer: inferGridSample }),
    freeOp('AffineGrid', { infer: inferAffineGrid })
  ])
)

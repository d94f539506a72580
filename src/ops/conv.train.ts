/**
 * Convolutions over small planes while training, as products of matrices over all samples: the engine's own kernel takes each
 * sample by itself, and is many times slower where a plane has few positions.
 */
import { attrString } from '../ir/attrs.ts'
import { tensor } from '../ir/tensor.ts'
import { asMatrix, isAll, reach, type Slide, slideOf, spatial, swapBatch, tapsOf } from './conv.grad.ts'
import { inputOf, range, reshape, sumOver, total, transpose, wants } from './grad.ts'
import type { GradBuilder, NodeView, Ref, TrainForm } from './types.ts'

/** Up to so many pairs of positions, one read and one written, a depthwise convolution is a matrix a channel. */
const mostPairs = 16000
/** Up to so many positions a convolution of one tap is one product. */
const mostPositions = 9

/** The linear map of a convolution and of its gradients. */
interface Planes {
  readonly y: Ref
  byData(dy: Ref): Ref
  byWeight(dy: Ref): Ref
}

/** Depthwise and of one tap, on few positions; `undefined`: the engine's kernel is as fast. */
export function convTrain(g: GradBuilder, n: NodeView): TrainForm | undefined {
  if (n.inputs.some((k) => k && (k.dtype !== 'float32' || !k.shape?.every((d) => typeof d === 'number'))))
    return undefined
  const [x, w] = [inputOf(g, n, 0), inputOf(g, n, 1)]
  if (attrString(n.node, 'auto_pad', 'NOTSET') !== 'NOTSET') return undefined
  const s = slideOf(n, x, x, w)
  const planes = planesOf(g, s, x, w)
  if (!planes) return undefined
  const channels = w.shape[0] as number
  const axes = x.shape.map((_, i) => (i === 1 ? channels : 1))
  const isBiased = n.node.inputs[2] != null
  return {
    outputs: [isBiased ? g.op('Add', [planes.y, reshape(g, inputOf(g, n, 2), axes)]) : planes.y],
    grad: ([dy]) =>
      n.node.inputs.map((_, i) => {
        if (!dy || !wants(g, n, i)) return null
        if (i === 2) return sumOver(g, dy, [0, ...range(dy.shape.length - 2, 2)])
        return i === 0 ? planes.byData(dy) : planes.byWeight(dy)
      })
  }
}

function planesOf(g: GradBuilder, s: Slide, x: Ref, w: Ref): Planes | undefined {
  const [channels, positions] = [x.shape[1] as number, total(spatial(x))]
  const isPoint = s.group === 1 && isAll([...s.kernel, ...s.strides], 1) && isAll([...s.before, ...s.after], 0)
  if (isPoint) return positions <= mostPositions ? pointwise(g, x, w) : undefined
  const sizes = spatial(x).map((size, i) => {
    const room = size + (s.before[i] as number) + (s.after[i] as number) - reach(s, i) - 1
    return Math.floor(room / (s.strides[i] as number)) + 1
  })
  const isDepthwise = s.group === channels && w.shape[0] === channels && channels > 1
  return isDepthwise && positions * total(sizes) <= mostPairs ? depthwise(g, s, x, w, sizes) : undefined
}

/** Y = W·X with X `[channels, samples · positions]`. */
function pointwise(g: GradBuilder, x: Ref, w: Ref): Planes {
  const weight = reshape(g, w, w.shape.slice(0, 2))
  const back = (rows: Ref): Ref =>
    swapBatch(g, reshape(g, rows, [rows.shape[0] as number, x.shape[0] as number, ...spatial(x)]))
  const rows = asMatrix(g, swapBatch(g, x))
  const columns = (dy: Ref): Ref => asMatrix(g, swapBatch(g, dy))
  return {
    y: back(g.op('Gemm', [weight, rows])),
    byData: (dy) => back(g.op('Gemm', [weight, columns(dy)], { transA: 1 })),
    byWeight: (dy) => reshape(g, g.op('Gemm', [columns(dy), rows], { transB: 1 }), w.shape)
  }
}

/** For each channel Y = X·M with X `[samples, positions read]`; M `[positions read, positions written]` has the channel's taps. */
function depthwise(g: GradBuilder, s: Slide, x: Ref, w: Ref, sizes: readonly number[]): Planes {
  const [batch, channels] = x.shape as [number, number]
  const [read, written, taps] = [total(spatial(x)), total(sizes), total(s.kernel)]
  const places = g.constant(tensor(x.dtype, [taps, read * written], placesOf(s, spatial(x), sizes)))
  const matrices = reshape(g, g.op('MatMul', [reshape(g, w, [channels, taps]), places]), [channels, read, written])
  const byChannel = (v: Ref, perm: readonly number[]): Ref =>
    transpose(g, reshape(g, v, [batch, channels, total(spatial(v))]), perm)
  const back = (v: Ref, size: readonly number[]): Ref =>
    reshape(g, transpose(g, v, [1, 0, 2]), [batch, channels, ...size])
  return {
    y: back(g.op('MatMul', [byChannel(x, [1, 0, 2]), matrices]), sizes),
    byData: (dy) => back(g.op('MatMul', [byChannel(dy, [1, 0, 2]), transpose(g, matrices, [0, 2, 1])]), spatial(x)),
    byWeight: (dy) => {
      const products = g.op('MatMul', [byChannel(x, [1, 2, 0]), byChannel(dy, [1, 0, 2])])
      return reshape(
        g,
        g.op('Gemm', [reshape(g, products, [channels, read * written]), places], { transB: 1 }),
        w.shape
      )
    }
  }
}

/** For each tap, 1 where it joins a position that is read with one that is written. */
function placesOf(s: Slide, from: readonly number[], to: readonly number[]): Float32Array {
  const [read, written] = [total(from), total(to)]
  const out = new Float32Array(total(s.kernel) * read * written)
  const positions = tapsOf(to)
  for (const [t, tap] of tapsOf(s.kernel).entries()) {
    for (const [o, position] of positions.entries()) {
      const at = position.map(
        (p, i) =>
          p * (s.strides[i] as number) + (tap[i] as number) * (s.dilations[i] as number) - (s.before[i] as number)
      )
      if (at.some((p, i) => p < 0 || p >= (from[i] as number))) continue
      const flat = at.reduce((sum, p, i) => sum * (from[i] as number) + p, 0)
      out[(t * read + flat) * written + o] = 1
    }
  }
  return out
}

/**
 * Gradients of normalizations. With x̂ = (x − μ)·r, r = 1/√(σ² + ε) over a group of elements and d = dy·scale:
 * dx = r·(d − mean(d) − x̂·mean(d·x̂)). Ioffe and Szegedy 2015; without the mean for RMS.
 */
import { attrFloat, attrInt, attrInts } from '../ir/attrs.ts'
import {
  algebra,
  constantLike,
  expand,
  inputOf,
  int64s,
  meanOver,
  outputOf,
  range,
  reshape,
  rule,
  sumOver,
  sumTo,
  total,
  wants
} from './grad.ts'
import type { Grad, GradBuilder, NodeView, Ref, TrainForm } from './types.ts'

interface Standard {
  readonly hat: Ref
  /** 1/√(σ² + ε), with 1 for the axes it is taken over. */
  readonly inverse: Ref
}

function standardize(g: GradBuilder, x: Ref, axes: readonly number[], epsilon: number, centred = true): Standard {
  const a = algebra(g)
  const centre = centred ? a.sub(x, meanOver(g, x, axes, true)) : x
  const variance = meanOver(g, a.mul(centre, centre), axes, true)
  const inverse = a.div(1, a.sqrt(a.add(variance, epsilon)))
  return { hat: a.mul(centre, inverse), inverse }
}

function standardGrad(g: GradBuilder, s: Standard, d: Ref, axes: readonly number[], centred = true): Ref {
  const a = algebra(g)
  const along = a.mul(s.hat, meanOver(g, a.mul(d, s.hat), axes, true))
  const rest = centred ? a.sub(a.sub(d, meanOver(g, d, axes, true)), along) : a.sub(d, along)
  return a.mul(rest, s.inverse)
}

/** Over the axes from `axis` on, scale and bias of their shape. `outputs` beyond the first carry no gradient. */
const layer = (centred: boolean): Grad =>
  rule((g, n, dy) => {
    const a = algebra(g)
    const [x, scale] = [inputOf(g, n, 0), inputOf(g, n, 1)]
    const axis = attrInt(n.node, 'axis', -1)
    const from = axis < 0 ? axis + x.shape.length : axis
    const axes = range(x.shape.length - from, from)
    const s = standardize(g, x, axes, attrFloat(n.node, 'epsilon', 1e-5), centred)
    return [
      wants(g, n, 0) ? standardGrad(g, s, a.mul(dy, scale), axes, centred) : null,
      wants(g, n, 1) ? sumTo(g, a.mul(dy, s.hat), scale.shape) : null,
      wants(g, n, 2) ? sumTo(g, dy, inputOf(g, n, 2).shape) : null
    ].slice(0, n.node.inputs.length)
  })

/** Groups of channels of one sample; scale and bias by channel, or (before opset 21) by group. */
function grouped(g: GradBuilder, n: NodeView, dy: Ref, groups: number): readonly (Ref | null)[] {
  const a = algebra(g)
  const [x, scale] = [inputOf(g, n, 0), inputOf(g, n, 1)]
  const [batch, channels] = x.shape as [number, number]
  const inner = total(x.shape.slice(2))
  const split = (t: Ref): Ref => reshape(g, t, [batch, groups, channels / groups, inner])
  const affine = (t: Ref): Ref => reshape(g, t, [groups, (t.shape[0] as number) / groups, 1])
  const s = standardize(g, split(x), [2, 3], attrFloat(n.node, 'epsilon', 1e-5))
  const d = split(dy)
  const sum = (t: Ref): Ref => reshape(g, sumTo(g, t, affine(scale).shape), scale.shape)
  return [
    wants(g, n, 0) ? reshape(g, standardGrad(g, s, a.mul(d, affine(scale)), [2, 3]), x.shape) : null,
    wants(g, n, 1) ? sum(a.mul(d, s.hat)) : null,
    wants(g, n, 2) ? sum(d) : null
  ]
}

/** Zero mean and unit deviation over axes, by default batch and positions. ε as ONNX's function body has it. */
const meanVariance: Grad = rule((g, n, dy) => {
  const a = algebra(g)
  const x = inputOf(g, n, 0)
  const axes = attrInts(n.node, 'axes') ?? [0, 2, 3]
  const centre = a.sub(x, meanOver(g, x, axes, true))
  const deviation = a.sqrt(meanOver(g, a.mul(centre, centre), axes, true))
  const s = { hat: outputOf(g, n), inverse: a.div(1, a.add(deviation, 1e-9)) }
  return [standardGrad(g, s, dy, axes)]
})

/** x / ‖x‖ along an axis: (dy − y·Σ dy·s) / ‖x‖, s = y for the 2-norm, sign x for the 1-norm. */
const lp: Grad = rule((g, n, dy) => {
  const a = algebra(g)
  const [x, y] = [inputOf(g, n, 0), outputOf(g, n)]
  const axis = attrInt(n.node, 'axis', -1)
  const axes = [axis < 0 ? axis + x.shape.length : axis]
  const isFirst = attrInt(n.node, 'p', 2) === 1
  const norm = isFirst ? sumOver(g, a.abs(x), axes, true) : a.sqrt(sumOver(g, a.mul(x, x), axes, true))
  const along = isFirst
    ? a.mul(a.sign(x), sumOver(g, a.mul(dy, y), axes, true))
    : a.mul(y, sumOver(g, a.mul(dy, y), axes, true))
  return [a.div(a.sub(dy, along), norm)]
})

// ---------------------------------------------------------------- BatchNormalization

/** `[batch, channels, positions]`: what sums by channel read. */
const byChannel = (g: GradBuilder, x: Ref): Ref =>
  reshape(g, x, [x.shape[0] as number, x.shape[1] ?? 1, total(x.shape.slice(2))])

const axes02 = (g: GradBuilder): Ref => int64s(g, [0, 2])

const channelShape = (x: Ref): number[] => x.shape.map((d, i) => (i === 1 ? d : 1))

/** Per channel: Σ dy and Σ dy·x. */
function sums(g: GradBuilder, x: Ref, dy: Ref): readonly [Ref, Ref] {
  const d = byChannel(g, dy)
  return [g.op('ReduceSum', [d, axes02(g)], { keepdims: 0 }), sumOver(g, g.op('Mul', [d, byChannel(g, x)]), [0, 2])]
}

/** With running statistics: an affine map by channel. */
const batchFrozen: Grad = rule((g, n, dy) => {
  const a = algebra(g)
  const [x, scale, , mean, variance] = range(5).map((i) => inputOf(g, n, i)) as [Ref, Ref, Ref, Ref, Ref]
  const inverse = a.div(1, a.sqrt(a.add(variance, attrFloat(n.node, 'epsilon', 1e-5))))
  const factor = a.mul(scale, inverse)
  const [sum, product] = sums(g, x, dy)
  const spread = a.sub(product, a.mul(mean, sum))
  const cubed = (): Ref => a.mul(factor, a.mul(inverse, inverse))
  return [
    wants(g, n, 0) ? a.mul(dy, reshape(g, factor, channelShape(x))) : null,
    wants(g, n, 1) ? a.mul(inverse, spread) : null,
    wants(g, n, 2) ? sum : null,
    wants(g, n, 3) ? a.neg(a.mul(factor, sum)) : null,
    wants(g, n, 4) ? a.mul(a.mul(cubed(), spread), -0.5) : null
  ]
})

/**
 * With the statistics of the batch, as a graph of its own (the engine's training_mode overwrites its inputs). The
 * normalization by given statistics is the engine's fused affine map, forward and backward.
 * dx = a·dy + b·x + c with a = γr, b = −a·r²·(Σdy·x − μ·Σdy)/m, c = −a·Σdy/m − b·μ over m elements.
 */
export function batchTrain(g: GradBuilder, n: NodeView): TrainForm {
  const a = algebra(g)
  const [x, scale, bias] = range(3).map((i) => inputOf(g, n, i)) as [Ref, Ref, Ref]
  const count = total(x.shape) / (x.shape[1] as number)
  const epsilon = attrFloat(n.node, 'epsilon', 1e-5)
  const columns = byChannel(g, x)
  const mean = g.op('ReduceMean', [columns, axes02(g)], { keepdims: 0 })
  const squares = g.op('ReduceSumSquare', [columns, axes02(g)], { keepdims: 0 })
  const variance = a.max(a.sub(a.mul(squares, 1 / count), a.mul(mean, mean)), 0)
  const y = g.op('BatchNormalization', [x, scale, bias, mean, variance], { epsilon: { kind: 'float', value: epsilon } })
  const momentum = attrFloat(n.node, 'momentum', 0.9)
  return {
    outputs: [y],
    statistics: [
      { batch: mean, running: 3, momentum },
      { batch: variance, running: 4, momentum }
    ],
    grad: ([dy]) => {
      if (!dy) return [null, null, null, null, null]
      const inverse = a.div(1, a.sqrt(a.add(variance, epsilon)))
      const [sum, product] = sums(g, x, dy)
      const byScale = a.mul(inverse, a.sub(product, a.mul(mean, sum)))
      const factor = a.mul(scale, inverse)
      const slope = a.mul(a.mul(factor, a.mul(inverse, byScale)), -1 / count)
      const offset = a.sub(a.mul(a.mul(factor, sum), -1 / count), a.mul(slope, mean))
      const dx = (): Ref => a.add(a.mul(dy, reshape(g, factor, channelShape(x))), affine(g, x, slope, offset))
      return [wants(g, n, 0) ? dx() : null, wants(g, n, 1) ? byScale : null, wants(g, n, 2) ? sum : null, null, null]
    }
  }
}

/** x·slope + offset by channel, in one pass. */
function affine(g: GradBuilder, x: Ref, slope: Ref, offset: Ref): Ref {
  const [zero, one] = [0, 1].map((v) => expand(g, constantLike(g, slope, v), slope.shape)) as [Ref, Ref]
  return g.op('BatchNormalization', [x, slope, offset, zero, one], { epsilon: { kind: 'float', value: 0 } })
}

export const normGrads: Readonly<Record<string, Grad>> = {
  BatchNormalization: batchFrozen,
  LayerNormalization: layer(true),
  RMSNormalization: layer(false),
  SimplifiedLayerNormalization: layer(false),
  GroupNormalization: rule((g, n, dy) => grouped(g, n, dy, attrInt(n.node, 'num_groups', 1))),
  InstanceNormalization: rule((g, n, dy) => grouped(g, n, dy, inputOf(g, n, 0).shape[1] as number)),
  MeanVarianceNormalization: meanVariance,
  LpNormalization: lp
}

/**
 * Linear layers on codes. With data x of zero point z, weights w that are codes less their zero point, and a bias b in units
 * of s_x · s_w, channel c of the output is
 *
 *     sum = Σ (x − z) · w + b               whole numbers of 32 bits
 *     y   = held(nearest(float(sum) · m) + z_y),    m = float(s_x · s_w / s_y)
 *
 * in float32, halves to even; what is left as floats is float(sum) · float(s_x · s_w). What lies outside a map is z.
 */
import type { Expr, Inside, Stmt } from '../../ir/loops.ts'
import { elementCount } from '../../ir/tensor.ts'
import type { Linear } from '../../ops/types.ts'
import type { Node } from '../../types.ts'
import type { Slide } from '../kernels/copy.ts'
import { type MapsShape, raisedBits, roundedTo } from '../kernels/recode.ts'
import type { Chosen } from '../kernels/tiles.ts'
import { type Layer, type Made, none, spatial } from '../linear.ts'
import type { Places } from '../steps.ts'
import { type Coded, type Quantized, quantizedBehind } from './codes.ts'
import type { IntegerSteps } from './context.ts'
import type { Joined } from './joined.ts'

/** A layer whose data and weights are codes. */
export interface CodedLayer {
  readonly node: Node
  readonly linear: Linear
  readonly x: readonly number[]
  readonly y: readonly number[]
  readonly data: Coded
  /** Absent: floats. */
  readonly behind?: Quantized
  /** Of an output channel and a term. */
  code(channel: number, term: number): number
  /** For each output channel; starts have the zero point of the data in them. */
  readonly starts: Int32Array
  readonly scales: Float32Array
  /** No data makes a scaled sum of 2²² or more. */
  readonly small: boolean
}

export function codedLayer({ model }: IntegerSteps, layer: Layer, data: Coded): CodedLayer | undefined {
  const { linear, node, weights } = layer
  const codes = weights?.codes
  if (!codes) return undefined
  const behind = quantizedBehind(model, node.outputs[0] as string)
  const channels = linear.groups * linear.outputs
  const terms = linear.inputs * linear.kernel
  const { scale, zero } = data.coding
  const starts = new Int32Array(channels)
  const scales = new Float32Array(channels)
  let small = true
  for (let c = 0; c < channels; c++) {
    const unit = scale * codes.scale(c)
    const bias = unit === 0 ? 0 : Math.round(layer.bias(c) / unit)
    let [sum, most] = [0, 0]
    for (let t = 0; t < terms; t++) {
      const w = codes.code(c, t)
      sum += w
      most += Math.abs(w) * 255
    }
    if (most + Math.abs(bias) + 255 * Math.abs(sum) >= 2 ** 31) return undefined
    starts[c] = bias - zero * sum
    scales[c] = behind ? unit / behind.to.coding.scale : unit
    small &&= (most + Math.abs(starts[c] as number)) * (scales[c] as number) < 2 ** 22 - 256
  }
  return {
    ...{ node, linear, x: layer.x, y: layer.y, data, code: codes.code, starts, scales, small },
    ...(behind ? { behind } : {})
  }
}

export const filledUp = <T extends Int32Array | Float32Array>(data: T, count: number): T => {
  const out = new (data.constructor as new (n: number) => T)(count)
  out.set(data)
  return out
}

/** What a step of a layer says and takes along. */
export function made(
  l: CodedLayer,
  what: string,
  from: string,
  to: string,
  scratch: number,
  code: (places: Places) => Stmt[],
  kernel?: Chosen,
  joined?: Joined & { readonly key: string }
): Made {
  const nodes = [...(l.behind?.nodes ?? []), ...(joined?.nodes ?? [])]
  const kind = l.behind ? 'on codes' : 'codes to floats'
  return {
    with: nodes,
    step: {
      nodes: [l.node.name, ...nodes.map((n) => n.name)],
      ...{ what: `${what}, ${kind}`, reads: [from, ...(joined ? [joined.key] : [])], writes: [to], scratch, code },
      ...(kernel ? { kernel } : {})
    }
  }
}

/** Codes of scaled sums; the zero point is a parameter, so that layers that differ in it alone share their code. */
export function roundingIn({ behind, small }: CodedLayer, inside: Inside): (x: Expr) => Expr {
  if (!behind) return (x) => x
  const { zero } = behind.to.coding
  const raised = inside.take(raisedBits(zero))
  return (x) => roundedTo(x, { zero, bounds: behind.bounds, small }, raised)
}

export const outputOf = (steps: IntegerSteps, l: CodedLayer, form: 'rows' | 'maps', bytes: number): string =>
  l.behind ? steps.made(l.behind.to, form, bytes) : steps.floats(l.node.outputs[0] as string, bytes)

export interface Geometry {
  readonly y: Slide
  readonly x: Slide
  readonly samples: number
  readonly positions: number
  readonly inside: number
  readonly title: string
}

export function geometryOf({ linear, x, y }: CodedLayer): Geometry | undefined {
  const { patch } = linear
  const rank = patch?.axes.length ?? 0
  if (!patch || patch.transposed || rank > 2 || rank === 0 || linear.axes.in !== -1 - rank) return undefined
  if (patch.axes.some((a) => !a.pads)) return undefined
  const axes = rank === 1 ? [none, ...patch.axes] : patch.axes
  const [size, out] = [spatial(x, rank), spatial(y, rank)]
  const [sy, sx] = axes.map(
    (a, i): Slide => ({
      ...{ size: size[i] as number, out: out[i] as number, kernel: a.kernel, stride: a.stride, dilation: a.dilation },
      before: a.pads?.before ?? 0
    })
  ) as [Slide, Slide]
  const [ins, outs] = [linear.inputs * linear.groups, linear.outputs * linear.groups]
  return {
    ...{ y: sy, x: sx, samples: x[0] as number, positions: elementCount(out), inside: elementCount(size) },
    title: `${ins} × ${size.join('×')} → ${outs} × ${out.join('×')}`
  }
}

export const shapeOf = (channels: number, g: Geometry): MapsShape => ({
  ...{ samples: g.samples, channels, positions: g.positions }
})

/**
 * Sliding windows: how convolutions and pools lay kernels over spatial axes.
 * out = floor((in + padBegin + padEnd − ((kernel − 1)·dilation + 1)) / stride) + 1, rounded up with `ceil_mode`, where
 * the last window must start in the input or its leading padding (ONNX Conv, MaxPool; agrees with ONNX Runtime).
 */
import { addDims, divDims, mulDims, unknownDim } from '../base/dim.ts'
import { assert } from '../base/errors.ts'
import { attrInt, attrInts, attrString, attrs } from '../ir/attrs.ts'
import type { Dim, Node } from '../types.ts'
import { fail } from './op.ts'
import type { Known, NodeFacts, PatchAxis } from './types.ts'

/** One spatial axis of a window. */
export interface WindowAxis {
  readonly kernel: Dim
  readonly stride: number
  readonly dilation: number
  readonly padBegin: number
  readonly padEnd: number
}

/** Attributes of a windowed operator over all spatial axes. */
export interface Windows {
  readonly axes: readonly WindowAxis[]
  readonly autoPad: string
  readonly ceil: boolean
}

/** Reads kernel_shape (or takes `kernel`, from a weight's shape), strides, dilations, pads, auto_pad and ceil_mode. */
export function windowsOf(n: NodeFacts, kernel: readonly Dim[]): Windows {
  const rank = kernel.length
  const given = attrInts(n.node, 'kernel_shape')
  const [strides, dilations, pads] = [
    listOf(n, 'strides', rank, 1),
    listOf(n, 'dilations', rank, 1),
    listOf(n, 'pads', 2 * rank, 0)
  ]
  if (given && given.length !== rank) fail(n, `kernel_shape of ${given.length} numbers for ${rank} spatial axes`)
  if (strides.some((s) => s < 1)) fail(n, `strides [${strides}]`)
  const axes = kernel.map((k, i) => ({
    kernel: given?.[i] ?? k,
    stride: strides[i] as number,
    dilation: dilations[i] as number,
    padBegin: pads[i] as number,
    padEnd: pads[rank + i] as number
  }))
  return { axes, autoPad: attrString(n.node, 'auto_pad', 'NOTSET'), ceil: attrInt(n.node, 'ceil_mode', 0) !== 0 }
}

function listOf(n: NodeFacts, name: string, count: number, fallback: number): readonly number[] {
  const given = attrInts(n.node, name)
  if (!given || given.length === 0) return Array.from({ length: count }, () => fallback)
  if (given.length !== count) fail(n, `${name} of ${given.length} numbers where ${count} are needed`)
  return given
}

/** Spatial sizes after sliding over `sizes`. Throws `E_SHAPE` when a window is larger than its padded input. */
export function slide(n: NodeFacts, sizes: readonly Dim[], windows: Windows): readonly Dim[] {
  return windows.axes.map((axis, i) => slideAxis(n, sizes[i] as Dim, axis, windows))
}

function slideAxis(n: NodeFacts, size: Dim, a: WindowAxis, { autoPad, ceil }: Windows): Dim {
  if (autoPad === 'SAME_UPPER' || autoPad === 'SAME_LOWER') return floorDiv(addDims(size, a.stride - 1), a.stride)
  const [begin, end] = autoPad === 'VALID' ? [0, 0] : [a.padBegin, a.padEnd]
  const room = addDims(addDims(size, begin + end), mulDims(extent(a), -1))
  if (typeof room === 'number' && room + a.stride < 0) fail(n, `a window of ${extent(a)} over ${size} values`)
  const out = floorDiv(addDims(room, a.stride + (ceil ? a.stride - 1 : 0)), a.stride)
  if (!ceil || a.stride === 1) return out
  // No window can start in the trailing padding.
  const span = extent(a)
  if (typeof span === 'number' && end + a.stride <= span) return out
  if (typeof out !== 'number' || typeof size !== 'number') return unknownDim
  return (out - 1) * a.stride >= size + begin ? out - 1 : out
}

/** Values that a dilated kernel spans. */
export function extent(a: WindowAxis): Dim {
  return addDims(mulDims(addDims(a.kernel, -1), a.dilation), 1)
}

/** floor(d / by), with whole multiples taken out of a symbolic `d`, so that equal sizes are spelled alike. */
export function floorDiv(d: Dim, by: number): Dim {
  const constant = typeof d === 'string' ? /\+(-?\d+)$/.exec(d)?.[1] : undefined
  if (constant === undefined) return divDims(d, by)
  const whole = Math.floor(Number(constant) / by)
  return addDims(divDims(addDims(d, -whole * by), by), whole)
}

/** `[batch, channels, ...spatial]` taken apart, also where channels come last. */
export function splitImage(
  shape: readonly Dim[],
  channelsLast: boolean
): { batch: Dim; channels: Dim; spatial: Dim[] } {
  const batch = shape[0] as Dim
  return channelsLast
    ? { batch, channels: shape.at(-1) as Dim, spatial: shape.slice(1, -1) }
    : { batch, channels: shape[1] as Dim, spatial: shape.slice(2) }
}

/** The reverse of `splitImage`. */
export function joinImage(batch: Dim, channels: Dim, spatial: readonly Dim[], channelsLast: boolean): Dim[] {
  return channelsLast ? [batch, ...spatial, channels] : [batch, channels, ...spatial]
}

/** Operators of this domain of ONNX Runtime always have channels last. */
export const nhwcDomain = 'com.ms.internal.nhwc'

export const isChannelsLast = (n: NodeFacts): boolean =>
  n.node.domain === nhwcDomain || attrInt(n.node, 'channels_last', 0) !== 0

/** Product of all sizes of a value; `undefined` where any is not a number. */
export function volume(known: Known | undefined, from = 0, to?: number): number | undefined {
  let product = 1
  if (!known?.shape) return undefined
  for (const d of known.shape.slice(from, to)) {
    if (typeof d !== 'number') return undefined
    product *= d
  }
  return product
}

/** Product of factors, `undefined` where any is. */
export function times(...factors: readonly (Dim | undefined)[]): number | undefined {
  let product = 1
  for (const f of factors) {
    if (typeof f !== 'number') return undefined
    product *= f
  }
  return product
}

/** The node with windows of these axes, all sizes and pads spelled out. Pads must be known. */
export function withAxes(node: Node, axes: readonly PatchAxis[]): Node {
  const { auto_pad: _, ...rest } = node.attrs
  const sides = axes.map((a) => {
    assert(a.pads, `the pads of ${node.name} are not known`)
    return a.pads
  })
  return {
    ...node,
    attrs: {
      ...rest,
      ...attrs({
        kernel_shape: axes.map((a) => a.kernel),
        strides: axes.map((a) => a.stride),
        dilations: axes.map((a) => a.dilation),
        pads: [...sides.map((p) => p.before), ...sides.map((p) => p.behind)]
      })
    }
  }
}

/** Windows of convolutions and pools: their sizes in DL4J's four modes, and how ONNX says them. */

import type { Dim } from '../../../types.ts'
import { type Conf, text, wholes } from '../conf.ts'
import type { Net, NodeAttrs, Signal } from '../net.ts'

export interface Window {
  /** The axes that it goes over, as `HW`. */
  readonly axes: string
  readonly kernel: readonly number[]
  readonly stride: readonly number[]
  readonly dilation: readonly number[]
  readonly padding: readonly number[]
  readonly mode: string
}

/** Names of the fields, where a layer calls them otherwise. */
export interface WindowNames {
  readonly kernel?: string
  readonly mode?: string
}

export function windowOf(
  c: Conf,
  axes: string,
  { kernel = 'kernelSize', mode = 'convolutionMode' }: WindowNames = {}
): Window {
  const n = axes.length
  return {
    axes,
    kernel: wholes(c, kernel, n),
    stride: wholes(c, 'stride', n, 1).map((s) => Math.max(1, s)),
    dilation: wholes(c, 'dilation', n, 1).map((d) => Math.max(1, d)),
    padding: wholes(c, 'padding', n, 0),
    mode: text(c, mode, 'Truncate')
  }
}

/** Places that a window covers along its i-th axis, its gaps included. */
const extent = (w: Window, i: number): number => ((w.kernel[i] as number) - 1) * (w.dilation[i] as number) + 1

/** Results along an axis of `n` places; `undefined` where not one window fits. */
export function slid(w: Window, n: number, axis: string): number | undefined {
  const i = w.axes.indexOf(axis)
  if (i < 0) return n
  const [s, p] = [w.stride[i] as number, w.padding[i] as number]
  let out: number
  if (w.mode === 'Same') out = Math.ceil(n / s)
  else if (w.mode === 'Causal') out = Math.floor((n - 1) / s) + 1
  else {
    const free = n + 2 * p - extent(w, i)
    if (w.mode === 'Strict' && free % s !== 0) return undefined
    out = Math.floor(free / s) + 1
  }
  return out > 0 ? out : undefined
}

/** Sizes behind a window: numbers where they are known, names where they stay. */
export function sizesBehind(x: Signal, w: Window, size = slid): Signal['sizes'] {
  const out: Record<string, Dim> = { ...x.sizes }
  for (const [i, axis] of Array.from(w.axes).entries()) {
    const n = x.sizes[axis]
    const stays = w.mode === 'Same' && w.stride[i] === 1
    if (typeof n === 'number') out[axis] = size(w, n, axis) ?? '?'
    else if (!stays) out[axis] = '?'
  }
  return out
}

/** Zeros in front of and behind each axis; `undefined` where they follow from sizes that are not known. */
function pads(x: Signal, w: Window): readonly number[] | undefined {
  const ends = w.kernel.map((_, i): readonly [number, number] | undefined => {
    const [s, p, k] = [w.stride[i] as number, w.padding[i] as number, extent(w, i)]
    if (w.mode === 'Causal') return [k - 1, 0]
    if (w.mode !== 'Same') return [p, p]
    if (k === 1) return [0, 0]
    const n = x.sizes[w.axes[i] as string]
    if (s !== 1 && typeof n !== 'number') return undefined
    const total = Math.max(0, s === 1 ? k - 1 : (Math.ceil(Number(n) / s) - 1) * s + k - Number(n))
    return [Math.floor(total / 2), total - Math.floor(total / 2)]
  })
  if (ends.some((e) => e === undefined)) return undefined
  return [...ends.map((e) => e?.[0] ?? 0), ...ends.map((e) => e?.[1] ?? 0)]
}

/** The attributes of a Conv or a pool; what is ONNX's default is left out. */
export function slidingAttrs(net: Net, x: Signal, w: Window): NodeAttrs {
  if (!['Same', 'Truncate', 'Strict', 'Causal'].includes(w.mode))
    throw net.fail(`the convolution mode ${w.mode} is not known`, 'E_UNSUPPORTED')
  for (const [i, axis] of Array.from(w.axes).entries()) {
    const n = x.sizes[axis]
    if (w.kernel[i] === 0) throw net.fail('a kernel of size 0')
    if (typeof n === 'number' && slid(w, n, axis) === undefined)
      throw net.fail(`a window of ${extent(w, i)} places does not fit ${n} places (${w.mode})`)
  }
  const padding = pads(x, w)
  return {
    kernel_shape: w.kernel,
    ...(w.stride.some((s) => s !== 1) ? { strides: w.stride } : {}),
    ...(w.dilation.some((d) => d !== 1) ? { dilations: w.dilation } : {}),
    ...(padding ? (padding.some((p) => p !== 0) ? { pads: padding } : {}) : { auto_pad: 'SAME_UPPER' })
  }
}

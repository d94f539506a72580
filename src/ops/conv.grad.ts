/**
 * Gradients of convolutions, each by the fastest of several equal recipes on CPU.
 * dX: Conv of dY with W flipped and its channels swapped (stride 1), else ConvTranspose of dY with W.
 * dW[m,c,k] = Σ_{n,o} dY[n,m,o] · X[n,c, o·s + k·d − p]: one product of matrices over unfolded X, or over shifted X for
 * each tap k; depthwise a product and a sum for each tap; by groups a Conv with batch and channels swapped.
 * ConvTranspose is the same with X and dY in each other's place.
 */
import { attrInt, attrInts, attrString } from '../ir/attrs.ts'
import { tensor } from '../ir/tensor.ts'
import { flip, inputOf, pad, range, reshape, rule, slice, sumOver, total, transpose, wants } from './grad.ts'
import type { Grad, GradBuilder, NodeView, Ref } from './types.ts'

/** How a kernel slides over the spatial axes of `large`, giving `small`: Conv reads large, ConvTranspose writes it. */
export interface Slide {
  readonly group: number
  readonly kernel: readonly number[]
  readonly strides: readonly number[]
  readonly dilations: readonly number[]
  readonly before: readonly number[]
  readonly after: readonly number[]
}

export const isAll = (list: readonly number[], value: number): boolean => list.every((v) => v === value)
export const spatial = (x: Ref): readonly number[] => x.shape.slice(2)
export const reach = (s: Slide, i: number): number => ((s.kernel[i] as number) - 1) * (s.dilations[i] as number)

/** Attributes of a Conv, or of the Conv whose transpose a ConvTranspose is. */
export function slideOf(n: NodeView, large: Ref, small: Ref, weight: Ref): Slide {
  const rank = large.shape.length - 2
  const list = (name: string): readonly number[] => attrInts(n.node, name) ?? range(rank).map(() => 1)
  const s = {
    group: attrInt(n.node, 'group', 1),
    kernel: weight.shape.slice(2),
    strides: list('strides'),
    dilations: list('dilations'),
    before: [] as readonly number[],
    after: [] as readonly number[]
  }
  const auto = attrString(n.node, 'auto_pad', 'NOTSET')
  const pads = attrInts(n.node, 'pads') ?? range(2 * rank).map(() => 0)
  const isGiven = auto === 'NOTSET' && !attrInts(n.node, 'output_shape')?.length
  if (isGiven) return { ...s, before: pads.slice(0, rank), after: pads.slice(rank) }
  if (auto === 'VALID') return { ...s, before: range(rank).map(() => 0), after: range(rank).map(() => 0) }
  const extra = attrInts(n.node, 'output_padding')
  const needed = range(rank).map((i) => {
    const span = ((small.shape[i + 2] as number) - 1) * (s.strides[i] as number) + reach(s, i) + 1
    return Math.max(0, span + (extra?.[i] ?? 0) - (large.shape[i + 2] as number))
  })
  // Only a ConvTranspose is NOTSET here: its output_shape puts the odd one first.
  const first = needed.map((p) => (auto === 'SAME_UPPER' ? Math.floor(p / 2) : Math.ceil(p / 2)))
  return { ...s, before: first, after: needed.map((p, i) => p - (first[i] as number)) }
}

const attrsOf = (s: Slide): Record<string, number | readonly number[]> => ({
  group: s.group,
  kernel_shape: s.kernel,
  strides: s.strides,
  dilations: s.dilations,
  pads: [...s.before, ...s.after]
})

// ---------------------------------------------------------------- by the data

/** Gradient by the larger side: what a Conv read. */
function byLarge(g: GradBuilder, s: Slide, large: Ref, dSmall: Ref, weight: Ref): Ref {
  const channels = large.shape[1] as number
  const room = s.kernel.map((_, i) => reach(s, i))
  const canFlip = room.every((r, i) => r >= (s.before[i] as number) && r >= (s.after[i] as number))
  if (isAll(s.strides, 1) && canFlip && (channels >= 8 || s.group > 1)) return byFlip(g, s, dSmall, weight)
  const extra = room.map((r, i) => {
    const made = ((dSmall.shape[i + 2] as number) - 1) * (s.strides[i] as number) + r + 1
    return (large.shape[i + 2] as number) - made + (s.before[i] as number) + (s.after[i] as number)
  })
  return g.op('ConvTranspose', [dSmall, weight], { ...attrsOf(s), output_padding: extra })
}

function byFlip(g: GradBuilder, s: Slide, dSmall: Ref, weight: Ref): Ref {
  const rank = s.kernel.length
  const [m, perGroup] = weight.shape as [number, number]
  const flipped = flip(g, weight, range(rank, 2))
  const grouped = reshape(g, flipped, [s.group, m / s.group, perGroup, ...s.kernel])
  const swapped = transpose(g, grouped, [0, 2, 1, ...range(rank, 3)])
  const back = reshape(g, swapped, [s.group * perGroup, m / s.group, ...s.kernel])
  const around = (pads: readonly number[]): number[] => pads.map((p, i) => reach(s, i) - p)
  return g.op('Conv', [dSmall, back], { ...attrsOf(s), pads: [...around(s.before), ...around(s.after)] })
}

// ---------------------------------------------------------------- by the weight

/** Gradient by a weight `[small channels, large channels / group, …kernel]`. */
function byWeight(g: GradBuilder, s: Slide, large: Ref, small: Ref, shape: readonly number[]): Ref {
  const channels = large.shape[1] as number
  const taps = total(s.kernel)
  const isPointwise = taps === 1 && isAll(s.strides, 1) && isAll(s.before, 0) && isAll(s.after, 0)
  if (s.group === channels && small.shape[1] === channels) return byShift(g, s, large, small, shape)
  if (s.group > 1) return bySwap(g, s, large, small, shape)
  if (isPointwise) return byPoint(g, large, small, shape)
  if (!isAll(s.strides, 1)) return byUnfold(g, s, large, small, shape)
  return byTaps(g, s, large, small, shape, channels >= 16)
}

/** Positions of the kernel, row-major. */
export function tapsOf(kernel: readonly number[]): readonly (readonly number[])[] {
  return kernel.reduce<number[][]>((all, k) => all.flatMap((t) => range(k).map((i) => [...t, i])), [[]])
}

/** The part of padded `large` that meets one tap: as large as `small`. */
function under(g: GradBuilder, s: Slide, padded: Ref, tap: readonly number[], small: Ref): Ref {
  return slice(
    g,
    padded,
    tap.map((t, i) => {
      const [start, step] = [t * (s.dilations[i] as number), s.strides[i] as number]
      return { axis: i + 2, start, end: start + ((small.shape[i + 2] as number) - 1) * step + 1, step }
    })
  )
}

const around = (g: GradBuilder, s: Slide, x: Ref): Ref => pad(g, x, [0, 0, ...s.before], [0, 0, ...s.after])
export const swapBatch = (g: GradBuilder, x: Ref): Ref => transpose(g, x, [1, 0, ...range(x.shape.length - 2, 2)])

/** Channels first, all else in one axis. */
export const asMatrix = (g: GradBuilder, x: Ref): Ref =>
  reshape(g, x, [x.shape[0] as number, total(x.shape) / (x.shape[0] as number)])

/** A product for each sample, then their sum; or one product of all samples, where moving the channels in front is cheaper. */
function byPoint(g: GradBuilder, large: Ref, small: Ref, shape: readonly number[]): Ref {
  const [batch, m] = small.shape as [number, number]
  const c = large.shape[1] as number
  const positions = total(spatial(large))
  if (4 * m * c > (m + c) * positions) {
    const [rows, columns] = [small, large].map((x) => asMatrix(g, swapBatch(g, x))) as [Ref, Ref]
    return reshape(g, g.op('Gemm', [rows, columns], { transB: 1 }), shape)
  }
  const columns = transpose(g, reshape(g, large, [batch, c, positions]), [0, 2, 1])
  const products = g.op('MatMul', [reshape(g, small, [batch, m, positions]), columns])
  return reshape(g, sumOver(g, products, [0]), shape)
}

function byShift(g: GradBuilder, s: Slide, large: Ref, small: Ref, shape: readonly number[]): Ref {
  const padded = around(g, s, large)
  const [batch, m] = small.shape as [number, number]
  const flat = (x: Ref): Ref => reshape(g, x, [batch, m, total(spatial(small))])
  const parts = tapsOf(s.kernel).map((tap) => {
    const product = g.op('Mul', [flat(under(g, s, padded, tap, small)), flat(small)])
    return reshape(g, sumOver(g, product, [0, 2]), [m, 1])
  })
  return reshape(g, joined(g, parts, 1), shape)
}

function byTaps(g: GradBuilder, s: Slide, large: Ref, small: Ref, shape: readonly number[], oneByOne: boolean): Ref {
  const channels = large.shape[1] as number
  const m = small.shape[1] as number
  const padded = around(g, s, swapBatch(g, large))
  const rows = asMatrix(g, swapBatch(g, small))
  const product = (columns: Ref): Ref => g.op('Gemm', [rows, columns], { transB: 1 })
  if (oneByOne) {
    const shifted = tapsOf(s.kernel).map((tap) => asMatrix(g, under(g, s, padded, tap, small)))
    const parts = shifted.map((x) => reshape(g, product(x), [m, channels, 1]))
    return reshape(g, joined(g, parts, 2), shape)
  }
  const taps = total(s.kernel)
  const columns = reshape(g, unfolded(g, s, padded, small), [taps * channels, total(small.shape) / m])
  const all = reshape(g, product(columns), [m, taps, channels])
  return reshape(g, transpose(g, all, [0, 2, 1]), shape)
}

/**
 * What meets each tap of the kernel, taps first. Axis by axis, the last first: of k·k taps 2·k copies are made, and those by
 * the other axes are of whole rows.
 */
function unfolded(g: GradBuilder, s: Slide, padded: Ref, small: Ref): Ref {
  return range(s.kernel.length).reduceRight((x, i) => {
    const [step, size] = [s.strides[i] as number, small.shape[i + 2] as number]
    const axis = x.shape.length - s.kernel.length + i
    const parts = range(s.kernel[i] as number).map((t) => {
      const start = t * (s.dilations[i] as number)
      const part = slice(g, x, [{ axis, start, end: start + (size - 1) * step + 1, step }])
      return reshape(g, part, [1, ...part.shape])
    })
    return joined(g, parts, 0)
  }, padded)
}

const joined = (g: GradBuilder, parts: readonly Ref[], axis: number): Ref =>
  parts.length === 1 ? (parts[0] as Ref) : g.op('Concat', parts, { axis })

/** Unfolds by a depthwise Conv whose kernels are one-hot. */
function byUnfold(g: GradBuilder, s: Slide, large: Ref, small: Ref, shape: readonly number[]): Ref {
  const channels = large.shape[1] as number
  const taps = total(s.kernel)
  const oneHot = new Float32Array(channels * taps * taps)
  for (let c = 0; c < channels * taps; c++) oneHot[c * taps + (c % taps)] = 1
  const kernel = g.constant(tensor(large.dtype, [channels * taps, 1, ...s.kernel], oneHot))
  const exact = fitted(g, s, large, small)
  const unfolded = g.op('Conv', [exact.x, kernel], { ...attrsOf(s), group: channels, pads: exact.pads })
  const columns = asMatrix(g, swapBatch(g, unfolded))
  return reshape(g, g.op('Gemm', [asMatrix(g, swapBatch(g, small)), columns], { transB: 1 }), shape)
}

/** `large` and pads from which the kernel gives exactly the size of `small`; more only where a ConvTranspose wrote on. */
function fitted(g: GradBuilder, s: Slide, large: Ref, small: Ref): { x: Ref; pads: readonly number[] } {
  const used = s.kernel.map(
    (_, i) =>
      ((small.shape[i + 2] as number) - 1) * (s.strides[i] as number) + reach(s, i) + 1 - (s.before[i] as number)
  )
  const cut = used.map((end, i) => ({ axis: i + 2, start: 0, end: Math.min(end, large.shape[i + 2] as number) }))
  const after = used.map((end, i) => Math.max(0, end - (large.shape[i + 2] as number)))
  return { x: slice(g, large, cut), pads: [...s.before, ...after] }
}

/** A Conv over the batch as channels: strides and dilations change places. */
function bySwap(g: GradBuilder, s: Slide, large: Ref, small: Ref, shape: readonly number[]): Ref {
  const [m, perGroup] = shape as [number, number]
  const batch = large.shape[0] as number
  const rank = s.kernel.length
  const { x, pads } = fitted(g, s, large, small)
  const grouped = reshape(g, x, [batch, s.group, perGroup, ...spatial(x)])
  const swapped = transpose(g, grouped, [2, 1, 0, ...range(rank, 3)])
  const made = g.op('Conv', [reshape(g, swapped, [perGroup, s.group * batch, ...spatial(x)]), swapBatch(g, small)], {
    group: s.group,
    strides: s.dilations,
    dilations: s.strides,
    pads
  })
  const kernel = slice(
    g,
    made,
    s.kernel.map((k, i) => ({ axis: i + 2, start: 0, end: k }))
  )
  return reshape(g, swapBatch(g, kernel), [m, perGroup, ...s.kernel])
}

// ---------------------------------------------------------------- rules

const biasGrad = (g: GradBuilder, n: NodeView, dy: Ref): Ref | null =>
  wants(g, n, 2) ? sumOver(g, dy, [0, ...range(dy.shape.length - 2, 2)]) : null

const conv: Grad = rule((g, n, dy) => {
  const [x, w] = [inputOf(g, n, 0), inputOf(g, n, 1)]
  const s = slideOf(n, x, dy, w)
  return [
    wants(g, n, 0) ? byLarge(g, s, x, dy, w) : null,
    wants(g, n, 1) ? byWeight(g, s, x, dy, w.shape) : null,
    biasGrad(g, n, dy)
  ].slice(0, n.node.inputs.length)
})

const convTranspose: Grad = rule((g, n, dy) => {
  const [x, w] = [inputOf(g, n, 0), inputOf(g, n, 1)]
  const s = slideOf(n, dy, x, w)
  const byData = (): Ref => {
    const { x: large, pads } = fitted(g, s, dy, x)
    return g.op('Conv', [large, w], { ...attrsOf(s), pads })
  }
  return [
    wants(g, n, 0) ? byData() : null,
    wants(g, n, 1) ? byWeight(g, s, dy, x, w.shape) : null,
    biasGrad(g, n, dy)
  ].slice(0, n.node.inputs.length)
})

export const convGrads: Readonly<Record<string, Grad>> = { Conv: conv, ConvTranspose: convTranspose }

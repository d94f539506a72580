/** Linear layers: the facet of convolutions and matrix products, and what can be asked of any of them. */
import { attrFloat, attrInt, attrInts, attrString } from '../ir/attrs.ts'
import { elementCount } from '../ir/tensor.ts'
import type { Dim } from '../types.ts'
import { isGiven, shapeOf } from './op.ts'
import type { Linear, NodeFacts, Patch, PatchAxis } from './types.ts'
import { extent, isChannelsLast, type WindowAxis, windowsOf } from './window.ts'

/** Positions of a layer's inputs; `bias` absent: the operator takes none. */
export interface Places {
  readonly data?: number
  readonly weight: number
  readonly bias?: number
}

/** The sizes of an input, where all are numbers. */
function sizesOf(n: NodeFacts, input: number): readonly number[] | undefined {
  const shape = shapeOf(n, input)
  return shape?.every((d): d is number => typeof d === 'number') ? shape : undefined
}

/** Something besides the linear layer is done in the same node. */
const isFused = (n: NodeFacts): boolean => attrString(n.node, 'activation', '') !== ''

const biasAt = (input: number | undefined, beta: number): Pick<Linear, 'bias'> =>
  input === undefined ? {} : { bias: { input, beta } }

// ---------------------------------------------------------------- matrices

/** A product with a matrix at input `weight`, [inputs, outputs], or the other way round with `transB`. */
export function matrixLinear(n: NodeFacts, { data = 0, weight, bias }: Places): Linear | undefined {
  const [rows, columns, ...more] = sizesOf(n, weight) ?? []
  if (rows === undefined || columns === undefined || more.length > 0) return undefined
  const [turnsData, turnsWeight, ...turnsBatch] = ['transA', 'transB', 'transBatchA', 'transBatchB'].map(
    (name) => attrInt(n.node, name, 0) !== 0
  )
  if (turnsBatch.includes(true)) return undefined
  const [inputs, outputs] = turnsWeight ? [columns, rows] : [rows, columns]
  const strides = turnsWeight ? { out: inputs, in: 1 } : { out: 1, in: outputs }
  return {
    data,
    weight,
    ...{ groups: 1, outputs, inputs, kernel: 1 },
    strides: { group: inputs * outputs, ...strides, kernel: 1 },
    alpha: attrFloat(n.node, 'alpha', 1),
    ...biasAt(bias, attrFloat(n.node, 'beta', 1)),
    axes: { in: turnsData ? -2 : -1, out: -1 }
  }
}

// ---------------------------------------------------------------- convolutions

/** A convolution with filters [outputs, inputs of a group, …kernel] at input `weight`. */
export function convLinear(n: NodeFacts, { data = 0, weight, bias }: Places): Linear | undefined {
  const [all, inputs, ...kernel] = sizesOf(n, weight) ?? []
  const groups = attrInt(n.node, 'group', 1)
  if (all === undefined || inputs === undefined || kernel.length === 0 || all % groups !== 0) return undefined
  const [outputs, size] = [all / groups, elementCount(kernel)]
  const axis = isChannelsLast(n) ? -1 : -1 - kernel.length
  return {
    data,
    weight,
    ...{ groups, outputs, inputs, kernel: size },
    strides: { group: outputs * inputs * size, out: inputs * size, in: size, kernel: 1 },
    alpha: 1,
    ...biasAt(bias, 1),
    axes: { in: axis, out: axis },
    patch: patchOf(n, data, kernel)
  }
}

/** The same in a node that may add a value and apply an activation too. */
export const fusedConvLinear = (n: NodeFacts, places: Places): Linear | undefined =>
  isFused(n) || isGiven(n, 3) ? undefined : convLinear(n, places)

function patchOf(n: NodeFacts, data: number, kernel: readonly number[]): Patch {
  const { axes, autoPad } = windowsOf(n, kernel)
  const shape = shapeOf(n, data)
  const spatial = isChannelsLast(n) ? shape?.slice(1, -1) : shape?.slice(2)
  return { transposed: false, axes: axes.map((a, i) => patchAxis(a, padsOf(a, autoPad, spatial?.[i]))) }
}

const patchAxis = ({ kernel, stride, dilation }: WindowAxis, pads: PatchAxis['pads']): PatchAxis => ({
  kernel: Number(kernel),
  stride,
  dilation,
  pads
})

/** SAME makes ⌈size / stride⌉ outputs; where a kernel needs more data than there is, half the lack is put on either side. */
function padsOf(a: WindowAxis, autoPad: string, size: Dim | undefined): PatchAxis['pads'] {
  if (autoPad === 'VALID') return { before: 0, behind: 0 }
  if (!autoPad.startsWith('SAME')) return { before: a.padBegin, behind: a.padEnd }
  if (typeof size !== 'number' && a.stride !== 1) return undefined
  const steps = typeof size === 'number' ? (Math.ceil(size / a.stride) - 1) * a.stride - size : -1
  return halves(Math.max(0, steps + Number(extent(a))), autoPad === 'SAME_UPPER' ? 'behind' : 'before')
}

/** `more`: the side that an odd one goes to. */
function halves(total: number, more: 'before' | 'behind'): { before: number; behind: number } {
  const [less, rest] = [Math.floor(total / 2), Math.ceil(total / 2)]
  return more === 'behind' ? { before: less, behind: rest } : { before: rest, behind: less }
}

/** A transposed convolution with filters [inputs, outputs of a group, …kernel] at input `weight`. */
export function transposedLinear(n: NodeFacts, { data = 0, weight, bias }: Places): Linear | undefined {
  const [all, outputs, ...kernel] = sizesOf(n, weight) ?? []
  const groups = attrInt(n.node, 'group', 1)
  if (all === undefined || outputs === undefined || kernel.length === 0 || all % groups !== 0) return undefined
  const [inputs, size] = [all / groups, elementCount(kernel)]
  const { axes, autoPad } = windowsOf(n, kernel)
  const pads = axes.map((a, i) => transposedPads(n, a, i, autoPad, shapeOf(n, data)?.[i + 2]))
  return {
    data,
    weight,
    ...{ groups, outputs, inputs, kernel: size },
    strides: { group: inputs * outputs * size, out: size, in: outputs * size, kernel: 1 },
    alpha: 1,
    ...biasAt(bias, 1),
    axes: { in: -1 - kernel.length, out: -1 - kernel.length },
    patch: { transposed: true, axes: axes.map((a, i) => patchAxis(a, pads[i])) }
  }
}

/** SAME makes stride · size outputs, `output_shape` as many as it says; pads are what that cuts off. */
function transposedPads(
  n: NodeFacts,
  a: WindowAxis,
  axis: number,
  autoPad: string,
  size: Dim | undefined
): PatchAxis['pads'] {
  const extra = attrInts(n.node, 'output_padding')?.[axis] ?? 0
  const wanted = attrInts(n.node, 'output_shape')?.slice(-(n.inputs[0]?.shape?.length ?? 2) + 2)?.[axis]
  if (wanted === undefined && !autoPad.startsWith('SAME'))
    return autoPad === 'VALID' ? { before: 0, behind: 0 } : { before: a.padBegin, behind: a.padEnd }
  if (wanted !== undefined && typeof size !== 'number') return undefined
  const whole = Number(extent(a)) + extra - a.stride
  const total = wanted === undefined ? whole : whole + a.stride * Number(size) - wanted
  return halves(Math.max(0, total), autoPad === 'SAME_UPPER' ? 'behind' : 'before')
}

// ---------------------------------------------------------------- questions

/** The channel, counted over all groups, that an element of the weight belongs to, by its offset in the tensor. */
export function channelAt(l: Linear, side: 'out' | 'in'): (offset: number) => number {
  const { groups, strides } = l
  const [size, stride] = side === 'out' ? [l.outputs, strides.out] : [l.inputs, strides.in]
  if (groups === 1) return (offset) => Math.floor(offset / stride) % size
  return (offset) => (Math.floor(offset / strides.group) % groups) * size + (Math.floor(offset / stride) % size)
}

/** Does every output see as much real data as any other: nothing padded, nothing cut off? */
export const isUnpadded = ({ patch }: Linear): boolean =>
  !patch || (!patch.transposed && patch.axes.every(({ pads }) => pads?.before === 0 && pads.behind === 0))

/** A convolution with one input and one output to every group: nothing is summed over channels. */
export const isDepthwise = (l: Linear): boolean => l.patch !== undefined && l.inputs === 1 && l.outputs === 1

/** A stack of matrices [inputs, outputs], each by itself, as groups of one layer. */
export function stackOf(shape: readonly number[]): Linear {
  const [inputs = 1, outputs = 1] = shape.slice(-2)
  return {
    ...{ data: 0, weight: 1, groups: elementCount(shape.slice(0, -2)), outputs, inputs, kernel: 1 },
    strides: { group: inputs * outputs, out: 1, in: outputs, kernel: 1 },
    alpha: 1,
    axes: { in: -1, out: -1 }
  }
}

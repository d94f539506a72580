/** The weight of one layer in codes, as rows of values and back. */
import { attrInt } from '../../../ir/attrs.ts'
import type { Draft } from '../../../ir/edit.ts'
import { elementCount, rangeOf, tensor, toNumbers } from '../../../ir/tensor.ts'
import type { LayerInput } from '../../../observe/gram.ts'
import type { Dequantized } from '../../../ops/quantized.ts'
import type { Linear } from '../../../ops/types.ts'
import type { DType, Tensor } from '../../../types.ts'
import { type Division, type Layout, layoutOf } from '../common/cells.ts'
import { stored as storedScale } from '../common/fit.ts'
import { saturatingChannels } from '../common/saturation.ts'
import type { Grid } from './lattice.ts'

/** Codes with a scale and a zero point per cell. */
export interface CodedWeight {
  readonly from: Dequantized
  readonly shape: readonly number[]
  readonly layout: Layout
  readonly scales: Float64Array
  readonly zeros: Float64Array
  /** Codes that a cell may use. */
  readonly low: Float64Array
  readonly high: Float64Array
  readonly isSparse: boolean
}

/** Reads the codes of a weight of this shape. */
export function codedWeight(from: Dequantized, isSparse: boolean): CodedWeight {
  const { codes, scale, zero } = from
  const layout = layoutOf(codes.shape, divisionOf(from))
  const scales = Float64Array.from(toNumbers(scale))
  const zeros = zero ? Float64Array.from(toNumbers(zero)) : new Float64Array(scales.length)
  const { min, max } = rangeOf(codes.dtype)
  const [low, high] = [new Float64Array(layout.count).fill(min), new Float64Array(layout.count).fill(max)]
  if (isWide(codes.dtype)) usedCodes(toNumbers(codes), layout, low, high)
  return { from, shape: codes.shape, layout, scales, zeros, low, high, isSparse }
}

const isWide = (dtype: DType): boolean => dtype === 'int8' || dtype === 'int16'

/** Of 8 bits and more a cell keeps to ± its largest code, since others may be left out on purpose (7-bit weights). */
function usedCodes(codes: ArrayLike<number>, layout: Layout, low: Float64Array, high: Float64Array): void {
  const peaks = new Float64Array(layout.count).fill(1)
  for (let i = 0; i < codes.length; i++) {
    const c = layout.of(i)
    peaks[c] = Math.max(peaks[c] as number, Math.abs(codes[i] as number))
  }
  for (let c = 0; c < layout.count; c++) {
    high[c] = Math.min(high[c] as number, peaks[c] as number)
    low[c] = -(high[c] as number)
  }
}

function divisionOf({ node, codes, scale }: Dequantized): Division {
  const block = attrInt(node, 'block_size', 0)
  if (scale.shape.length === 0) return {}
  const axis = attrInt(node, 'axis', 1)
  const own = axis < 0 ? axis + codes.shape.length : axis
  return block > 0 ? { axis: own, block } : { axis: own }
}

/** Values of a constant as rows, one per output of the layer. */
export function rowsFrom(l: LayerInput, values: ArrayLike<number>): Float64Array {
  const out = new Float64Array(l.outputs * l.k)
  for (let o = 0; o < l.outputs; o++)
    for (let i = 0; i < l.k; i++) out[o * l.k + i] = values[o * l.outStride + i * l.inStride] as number
  return out
}

/** What the codes stand for, as rows. */
export function valuesOf(w: CodedWeight, l: LayerInput): Float64Array {
  const codes = toNumbers(w.from.codes)
  const values = new Float64Array(codes.length)
  for (let i = 0; i < values.length; i++) {
    const c = w.layout.of(i)
    values[i] = ((codes[i] as number) - (w.zeros[c] as number)) * (w.scales[c] as number)
  }
  return rowsFrom(l, values)
}

/** Adding and taking away 1.5·2^52 rounds half to even. */
const rounder = 6755399441055744

/** The grid of rows `first …` of a layer. `start`: the rows as they are, for zeros that stay. */
export function gridOf(w: CodedWeight, l: LayerInput, first: number, start: Float64Array): Grid {
  const { layout, scales, zeros, low, high } = w
  const cells = new Int32Array(start.length)
  for (let r = 0; r < start.length / l.k; r++)
    for (let i = 0; i < l.k; i++) cells[r * l.k + i] = layout.of((first + r) * l.outStride + i * l.inStride)
  return {
    nearest: (r, k, x) => {
      const c = cells[r * l.k + k] as number
      const [s, z] = [scales[c] as number, zeros[c] as number]
      const q = x / s + rounder - rounder + z
      return (Math.min(high[c] as number, Math.max(low[c] as number, q)) - z) * s
    },
    step: (r, k) => Math.abs(scales[cells[r * l.k + k] as number] as number),
    isFixed: (r, k) => w.isSparse && start[r * l.k + k] === 0
  }
}

/** The codes of rows that lie on the grid. */
export function codesFrom(w: CodedWeight, l: LayerInput, rows: Float64Array): Tensor {
  const codes = new Float64Array(elementCount(w.shape))
  for (let o = 0; o < l.outputs; o++)
    for (let i = 0; i < l.k; i++) {
      const at = o * l.outStride + i * l.inStride
      const c = w.layout.of(at)
      codes[at] = (rows[o * l.k + i] as number) / (w.scales[c] as number) + (w.zeros[c] as number)
    }
  return tensor(w.from.codes.dtype, w.shape, codes)
}

/** Output channels whose pair sums could not saturate before and can now; they must stay as they were. */
export function newlySaturating(before: Tensor, after: Tensor, l: Linear): boolean[] {
  const was = saturatingChannels(before, l)
  return saturatingChannels(after, l).map((is, c) => is && !was[c])
}

/** Puts new codes, and scales where they moved, in the place of the old ones. */
export function replaceCodes(d: Draft, w: CodedWeight, codes: Tensor): void {
  const node = d.producer(w.from.node.outputs[0] as string)
  const id = node?.inputs[0]
  const old = id == null ? undefined : d.value(id)
  if (!node || id == null || !old) return
  d.set({ ...old, data: codes })
  const scale = tensor(w.from.scale.dtype, w.from.scale.shape, w.scales)
  const was = toNumbers(w.from.scale)
  if (w.scales.every((s, i) => s === was[i])) return
  const inputs = [...node.inputs]
  inputs[1] = d.addConstant(scale, node.inputs[1] as string)
  d.replace(node, { ...node, inputs })
}

/** A scale as its type stores it. */
export const scaleAs = (s: number, dtype: DType): number => storedScale(s, dtype === 'float16' ? 'float16' : 'float32')

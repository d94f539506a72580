/**
 * What the codes of a tensor cover, beside the values that they stand for.
 *
 *   x̂ = (q − z)·s, q in lowest … highest;  covered: (lowest − z)·s … (highest − z)·s
 *   cut off: x < covered.low − s/2 or x > covered.high + s/2
 */

import { attrInt } from '../ir/attrs.ts'
import { constant } from '../ir/graph.ts'
import { bitsOf, elementCount, isInteger, rangeOf, toFloats, toNumbers } from '../ir/tensor.ts'
import { dequantizer } from '../ops/quantized.ts'
import type { Coverage } from '../report/types.ts'
import type { DType, Graph, Node, Tensor } from '../types.ts'

/** Equal parts of the codes that are counted apart. */
const parts = 32

/** Scale and zero point of one tensor or channel, and the codes there are. */
interface Grid {
  readonly dtype: DType
  readonly scale: number
  readonly zero: number
  readonly lowest: number
  readonly highest: number
}

/** Running counts over a tensor's values. */
export interface Tally {
  readonly grid: Grid
  readonly counts: Float64Array
  n: number
  atLow: number
  atHigh: number
  cut: number
  min: number
  max: number
}

/** Counts for a value that these nodes round (QuantizeLinear first); `undefined` where they do not, or channel by channel. */
export function tallyOf(graph: Graph, by: readonly Node[]): Tally | undefined {
  const quantize = by[0]
  const scale = constant(graph, quantize?.inputs[1])
  const zero = constant(graph, quantize?.inputs[2])
  const dtype = zero?.dtype ?? 'uint8'
  if (!scale || elementCount(scale.shape) !== 1 || !isInteger(dtype)) return undefined
  return tally(gridOf(dtype, toFloats(scale)[0] as number, zero ? (toNumbers(zero)[0] as number) : 0))
}

function gridOf(dtype: DType, scale: number, zero: number): Grid {
  const { min, max } = rangeOf(dtype)
  return { dtype, scale, zero, lowest: min, highest: max }
}

const tally = (grid: Grid): Tally => ({
  grid,
  counts: new Float64Array(Math.min(parts, 2 ** bitsOf(grid.dtype))),
  n: 0,
  atLow: 0,
  atHigh: 0,
  cut: 0,
  min: Number.POSITIVE_INFINITY,
  max: Number.NEGATIVE_INFINITY
})

/** Counts values before (`x`) and after (`y`) rounding. */
export function countValues(t: Tally, x: ArrayLike<number>, y: ArrayLike<number>): void {
  const { scale, zero, lowest, highest } = t.grid
  const [low, high] = [(lowest - zero - 0.5) * scale, (highest - zero + 0.5) * scale]
  const perPart = t.counts.length / (highest - lowest + 1)
  for (let i = 0; i < y.length; i++) {
    const q = Math.min(highest, Math.max(lowest, Math.round((y[i] as number) / scale) + zero))
    if (q === lowest) t.atLow++
    else if (q === highest) t.atHigh++
    const part = Math.floor((q - lowest) * perPart)
    t.counts[part] = (t.counts[part] as number) + 1
    const v = x[i] as number
    if (v < low || v > high) t.cut++
    if (v < t.min) t.min = v
    if (v > t.max) t.max = v
  }
  t.n += y.length
}

const rounded = (share: number): number => Number(share.toPrecision(4))

/** What was counted; `undefined` where nothing was. */
export function coverageOf(t: Tally): Coverage | undefined {
  const { scale, zero, lowest, highest, dtype } = t.grid
  if (t.n === 0 || t.min > t.max) return undefined
  return {
    dtype,
    range: { min: t.min, max: t.max },
    covered: { low: (lowest - zero) * scale, high: (highest - zero) * scale },
    saturation: { low: rounded(t.atLow / t.n), high: rounded(t.atHigh / t.n) },
    clipped: rounded(t.cut / t.n),
    codes: Array.from(t.counts, (c) => rounded(c / t.n))
  }
}

// ---------------------------------------------------------------- weights

/** The stored weight of a node, the largest that it reads of more than `least` elements; `original`: the graph it comes from, and the node there. */
export function weightCoverage(
  graph: Graph,
  made: Node | undefined,
  original: Graph,
  node: Node,
  least = smallest
): Coverage | undefined {
  let best: { readonly dequantize: Node; readonly input: number; readonly size: number } | undefined
  for (const [input, id] of (made?.inputs ?? []).entries()) {
    const dequantize = dequantizer(graph, id)
    const data = dequantize && constant(graph, dequantize.inputs[0])
    const size = data && isInteger(data.dtype) ? elementCount(data.shape) : 0
    if (dequantize && size > (best?.size ?? least)) best = { dequantize, input, size }
  }
  if (!best) return undefined
  const was = constant(original, node.inputs[best.input])
  return countWeight(graph, best.dequantize, was && elementCount(was.shape) === best.size ? was : undefined)
}

/** Constants of at most so many elements are taken for biases and other vectors, which have no entry of their own. */
const smallest = 64
/** Larger weights are not read once more for a picture. */
const largest = 16 * 1024 * 1024

function countWeight(graph: Graph, n: Node, original: Tensor | undefined): Coverage | undefined {
  const data = constant(graph, n.inputs[0])
  const scale = constant(graph, n.inputs[1])
  if (!data || !scale || elementCount(data.shape) > largest) return undefined
  const codes = toNumbers(data)
  const scales = toFloats(scale)
  const zeroPoint = constant(graph, n.inputs[2])
  const zeros = zeroPoint ? toNumbers(zeroPoint) : undefined
  const at = scaleIndex(n, data.shape, scale.shape)
  const { min: lowest, max: highest } = rangeOf(data.dtype)
  const real = Float32Array.from({ length: codes.length }, (_, i) => {
    const c = at(i)
    return ((codes[i] as number) - (zeros?.[c] ?? 0)) * (scales[c] as number)
  })
  const was = original ? sameWeight(toFloats(original), real) : undefined
  const counts = new Float64Array(Math.min(parts, highest - lowest + 1))
  const found = { min: Number.POSITIVE_INFINITY, max: Number.NEGATIVE_INFINITY, atLow: 0, atHigh: 0, cut: 0 }
  const perPart = counts.length / (highest - lowest + 1)
  // Symmetric codes leave the lowest unused: −127 is where they end.
  const symmetric = !zeros || Array.from(zeros).every((z) => z === 0)
  const first = lowest < 0 && symmetric ? lowest + 1 : lowest
  for (let i = 0; i < codes.length; i++) {
    const q = codes[i] as number
    if (q <= first) found.atLow++
    else if (q === highest) found.atHigh++
    const part = Math.floor((q - lowest) * perPart)
    counts[part] = (counts[part] as number) + 1
    const v = (was ?? real)[i] as number
    if (v < found.min) found.min = v
    if (v > found.max) found.max = v
    if (!was) continue
    const [c, s] = [at(i), scales[at(i)] as number]
    const z = zeros?.[c] ?? 0
    if (v < (first - z - 0.5) * s || v > (highest - z + 0.5) * s) found.cut++
  }
  const total = codes.length
  let [low, high] = [0, 0]
  for (let c = 0; c < scales.length; c++) {
    low = Math.min(low, (first - (zeros?.[c] ?? 0)) * (scales[c] as number))
    high = Math.max(high, (highest - (zeros?.[c] ?? 0)) * (scales[c] as number))
  }
  return {
    dtype: data.dtype,
    range: { min: found.min, max: found.max },
    covered: { low, high },
    saturation: { low: rounded(found.atLow / total), high: rounded(found.atHigh / total) },
    ...(was ? { clipped: rounded(found.cut / total) } : {}),
    codes: Array.from(counts, (c) => rounded(c / total))
  }
}

/** Which scale belongs to an element: one for all, one per channel, one per block. */
function scaleIndex(n: Node, shape: readonly number[], scales: readonly number[]): (i: number) => number {
  if (elementCount(scales) === 1) return () => 0
  const given = attrInt(n, 'axis', 1)
  const axis = given < 0 ? given + shape.length : given
  const inner = elementCount(shape.slice(axis + 1))
  const size = shape[axis] as number
  const block = attrInt(n, 'block_size', 0)
  if (block === 0) return (i) => Math.floor(i / inner) % size
  const blocks = scales[axis] as number
  return (i) => {
    const [outer, rest] = [Math.floor(i / (inner * size)), i % inner]
    return (outer * blocks + Math.floor((Math.floor(i / inner) % size) / block)) * inner + rest
  }
}

/**
 * The values of the original weight, where the stored weight is a rounding of them; `undefined` where another operator was
 * folded into the weight, so that it is no longer the original's.
 */
function sameWeight(original: Float32Array, real: Float32Array): Float32Array | undefined {
  let [signal, noise] = [0, 0]
  for (let i = 0; i < real.length; i++) {
    const [v, w] = [original[i] as number, real[i] as number]
    signal += v * v
    noise += (v - w) ** 2
  }
  return noise <= 0.25 * signal ? original : undefined
}

/** One layer of `round`: its codes, scales and bias from the moments of its inputs. */
import { assert } from '../../../base/errors.ts'
import { greatest, least } from '../../../base/extremes.ts'
import { attrFloat } from '../../../ir/attrs.ts'
import { constant, consumers } from '../../../ir/graph.ts'
import { toFloats, toNumbers } from '../../../ir/tensor.ts'
import { type Gram, type LayerInput, layerInput } from '../../../observe/gram.ts'
import { activationScale, dequantizedConstant } from '../../../ops/quantized.ts'
import type { Model, Tensor } from '../../../types.ts'
import { type BiasPlace, biasNumbers, biasPlace } from '../../biases.ts'
import type { Context } from '../../types.ts'
import { matcher } from '../common/select.ts'
import { type Twin, twinsOf } from '../common/twins.ts'
import { centred } from '../weights/layerwise.ts'
import { damped, errorsOf, movedTarget, type Rows, roundRows, scaleSums } from './lattice.ts'
import {
  type CodedWeight,
  codedWeight,
  codesFrom,
  gridOf,
  newlySaturating,
  rowsFrom,
  scaleAs,
  valuesOf
} from './weight.ts'

export interface RoundOptions {
  readonly samples: number
  readonly scales: boolean
  readonly correctBias: boolean
  readonly followInputs: boolean
  readonly sweeps: number
  readonly damp: number
  readonly seconds: number
  readonly include: readonly string[]
  readonly exclude: readonly string[]
}

/** A layer whose weight is in codes. */
export interface RoundLayer extends Twin {
  /** The layer of the float model, with `x` the value that the rounded model's layer reads. */
  readonly input: LayerInput
  readonly place: BiasPlace | string
  /** Its data is dequantized too: its scales are tied to those of its bias. */
  readonly isInteger: boolean
}

/** Second moments of more columns than this do not fit into reasonable memory. */
const maxColumns = 8192

/** Layers whose codes can be chosen; others are refused with a reason. */
export function findRoundLayers(
  model: Model,
  reference: Model,
  o: Pick<RoundOptions, 'include' | 'exclude'>,
  ctx: Pick<Context, 'refuse'>
): RoundLayer[] {
  const isIncluded = o.include.length > 0 ? matcher(o.include) : () => true
  const isExcluded = matcher(o.exclude)
  return twinsOf(model, reference).flatMap((t) => {
    const weight = t.made.inputs[t.rule.weights.input]
    if (!dequantizedConstant(model.graph, weight) || isExcluded(t.made) || !isIncluded(t.made)) return []
    const found = roundLayerOf(model, reference, t)
    if (typeof found !== 'string') return [found]
    ctx.refuse(t.made, found)
    return []
  })
}

function roundLayerOf(model: Model, reference: Model, t: Twin): RoundLayer | string {
  const input = layerInput(reference, t.original)
  if (typeof input === 'string') return input
  const [x, weight] = t.made.inputs
  if (x == null || weight == null) return 'it reads nothing'
  if (hasCodebook(model, weight)) return 'its codes are of a codebook, in which nothing lies between them'
  if (consumers(model.graph, weight).length > 1) return 'its weight is shared'
  if (attrFloat(t.original, 'alpha', 1) !== 1) return 'its alpha is not 1'
  if (input.k > maxColumns) return `${input.k} inputs are too many for their second moments`
  const shape = constant(reference.graph, input.weight)?.shape
  const stored = dequantizedConstant(model.graph, weight)
  if (stored?.codes.shape.join() !== shape?.join()) return 'its weight has another shape than in the float model'
  return {
    ...t,
    input: { ...input, x },
    place: biasPlace(model.graph, t.made),
    isInteger: activationScale(model.graph, x) !== undefined
  }
}

/** Are the codes a few of those between the least and the greatest, as a palette stores them? */
function hasCodebook(model: Model, weight: string): boolean {
  const stored = dequantizedConstant(model.graph, weight)
  if (!stored || model.graph.values.get(stored.node.inputs[0] as string)?.form !== 'palette') return false
  const codes = new Set(toNumbers(stored.codes))
  return 2 * codes.size < greatest([...codes]) - least([...codes])
}

/** What became of a layer. */
export interface Rounded {
  readonly coded: CodedWeight
  readonly codes: Tensor
  /** What its bias is to lose. */
  readonly shift: Float64Array | undefined
  readonly report: LayerReport
}

export interface LayerReport {
  readonly node: string
  readonly op: string
  /** Mean square of the error that rounding adds to the output over the mean square of the output: before and after. */
  readonly before: number
  readonly after: number
  /** Codes that changed. */
  readonly changed: number
  readonly of: number
}

/** Chooses the codes of one layer. `model`: with all layers before it as they have become. */
export function roundLayer(
  model: Model,
  reference: Model,
  layer: RoundLayer,
  gram: Gram,
  o: RoundOptions,
  ctx: Pick<Context, 'target' | 'note'>
): Rounded {
  const { input } = layer
  const weight = layer.made.inputs[1] as string
  const from = dequantizedConstant(model.graph, weight)
  const own = constant(reference.graph, input.weight)
  assert(from && own, `no codes of ${layer.made.name}`)
  const isSparse = model.graph.values.get(from.node.inputs[0] as string)?.sparse !== undefined
  const coded = codedWeight(from, isSparse)
  const exact = rowsFrom(input, toFloats(own))
  const start = valuesOf(coded, input)
  const leaves = o.correctBias && typeof layer.place !== 'string'
  const groups = groupRows(gram, leaves ? centred(gram) : gram, exact, o.damp)
  const before = totalError(groups, start, input.k)
  let values = start
  const fits = o.scales && !layer.isInteger
  for (let turn = 0, least = before; turn < (fits ? scaleTurns : 1); turn++) {
    const kept = Float64Array.from(coded.scales)
    const aligned = fits ? refit(coded, input, groups, values) : values
    const made = eachGroup(groups, aligned, input.k, (rows, part, first) =>
      roundRows(rows, part, gridOf(coded, input, first, part), o.sweeps)
    )
    const error = totalError(groups, made, input.k)
    if (error >= least * 0.999 && turn > 0) {
      if (error < least) values = made
      else coded.scales.set(kept)
      break
    }
    values = made
    least = error
  }
  const codes = codesFrom(coded, input, keepUnsaturated(coded, layer, values, start, ctx))
  const final = valuesOf({ ...coded, from: { ...from, codes } }, input)
  const power = outputPower(groups, exact, input.k)
  return {
    coded,
    codes,
    shift: leaves ? shiftOf(model, reference, layer, gram, exact, final) : undefined,
    report: {
      node: layer.made.name,
      op: layer.made.op,
      before: share(before, power),
      after: share(totalError(groups, final, input.k), power),
      changed: countChanged(toNumbers(from.codes), toNumbers(codes)),
      of: start.length
    }
  }
}

/** Turns of scales and codes, at most. */
const scaleTurns = 6

const share = (error: number, power: number): number => Number((power > 0 ? error / power : 0).toPrecision(4))

function countChanged(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let n = 0
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) n++
  return n
}

// ---------------------------------------------------------------- groups

/** Rows and moments of every group of the layer, in order. */
function groupRows(whole: Gram, gram: Gram, exact: Float64Array, damp: number): Rows[] {
  const { k, groups } = gram
  const perGroup = exact.length / groups
  return Array.from({ length: groups }, (_, g) => {
    const part = (m: Float64Array): Float64Array => m.subarray(g * k * k, (g + 1) * k * k)
    const h = damped(part(gram.h), k, damp, meanDiagonal(part(whole.h), k))
    const w = exact.slice(g * perGroup, (g + 1) * perGroup)
    return { k, h, target: gram.off ? movedTarget(w, k, h, part(gram.off.h)) : w }
  })
}

function meanDiagonal(h: Float64Array, k: number): number {
  let sum = 0
  for (let i = 0; i < k; i++) sum += h[i * k + i] as number
  return sum / k
}

function eachGroup(
  groups: readonly Rows[],
  values: Float64Array,
  k: number,
  make: (rows: Rows, part: Float64Array, first: number) => Float64Array
): Float64Array {
  const out = new Float64Array(values.length)
  let at = 0
  for (const rows of groups) {
    out.set(make(rows, values.slice(at, at + rows.target.length), at / k), at)
    at += rows.target.length
  }
  return out
}

function totalError(groups: readonly Rows[], values: Float64Array, k: number): number {
  let sum = 0
  eachGroup(groups, values, k, (rows, part) => {
    for (const e of errorsOf(rows, part)) sum += e
    return part
  })
  return sum
}

function outputPower(groups: readonly Rows[], exact: Float64Array, k: number): number {
  const zero = groups.map((rows) => ({ ...rows, target: new Float64Array(rows.target.length) }))
  return totalError(zero, exact, k)
}

// ---------------------------------------------------------------- scales

/** Moves every scale to where the codes as they are give the least error; returns the values that result. */
function refit(w: CodedWeight, l: LayerInput, groups: readonly Rows[], values: Float64Array): Float64Array {
  const { count } = w.layout
  const [slope, curve] = [new Float64Array(count), new Float64Array(count)]
  const cellOf = (r: number, i: number): number => w.layout.of(r * l.outStride + i * l.inStride)
  const isOwn = new Set(Array.from({ length: l.k }, (_, i) => cellOf(0, i))).size === 1
  eachGroup(groups, values, l.k, (rows, part, first) => {
    for (let r = 0; r < part.length / l.k; r++) {
      const cells = isOwn
        ? [cellOf(first + r, 0)]
        : [...new Set(Array.from({ length: l.k }, (_, i) => cellOf(first + r, i)))]
      for (const c of cells) {
        const s = w.scales[c] as number
        const sums = scaleSums(rows, part, r, s, isOwn ? () => true : (i) => cellOf(first + r, i) === c)
        slope[c] = (slope[c] as number) + sums.slope
        curve[c] = (curve[c] as number) + sums.curve
      }
    }
    return part
  })
  const ratio = new Float64Array(count).fill(1)
  for (let c = 0; c < count; c++) {
    const s = w.scales[c] as number
    // Scales of several blocks in a row move at once. With half a step each, two of them never overshoot; the next turn chooses codes again.
    const step = (curve[c] as number) > 0 ? (slope[c] as number) / (curve[c] as number) : 0
    const made = scaleAs(s - step * (isOwn ? 1 : 0.5), w.from.scale.dtype)
    if (!(made / s > 0.5 && made / s < 2)) continue
    ratio[c] = made / s
    w.scales[c] = made
  }
  return values.map((v, at) => v * (ratio[cellOf(Math.floor(at / l.k), at % l.k)] as number))
}

// ---------------------------------------------------------------- limits and biases

/** Rows whose codes could saturate pair sums of 8-bit kernels stay as they were. */
function keepUnsaturated(
  w: CodedWeight,
  layer: RoundLayer,
  values: Float64Array,
  start: Float64Array,
  ctx: Pick<Context, 'target' | 'note'>
): Float64Array {
  if (!layer.isInteger || !ctx.target.saturates || w.from.codes.dtype !== 'int8') return values
  const { k, linear } = layer.input
  const risky = newlySaturating(w.from.codes, codesFrom(w, layer.input, values), linear)
  return values.map((v, at) => (risky[Math.floor(at / k)] ? (start[at] as number) : v))
}

/** Bias as it is, less b + W·E[x] − Ŵ·E[x̂]. */
function shiftOf(
  model: Model,
  reference: Model,
  layer: RoundLayer,
  gram: Gram,
  exact: Float64Array,
  made: Float64Array
): Float64Array {
  const { k, outputs, groups } = layer.input
  const place = layer.place as BiasPlace
  const original = biasPlace(reference.graph, layer.original)
  assert(typeof original !== 'string', `${layer.original.name}: ${String(original)}`)
  const now = biasNumbers(model.graph, layer.made, place)
  const was = biasNumbers(reference.graph, layer.original, original)
  return now.map((b, r) => {
    const from = Math.floor((r * groups) / outputs) * k
    let sum = was[r] as number
    for (let i = 0; i < k; i++) {
      const mean = gram.mean[from + i] as number
      const before = mean + (gram.off ? (gram.off.mean[from + i] as number) : 0)
      sum += (exact[r * k + i] as number) * before - (made[r * k + i] as number) * mean
    }
    return b - sum
  })
}

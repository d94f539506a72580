/**
 * AWQ: input channels that carry much get a finer grid. For the layers that read a value x: W_c ← W_c·s_c, x_c ← x_c/s_c,
 * which changes nothing before rounding, with s = a^r / m^(1−r), a = √E[x_c²], m = the largest |W_c|, over √(max s · min s).
 * The exponent r ∈ {0, 1/20 … 19/20}, or no scaling at all, is that of least Σ e H eᵀ, e the error of W rounded to nearest
 * and H the inputs' second moments. 1/s goes into the node that makes x, or else into a Mul. (Lin et al., AWQ, 2023,
 * section 3.2; mean squares stand for mean magnitudes.)
 */
import { edit } from '../../../ir/edit.ts'
import { constant, consumers, isOutput } from '../../../ir/graph.ts'
import { tensor, toFloats } from '../../../ir/tensor.ts'
import { type Gram, grams, type LayerInput, layerInput } from '../../../observe/gram.ts'
import { inferShapes } from '../../../ops/infer.ts'
import type { Dataset, Model, Tensor } from '../../../types.ts'
import type { Context } from '../../types.ts'
import { encodeCells } from '../common/cells.ts'
import { type Codes, extremes } from '../common/fit.ts'
import { expanded } from './apply.ts'
import { multiplyChannels } from './multiply.ts'
import type { WeightPlan } from './plan.ts'

/** What was chosen for a value and the layers that read it. */
export interface AwqScale {
  readonly value: string
  readonly weights: readonly string[]
  /** The exponent. */
  readonly ratio: number
  /** Error of the layers' outputs over that without scaling. */
  readonly error: number
  /** Is the inverse in the node that makes the value, and not in a Mul of its own? */
  readonly isFolded: boolean
}

interface Member {
  readonly w: WeightPlan
  readonly layer: LayerInput
  readonly data: Tensor
}

/** Rows of a weight that the search looks at. */
const rowsOfSearch = 64
const steps = 20

/** The model with channels scaled for the planned roundings; computes the same as before. Very same where nothing gains. */
export async function scaleChannels(
  model: Model,
  plan: readonly WeightPlan[],
  data: Dataset,
  ctx: Pick<Context, 'engine' | 'signal' | 'progress' | 'note'>
): Promise<{ readonly model: Model; readonly scales: readonly AwqScale[] }> {
  const typed = inferShapes(model)
  const byValue = groups(typed, plan)
  const all = [...byValue.values()].flat()
  const found = new Map<string, { error: Float64Array; scales: Float64Array[] }>()
  for await (const [layer, gram] of grams(
    typed,
    all.map((m) => m.layer),
    data,
    ctx
  )) {
    const members = byValue.get(layer.x) as Member[]
    if (found.has(layer.x)) continue
    found.set(layer.x, search(members, gram))
    ctx.progress('scaling channels', found.size, byValue.size)
  }
  const scales: AwqScale[] = []
  const made = edit(model, (d) => {
    for (const [value, { error, scales: candidates }] of found) {
      const members = byValue.get(value) as Member[]
      const best = error.reduce((b, e, i) => (e < (error[b] as number) ? i : b), 0)
      if (best === 0) continue
      const s = candidates[best - 1] as Float64Array
      const inverse = s.map((x) => 1 / x)
      const first = members[0] as Member
      const isWhole = consumers(typed.graph, value).length === members.length && !isOutput(typed.graph, value)
      const isFolded = isWhole && multiplyChannels(d, value, inverse)
      if (!isFolded && first.layer.windows) continue
      const to = isFolded
        ? value
        : d.add('Mul', [value, d.addConstant(vector(first.data.dtype, inverse), `${value}_awq`)])
      for (const { w, layer, data: own } of members) {
        const v = d.value(w.id)
        if (v) d.set({ ...v, data: scaled(own, layer, s) })
        const node = d.producer(layer.node.outputs[0] as string)
        if (node && to !== value) d.replace(node, { ...node, inputs: node.inputs.map((id, i) => (i === 0 ? to : id)) })
      }
      const weights = members.map((m) => m.w.id)
      scales.push({
        value,
        weights,
        ratio: (best - 1) / steps,
        error: (error[best] as number) / (error[0] as number),
        isFolded
      })
    }
  })
  return { model: made, scales }
}

const vector = (dtype: Tensor['dtype'], values: Float64Array): Tensor => tensor(dtype, [values.length], values)

/** Planned layers without groups by the value that they read, each the only reader of its weight. */
function groups(typed: Model, plan: readonly WeightPlan[]): Map<string, Member[]> {
  const out = new Map<string, Member[]>()
  for (const w of plan) {
    const readers = consumers(typed.graph, w.id)
    const data = constant(typed.graph, w.id)
    const layer = readers.length === 1 && w.nodes.length === 1 && readers[0] ? layerInput(typed, readers[0]) : ''
    if (!data || typeof layer === 'string' || layer.weight !== w.id || layer.groups !== 1) continue
    out.set(layer.x, [...(out.get(layer.x) ?? []), { w, layer, data }])
  }
  // Layers that see the value through windows of different shapes have different moments.
  for (const [x, members] of out) if (new Set(members.map((m) => m.layer.k)).size > 1) out.delete(x)
  return out
}

/** Errors without scaling and with each exponent, and the scales of each. */
function search(members: readonly Member[], gram: Gram): { error: Float64Array; scales: Float64Array[] } {
  const { layer } = members[0] as Member
  const channels = layer.k / layer.perChannel
  const [use, peak] = [new Float64Array(channels), new Float64Array(channels)]
  for (let i = 0; i < layer.k; i++) {
    const c = Math.floor(i / layer.perChannel)
    use[c] = (use[c] as number) + (gram.h[i * layer.k + i] as number) / layer.perChannel
  }
  const rows = members.map((m) => rowsFor(m))
  for (const r of rows)
    r.forEach((x, i) => {
      const c = Math.floor((i % layer.k) / layer.perChannel)
      peak[c] = Math.max(peak[c] as number, Math.abs(x))
    })
  const scales = Array.from({ length: steps }, (_, r) => scalesFor(use, peak, r / steps))
  const error = Float64Array.from([undefined, ...scales], (s) =>
    members.reduce((sum, m, i) => sum + errorOf(m, rows[i] as Float32Array, gram, s), 0)
  )
  return { error, scales }
}

function scalesFor(use: Float64Array, peak: Float64Array, r: number): Float64Array {
  const s = use.map((a, c) =>
    Math.max(1e-4, Math.sqrt(Math.max(a, 1e-12)) ** r / Math.max(peak[c] as number, 1e-5) ** (1 - r))
  )
  const middle = Math.sqrt(s.reduce((a, b) => Math.max(a, b)) * s.reduce((a, b) => Math.min(a, b)))
  return s.map((x) => x / middle)
}

/** Evenly spaced rows of a weight as a matrix. */
function rowsFor({ layer, data }: Member): Float32Array {
  const values = toFloats(data)
  const n = Math.min(rowsOfSearch, layer.outputs)
  return Float32Array.from({ length: n * layer.k }, (_, i) => {
    const row = Math.floor((Math.floor(i / layer.k) * layer.outputs) / n)
    return values[row * layer.outStride + (i % layer.k) * layer.inStride] as number
  })
}

function errorOf({ w, layer }: Member, rows: Float32Array, gram: Gram, s: Float64Array | undefined): number {
  const { k, perChannel } = layer
  const at = (i: number): number => (s ? (s[Math.floor((i % k) / perChannel)] as number) : 1)
  const moved = tensor(
    'float32',
    [rows.length / k, k],
    rows.map((x, i) => x * at(i))
  )
  const division = w.block === undefined ? (w.axis === undefined ? {} : { axis: 0 }) : { axis: 1, block: w.block }
  const made = toFloats(expanded(encodeCells(moved, division, w.codes as Codes, w.id, extremes), moved, division))
  let sum = 0
  const e = new Float64Array(k)
  for (let row = 0; row < rows.length; row += k) {
    for (let i = 0; i < k; i++) e[i] = (made[row + i] as number) / at(i) - (rows[row + i] as number)
    sum += quadratic(e, gram.h, k)
  }
  return (sum * layer.outputs) / (rows.length / k)
}

function quadratic(e: Float64Array, h: Float64Array, k: number): number {
  let sum = 0
  for (let i = 0; i < k; i++) {
    let row = 0
    for (let j = 0; j < k; j++) row += (h[i * k + j] as number) * (e[j] as number)
    sum += row * (e[i] as number)
  }
  return sum
}

function scaled(data: Tensor, layer: LayerInput, s: Float64Array): Tensor {
  const values = Float64Array.from(toFloats(data))
  for (let o = 0; o < layer.outputs; o++)
    for (let i = 0; i < layer.k; i++) {
      const at = o * layer.outStride + i * layer.inStride
      values[at] = (values[at] as number) * (s[Math.floor(i / layer.perChannel)] as number)
    }
  return tensor(data.dtype, data.shape, values)
}

/** Puts stored weights in the place of float ones, under the same names, so that nothing that reads them changes. */
import { type Draft, editGraph, mapGraphs, takenIds } from '../../../ir/edit.ts'
import { constants } from '../../../ir/graph.ts'
import { elementCount, tensor, toFloats, toNumbers } from '../../../ir/tensor.ts'
import type { Graph, Model, Tensor, Value } from '../../../types.ts'
import { type Division, type Encoded, encodeCells, layoutOf, notFinite } from '../common/cells.ts'
import { hqq } from './hqq.ts'
import { codebook, nearestValue } from './kmeans.ts'
import type { WeightPlan } from './plan.ts'
import { storeScaled } from './scaled.ts'

/** What a weight becomes: codes with scales, or (form `palette`) floats of which few differ. */
export type Stored = Encoded | Tensor

/** Replaces the planned weights, one in memory at a time. */
export function applyWeights(
  model: Model,
  plan: readonly WeightPlan[],
  store: (weight: WeightPlan, data: Tensor, value: Value) => Stored
): Model {
  const byId = new Map(plan.map((w) => [w.id, w]))
  const taken = takenIds(model)
  return mapGraphs(model, (graph) => applyToGraph(graph, byId, store, taken))
}

function applyToGraph(
  graph: Graph,
  plan: ReadonlyMap<string, WeightPlan>,
  store: (weight: WeightPlan, data: Tensor, value: Value) => Stored,
  taken: Set<string>
): Graph {
  const here = constants(graph).flatMap((v) => {
    const w = plan.get(v.id)
    return w ? [{ v, w }] : []
  })
  if (here.length === 0) return graph
  return editGraph(
    graph,
    (d) => {
      for (const { v, w } of here) replaceOne(d, v, w, store(w, v.data, v))
    },
    taken
  )
}

function replaceOne(d: Draft, v: Value, w: WeightPlan, made: Stored): void {
  if ('dtype' in made) {
    d.set({ ...v, data: made, form: w.form })
    return
  }
  const { codes, scales, zeros } = made
  const id = d.fresh(`${w.id}_q`)
  const spelling = w.form === 'qdq' ? {} : { form: w.form }
  const sparse = v.sparse ? { sparse: v.sparse } : {}
  d.set({ id, type: 'tensor', dtype: codes.dtype, shape: codes.shape, data: codes, ...spelling, ...sparse })
  const inputs = [id, d.addConstant(scales, `${w.id}_s`)]
  if (zeros) inputs.push(d.addConstant(zeros, `${w.id}_z`))
  const { data: _data, form: _form, sparse: _sparse, ...type } = v
  d.set(type)
  d.add('DequantizeLinear', inputs, { outputs: [w.id], attrs: { axis: w.axis, block_size: w.block } })
}

/** Stores a weight by its values alone: nearest or balanced codes of a least squares scale, or (`hqq`) of a robust one. */
export function storeAlone(w: WeightPlan, data: Tensor, o: { hqq: boolean; isSparse: boolean }): Stored {
  if (w.hasCodebook) return storeScaled(data, w, o.isSparse)
  if (!w.codes) return palettised(data, w, codebooksOf(data, w, o.isSparse))
  return encodeCells(data, w, w.codes, w.id, o.hqq ? hqq : undefined, w.kernel)
}

// ---------------------------------------------------------------- codebooks

/** A codebook of 2^bits values for every channel, or one for all. `importance`: of each element. */
export function codebooksOf(
  data: Tensor,
  w: Pick<WeightPlan, 'id' | 'axis' | 'bits'>,
  holdsZero: boolean,
  importance?: Float64Array
): Float64Array[] {
  const values = toFloats(data)
  if (values.some((x) => !Number.isFinite(x))) throw notFinite(w.id)
  const layout = layoutOf(data.shape, divisionOf(w))
  return Array.from({ length: layout.count }, (_, c) => {
    const members = gathered(values, layout, c)
    const found = codebook(members, 2 ** w.bits, {
      holdsZero,
      ...(importance ? { importance: gathered(importance, layout, c) } : {})
    })
    return w.axis === undefined ? found : halves(found)
  })
}

const divisionOf = (w: Pick<WeightPlan, 'axis'>): Division => (w.axis === undefined ? {} : { axis: w.axis })

/** Codebooks of channels are stored as float16. */
const halves = (values: Float64Array): Float64Array =>
  Float64Array.from(new Set(toFloats(tensor('float16', [values.length], values)))).sort()

function gathered(values: ArrayLike<number>, layout: ReturnType<typeof layoutOf>, c: number): Float64Array {
  const { base, n1, s1, n2, s2 } = layout.cell(c)
  const out = new Float64Array(n1 * n2)
  for (let i = 0; i < n1; i++) for (let j = 0; j < n2; j++) out[i * n2 + j] = values[base + i * s1 + j * s2] as number
  return out
}

/** Every element replaced by the nearest value of its codebook. */
export function palettised(data: Tensor, w: Pick<WeightPlan, 'axis'>, books: readonly Float64Array[]): Tensor {
  const layout = layoutOf(data.shape, divisionOf(w))
  const values = Float64Array.from(toFloats(data))
  for (let i = 0; i < values.length; i++) {
    const book = books[layout.of(i)] as Float64Array
    values[i] = book[nearestValue(book, values[i] as number)] as number
  }
  return tensor(data.dtype, data.shape, values)
}

/** What a stored weight stands for, as floats of its type. */
export function expanded(made: Stored, like: Tensor, division: Division): Tensor {
  if ('dtype' in made) return made
  const layout = layoutOf(like.shape, division)
  const [codes, scales, zeros] = [toNumbers(made.codes), toNumbers(made.scales), made.zeros && toNumbers(made.zeros)]
  const out = new Float64Array(elementCount(like.shape))
  for (let i = 0; i < out.length; i++) {
    const c = layout.of(i)
    out[i] = ((codes[i] as number) - (zeros ? (zeros[c] as number) : 0)) * (scales[c] as number)
  }
  return tensor(like.dtype, like.shape, out)
}

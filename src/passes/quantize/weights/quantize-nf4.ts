/**
 * Matrices in NF4, the 4-bit type of bitsandbytes: 16 fixed values at quantiles of a normal distribution, scaled by the
 * largest magnitude of every 64 elements. com.microsoft's MatMulBnb4 multiplies by them. For W[K,N], v = Wᵀ row by row in
 * blocks of B: s_b = max|v| of block b, code_i = argmin_c |v_i / s_b − table_c|; two codes a byte, the first one high.
 * Source: Dettmers et al., QLoRA (2023), appendix E; ONNX Runtime's documentation of its contributed operators.
 */
import { z } from 'zod'
import { attrs } from '../../../ir/attrs.ts'
import { editGraph, mapGraphs, takenIds } from '../../../ir/edit.ts'
import { constants } from '../../../ir/graph.ts'
import { elementCount, tensor, tensorOf, toFloats } from '../../../ir/tensor.ts'
import type { Graph, Model, Node, Tensor } from '../../../types.ts'
import { definePass } from '../../pass.ts'
import type { Context } from '../../types.ts'
import { notFinite } from '../common/cells.ts'
import { matcher } from '../common/select.ts'
import { isBlockMatrix, type UsedWeight, weightUses } from '../common/uses.ts'

/** The values of NF4, ascending. */
const nf4 = [
  -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
  -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0
]
/** Between neighbouring values of the table. */
const borders = nf4.slice(1).map((v, i) => (v + (nf4[i] as number)) / 2)

const blockSizes = z.union([16, 32, 64, 128, 256].map((n) => z.literal(n)))

/** Stores matrices of MatMul in NF4. */
export const quantizeNf4 = definePass({
  name: 'quantize-nf4',
  summary: 'store matrices in NF4 (4 bits as bitsandbytes has them) for MatMulBnb4, which only ONNX Runtime has',
  group: 'storage',
  narrows: true,
  options: {
    blockSize: blockSizes.default(64).describe('elements that share a scale'),
    include: z.array(z.string()).default([]).describe('only these nodes: operator types or name patterns with *'),
    exclude: z.array(z.string()).default([]).describe('nodes that stay float: operator types or name patterns with *'),
    minElements: z.int().min(1).default(128).describe('smaller matrices stay as they are')
  },
  run: (model, options, ctx) => {
    const plan = planNf4(model, options, ctx)
    if (plan.length === 0) return model
    ctx.plan(plan.map(({ nodes, ...facts }) => ({ ...facts, nodes: [...nodes].map((n) => n.name) })))
    return applyNf4(model, plan)
  }
})

interface Nf4Options {
  readonly blockSize: number
  readonly include: readonly string[]
  readonly exclude: readonly string[]
  readonly minElements: number
}

interface Matrix {
  readonly id: string
  readonly rows: number
  readonly columns: number
  readonly blockSize: number
  readonly nodes: ReadonlySet<Node>
}

function planNf4(model: Model, o: Nf4Options, ctx: Pick<Context, 'refuse'>): Matrix[] {
  const isIncluded = o.include.length > 0 ? matcher(o.include) : () => true
  const isExcluded = matcher(o.exclude)
  const plan: Matrix[] = []
  for (const [id, used] of weightUses(model)) {
    const { data, uses, readers } = used
    const [first] = uses
    if (!first || elementCount(data.shape) < o.minElements) continue
    if (readers.some(isExcluded) || !uses.some((u) => isIncluded(u.node))) continue
    const obstacle = obstacleTo(used)
    if (obstacle !== undefined) ctx.refuse(first.node, `a weight stays in float: ${obstacle}`)
    else {
      const [rows = 0, columns = 0] = data.shape
      plan.push({ id, rows, columns, blockSize: o.blockSize, nodes: new Set(readers) })
    }
  }
  return plan
}

function obstacleTo({ data, uses, readers }: UsedWeight): string | undefined {
  const isMatrix = data.shape.length === 2 && uses.length === readers.length && uses.every(isBlockMatrix)
  if (!isMatrix) return 'only a MatMul’s matrix has a form in NF4'
  return data.dtype === 'float32' ? undefined : `it is ${data.dtype}, not float32`
}

interface Ids {
  readonly codes: string
  readonly scales: string
}

/** Subgraphs read the constants of graphs around them, so names are chosen before any graph is rewritten. */
function applyNf4(model: Model, plan: readonly Matrix[]): Model {
  const taken = takenIds(model)
  const fresh = (hint: string): string => {
    let id = hint
    for (let i = 1; taken.has(id); i++) id = `${hint}_${i}`
    taken.add(id)
    return id
  }
  const ids = new Map(plan.map((w) => [w, { codes: fresh(`${w.id}_nf4`), scales: fresh(`${w.id}_s`) }]))
  const byName = new Map<string, Matrix>()
  for (const w of plan) for (const n of w.nodes) byName.set(n.outputs[0] as string, w)
  return mapGraphs(model, (graph) => rewrite(graph, byName, ids, taken))
}

function rewrite(
  graph: Graph,
  byOutput: ReadonlyMap<string, Matrix>,
  ids: ReadonlyMap<Matrix, Ids>,
  taken: Set<string>
): Graph {
  const all = new Map([...ids.keys()].map((w) => [w.id, w]))
  return editGraph(
    graph,
    (d) => {
      for (const v of constants(graph)) {
        const w = all.get(v.id)
        if (!w) continue
        const { codes, scales } = encodeNf4(v.data, w)
        const at = ids.get(w) as Ids
        d.set({ id: at.codes, type: 'tensor', dtype: codes.dtype, shape: codes.shape, data: codes })
        d.set({ id: at.scales, type: 'tensor', dtype: scales.dtype, shape: scales.shape, data: scales })
      }
      for (const node of graph.nodes) {
        const w = byOutput.get(node.outputs[0] ?? '')
        if (!w) continue
        const at = ids.get(w) as Ids
        d.replace(node, {
          ...node,
          op: 'MatMulBnb4',
          domain: 'com.microsoft',
          inputs: [node.inputs[0] ?? null, at.codes, at.scales],
          attrs: attrs({ K: w.rows, N: w.columns, block_size: w.blockSize, quant_type: 1 })
        })
      }
    },
    taken
  )
}

/** Codes and scales of a matrix. Throws `E_MODEL` where a value is not finite. */
export function encodeNf4(
  data: Tensor,
  { id, rows, columns, blockSize }: Pick<Matrix, 'id' | 'rows' | 'columns' | 'blockSize'>
): { readonly codes: Tensor; readonly scales: Tensor } {
  const values = toFloats(data)
  const count = rows * columns
  const scales = new Float32Array(Math.ceil(count / blockSize))
  const packed = new Uint8Array(Math.ceil(count / 2))
  const valueAt = (i: number): number => values[(i % rows) * columns + Math.floor(i / rows)] as number
  for (const b of scales.keys()) {
    const end = Math.min(count, (b + 1) * blockSize)
    let largest = 0
    for (let i = b * blockSize; i < end; i++) largest = Math.max(largest, Math.abs(valueAt(i)))
    if (!Number.isFinite(largest)) throw notFinite(id)
    scales[b] = largest
    for (let i = b * blockSize; i < end; i++) {
      const code = nearest(largest > 0 ? valueAt(i) / largest : 0)
      packed[i >> 1] = (packed[i >> 1] as number) | (i % 2 === 0 ? code << 4 : code)
    }
  }
  return {
    codes: tensorOf('uint8', [packed.length], packed),
    scales: tensor('float32', [scales.length], scales)
  }
}

/** Number of the nearest value of the table, by halving. */
function nearest(x: number): number {
  let [low, high] = [0, borders.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (x > (borders[middle] as number)) low = middle + 1
    else high = middle
  }
  return low
}

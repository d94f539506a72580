/**
 * Tables of embeddings in two: rows of r numbers, which are looked up instead, and a matrix [r, width] that makes whole rows of
 * them. With rows e_v that samples look up in shares p_v, M = Σ p_v·e_v·e_vᵀ = Σ λ_i·q_i·q_iᵀ, λ falling: of rank r, E·QᵀQ with the
 * first r of the q_i errs least over what is looked up, by Σ_{i>r} λ_i of Σ λ_i (Eckart and Young, 1936, rows scaled by √p_v).
 * Every row counts once more than it was seen, so that those that samples do not use are something still.
 */
import { stopIfAborted } from '../../base/errors.ts'
import { edit } from '../../ir/edit.ts'
import { tensor, toFloats } from '../../ir/tensor.ts'
import type { Dataset, Model, Node, Tensor } from '../../types.ts'
import { countLookups, type Table, tablesOf } from '../prune/tables.ts'
import type { Context } from '../types.ts'
import { type Bound, chosen } from './choose.ts'
import { eigen } from './eigen.ts'
import { firstRows, type Matrix, matrix, transposed } from './matrices.ts'
import type { Tools } from './methods.ts'

export interface TableOptions {
  readonly bound: Bound
  /** Ranks are multiples of this. */
  readonly align: number
  /** Which lookups are meant. */
  readonly isMeant: (node: Node) => boolean
  /** Where rows are counted; absent: all count alike. */
  readonly data: Dataset | undefined
}

interface Looked {
  readonly table: Table
  readonly rows: Matrix
  /** Row i is q_i. */
  readonly vectors: Matrix
  readonly splits: readonly TableSplit[]
}

interface TableSplit {
  readonly rank: number
  readonly cost: { readonly parameters: number; readonly macs: number }
  readonly error: number
}

/** Splits tables, each so far that the bound is kept; `undefined` where that cannot be reached. */
export async function splitTables(
  model: Model,
  typed: Model,
  o: TableOptions,
  tools: Tools,
  ctx: Context
): Promise<Model | undefined> {
  const { tables, others } = tablesOf(typed)
  for (const { node, reason } of others) if (o.isMeant(node)) ctx.refuse(node, `stays whole: ${reason}`)
  const all: Looked[] = []
  for (const table of tables) {
    stopIfAborted(ctx.signal)
    if (table.lookups.every(({ node }) => o.isMeant(node))) all.push(await lookedAt(typed, table, o, tools, ctx))
    ctx.progress('splitting tables', all.length, tables.length)
  }
  const sized = all.map(({ table, splits }) => ({ splits, size: table.rows * table.width }))
  const picks = chosen(sized, o.bound)
  if (!picks) return undefined
  tell(all, picks, o, ctx)
  const parts = await Promise.all(all.map((l, i) => factorsOf(l, picks[i], tools)))
  if (parts.every((p) => p === undefined)) return model
  return edit(model, (d) => {
    for (const [i, factors] of parts.entries()) {
      const { id, lookups } = (all[i] as Looked).table
      const v = d.value(id)
      if (!factors || !v) continue
      d.set({ ...v, shape: factors.short.shape, data: factors.short })
      const wide = d.addConstant(factors.wide, `${id}_wide`)
      for (const { node } of lookups) {
        const short = d.fresh(`${node.outputs[0]}_rank`)
        d.replace(node, { ...node, outputs: [short] })
        d.add('MatMul', [short, wide], { outputs: [node.outputs[0] as string] })
      }
    }
  })
}

async function lookedAt(typed: Model, table: Table, o: TableOptions, tools: Tools, ctx: Context): Promise<Looked> {
  const { rows: count, width } = table
  const values = toFloats(typed.graph.values.get(table.id)?.data as Tensor)
  const rows = matrix(count, width, Float64Array.from(values))
  const uses = new Float64Array(count)
  if (o.data) await countLookups(typed, table, o.data, uses, ctx)
  const scaled = matrix(
    count,
    width,
    rows.data.map((x, at) => x * ((uses[Math.floor(at / width)] as number) + 1))
  )
  const {
    values: lambda,
    vectors,
    total
  } = await eigen(await tools.products.times(transposed(scaled), rows), width, tools.products, tools.rng)
  const splits: TableSplit[] = []
  let left = total
  for (let rank = 1; rank <= vectors.rows && total > 0; rank++) {
    left -= lambda[rank - 1] as number
    const parameters = (rank * (count + width)) / (count * width)
    if (rank % o.align === 0 && parameters < 1)
      splits.push({ rank, cost: { parameters, macs: 1 }, error: Math.max(0, left / total) })
  }
  return { table, rows, vectors, splits }
}

async function factorsOf(
  { table, rows, vectors }: Looked,
  split: TableSplit | undefined,
  { products }: Tools
): Promise<{ readonly short: Tensor; readonly wide: Tensor } | undefined> {
  if (!split) return undefined
  const q = firstRows(vectors, split.rank)
  const short = await products.times(rows, transposed(q))
  return {
    short: tensor('float32', [table.rows, split.rank], short.data),
    wide: tensor('float32', [split.rank, table.width], q.data)
  }
}

function tell(
  all: readonly Looked[],
  picks: readonly (TableSplit | undefined)[],
  { data }: TableOptions,
  ctx: Context
): void {
  const layers = all.flatMap(({ table, splits }, i) => {
    const split = picks[i]
    const node = table.lookups[0]?.node as Node
    if (!split) {
      ctx.refuse(
        node,
        `stays whole: ${splits.length === 0 ? 'no rank takes fewer parameters' : 'the bound is kept by none'}`
      )
      return []
    }
    const before = table.rows * table.width
    const after = split.rank * (table.rows + table.width)
    ctx.note(
      `factorize: ${table.id} of ${table.rows} rows has rank ${split.rank} of ${table.width}, ${(after / before).toPrecision(2)} of its numbers, at an error of ${(100 * split.error).toPrecision(2)} % of ${data ? 'what samples look up' : 'its rows'}`
    )
    const [parameters, bytes] = [1, 4].map((n) => ({ before: n * before, after: n * after }))
    return [{ node: node.name, method: 'table', ranks: [split.rank], parameters, bytes, error: split.error }]
  })
  ctx.plan({ layers })
  if (layers.length === 0) ctx.note('factorize: no table was split')
}

/**
 * Rows of embedding tables that the data never looks up go. A small table in front of the lookup tells which row an id has
 * now, so that the model's inputs and the tokenizer stay as they are; ids without a row of their own get the nearest row
 * that is left (least Euclidean distance), or a given one.
 */
import { z } from 'zod'
import { PareError, stopIfAborted } from '../../base/errors.ts'
import { builder } from '../../ir/build.ts'
import { codeOfDtype } from '../../ir/dtype-code.ts'
import { edit } from '../../ir/edit.ts'
import { ints, tensor, toFloats } from '../../ir/tensor.ts'
import { inferShapes } from '../../ops/infer.ts'
import type { Dataset, Model, Tensor } from '../../types.ts'
import { definePass } from '../pass.ts'
import { matcher, noteUnmatched } from '../quantize/common/select.ts'
import { refuseRounded } from '../train/loss.ts'
import type { Context } from '../types.ts'
import { computed, countLookups, type Table, tablesOf } from './tables.ts'

const pass = 'prune-rows'

const options = {
  least: z.int().min(1).default(1).describe('rows that the data looks up fewer times go'),
  rows: z.int().min(1).optional().describe('instead: so many rows stay, those that are looked up most'),
  unused: z
    .string()
    .regex(/^(nearest|unknown|\d{1,9})$/, 'nearest, unknown or an id')
    .default('nearest')
    .describe('what ids without a row look up: the nearest row that is left, the unknown token (unknown), or this id'),
  keep: z
    .array(z.int().min(0))
    .default([])
    .describe('ids that keep their row, whatever the data says; the special tokens of a tokenizer do anyway'),
  minRows: z.int().min(2).default(1024).describe('smaller tables stay as they are'),
  include: z.array(z.string()).default([]).describe('only these nodes: operator types or name patterns with *'),
  exclude: z.array(z.string()).default([]).describe('not these nodes: operator types or name patterns with *')
} as const

type Options = z.output<z.ZodObject<typeof options>>

/** Takes rows out of embedding tables. */
export const pruneRows = definePass({
  name: pass,
  summary: 'take out the rows of embedding tables that the data never looks up; inputs and tokenizer stay',
  group: 'pruning',
  needs: ['calibration'],
  uses: ['train', 'selection'],
  after: ['simplify'],
  lossy: true,
  options,
  run: async (model, o, ctx) => {
    refuseRounded(model, pass)
    for (const kind of ['include', 'exclude'] as const) noteUnmatched(model, kind, o[kind], ctx)
    const typed = inferShapes(model)
    const plans: Plan[] = []
    for (const table of wanted(typed, o, ctx)) {
      const plan = await planOf(typed, table, o, ctx)
      if (plan) plans.push(plan)
    }
    if (plans.length === 0) return model
    ctx.plan({ tables: plans.map(({ told }) => told) })
    return edit(model, (d) => {
      for (const { table, kept, map } of plans) {
        const v = d.value(table.id)
        if (!v?.data) continue
        d.set({ ...v, shape: [kept.length, table.width], data: rowsOf(v.data, kept, table.width) })
        // 16 bits hold every row of a table that is not large, and the table in front is half the bytes.
        const isShort = kept.length <= 2 ** 15
        const index = d.addConstant(tensor(isShort ? 'int16' : 'int32', [map.length], map), `${table.id}_rows`)
        for (const { node, input, ids } of table.lookups) {
          const row = d.add('Gather', [index, ids])
          const at = isShort ? d.add('Cast', [row], { attrs: { to: codeOfDtype('int32') } }) : row
          d.replace(node, { ...node, inputs: node.inputs.with(input, at) })
        }
      }
    })
  }
})

/** What becomes of a table. `map`: the row of every id. */
interface Plan {
  readonly table: Table
  readonly kept: Int32Array
  readonly map: Int32Array
  readonly told: unknown
}

function wanted(typed: Model, o: Options, ctx: Context): readonly Table[] {
  const isIncluded = o.include.length > 0 ? matcher(o.include) : () => true
  const isExcluded = matcher(o.exclude)
  const { tables, others } = tablesOf(typed)
  for (const { node, reason } of others) ctx.refuse(node, `its rows stay: ${reason}`)
  return tables.filter((t) => {
    const [first] = t.lookups
    if (!first || !t.lookups.every(({ node }) => isIncluded(node) && !isExcluded(node))) return false
    if (t.rows >= o.minRows) return true
    ctx.refuse(first.node, `its ${t.rows} rows stay: fewer than ${o.minRows}`)
    return false
  })
}

async function planOf(typed: Model, table: Table, o: Options, ctx: Context): Promise<Plan | undefined> {
  const { calibration, train, selection } = ctx.data
  if (!calibration) throw new PareError('E_DATA', 'rows are chosen by data', { where: pass, hint: 'give --data' })
  const uses = new Float64Array(table.rows)
  const [first] = table.lookups
  for (const part of train ? [train, calibration] : [calibration])
    if (!(await countLookups(typed, table, part, uses, ctx))) {
      if (first) ctx.refuse(first.node, `its rows stay: ${computed}`)
      return undefined
    }
  const marks = calibration.marks ?? train?.marks
  const rest = o.unused === 'nearest' ? undefined : o.unused === 'unknown' ? unknownOf(marks) : Number(o.unused)
  const always = [...(marks?.ids ?? []), ...o.keep, ...(rest === undefined ? [] : [rest])]
  for (const id of always)
    if (id >= table.rows)
      throw new PareError('E_OPTION', `there is no id ${id}: the table has ${table.rows} rows`, { where: pass })
  const kept = keptRows(uses, always, o)
  if (kept.length === table.rows) {
    if (first) ctx.refuse(first.node, 'its rows stay: the data looks up every one')
    return undefined
  }
  const map = await mapOf(typed, table, kept, rest, ctx)
  const seen = new Float64Array(table.rows)
  if (selection) await countLookups(typed, table, selection, seen, ctx)
  const stays = new Set(kept)
  const total = seen.reduce((n, x) => n + x, 0)
  const touched = total > 0 ? seen.reduce((n, x, id) => n + (stays.has(id) ? 0 : x), 0) / total : undefined
  const share = touched === undefined ? 'an unknown share' : `${(100 * touched).toPrecision(2)} %`
  ctx.note(
    `${pass}: ${kept.length} of ${table.rows} rows of ${table.id} are left; ${share} of the tokens of other samples than those that chose have no row of their own any more`
  )
  const told = {
    table: table.id,
    rows: { before: table.rows, after: kept.length },
    bytes: { before: 4 * table.rows * table.width, after: 4 * kept.length * table.width },
    unused: o.unused,
    ...(touched === undefined ? {} : { touched: { share: touched, tokens: total } })
  }
  return { table, kept, map, told }
}

function unknownOf(marks: Dataset['marks']): number {
  if (marks?.unknown !== undefined) return marks.unknown
  throw new PareError('E_OPTION', 'which token stands for the unknown is not known', {
    where: `${pass}, unused`,
    hint: marks ? 'the tokenizer names none: give its id, or nearest' : 'the data is no text: give its id, or nearest'
  })
}

function keptRows(uses: Float64Array, always: readonly number[], { least, rows }: Options): Int32Array {
  const kept = new Set(always)
  if (rows === undefined) for (const [id, n] of uses.entries()) if (n >= least) kept.add(id)
  if (rows !== undefined) {
    const order = Int32Array.from(uses, (_, id) => id).sort(
      (a, b) => (uses[b] as number) - (uses[a] as number) || a - b
    )
    for (const id of order) if (kept.size < rows) kept.add(id)
  }
  return Int32Array.from(kept).sort()
}

/** Elements of the distances that are held at once. */
const mostDistances = 2 ** 23

/** The row of every id: its own, else that of `rest`, or the nearest. */
async function mapOf(
  { graph }: Model,
  { id, rows, width }: Table,
  kept: Int32Array,
  rest: number | undefined,
  ctx: Context
): Promise<Int32Array> {
  const map = new Int32Array(rows).fill(-1)
  for (const [at, own] of kept.entries()) map[own] = at
  if (rest !== undefined) return map.map((at) => (at < 0 ? (map[rest] as number) : at))
  const data = graph.values.get(id)?.data as Tensor
  const gone = Int32Array.from(map.keys()).filter((own) => (map[own] as number) < 0)
  const session = await ctx.engine.open(nearestModel(rowsOf(data, kept, width)))
  try {
    const step = Math.max(1, Math.floor(mostDistances / kept.length))
    for (let from = 0; from < gone.length; from += step) {
      stopIfAborted(ctx.signal)
      const part = gone.subarray(from, from + step)
      const { at } = await session.run({ x: rowsOf(data, part, width) })
      for (const [i, row] of ints(at as Tensor).entries()) map[part[i] as number] = row
      ctx.progress('finding the nearest rows', Math.min(gone.length, from + step), gone.length)
    }
  } finally {
    await session.close()
  }
  return map
}

/** x [m, width] → the row of the table with the least ‖x − k‖², which has the largest x·k − ‖k‖²/2. */
function nearestModel(table: Tensor): Model {
  const [rows, width] = table.shape as [number, number]
  const values = toFloats(table)
  const half = Float32Array.from({ length: rows }, (_, r) => {
    let sum = 0
    for (let i = r * width; i < (r + 1) * width; i++) sum += (values[i] as number) ** 2
    return sum / 2
  })
  const b = builder()
  const x = b.input('x', 'float32', ['m', width])
  const turned = b.op('Transpose', [b.constant(table)], { perm: [1, 0] })
  const near = b.op('Sub', [b.op('MatMul', [x, turned]), b.constant(tensor('float32', [rows], half))])
  return b.model([b.op('ArgMax', [near], { axis: 1, keepdims: 0 }, { outputs: ['at'] })])
}

function rowsOf(table: Tensor, rows: Int32Array, width: number): Tensor {
  const values = toFloats(table)
  const out = new Float32Array(rows.length * width)
  for (const [to, from] of rows.entries()) out.set(values.subarray(from * width, (from + 1) * width), to * width)
  return tensor('float32', [rows.length, width], out)
}

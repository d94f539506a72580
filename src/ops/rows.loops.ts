/**
 * Operators over whole axes, as loops: reductions, Softmax, normalizations. A tensor is looked at as [outer, count, inner]:
 * positions before, along and behind the axes, which stand side by side.
 */
import { attrFloat, attrInt } from '../ir/attrs.ts'
import {
  add,
  at,
  compare,
  div,
  type Expr,
  f32,
  get,
  i32,
  load,
  load4,
  local,
  loop,
  max,
  min,
  mul,
  type Place,
  type Stmt,
  select,
  set,
  sqrt,
  store,
  sub,
  when
} from '../ir/loops.ts'
import { elementCount } from '../ir/tensor.ts'
import { exp, log } from './math.loops.ts'
import { sizes } from './move.loops.ts'
import { givenAxes } from './op.ts'
import type { Ends, Loops, NodeView } from './types.ts'

interface Rows {
  readonly outer: number
  readonly count: number
  readonly inner: number
}

/** `undefined` where the axes do not stand side by side. */
function rowsOver(shape: readonly number[], axes: readonly number[]): Rows | undefined {
  const all = axes.map((a) => (a < 0 ? a + shape.length : a)).sort((a, b) => a - b)
  const [first = 0, last = 0] = [all[0], all.at(-1)]
  if (all.length === 0 || last - first + 1 !== all.length) return undefined
  return {
    outer: elementCount(shape.slice(0, first)),
    count: elementCount(shape.slice(first, last + 1)),
    inner: elementCount(shape.slice(last + 1))
  }
}

/** How the numbers of a row are held: one float, or four rows at a time. */
type Width = 'f32' | 'f32x4'

/** A row, or four beside each other. */
interface Row {
  /** Of what there is one of in each row. */
  readonly width: Width
  /** Byte offset of the row in an array with one float for each. */
  readonly number: Expr
  /** All elements joined, and what is done with each on the way: its value from its number and where it lies. */
  fold(r: Pick<Reduction, 'start' | 'join'>, value?: Value): { readonly total: Expr; readonly code: Stmt[] }
  /** For each element, or for four on end. */
  each(body: Body): Stmt[]
}

type Body = (x: Expr, address: Expr, index: Expr) => Stmt[]
type Value = (x: Expr, address: Expr) => { readonly value: Expr; readonly code: Stmt[] }

/** Rows of fewer elements than this are walked one by one. */
const fewest = 8
const kindOf = (x: Expr): Width => (x.kind === 'f32x4' ? 'f32x4' : 'f32')
const loadAs = (width: Width, p: Place): Expr => (width === 'f32' ? load(p) : load4(p))

/**
 * For every row: `body`. Four elements at a time along rows that lie on end, whose lanes are joined over `scratch`; four rows at
 * a time where they lie beside each other, unless `singly`.
 */
function forRows(rows: Rows, from: Place, scratch: Place, body: (row: Row) => Stmt[], singly = false): Stmt[] {
  const { outer, count, inner } = rows
  const beside = singly ? 0 : inner - (inner % 4)
  const whole = inner === 1 && count >= fewest ? count - (count % 4) : 0
  const at1 = (o: Expr, j: Expr, width: Width): Stmt[] => {
    const first = local('i32', 'first')
    return [
      set(first, mul(add(mul(o, count * inner), j), 4)),
      ...body(rowAt({ rows, from, scratch, first: get(first), width, whole, number: mul(add(mul(o, inner), j), 4) }))
    ]
  }
  return loop(
    0,
    outer,
    1,
    (o) => [
      ...loop(0, beside, 4, (j) => at1(o, j, 'f32x4'), 'j'),
      ...loop(beside, inner, 1, (j) => at1(o, j, 'f32'), 'j')
    ],
    'o'
  )
}

interface RowPlaces extends Pick<Row, 'width' | 'number'> {
  readonly rows: Rows
  readonly from: Place
  readonly scratch: Place
  /** Byte offset of its first element. */
  readonly first: Expr
  /** So many elements are taken four at a time. */
  readonly whole: number
}

function rowAt({ rows: { count, inner }, from, scratch, first, width, whole, number }: RowPlaces): Row {
  const walk = (begin: number, end: number, step: number, as: Width, body: Body): Stmt[] =>
    loop(begin, end, step, (i) => {
      const address = local('i32', 'a')
      return [set(address, add(first, mul(i, inner * 4))), ...body(loadAs(as, at(from, get(address))), get(address), i)]
    })
  const each = (body: Body): Stmt[] => [...walk(0, whole, 4, 'f32x4', body), ...walk(whole, count, 1, width, body)]
  const fold: Row['fold'] = ({ start, join }, value = (x) => ({ value: x, code: [] })) => {
    const total = local(width, 'total')
    const joined = (to: ReturnType<typeof local>): Body => {
      return (x, address) => {
        const made = value(x, address)
        return [...made.code, set(to, join(get(to), made.value))]
      }
    }
    const rest = walk(whole, count, 1, width, joined(total))
    if (whole === 0) return { total: get(total), code: [set(total, start), ...rest] }
    const lanes = local('f32x4', 'lanes')
    const lane = (i: number): Expr => load(at(scratch, undefined, 4 * i))
    const code = [
      set(lanes, start),
      ...walk(0, whole, 4, 'f32x4', joined(lanes)),
      store(scratch, get(lanes)),
      set(total, join(join(lane(0), lane(1)), join(lane(2), lane(3)))),
      ...rest
    ]
    return { total: get(total), code }
  }
  return { width, number, fold, each }
}

/** Floats of scratch that rows need. */
const rowScratch = 4

interface Reduction {
  readonly start: number
  readonly join: (total: Expr, x: Expr) => Expr
  /** What is joined, of each element; absent: the element. */
  readonly value?: (x: Expr) => Expr
  /** `end` takes one float. */
  readonly singly?: true
  readonly end?: (total: Expr, count: number) => Expr
  readonly isMean?: true
}

const plus = (value: (x: Expr) => Expr, end?: Reduction['end']): Reduction => ({
  start: 0,
  join: add,
  value,
  ...(end ? { end } : {})
})
const same = (x: Expr): Expr => x
const sum = { start: 0, join: add }
const greatestOf = { start: Number.NEGATIVE_INFINITY, join: max }
const square = (x: Expr): Expr => mul(x, x)
const mean: Reduction = { ...plus(same, (t, n) => div(t, n)), isMean: true }
const reductions: Readonly<Record<string, Reduction>> = {
  ReduceSum: plus(same),
  ReduceMean: mean,
  ReduceSumSquare: plus(square),
  ReduceL1: plus((x) => select(compare('lt', x, 0), sub(0, x), x)),
  ReduceL2: plus(square, (t) => sqrt(t)),
  ReduceLogSum: { ...plus(same, (t) => log(t)), singly: true },
  ReduceMax: { start: Number.NEGATIVE_INFINITY, join: (t, x) => max(t, x) },
  ReduceMin: { start: Number.POSITIVE_INFINITY, join: (t, x) => min(t, x) },
  ReduceProd: { start: 1, join: (t, x) => mul(t, x) },
  GlobalAveragePool: mean,
  GlobalMaxPool: { start: Number.NEGATIVE_INFINITY, join: (t, x) => max(t, x) }
}

function reduce(n: NodeView, r: Reduction, axes: readonly number[]): Loops | undefined {
  const rows = n.inputs[0]?.dtype === 'float32' ? rowsOver(sizes(n, 'inputs', 0), axes) : undefined
  if (!rows) return undefined
  return {
    is: 'body',
    ...(r.isMean && rows.inner === 1 ? { means: rows } : {}),
    scratch: rowScratch,
    body: ({ inputs: [x], outputs: [y] }, scratch) =>
      forRows(
        rows,
        x as Place,
        scratch,
        (row) => {
          const { total, code } = row.fold(r, (v) => ({ value: r.value?.(v) ?? v, code: [] }))
          return [...code, store(at(y as Place, row.number), r.end ? r.end(total, rows.count) : total)]
        },
        r.singly
      )
  }
}

function reduceAxes(n: NodeView): readonly number[] | undefined {
  const given = givenAxes(n, 1)
  const all = sizes(n, 'inputs', 0).map((_, i) => i)
  if (given === undefined) return undefined
  if (given !== 'none' && given.length > 0) return given
  return attrInt(n.node, 'noop_with_empty_axes', 0) ? undefined : all
}

/** `end`: the output from x − greatest, its e^ and `of` the sum of all; `singly`: that takes one float. */
interface Softmax {
  readonly of: (total: Expr) => Expr
  readonly end: (shifted: Expr, power: Expr, total: Expr) => Expr
  readonly singly?: true
}

function softmax(n: NodeView, { of, end, singly }: Softmax): Loops | undefined {
  const rows = rowsOver(sizes(n, 'inputs', 0), [attrInt(n.node, 'axis', -1)])
  if (!rows) return undefined
  const body = (to: Place) => (row: Row) => {
    const greatest = row.fold(greatestOf)
    const powers = row.fold(sum, (v, address) => {
      const power = local(kindOf(v), 'power')
      const code = [set(power, exp(sub(v, greatest.total))), store(at(to, address), get(power))]
      return { value: get(power), code }
    })
    const total = local(row.width, 'all')
    return [
      ...greatest.code,
      ...powers.code,
      set(total, of(powers.total)),
      ...row.each((v, address) => [
        store(at(to, address), end(sub(v, greatest.total), loadAs(kindOf(v), at(to, address)), get(total)))
      ])
    ]
  }
  return {
    is: 'body',
    scratch: rowScratch,
    body: ({ inputs: [x], outputs: [y] }, scratch) => forRows(rows, x as Place, scratch, body(y as Place), singly)
  }
}

/** (x − mean) / sqrt(variance + epsilon), then `end`, which is given the position along the row and the number of the row. */
function normalize(
  rows: Rows,
  epsilon: number,
  centred: boolean,
  end: (at: Ends, x: Expr, index: Expr, row: Expr) => Expr
): Loops {
  return {
    is: 'body',
    scratch: rowScratch,
    body: (ends, scratch) =>
      forRows(rows, ends.inputs[0] as Place, scratch, (row) => {
        const mean = local(row.width, 'mean')
        const scale = local(row.width, 'scale')
        const first = row.fold(sum)
        const squares = row.fold(sum, (x) => ({ value: square(sub(x, get(mean))), code: [] }))
        return [
          ...(centred ? [...first.code, set(mean, div(first.total, rows.count))] : [set(mean, 0)]),
          ...squares.code,
          set(scale, div(one(row.width), sqrt(add(div(squares.total, rows.count), epsilon)))),
          ...row.each((x, address, index) => [
            store(
              at(ends.outputs[0] as Place, address),
              end(ends, mul(sub(x, get(mean)), get(scale)), index, row.number)
            )
          ])
        ]
      })
  }
}

const one = (width: Width): Expr => ({ is: 'const', kind: width, value: 1 })
/** The number of an element, or the numbers of four; `beside`: what they stand with. */
const byIndex = (place: Place | undefined, index: Expr, beside: Expr): Expr =>
  loadAs(kindOf(beside), at(place as Place, mul(index, 4)))

function layer(n: NodeView, centred: boolean): Loops | undefined {
  const shape = sizes(n, 'inputs', 0)
  const axis = attrInt(n.node, 'axis', -1)
  const from = axis < 0 ? axis + shape.length : axis
  const rows = rowsOver(shape, shape.map((_, i) => i).slice(from))
  if (!rows || n.node.outputs.slice(1).some((id) => id !== '') || n.inputs[1]?.shape?.length !== shape.length - from)
    return undefined
  return normalize(rows, attrFloat(n.node, 'epsilon', 1e-5), centred, ({ inputs: [, gain, bias] }, x, index) => {
    const scaled = mul(x, byIndex(gain, index, x))
    return bias && n.node.inputs[2] != null ? add(scaled, byIndex(bias, index, x)) : scaled
  })
}

function instance(n: NodeView): Loops | undefined {
  const shape = sizes(n, 'inputs', 0)
  const rows = rowsOver(shape, shape.map((_, i) => i).slice(2))
  if (!rows) return undefined
  const channels = (shape[1] as number) * 4
  return normalize(rows, attrFloat(n.node, 'epsilon', 1e-5), true, ({ inputs: [, gain, bias] }, x, _index, row) => {
    const channel: Expr = { is: 'binary', kind: 'i32', op: 'rem', a: row, b: i32(channels) }
    return add(mul(x, load(at(gain as Place, channel))), load(at(bias as Place, channel)))
  })
}

/** For every row: `body` with a walk over its elements, one by one. */
function oneByOne({ outer, count, inner }: Rows, from: Place, body: (each: Row['each'], row: Expr) => Stmt[]): Stmt[] {
  return loop(0, outer, 1, (o) =>
    loop(0, inner, 1, (j) => {
      const first = local('i32', 'first')
      const number = mul(add(mul(o, inner), j), 4)
      const rows = { outer, count, inner }
      const { each } = rowAt({ rows, from, scratch: from, first: get(first), width: 'f32', whole: 0, number })
      return [set(first, mul(add(mul(o, count * inner), j), 4)), ...body(each, number)]
    })
  )
}

/** The position of the greatest or least along an axis, the first of several. */
function arg(n: NodeView, op: 'gt' | 'lt'): Loops | undefined {
  const rows = rowsOver(sizes(n, 'inputs', 0), [attrInt(n.node, 'axis', 0)])
  if (!rows || n.inputs[0]?.dtype !== 'float32' || attrInt(n.node, 'select_last_index', 0)) return undefined
  return {
    is: 'body',
    body: ({ inputs: [x], outputs: [y] }) =>
      oneByOne(rows, x as Place, (each, row) => {
        const [best, position] = [local('f32', 'best'), local('i32', 'position')]
        return [
          set(best, f32(op === 'gt' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY)),
          set(position, i32(0)),
          ...each((v, _a, i) => [when(compare(op, v, get(best)), [set(best, v), set(position, i)])]),
          store(at(y as Place, row), get(position), 'i32')
        ]
      })
  }
}

function cumulative(n: NodeView): Loops | undefined {
  const data = n.inputs[1]?.data
  const axis = n.inputs[1]?.content?.[0] ?? (data ? Number(data.bytes.slice(0, 1)[0]) : undefined)
  const rows = typeof axis === 'number' ? rowsOver(sizes(n, 'inputs', 0), [axis]) : undefined
  if (!rows || attrInt(n.node, 'exclusive', 0) || attrInt(n.node, 'reverse', 0)) return undefined
  const isFloat = n.inputs[0]?.dtype === 'float32'
  return {
    is: 'body',
    body: ({ inputs: [x], outputs: [y] }) =>
      oneByOne(rows, x as Place, (each) => {
        const total = local(isFloat ? 'f32' : 'i32', 'total')
        const cell = isFloat ? 'f32' : 'i32'
        return [
          set(total, isFloat ? f32(0) : i32(0)),
          ...each((_v, address) => [
            set(total, add(get(total), load(at(x as Place, address), cell))),
            store(at(y as Place, address), get(total), cell)
          ])
        ]
      })
  }
}

/** By name; see `withLoops`. */
export const rowLoops: Readonly<Record<string, (n: NodeView) => Loops | undefined>> = {
  ...Object.fromEntries(
    Object.entries(reductions).map(([name, r]) => [
      name,
      (n: NodeView) => {
        const axes = name.startsWith('Reduce')
          ? reduceAxes(n)
          : sizes(n, 'inputs', 0)
              .map((_, i) => i)
              .slice(2)
        return axes && reduce(n, r, axes)
      }
    ])
  ),
  Softmax: (n) => softmax(n, { of: same, end: (_x, power, total) => div(power, total) }),
  LogSoftmax: (n) => softmax(n, { of: log, end: (x, _power, total) => sub(x, total), singly: true }),
  LayerNormalization: (n) => layer(n, true),
  RMSNormalization: (n) => layer(n, false),
  SimplifiedLayerNormalization: (n) => layer(n, false),
  InstanceNormalization: instance,
  ArgMax: (n) => arg(n, 'gt'),
  ArgMin: (n) => arg(n, 'lt'),
  CumSum: cumulative
}

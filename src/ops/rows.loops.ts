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

/** The element of a row, and where it lies. */
type Each = (body: (x: Expr, address: Expr, index: Expr) => Stmt[]) => Stmt[]

/** For every row: `body` with a walk over its elements. */
function forRows({ outer, count, inner }: Rows, from: Place, body: (each: Each, row: Expr) => Stmt[]): Stmt[] {
  return loop(
    0,
    outer,
    1,
    (o) =>
      loop(
        0,
        inner,
        1,
        (j) => {
          const first = local('i32', 'first')
          const each: Each = (f) =>
            loop(0, count, 1, (i) => {
              const address = local('i32', 'a')
              return [
                set(address, add(get(first), mul(i, inner * 4))),
                ...f(load(at(from, get(address))), get(address), i)
              ]
            })
          return [set(first, mul(add(mul(o, count * inner), j), 4)), ...body(each, mul(add(mul(o, inner), j), 4))]
        },
        'j'
      ),
    'o'
  )
}

/** A sum over a row of what `f` makes of each element. */
function sumOf(each: Each, f: (x: Expr) => Expr): { readonly total: Expr; readonly code: Stmt[] } {
  const total = local('f32', 'total')
  return { total: get(total), code: [set(total, f32(0)), ...each((x) => [set(total, add(get(total), f(x)))])] }
}

interface Reduction {
  readonly start: number
  readonly join: (total: Expr, x: Expr) => Expr
  readonly end?: (total: Expr, count: number) => Expr
  readonly isMean?: true
}

const plus = (f: (x: Expr) => Expr, end?: Reduction['end']): Reduction => ({
  start: 0,
  join: (t, x) => add(t, f(x)),
  ...(end ? { end } : {})
})
const same = (x: Expr): Expr => x
const square = (x: Expr): Expr => mul(x, x)
const mean: Reduction = { ...plus(same, (t, n) => div(t, n)), isMean: true }
const reductions: Readonly<Record<string, Reduction>> = {
  ReduceSum: plus(same),
  ReduceMean: mean,
  ReduceSumSquare: plus(square),
  ReduceL1: plus((x) => select(compare('lt', x, 0), sub(0, x), x)),
  ReduceL2: plus(square, (t) => sqrt(t)),
  ReduceLogSum: plus(same, (t) => log(t)),
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
    body: ({ inputs: [x], outputs: [y] }) =>
      forRows(rows, x as Place, (each, row) => {
        const total = local('f32', 'total')
        return [
          set(total, f32(r.start)),
          ...each((v) => [set(total, r.join(get(total), v))]),
          store(at(y as Place, row), r.end ? r.end(get(total), rows.count) : get(total))
        ]
      })
  }
}

function reduceAxes(n: NodeView): readonly number[] | undefined {
  const given = givenAxes(n, 1)
  const all = sizes(n, 'inputs', 0).map((_, i) => i)
  if (given === undefined) return undefined
  if (given !== 'none' && given.length > 0) return given
  return attrInt(n.node, 'noop_with_empty_axes', 0) ? undefined : all
}

/** `end`: the output from x − greatest, its e^ and the sum of all. */
function softmax(n: NodeView, end: (shifted: Expr, power: Expr, total: Expr) => Expr): Loops | undefined {
  const rows = rowsOver(sizes(n, 'inputs', 0), [attrInt(n.node, 'axis', -1)])
  if (!rows) return undefined
  return {
    is: 'body',
    body: ({ inputs: [x], outputs: [y] }) =>
      forRows(rows, x as Place, (each) => {
        const greatest = local('f32', 'greatest')
        const to = y as Place
        const { total, code } = sumOf(
          (f) =>
            each((v, address) => {
              const power = local('f32', 'power')
              return [
                set(power, exp(sub(v, get(greatest)))),
                store(at(to, address), get(power)),
                ...f(get(power), address, i32(0))
              ]
            }),
          same
        )
        return [
          set(greatest, f32(Number.NEGATIVE_INFINITY)),
          ...each((v) => [set(greatest, max(get(greatest), v))]),
          ...code,
          ...each((v, address) => [store(at(to, address), end(sub(v, get(greatest)), load(at(to, address)), total))])
        ]
      })
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
    body: (ends) =>
      forRows(rows, ends.inputs[0] as Place, (each, row) => {
        const mean = local('f32', 'mean')
        const scale = local('f32', 'scale')
        const first = sumOf(each, same)
        const squares = sumOf(each, (x) => square(sub(x, get(mean))))
        return [
          ...(centred ? [...first.code, set(mean, div(first.total, rows.count))] : [set(mean, f32(0))]),
          ...squares.code,
          set(scale, div(f32(1), sqrt(add(div(squares.total, rows.count), epsilon)))),
          ...each((x, address, index) => [
            store(at(ends.outputs[0] as Place, address), end(ends, mul(sub(x, get(mean)), get(scale)), index, row))
          ])
        ]
      })
  }
}

const byIndex = (place: Place | undefined, index: Expr): Expr => load(at(place as Place, mul(index, 4)))

function layer(n: NodeView, centred: boolean): Loops | undefined {
  const shape = sizes(n, 'inputs', 0)
  const axis = attrInt(n.node, 'axis', -1)
  const from = axis < 0 ? axis + shape.length : axis
  const rows = rowsOver(shape, shape.map((_, i) => i).slice(from))
  if (!rows || n.node.outputs.slice(1).some((id) => id !== '') || n.inputs[1]?.shape?.length !== shape.length - from)
    return undefined
  return normalize(rows, attrFloat(n.node, 'epsilon', 1e-5), centred, ({ inputs: [, gain, bias] }, x, index) => {
    const scaled = mul(x, byIndex(gain, index))
    return bias && n.node.inputs[2] != null ? add(scaled, byIndex(bias, index)) : scaled
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

/** The position of the greatest or least along an axis, the first of several. */
function arg(n: NodeView, op: 'gt' | 'lt'): Loops | undefined {
  const rows = rowsOver(sizes(n, 'inputs', 0), [attrInt(n.node, 'axis', 0)])
  if (!rows || n.inputs[0]?.dtype !== 'float32' || attrInt(n.node, 'select_last_index', 0)) return undefined
  return {
    is: 'body',
    body: ({ inputs: [x], outputs: [y] }) =>
      forRows(rows, x as Place, (each, row) => {
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
      forRows(rows, x as Place, (each) => {
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
  Softmax: (n) => softmax(n, (_x, power, total) => div(power, total)),
  LogSoftmax: (n) => softmax(n, (x, _power, total) => sub(x, log(total))),
  LayerNormalization: (n) => layer(n, true),
  RMSNormalization: (n) => layer(n, false),
  SimplifiedLayerNormalization: (n) => layer(n, false),
  InstanceNormalization: instance,
  ArgMax: (n) => arg(n, 'gt'),
  ArgMin: (n) => arg(n, 'lt'),
  CumSum: cumulative
}

/** Matrices on codes, and convolutions whose windows are whole maps. */
import {
  add,
  at,
  type Expr,
  float,
  get,
  type Local,
  load4,
  local,
  mul,
  type Place,
  pack,
  set,
  store
} from '../../ir/loops.ts'
import { elementCount } from '../../ir/tensor.ts'
import { storeLanes } from '../kernels/dots.ts'
import { panelsOf, rowsSums, type StoreTile, vectorsOf } from '../kernels/sums.ts'
import type { Made } from '../linear.ts'
import { dotsFor, type IntegerSteps } from './context.ts'
import { type CodedLayer, filledUp, type Geometry, made, outputOf, roundingIn } from './layer.ts'

export function matrix(steps: IntegerSteps, l: CodedLayer): Made | undefined {
  const { linear, y, data } = l
  const [n, k] = [linear.outputs, linear.inputs]
  if (linear.axes.in !== -1 || linear.groups !== 1) return undefined
  const m = elementCount(y) / n
  const from = steps.need(data, 'rows')
  return product(steps, l, {
    ...{ what: `matrix [${m}, ${k}] × [${k}, ${n}]`, m, n, from, row: k, lanes: Math.ceil(k / 4) },
    term: (step, i) => (step * 4 + i < k ? step * 4 + i : -1),
    form: 'rows'
  })
}

interface Product {
  readonly what: string
  readonly m: number
  readonly n: number
  readonly from: string
  /** Bytes from one row of the data to the next. */
  readonly row: number
  readonly lanes: number
  /** The term that byte i of a lane is; −1: none. */
  term(step: number, i: number): number
  readonly form: 'rows' | 'maps'
}

function product(steps: IntegerSteps, l: CodedLayer, p: Product): Made {
  const { m, n } = p
  const vectors = vectorsOf(n)
  const firsts = panelsOf(n)
  const quads = new Int8Array(firsts.length * p.lanes * vectors * 16)
  let to = 0
  for (const first of firsts)
    for (let step = 0; step < p.lanes; step++)
      for (let o = first; o < first + vectors * 4; o++)
        for (let i = 0; i < 4; i++) {
          const term = p.term(step, i)
          quads[to++] = o < n && term >= 0 ? l.code(o, term) : 0
        }
  const dots = dotsFor(steps, quads)
  // Samples of one position lie four channels to a lane, filled up.
  const rowBytes = p.form === 'maps' ? Math.ceil(n / 4) * 4 : n
  const key = outputOf(steps, l, p.form, l.behind ? m * rowBytes + 16 : m * n * 4 + 16)
  return made(l, p.what, p.from, key, 0, (places) => {
    const scales = places.constant(filledUp(l.scales, n + 16))
    return rowsSums({
      ...{ dots, m, n, k: p.lanes, a: { ...places.of(p.from), row: p.row }, b: places.quads(quads, dots) },
      starts: places.constant(filledUp(l.starts, n + 16)),
      c: places.of(key),
      each: l.behind ? { output: 1, row: rowBytes } : { output: 4, row: n * 4 },
      store: (inside) => storeRows(l, l.behind ? rowBytes : n * 4, inside.place(scales), roundingIn(l, inside))
    })
  })
}

/** Some rows by some vectors of outputs. */
function storeRows(l: CodedLayer, rowBytes: number, scales: Place, round: (x: Expr) => Expr): StoreTile {
  return (sums, { number, to }) =>
    sums.flatMap((line, r) => {
      const scaled = line.map((s, v) => mul(float(get(s)), load4(at(scales, number, 16 * v))))
      const at4 = (row: Expr, offset: number): Place => ({ space: 'values', address: row, offset })
      const row = add(to, r * rowBytes)
      if (!l.behind) return scaled.map((x, v) => store(at4(row, 16 * v), x))
      const codes = line.map(() => local('i32x4', 'code'))
      const of = (i: number): Expr => get(codes[Math.min(i, codes.length - 1)] as Local)
      return [
        ...codes.map((c, v) => set(c, round(scaled[v] as Expr))),
        storeLanes(at4(row, 0), pack('bytesAcross', of(0), of(1), of(2), of(3)))
      ]
    })
}

export function wholeMaps(steps: IntegerSteps, l: CodedLayer, g: Geometry): Made {
  const { inputs, outputs } = l.linear
  const isRows = inputs < 3
  const lanes = isRows ? Math.ceil((inputs * g.inside) / 4) : Math.ceil(inputs / 4) * g.inside
  const term = (step: number, i: number): number => {
    if (isRows) return step * 4 + i < inputs * g.inside ? step * 4 + i : -1
    const channel = Math.floor(step / g.inside) * 4 + i
    return channel < inputs ? channel * g.inside + (step % g.inside) : -1
  }
  return product(steps, l, {
    ...{ what: `convolution as matrix, ${g.title}`, m: g.samples, n: outputs, lanes, term, form: 'maps' },
    from: steps.need(l.data, isRows ? 'rows' : 'maps'),
    row: isRows ? inputs * g.inside : lanes * 4
  })
}

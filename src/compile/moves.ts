/** Steps of operators that are given as loops (`Op.loops`): element-wise ones, moved elements, pools, batches of matrices. */
import {
  add,
  at,
  type Cell,
  type Expr,
  f32,
  i32,
  load,
  load4,
  loadSplat,
  loop,
  mul,
  type Place,
  type Stmt,
  store
} from '../ir/loops.ts'
import { elementCount } from '../ir/tensor.ts'
import { stridesOf } from '../ops/move.loops.ts'
import type { Copy, Loops } from '../ops/types.ts'
import type { Model, Node } from '../types.ts'
import { follow } from './follow.ts'
import { along, fill, type Slide } from './kernels/copy.ts'
import { rowsProduct, vectorsFor } from './kernels/product.ts'
import { outsideOf, padded, windows } from './kernels/windows.ts'
import type { Made } from './linear.ts'
import { cells, type Step } from './steps.ts'

type Of<K extends Loops['is']> = Loops & { readonly is: K }

export function loopsStep(model: Model, node: Node, loops: Loops, ready: (id: string) => boolean): Made {
  const { graph } = model
  const sizes = (id: string | null | undefined): readonly number[] =>
    (graph.values.get(id ?? '')?.shape ?? []) as readonly number[]
  const cellOf = (id: string): Cell => cells[graph.values.get(id)?.dtype ?? 'float32'] ?? 'f32'
  const reads = node.inputs.filter((id): id is string => id !== null)
  const writes = node.outputs.filter((id) => id !== '')
  const [output = ''] = writes
  const step = (what: string, code: Step['code'], scratch = 0): Made => ({
    with: [],
    step: { nodes: [node.name], what, reads, writes, scratch, code }
  })

  const lanes = ({ value, channels, scalar }: Of<'lanes'>): Made => {
    const y = sizes(output)
    const operands = node.inputs.map((id, i) => {
      if (id === null) return undefined
      const own = sizes(id)
      // One number a channel stands along axis 1.
      const shape = channels?.includes(i) ? [own[0] ?? 1, ...y.slice(2).map(() => 1)] : own
      const strides = stridesOf(shape)
      const lead = y.length - shape.length
      return {
        id,
        cell: cellOf(id),
        strides: y.map((_, a) => (a < lead || shape[a - lead] === 1 ? 0 : (strides[a - lead] as number)))
      }
    })
    const to = cellOf(output)
    const given = operands.filter((o): o is NonNullable<typeof o> => o !== undefined)
    const nest = collapsed(y, [...given.map((o) => o.strides), stridesOf(y)])
    const wide = !scalar && to === 'f32' && given.every((o) => o.cell === 'f32')
    return step(`${given.length} → 1, ${y.join('×')}`, (places) => {
      const from = given.map((o) => places.of(o.id))
      const at4 = (place: Place, stride: number, e: Expr, vector: boolean, cell: Cell): Expr => {
        if (!vector) return load(stride === 0 ? place : at(place, mul(e, bytes(cell))), cell)
        return stride === 0 ? loadSplat(place) : load4(at(place, mul(e, 4)))
      }
      return nested(nest.sizes.slice(0, -1), (index) => {
        const offset = (k: number): Expr =>
          index.reduce<Expr>((sum, i, a) => {
            const s = nest.strides[k]?.[a] as number
            return s === 0 ? sum : add(sum, mul(i, s))
          }, i32(0))
        const inner = nest.sizes.at(-1) as number
        const last = (k: number): number => nest.strides[k]?.at(-1) as number
        const places2 = from.map((p, k) => at(p, mul(offset(k), bytes(given[k]?.cell as Cell))))
        const out = at(places.of(output), mul(offset(given.length), bytes(to)))
        const values = (e: Expr, vector: boolean): Expr => {
          let next = 0
          const all = operands.map((o): Expr => {
            if (!o) return f32(0)
            const k = next++
            const s = last(k)
            return at4(places2[k] as Place, s, s > 1 ? mul(e, s) : e, vector, o.cell)
          })
          return value(all)
        }
        if (wide && given.every((_, k) => last(k) <= 1))
          return along(
            inner,
            (o) => [store(at(out, o), values(quarter(o), true))],
            (o) => [store(at(out, o), values(quarter(o), false))]
          )
        return loop(0, inner, 1, (e) => [store(at(out, mul(e, bytes(to))), values(e, false), to)], 'e')
      })
    })
  }

  const copies = ({ copies: all, fill: filler }: Of<'copies'>): Made =>
    step(`copies ${all.length}, ${sizes(output).join('×')}`, (places) => {
      const cell = cellOf(output)
      const to = places.of(output)
      const before = filler === undefined ? [] : filled(to, elementCount(sizes(output)), filler, cell)
      return [...before, ...all.flatMap((c) => copyOf(c, places.of(node.inputs[c.input] as string), to, cell))]
    })

  const pool = ({ by, axes, divisors }: Of<'pool'>): Made => {
    if (axes.length > 2) return { reason: `a pool over ${axes.length} axes` }
    const [x, y] = [sizes(node.inputs[0]), sizes(output)]
    const two = <T>(list: readonly T[], one: T): [T, T] =>
      list.length === 1 ? [one, list[0] as T] : [list[0] as T, list[1] as T]
    const [h, w] = two(x.slice(2), 1)
    const [oh, ow] = two(y.slice(2), 1)
    const [ay, ax] = two(axes, { kernel: 1, stride: 1, dilation: 1, before: 0 })
    const slideY: Slide = { size: h, out: oh, ...ay }
    const slideX: Slide = { size: w, out: ow, ...ax }
    const f = follow(model, node, 1, false, ready)
    const [samples, maps] = [x[0] as number, x[1] as number]
    return {
      with: f.nodes,
      step: {
        nodes: [node.name, ...f.nodes.map((n) => n.name)],
        what: `pool ${ay.kernel}×${ax.kernel}, ${maps} × ${h}×${w} → ${oh}×${ow}`,
        reads: [node.inputs[0] as string, ...f.reads],
        writes: [f.output],
        scratch: padded(slideY, slideX, outsideOf(by)).floats + 8,
        code: (places) => {
          const each = f.finish(places)
          const plane =
            divisors instanceof Float32Array ? places.constant(withSlack(divisors, (d) => 1 / d)) : undefined
          return loop(0, samples, 1, (s) => {
            const of = (id: string, floats: number): Place =>
              samples === 1 ? places.of(id) : at(places.of(id), mul(s, floats * 4))
            return windows({
              ...{ maps, each: 1, y: slideY, x: slideX, by, scratch: places.scratch },
              from: of(node.inputs[0] as string, maps * h * w),
              to: of(f.output, maps * oh * ow),
              finish: (sums, spot) => {
                const scaled = plane
                  ? mul(sums, load4(at(spot.through(plane), spot.position)))
                  : typeof divisors === 'number'
                    ? mul(sums, 1 / divisors)
                    : sums
                return each(scaled, spot)
              }
            })
          })
        }
      }
    }
  }

  const matrices = (): Made => {
    const [a, b, y] = [sizes(node.inputs[0]), sizes(node.inputs[1]), sizes(output)]
    if (a.length < 2 || b.length < 2) return { reason: 'a product with a vector' }
    const [m, k, n] = [a.at(-2) as number, a.at(-1) as number, b.at(-1) as number]
    const batch = y.slice(0, -2)
    const lead = (s: readonly number[]): number[] =>
      [...batch.map(() => 1), ...s.slice(0, -2)].slice(-batch.length || s.length)
    const strides = (s: readonly number[], floats: number): number[] => {
      const own = batch.length === 0 ? [] : lead(s)
      return stridesOf(own).map((v, i) => (own[i] === 1 ? 0 : v * floats))
    }
    const nest = collapsed(batch, [strides(a, m * k), strides(b, k * n), stridesOf(batch).map((s) => s * m * n)])
    const f = follow(model, node, y.length - 1, true, ready)
    return {
      with: f.nodes,
      step: {
        nodes: [node.name, ...f.nodes.map((o) => o.name)],
        what: `matrices ${batch.join('×') || 1} × [${m}, ${k}] × [${k}, ${n}]`,
        reads: [...reads, ...f.reads],
        writes: [f.output],
        scratch: 0,
        code: (places) =>
          nested(nest.sizes, (index) => {
            const place = (id: string, which: number): Place => {
              const terms = index.flatMap((i, axis) => {
                const s = nest.strides[which]?.[axis] as number
                return s === 0 ? [] : [mul(i, s * 4)]
              })
              return terms.reduce<Place>((p, t) => at(p, t), places.of(id))
            }
            return rowsProduct({
              ...{ m, n, k, vectors: vectorsFor(m >= 2, n), finish: f.finish(places), c: place(f.output, 2) },
              a: { ...place(node.inputs[0] as string, 0), row: k * 4, step: 4 },
              b: { ...place(node.inputs[1] as string, 1), row: n * 4 }
            })
          })
      }
    }
  }

  const body = (l: Of<'body'>): Made =>
    step(
      sizes(output).join('×'),
      (places) =>
        l.body(
          {
            inputs: node.inputs.map((id) => (id === null ? undefined : places.of(id))),
            outputs: writes.map((id) => places.of(id)),
            constant: places.constant
          },
          places.scratch
        ),
      l.scratch ?? 0
    )

  switch (loops.is) {
    case 'lanes':
      return lanes(loops)
    case 'copies':
      return copies(loops)
    case 'pool':
      return pool(loops)
    case 'matrices':
      return matrices()
    case 'body':
      return body(loops)
  }
}

/** A copy of all elements in order. */
export const plainCopy = (from: string, to: string, count: number, cell: Cell, name: string): Step => ({
  nodes: [name],
  what: `copy ${count}`,
  reads: [from],
  writes: [to],
  scratch: 0,
  code: (places) =>
    copyOf(
      { input: 0, sizes: [count], from: [1], to: [1], fromOffset: 0, toOffset: 0 },
      places.of(from),
      places.of(to),
      cell
    )
})

const bytes = (cell: Cell): number => (cell === 'f32' || cell === 'i32' ? 4 : 1)
/** An element's number from its byte offset. */
const quarter = (offset: Expr): Expr =>
  offset.is === 'const' ? i32(offset.value / 4) : { is: 'binary', kind: 'i32', op: 'shr', a: offset, b: i32(2) }

const withSlack = (data: Float32Array, f: (x: number) => number): Float32Array => {
  const out = new Float32Array(data.length + 4)
  data.forEach((x, i) => {
    out[i] = f(x)
  })
  return out
}

export const filled = (to: Place, count: number, value: number, cell: Cell): Stmt[] =>
  cell === 'f32'
    ? fill(to, count, value)
    : loop(0, count, 1, (i) => [store(at(to, mul(i, bytes(cell))), i32(value), cell)])

/** Axes that all strides walk alike become one; axes of size 1 go. There is at least one left. */
function collapsed(
  sizes: readonly number[],
  strides: readonly (readonly number[])[]
): { readonly sizes: number[]; readonly strides: number[][] } {
  const out: { size: number; strides: number[] }[] = []
  sizes.forEach((size, a) => {
    if (size === 1) return
    const own = strides.map((s) => s[a] as number)
    const last = out.at(-1)
    if (last?.strides.every((s, k) => s === (own[k] as number) * size)) {
      last.size *= size
      last.strides = own
    } else out.push({ size, strides: own })
  })
  if (out.length === 0) out.push({ size: 1, strides: strides.map(() => 0) })
  return { sizes: out.map((o) => o.size), strides: strides.map((_, k) => out.map((o) => o.strides[k] as number)) }
}

/** A loop for every size, around a body that is given all positions. */
function nested(
  sizes: readonly number[],
  body: (index: readonly Expr[]) => Stmt[],
  index: readonly Expr[] = []
): Stmt[] {
  const [first, ...rest] = sizes
  return first === undefined ? body(index) : loop(0, first, 1, (i) => nested(rest, body, [...index, i]))
}

export function copyOf(c: Copy, from: Place, to: Place, cell: Cell): Stmt[] {
  const { sizes, strides } = collapsed(c.sizes, [c.from, c.to])
  const size = bytes(cell)
  return nested(sizes.slice(0, -1), (index) => {
    const place = (base: Place, k: number, offset: number): Place =>
      index.reduce((p, i, a) => at(p, mul(i, (strides[k]?.[a] as number) * size)), at(base, undefined, offset * size))
    const [source, target] = [place(from, 0, c.fromOffset), place(to, 1, c.toOffset)]
    const [sf, st] = [strides[0]?.at(-1) as number, strides[1]?.at(-1) as number]
    const count = sizes.at(-1) as number
    if (size === 4 && st === 1 && (sf === 1 || sf === 0))
      return along(
        count,
        (o) => [store(at(target, o), sf === 0 ? loadSplat(source) : load4(at(source, o)))],
        (o) => [store(at(target, o), load(sf === 0 ? source : at(source, o)))]
      )
    return loop(0, count, 1, (i) => [
      store(
        at(target, mul(i, st * size)),
        load(at(source, mul(i, sf * size)), size === 4 ? 'i32' : cell),
        size === 4 ? 'i32' : cell
      )
    ])
  })
}

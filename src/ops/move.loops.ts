/** Operators that move elements, as loops: which runs of each input go where in the output. */
import { attrInt, attrInts, attrString } from '../ir/attrs.ts'
import { add, at, compare, get, load, local, loop, mul, select, set, store } from '../ir/loops.ts'
import { elementCount, toNumbers } from '../ir/tensor.ts'
import { isGiven, numbersOf } from './op.ts'
import type { Copy, Loops, NodeView } from './types.ts'

/** Elements from one position of each axis to the next. */
export function stridesOf(shape: readonly number[]): number[] {
  const out = shape.map(() => 1)
  for (let i = shape.length - 2; i >= 0; i--) out[i] = (out[i + 1] as number) * (shape[i + 1] as number)
  return out
}

/** Sizes of an input or output; the compiler asks only where all are numbers. */
export const sizes = (n: NodeView, of: 'inputs' | 'outputs', at: number): readonly number[] =>
  (n[of][at]?.shape ?? []) as readonly number[]

const whole = (input: number, rest: Partial<Copy> & Pick<Copy, 'sizes' | 'from' | 'to'>): Copy => ({
  input,
  fromOffset: 0,
  toOffset: 0,
  ...rest
})
const copies = (all: readonly Copy[], fill?: number): Loops => ({
  is: 'copies',
  copies: all,
  ...(fill === undefined ? {} : { fill })
})
const fromFront = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis)

function transpose(n: NodeView): Loops {
  const x = sizes(n, 'inputs', 0)
  const perm = attrInts(n.node, 'perm') ?? x.map((_, i) => x.length - 1 - i)
  const strides = stridesOf(x)
  const out = perm.map((p) => x[p] as number)
  return copies([whole(0, { sizes: out, from: perm.map((p) => strides[p] as number), to: stridesOf(out) })])
}

/** Axes of size 1 are read again and again. */
function expand(n: NodeView): Loops {
  const [x, y] = [sizes(n, 'inputs', 0), sizes(n, 'outputs', 0)]
  const own = stridesOf(x)
  const from = y.map((_, i) => {
    const j = i - (y.length - x.length)
    return j < 0 || x[j] === 1 ? 0 : (own[j] as number)
  })
  return copies([whole(0, { sizes: y, from, to: stridesOf(y) })])
}

function tile(n: NodeView): Loops {
  const [x, y] = [sizes(n, 'inputs', 0), sizes(n, 'outputs', 0)]
  const [from, to] = [stridesOf(x), stridesOf(y)]
  return copies([
    whole(0, {
      sizes: x.flatMap((d, i) => [(y[i] as number) / d, d]),
      from: from.flatMap((s) => [0, s]),
      to: to.flatMap((s, i) => [s * (x[i] as number), s])
    })
  ])
}

function concat(n: NodeView): Loops {
  const y = sizes(n, 'outputs', 0)
  const axis = fromFront(attrInt(n.node, 'axis', 0), y.length)
  const to = stridesOf(y)
  let offset = 0
  return copies(
    n.inputs.map((_, i) => {
      const x = sizes(n, 'inputs', i)
      const copy = whole(i, { sizes: x, from: stridesOf(x), to, toOffset: offset * (to[axis] as number) })
      offset += x[axis] as number
      return copy
    })
  )
}

function slice(n: NodeView): Loops | undefined {
  const [x, y] = [sizes(n, 'inputs', 0), sizes(n, 'outputs', 0)]
  const [starts, ends] = [numbersOf(n, 1), numbersOf(n, 2)]
  if (!starts || !ends) return undefined
  const axes = isGiven(n, 3) ? numbersOf(n, 3) : starts.map((_, i) => i)
  const steps = isGiven(n, 4) ? numbersOf(n, 4) : starts.map(() => 1)
  if (!axes || !steps) return undefined
  const from = stridesOf(x)
  let fromOffset = 0
  axes.forEach((given, i) => {
    const axis = fromFront(given, x.length)
    const [size, step, stride] = [x[axis] as number, steps[i] as number, from[axis] as number]
    const start = (starts[i] as number) < 0 ? (starts[i] as number) + size : (starts[i] as number)
    fromOffset += Math.max(0, Math.min(start, step > 0 ? size : size - 1)) * stride
    from[axis] = stride * step
  })
  return copies([whole(0, { sizes: y, from, to: stridesOf(y), fromOffset })])
}

function pad(n: NodeView): Loops | undefined {
  const [x, y] = [sizes(n, 'inputs', 0), sizes(n, 'outputs', 0)]
  const given = numbersOf(n, 1)
  const axes = isGiven(n, 3) ? numbersOf(n, 3) : x.map((_, i) => i)
  const value = isGiven(n, 2) ? n.inputs[2]?.data : undefined
  if (attrString(n.node, 'mode', 'constant') !== 'constant' || !given || !axes || (isGiven(n, 2) && !value))
    return undefined
  const [from, to] = [stridesOf(x), stridesOf(y)]
  const kept = [...x]
  let [fromOffset, toOffset] = [0, 0]
  axes.forEach((axis, i) => {
    const a = fromFront(axis, x.length)
    const [before, after] = [given[i] as number, given[axes.length + i] as number]
    kept[a] = (x[a] as number) + Math.min(0, before) + Math.min(0, after)
    fromOffset += Math.max(0, -before) * (from[a] as number)
    toOffset += Math.max(0, before) * (to[a] as number)
  })
  if (kept.some((d) => d <= 0)) return undefined
  return copies([whole(0, { sizes: kept, from, to, fromOffset, toOffset })], value ? (toNumbers(value)[0] ?? 0) : 0)
}

/** [N, b·b·C, H, W] ⇄ [N, C, H·b, W·b]; `CRD`: channels first, then the position in the block. */
function blocks(n: NodeView, toSpace: boolean): Loops {
  const b = attrInt(n.node, 'blocksize', 1)
  const isCrd = toSpace && attrString(n.node, 'mode', 'DCR') === 'CRD'
  const [deep, wide] = toSpace
    ? [sizes(n, 'inputs', 0), sizes(n, 'outputs', 0)]
    : [sizes(n, 'outputs', 0), sizes(n, 'inputs', 0)]
  const [d, w] = [stridesOf(deep) as number[], stridesOf(wide) as number[]] as const
  const [batch = 1, all = 1, h = 1, width = 1] = deep
  const c = all / (b * b)
  const plane = d[1] as number
  // Axes: batch, row in block, column in block, channel, row, column.
  const sizesOf = [batch, b, b, c, h, width]
  const ofDeep = isCrd
    ? [d[0], b * plane, plane, b * b * plane, d[2], 1]
    : [d[0], b * c * plane, c * plane, plane, d[2], 1]
  const ofWide = [w[0], w[2], 1, w[1], b * (w[2] as number), b]
  const [from, to] = (toSpace ? [ofDeep, ofWide] : [ofWide, ofDeep]) as [number[], number[]]
  return copies([whole(0, { sizes: sizesOf, from, to })])
}

/** Rows of the data by index; constant and computed indices alike. Indices outside are not looked for: ONNX forbids them. */
function gather(n: NodeView): Loops {
  const x = sizes(n, 'inputs', 0)
  const axis = fromFront(attrInt(n.node, 'axis', 0), x.length)
  const outer = elementCount(x.slice(0, axis))
  const count = elementCount(sizes(n, 'inputs', 1))
  const inner = elementCount(x.slice(axis + 1))
  const size = x[axis] as number
  const cell = n.inputs[0]?.dtype === 'float32' ? 'f32' : 'i32'
  return {
    is: 'body',
    body: ({ inputs: [data, indices], outputs: [y] }) =>
      loop(0, count, 1, (i) => {
        const index = local('i32', 'index')
        const row = local('i32', 'row')
        return [
          set(index, load(at(indices as never, mul(i, 4)), 'i32')),
          set(index, select(compare('lt', get(index), 0), add(get(index), size), get(index))),
          ...loop(0, outer, 1, (o) => [
            set(row, mul(add(mul(o, size), get(index)), inner * 4)),
            ...loop(0, inner, 1, (j) => {
              const from = at(data as never, add(get(row), mul(j, 4)))
              const to = at(y as never, mul(add(mul(add(mul(o, count), i), inner), j), 4))
              return [store(to, load(from, cell), cell)]
            })
          ])
        ]
      })
  }
}

/** Each output is a Slice of its own. */
function split(n: NodeView): Loops | undefined {
  return n.outputs.length === 1
    ? copies([
        whole(0, {
          sizes: sizes(n, 'outputs', 0),
          from: stridesOf(sizes(n, 'inputs', 0)),
          to: stridesOf(sizes(n, 'outputs', 0))
        })
      ])
    : splitBody(n)
}

function splitBody(n: NodeView): Loops {
  const x = sizes(n, 'inputs', 0)
  const axis = fromFront(attrInt(n.node, 'axis', 0), x.length)
  const outer = elementCount(x.slice(0, axis))
  const inner = elementCount(x.slice(axis + 1))
  return {
    is: 'body',
    body: ({ inputs: [data], outputs }) => {
      let offset = 0
      return outputs.flatMap((y, k) => {
        const run = (sizes(n, 'outputs', k)[axis] as number) * inner
        const from = offset
        offset += run
        return loop(0, outer, 1, (o) =>
          loop(0, run, 1, (j) => [
            store(
              at(y, mul(add(mul(o, run), j), 4)),
              load(at(data as never, mul(add(mul(o, (x[axis] as number) * inner), j), 4), from * 4), 'i32'),
              'i32'
            )
          ])
        )
      })
    }
  }
}

/** By name; see `withLoops`. */
export const moveLoops: Readonly<Record<string, (n: NodeView) => Loops | undefined>> = {
  Transpose: transpose,
  Expand: expand,
  Tile: tile,
  Concat: concat,
  Slice: slice,
  Split: split,
  Pad: pad,
  DepthToSpace: (n) => blocks(n, true),
  SpaceToDepth: (n) => blocks(n, false),
  Gather: gather
}

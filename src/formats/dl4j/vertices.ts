/** Vertices of a ComputationGraph that are no layers. */
import { type Conf, num, text, unknown, whole, width } from './conf.ts'
import { field } from './json.ts'
import { attention } from './layers/attention.ts'
import { lastStep } from './layers/rnn.ts'
import type { Net, Signal } from './net.ts'
import { reshaped } from './preprocessors.ts'

export interface Vertex {
  /** The result has the axes and channels of each input. */
  readonly alike?: true
  /** Axes of its inputs; absent: any. */
  readonly takes?: string
  /** Places along an axis of images behind it; absent: its result is no image. */
  readonly size?: (n: number) => number
  build(net: Net, xs: readonly Signal[], c: Conf, named: (name: string) => Signal | undefined): Signal
}

const first = (net: Net, xs: readonly Signal[]): Signal => {
  const x = xs[0]
  if (!x) throw net.fail('it has no input')
  return x
}

/** Ids of all inputs, held as the first is. */
function aligned(net: Net, xs: readonly Signal[]): { readonly x: Signal; readonly ids: readonly string[] } {
  const x = first(net, xs)
  for (const y of xs) if (y.axes !== x.axes) throw net.fail(`its inputs have the axes ${x.axes} and ${y.axes}`)
  const held = xs.every((y) => y.held.length === x.held.length) ? x.held : x.axes
  return { x: { ...x, held }, ids: xs.map((y) => net.as(y, held)) }
}

const vector = (net: Net, hint: string, of: readonly number[]): string => net.constant(hint, 'int64', [of.length], of)
const scalar = (net: Net, hint: string, value: number): string => net.constant(hint, 'float32', [], [value])

const same = (n: number): number => n

const elementWise: Vertex = {
  alike: true,
  size: same,
  build: (net, xs, c) => {
    const { x, ids } = aligned(net, xs)
    const op = text(c, 'op', 'Add').toLowerCase()
    const chain = (name: string): string => ids.slice(1).reduce((a, b) => net.op(name, [a, b]), ids[0] as string)
    const made = (): string => {
      switch (op) {
        case 'add':
          return chain('Add')
        case 'subtract':
          if (ids.length !== 2) throw net.fail(`it subtracts ${ids.length} inputs, where 2 are wanted`)
          return chain('Sub')
        case 'product':
          return chain('Mul')
        case 'average':
          return net.op('Mul', [chain('Add'), scalar(net, 'share', 1 / ids.length)])
        case 'max':
          return net.op('Max', ids)
      }
      throw net.fail(`the element-wise operation ${op} is not known`, 'E_UNSUPPORTED')
    }
    return { ...x, id: made() }
  }
}

const merge: Vertex = {
  size: same,
  build: (net, xs, c) => {
    if (xs.length === 1) return first(net, xs)
    const { x, ids } = aligned(net, xs)
    const given = whole(c, 'mergeAxis', 1)
    const axis = x.axes[given < x.axes.length ? given : 1] as string
    const sizes = xs.map((y) => y.sizes[axis])
    const total = sizes.every((n): n is number => typeof n === 'number') ? sizes.reduce((a, b) => a + b, 0) : '?'
    return { ...x, id: net.op('Concat', ids, { axis: x.held.indexOf(axis) }), sizes: { ...x.sizes, [axis]: total } }
  }
}

/** A run of axis 1. */
const subset: Vertex = {
  size: same,
  build: (net, xs, c) => {
    const x = first(net, xs)
    const [from, to] = [whole(c, 'from'), whole(c, 'to')]
    const axis = x.axes[1] as string
    if (to < from) throw net.fail(`a subset from ${from} to ${to}`)
    const id = net.op('Slice', [
      x.id,
      vector(net, 'starts', [from]),
      vector(net, 'ends', [to + 1]),
      vector(net, 'axes', [x.held.indexOf(axis)])
    ])
    return { ...x, id, sizes: { ...x.sizes, [axis]: to - from + 1 } }
  }
}

/** Length over all axes but the samples'. */
function norm(net: Net, x: Signal, over: readonly number[]): string {
  return net.op('ReduceL2', [x.id, vector(net, 'axes', over)], { keepdims: 1 })
}

const restOf = (x: Signal): readonly number[] =>
  Array.from(x.held).flatMap((a, i) => (a === 'N' || (a === 'T' && !x.axes.includes('T')) ? [] : [i]))

const normalize: Vertex = {
  alike: true,
  size: same,
  build: (net, xs, c) => {
    const x = first(net, xs)
    const given = field(c.fields, 'dimension')
    const over = Array.isArray(given) ? given.map((d) => x.held.indexOf(x.axes[Number(d)] ?? '')) : restOf(x)
    if (over.some((i) => i < 0)) throw net.fail('it normalizes axes that its input does not have')
    const length = net.op('Max', [norm(net, x, over), scalar(net, 'eps', num(c, 'eps', 1e-8))])
    return { ...x, id: net.op('Div', [x.id, length]) }
  }
}

const distance: Vertex = {
  build: (net, xs) => {
    const { x, ids } = aligned(net, xs)
    const y = { ...x, id: net.op('Sub', ids.slice(0, 2)) }
    if (x.axes === 'NC') return { ...y, id: norm(net, y, [x.held.indexOf('C')]), sizes: { ...x.sizes, C: 1 } }
    const flat = net.op('Flatten', [y.id], { axis: 1 })
    return { id: norm(net, { ...y, id: flat }, [1]), axes: 'NC', held: 'NC', sizes: { N: x.sizes.N ?? '?', C: 1 } }
  }
}

const stack: Vertex = {
  size: same,
  build: (net, xs) => {
    const { x, ids } = aligned(net, xs)
    return { ...x, id: net.op('Concat', ids, { axis: x.held.indexOf('N') }), sizes: { ...x.sizes, N: '?' } }
  }
}

const unstack: Vertex = {
  size: same,
  build: (net, xs, c) => {
    const x = first(net, xs)
    const [from, count] = [whole(c, 'from'), width(c, 'stackSize')]
    if (from >= count || count > 4096) throw net.fail(`part ${from} of ${count}`)
    const made = net.op('Split', [x.id], { axis: x.held.indexOf('N'), num_outputs: count }, count)
    return { ...x, id: net.outputsOf(made)[from] as string, sizes: { ...x.sizes, N: 'N' } }
  }
}

const arithmetic = (op: string, name: string): Vertex => ({
  alike: true,
  size: same,
  build: (net, xs, c) => {
    const x = first(net, xs)
    return { ...x, id: net.op(op, [x.id, scalar(net, name, num(c, name, op === 'Mul' ? 1 : 0))]) }
  }
})

/** Without the first row and the first column. */
const poolHelper: Vertex = {
  size: (n) => n - 1,
  build: (net, xs) => {
    const x = first(net, xs)
    if (!x.axes.includes('H')) throw net.fail(`it takes images; the values have the axes ${x.axes}`)
    const axes = ['H', 'W'].map((a) => x.held.indexOf(a))
    const end = 2 ** 31 - 1
    const id = net.op('Slice', [
      x.id,
      vector(net, 'starts', [1, 1]),
      vector(net, 'ends', [end, end]),
      vector(net, 'axes', axes)
    ])
    const less = (n: unknown): number | string => (typeof n === 'number' ? n - 1 : '?')
    return { ...x, id, sizes: { ...x.sizes, H: less(x.sizes.H), W: less(x.sizes.W) } }
  }
}

const reshape: Vertex = {
  build: (net, xs, c) => {
    const given = field(c.fields, 'newShape')
    const shape = Array.isArray(given) ? given.map(Number) : []
    const order = text(c, 'reshapeOrder', 'c')
    if (order !== 'c') throw net.fail(`values are reshaped in the order ${order}`, 'E_UNSUPPORTED')
    if (shape.length < 2 || shape.slice(1).some((n) => !Number.isSafeInteger(n) || n < 1))
      throw net.fail(`the new shape is [${shape}]`, 'E_UNSUPPORTED')
    return reshaped(net, first(net, xs), shape.slice(1))
  }
}

const duplicate: Vertex = {
  build: (net, xs, c, named) => {
    const series = named(text(c, 'inputName', ''))
    if (!series?.axes.includes('T')) throw net.fail('the series that it is as long as is not there')
    const at = series.held.indexOf('T')
    const steps = net.op('Shape', [series.id], { start: at, end: at + 1 })
    const shape = net.op('Concat', [vector(net, 'one', [1]), steps, vector(net, 'one', [1])], { axis: 0 })
    const x = first(net, xs)
    const open = net.op('Unsqueeze', [net.as(x, 'NC'), vector(net, 'axis', [1])])
    const sizes = { ...x.sizes, T: series.sizes.T ?? '?' }
    return { id: net.op('Expand', [open, shape]), axes: series.axes, held: 'NTC', sizes }
  }
}

const reverse: Vertex = {
  alike: true,
  size: same,
  build: (net, xs) => {
    const x = first(net, xs)
    if (!x.axes.includes('T')) throw net.fail(`it takes series; the values have the axes ${x.axes}`)
    const id = net.op('Slice', [
      x.id,
      vector(net, 'starts', [-1]),
      vector(net, 'ends', [-(2 ** 31) + 1]),
      vector(net, 'axes', [x.held.indexOf('T')]),
      vector(net, 'steps', [-1])
    ])
    return { ...x, id }
  }
}

const attend: Vertex = {
  takes: 'NCT',
  build: (net, xs, c) => {
    const [queries, keys = queries, values = keys] = xs
    if (!queries || !keys || !values) throw net.fail('it has no input')
    const widths = { queries: width(c, 'ninQueries'), keys: width(c, 'ninKeys'), values: width(c, 'ninValues') }
    return attention(net, c, { queries, keys, values }, widths)
  }
}

const vertices: Readonly<Record<string, Vertex>> = {
  ElementWiseVertex: elementWise,
  MergeVertex: merge,
  SubsetVertex: subset,
  L2NormalizeVertex: normalize,
  L2Vertex: distance,
  StackVertex: stack,
  UnstackVertex: unstack,
  ScaleVertex: arithmetic('Mul', 'scaleFactor'),
  ShiftVertex: arithmetic('Add', 'shiftFactor'),
  PoolHelperVertex: poolHelper,
  ReshapeVertex: reshape,
  DuplicateToTimeSeriesVertex: duplicate,
  ReverseTimeSeriesVertex: reverse,
  LastTimeStepVertex: { build: (net, xs) => lastStep(net, first(net, xs)) },
  AttentionVertex: attend
}

/** The record of a vertex's class. Throws `E_UNSUPPORTED`. */
export function vertexOf(c: Conf): Vertex {
  const found = Object.hasOwn(vertices, c.kind) ? vertices[c.kind] : undefined
  if (!found) throw unknown(c, 'vertex')
  return found
}

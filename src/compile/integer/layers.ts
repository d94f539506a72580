/**
 * Linear layers on codes. With data x of zero point z, weights w that are codes less their zero point, and a bias b in units
 * of s_x · s_w, channel c of the output is
 *
 *     sum = Σ (x − z) · w + b               whole numbers of 32 bits
 *     y   = held(nearest(float(sum) · m) + z_y),    m = float(s_x · s_w / s_y)
 *
 * in float32, halves to even; what is left as floats is float(sum) · float(s_x · s_w). What lies outside a map is z.
 */
import { graphView } from '../../ir/graph.ts'
import {
  add,
  at,
  type Expr,
  float,
  get,
  type Inside,
  type Local,
  load4,
  loadSplat,
  local,
  loop,
  mul,
  type Place,
  pack,
  type Stmt,
  set,
  store
} from '../../ir/loops.ts'
import { elementCount } from '../../ir/tensor.ts'
import { linearOf } from '../../ops/ask.ts'
import type { Linear } from '../../ops/types.ts'
import type { Node } from '../../types.ts'
import { laneOf, type Slide, shifted } from '../kernels/copy.ts'
import { depthLanes, depthSums } from '../kernels/depth.ts'
import { storeLanes } from '../kernels/dots.ts'
import { bytePlanes } from '../kernels/planes.ts'
import { type MapsShape, mapsBytes, raisedBits, roundedTo } from '../kernels/recode.ts'
import { mapsSums, panelsOf, rowsSums, type StoreTile, vectorsOf } from '../kernels/sums.ts'
import { type Layer, layerOf, type Made, none, spatial } from '../linear.ts'
import type { Places } from '../steps.ts'
import { type Coded, codedOf, type Quantized, quantizedBehind } from './codes.ts'
import { dotsFor, type IntegerSteps } from './context.ts'

/** A layer whose data and weights are codes. */
interface CodedLayer {
  readonly node: Node
  readonly linear: Linear
  readonly x: readonly number[]
  readonly y: readonly number[]
  readonly data: Coded
  /** Absent: floats. */
  readonly behind?: Quantized
  /** Of an output channel and a term. */
  code(channel: number, term: number): number
  /** For each output channel; starts have the zero point of the data in them. */
  readonly starts: Int32Array
  readonly scales: Float32Array
  /** No data makes a scaled sum of 2²² or more. */
  readonly small: boolean
}

/** Steps of a layer in whole numbers; `undefined` where it has to be computed in floats. */
export function layerOnCodes(steps: IntegerSteps, node: Node): Made | undefined {
  const { model } = steps
  const linear = linearOf(graphView(model.graph), node)
  const data = linear && codedOf(model.graph, node.inputs[linear.data])
  if (!linear || !data) return undefined
  const layer = layerOf(model, node, linear)
  const coded = typeof layer === 'string' ? undefined : codedLayer(steps, layer, data)
  if (!coded) return undefined
  return linear.patch ? convolution(steps, coded) : matrix(steps, coded)
}

function codedLayer({ model }: IntegerSteps, layer: Layer, data: Coded): CodedLayer | undefined {
  const { linear, node, weights } = layer
  const codes = weights?.codes
  if (!codes) return undefined
  const behind = quantizedBehind(model, node.outputs[0] as string)
  const channels = linear.groups * linear.outputs
  const terms = linear.inputs * linear.kernel
  const { scale, zero } = data.coding
  const starts = new Int32Array(channels)
  const scales = new Float32Array(channels)
  let small = true
  for (let c = 0; c < channels; c++) {
    const unit = scale * codes.scale(c)
    const bias = unit === 0 ? 0 : Math.round(layer.bias(c) / unit)
    let [sum, most] = [0, 0]
    for (let t = 0; t < terms; t++) {
      const w = codes.code(c, t)
      sum += w
      most += Math.abs(w) * 255
    }
    if (most + Math.abs(bias) + 255 * Math.abs(sum) >= 2 ** 31) return undefined
    starts[c] = bias - zero * sum
    scales[c] = behind ? unit / behind.to.coding.scale : unit
    small &&= (most + Math.abs(starts[c] as number)) * (scales[c] as number) < 2 ** 22 - 256
  }
  return {
    ...{ node, linear, x: layer.x, y: layer.y, data, code: codes.code, starts, scales, small },
    ...(behind ? { behind } : {})
  }
}

const filledUp = <T extends Int32Array | Float32Array>(data: T, count: number): T => {
  const out = new (data.constructor as new (n: number) => T)(count)
  out.set(data)
  return out
}

/** What a step of a layer says and takes along. */
function made(
  l: CodedLayer,
  what: string,
  from: string,
  to: string,
  scratch: number,
  code: (places: Places) => Stmt[]
): Made {
  const nodes = l.behind?.nodes ?? []
  const kind = l.behind ? 'on codes' : 'codes to floats'
  return {
    with: nodes,
    step: {
      nodes: [l.node.name, ...nodes.map((n) => n.name)],
      ...{ what: `${what}, ${kind}`, reads: [from], writes: [to], scratch, code }
    }
  }
}

// ---------------------------------------------------------------- matrices

function matrix(steps: IntegerSteps, l: CodedLayer): Made | undefined {
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

/** Codes of scaled sums; the zero point is a parameter, so that layers that differ in it alone share their code. */
function roundingIn({ behind, small }: CodedLayer, inside: Inside): (x: Expr) => Expr {
  if (!behind) return (x) => x
  const { zero } = behind.to.coding
  const raised = inside.take(raisedBits(zero))
  return (x) => roundedTo(x, { zero, bounds: behind.bounds, small }, raised)
}

const outputOf = (steps: IntegerSteps, l: CodedLayer, form: 'rows' | 'maps', bytes: number): string =>
  l.behind ? steps.made(l.behind.to, form, bytes) : steps.floats(l.node.outputs[0] as string, bytes)

// ---------------------------------------------------------------- convolutions

interface Geometry {
  readonly y: Slide
  readonly x: Slide
  readonly samples: number
  readonly positions: number
  readonly inside: number
  readonly title: string
}

function geometryOf({ linear, x, y }: CodedLayer): Geometry | undefined {
  const { patch } = linear
  const rank = patch?.axes.length ?? 0
  if (!patch || patch.transposed || rank > 2 || rank === 0 || linear.axes.in !== -1 - rank) return undefined
  if (patch.axes.some((a) => !a.pads)) return undefined
  const axes = rank === 1 ? [none, ...patch.axes] : patch.axes
  const [size, out] = [spatial(x, rank), spatial(y, rank)]
  const [sy, sx] = axes.map(
    (a, i): Slide => ({
      ...{ size: size[i] as number, out: out[i] as number, kernel: a.kernel, stride: a.stride, dilation: a.dilation },
      before: a.pads?.before ?? 0
    })
  ) as [Slide, Slide]
  const [ins, outs] = [linear.inputs * linear.groups, linear.outputs * linear.groups]
  return {
    ...{ y: sy, x: sx, samples: x[0] as number, positions: elementCount(out), inside: elementCount(size) },
    title: `${ins} × ${size.join('×')} → ${outs} × ${out.join('×')}`
  }
}

/** Most steps of a window that code spells out. */
const mostTaps = 64

function convolution(steps: IntegerSteps, l: CodedLayer): Made | undefined {
  const g = geometryOf(l)
  if (!g) return undefined
  const { groups, outputs, inputs } = l.linear
  const taps = g.y.kernel * g.x.kernel
  const isWhole =
    g.positions === 1 &&
    groups === 1 &&
    taps === g.inside &&
    [g.y, g.x].every((s) => s.before === 0 && s.size === s.kernel)
  if (isWhole) return wholeMaps(steps, l, g)
  if (inputs === 1 && groups > 1) return outputs === 1 && taps <= mostTaps ? depthwise(steps, l, g) : undefined
  if (groups > 1 && (inputs % 4 || outputs % 4)) return undefined
  return dense(steps, l, g)
}

function wholeMaps(steps: IntegerSteps, l: CodedLayer, g: Geometry): Made {
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

const shapeOf = (channels: number, g: Geometry): MapsShape => ({
  ...{ samples: g.samples, channels, positions: g.positions }
})

function depthwise(steps: IntegerSteps, l: CodedLayer, g: Geometry): Made | undefined {
  const { behind } = l
  if (!behind) return undefined
  const channels = l.linear.groups
  const [blocks, taps] = [Math.ceil(channels / 4), g.y.kernel * g.x.kernel]
  const groups = Math.ceil(taps / 4)
  const quads = new Int8Array(blocks * groups * 16)
  // Two steps of a window are multiplied at a time: the pairs of a quad are steps 0 and 1, then 2 and 3.
  const step = [0, 2, 1, 3]
  for (let c = 0; c < channels; c++)
    for (let t = 0; t < taps; t++) {
      const quad = ((c >> 2) * groups + (t >> 2)) * 16
      quads[quad + (c % 4) * 4 + step.indexOf(t % 4)] = l.code(c, t)
    }
  const from = steps.need(l.data, 'maps')
  const key = steps.made(behind.to, 'maps', mapsBytes(shapeOf(channels, g)) + 16)
  const what = `depthwise ${g.y.kernel}×${g.x.kernel}, ${g.title}`
  return made(l, what, from, key, depthLanes(g.y, g.x), (places) => {
    const scales = places.constant(filledUp(l.scales, blocks * 4))
    const starts = places.constant(filledUp(l.starts, blocks * 4))
    const weights = places.quads(quads, 'pairs')
    return perSample(g, blocks, blocks, places.of(from), places.of(key), (source, target) =>
      depthSums({
        ...{ blocks, y: g.y, x: g.x, from: source, to: target, scratch: places.scratch },
        by: { is: 'weights', weights, starts },
        outside: laneOf(l.data.coding.zero),
        finish: (inside) => {
          const [factors, round] = [inside.place(scales), roundingIn(l, inside)]
          return (sums, number) => round(mul(float(sums), load4(at(factors, number))))
        }
      })
    )
  })
}

function perSample(
  g: Geometry,
  blocksIn: number,
  blocksOut: number,
  from: Place,
  to: Place,
  code: (from: Place, to: Place) => Stmt[]
): Stmt[] {
  if (g.samples === 1) return code(from, to)
  return loop(0, g.samples, 1, (s) =>
    code(at(from, mul(s, blocksIn * g.inside * 4)), at(to, mul(s, blocksOut * g.positions * 4)))
  )
}

/** Where the lanes of a convolution's steps come from: its data as it lies, shifted planes of it, or planes of columns. */
interface Source {
  readonly form: 'rows' | 'maps'
  /** Lanes of a group. */
  readonly lanes: number
  readonly scratch: number
  /** The channel of the group and the position of the window that byte i of a step is; `undefined`: none. */
  term(step: number, i: number): number | undefined
  /** Byte offsets of the steps; absent: one map after the other. */
  readonly table?: Int32Array
  make(from: Place, scratch: Place): Stmt[]
}

function sourceOf(l: CodedLayer, g: Geometry): Source {
  const { inputs, groups } = l.linear
  const { y, x } = g
  const taps = y.kernel * x.kernel
  const outside = laneOf(l.data.coding.zero)
  if (groups === 1 && inputs < 3 && x.dilation === 1) {
    const planes = bytePlanes(y, x, l.data.coding.zero)
    const across = Math.ceil(x.kernel / 4)
    const each = y.kernel * across
    const lanes = inputs * each
    return {
      ...{ form: 'rows', lanes, scratch: inputs * planes.lanes + planes.scratch },
      term: (step, i) => {
        const [c, ky, part] = [Math.floor(step / each), Math.floor((step % each) / across), step % across]
        const kx = part * 4 + i
        return kx < x.kernel ? c * taps + ky * x.kernel + kx : undefined
      },
      table: Int32Array.from({ length: lanes }, (_, step) => {
        const c = Math.floor(step / each)
        return c * planes.lanes * 4 + planes.offset(Math.floor((step % each) / across), step % across)
      }),
      make: (from, scratch) =>
        loop(0, inputs, 1, (c) =>
          planes.make(
            at(from, mul(c, g.inside)),
            at(scratch, mul(c, planes.lanes * 4)),
            at(scratch, undefined, inputs * planes.lanes * 4)
          )
        )
    }
  }
  const blocks = Math.ceil(inputs / 4)
  const term = (step: number, i: number): number | undefined => {
    const channel = Math.floor(step / taps) * 4 + i
    return channel < inputs ? channel * taps + (step % taps) : undefined
  }
  const isPointwise = taps === 1 && [y, x].every((s) => s.stride === 1 && s.before === 0 && s.size === s.out)
  if (isPointwise) return { form: 'maps', lanes: blocks, scratch: 0, term, make: () => [] }
  const room = shifted(y, x, outside)
  return {
    ...{ form: 'maps', lanes: blocks * taps, scratch: blocks * room.floats + 8, term },
    table: Int32Array.from({ length: blocks * taps }, (_, step) => {
      const tap = step % taps
      return Math.floor(step / taps) * room.floats * 4 + room.offset(Math.floor(tap / x.kernel), tap % x.kernel)
    }),
    make: (from, scratch) =>
      loop(0, blocks, 1, (c) => room.make(at(from, mul(c, g.inside * 4)), at(scratch, mul(c, room.floats * 4))), 'c')
  }
}

function dense(steps: IntegerSteps, l: CodedLayer, g: Geometry): Made {
  const { groups, outputs, inputs } = l.linear
  const source = sourceOf(l, g)
  const rowBlocks = Math.ceil(outputs / 4)
  const quads = new Int8Array(groups * rowBlocks * source.lanes * 16)
  let to = 0
  for (let group = 0; group < groups; group++)
    for (let block = 0; block < rowBlocks; block++)
      for (let step = 0; step < source.lanes; step++)
        for (let r = 0; r < 4; r++)
          for (let i = 0; i < 4; i++) {
            const row = block * 4 + r
            const term = source.term(step, i)
            quads[to++] = row < outputs && term !== undefined ? l.code(group * outputs + row, term) : 0
          }
  const dots = dotsFor(steps, quads)
  const sparse = groups === 1 ? recordsOf(quads, rowBlocks, source, g) : undefined
  const from = steps.need(l.data, source.form)
  const { positions: n, samples } = g
  const channels = groups * outputs
  const bytes = l.behind ? mapsBytes(shapeOf(channels, g)) + 16 : (samples * channels + 3) * n * 4 + 16
  const key = outputOf(steps, l, 'maps', bytes)
  const zeros = sparse ? `, ${sparse.records.length / 20} of ${quads.length / 16} blocks` : ''
  const what = `convolution ${g.y.kernel}×${g.x.kernel}, ${g.title}${zeros}`
  return made(l, what, from, key, source.scratch, (places) => {
    const [starts, scales] = [filledUp(l.starts, channels + 4), filledUp(l.scales, channels + 4)]
    const [startsAt, scalesAt] = [places.constant(starts), places.constant(scales)]
    const a = sparse ? places.records(sparse.records, dots) : places.quads(quads, dots)
    const table = source.table && !sparse ? places.constant(source.table) : undefined
    const walk = sparse ? { ends: places.constant(sparse.ends) } : table ? { table } : { step: g.inside * 4 }
    const size = (dots === 'bytes' ? 16 : 32) * rowBlocks * source.lanes
    const bytesIn = source.form === 'rows' ? inputs * g.inside : groups * Math.ceil(inputs / 4) * g.inside * 4
    const bytesOut = l.behind ? Math.ceil(channels / 4) * n * 4 : channels * n * 4
    return loop(0, samples, 1, (s) =>
      loop(0, groups, 1, (group) => {
        const data = at(places.of(from), add(mul(s, bytesIn), mul(group, inputs * g.inside)))
        const own = (p: Place): Place => at(p, mul(group, outputs * 4))
        return [
          ...source.make(data, places.scratch),
          ...mapsSums({
            ...{ dots, m: outputs, n, k: source.lanes, a: at(a, mul(group, size)), starts: own(startsAt) },
            ...{ b: source.table ? places.scratch : data, steps: walk },
            c: at(places.of(key), add(mul(s, bytesOut), mul(group, outputs * n * (l.behind ? 1 : 4)))),
            each: l.behind ? { block: 4, position: 4 } : { block: 16, position: 4 },
            store: (inside) => storeMaps(l, n, inside.place(own(scalesAt)), roundingIn(l, inside))
          })
        ]
      })
    )
  })
}

/** Share of blocks of 4 × 4 weights up to which walking those that are left is faster than walking all. */
const mostKept = 0.8

/**
 * The blocks of four outputs by four inputs that are not all zero, as records, where they are few enough; a row of blocks without
 * any keeps one.
 */
function recordsOf(
  quads: Int8Array,
  rowBlocks: number,
  source: Source,
  g: Geometry
): { readonly records: Uint8Array; readonly ends: Int32Array } | undefined {
  const kept: number[] = []
  const ends = new Int32Array(rowBlocks)
  for (let block = 0; block < rowBlocks; block++) {
    const before = kept.length
    for (let step = 0; step < source.lanes; step++) {
      const quad = block * source.lanes + step
      if (quads.subarray(quad * 16, quad * 16 + 16).some((w) => w !== 0)) kept.push(quad)
    }
    if (kept.length === before) kept.push(block * source.lanes)
    ends[block] = kept.length
  }
  if (kept.length > mostKept * rowBlocks * source.lanes) return undefined
  const records = new Uint8Array(kept.length * 20)
  const view = new DataView(records.buffer)
  for (const [i, quad] of kept.entries()) {
    const step = quad % source.lanes
    view.setInt32(i * 20, source.table ? (source.table[step] as number) : step * g.inside * 4, true)
    records.set(new Uint8Array(quads.buffer, quad * 16, 16), i * 20 + 4)
  }
  return { records, ends }
}

/** Four channels by some vectors of positions. */
function storeMaps(l: CodedLayer, n: number, scales: Place, round: (x: Expr) => Expr): StoreTile {
  return (sums, { number, to }) => {
    const factors = sums.map(() => local('f32x4', 'scale'))
    const vectors = sums[0] ?? []
    const scaled = (i: number, j: number): Expr => mul(float(get(sums[i]?.[j] as Local)), get(factors[i] as Local))
    const place = (offset: number): Place => ({ space: 'values', address: to, offset })
    return [
      ...factors.map((f, i) => set(f, loadSplat(at(scales, number, i * 4)))),
      ...vectors.flatMap((_, j) =>
        l.behind
          ? [storeLanes(place(16 * j), pack('bytes', ...sums.map((_s, i) => round(scaled(i, j)))))]
          : sums.map((_s, i) => store(place(i * n * 4 + 16 * j), scaled(i, j)))
      )
    ]
  }
}

/** Linear layers as steps: which kernel computes which, with its weights laid out for it. */

import { graphView } from '../ir/graph.ts'
import { at, type i32, load, loop, mul, outlined, type Place, type Stmt, store } from '../ir/loops.ts'
import { elementCount } from '../ir/tensor.ts'
import { linearOf } from '../ops/ask.ts'
import type { Linear, PatchAxis } from '../ops/types.ts'
import type { Model, Node } from '../types.ts'
import { follow } from './follow.ts'
import { type Slide, shifted } from './kernels/copy.ts'
import { mapsProduct, panelBlocks, rowBlocks, rowsProduct, vectorsFor } from './kernels/product.ts'
import { keptShare, packSparse } from './kernels/sparse.ts'
import { type Choose, type Chosen, tilesFor, withSparse } from './kernels/tiles.ts'
import { padded, windows } from './kernels/windows.ts'
import type { Weights } from './packing.ts'
import type { Places, Step } from './steps.ts'
import { type Stored, storedOf } from './stored.ts'

/** A step, or why there is none. */
export type Made = { readonly step: Step; readonly with: readonly Node[] } | { readonly reason: string }

export interface Layer {
  readonly model: Model
  readonly node: Node
  readonly linear: Linear
  readonly x: readonly number[]
  readonly y: readonly number[]
  /** Its factors, alpha in them; a term counts inputs of a group, then kernel positions. Absent: the weight is computed. */
  readonly weights?: Weights
  /** Of an output channel. */
  readonly bias: (channel: number) => number
}

/** What a layer is compiled among. */
export interface Among {
  /** Is a value made by then? */
  ready(id: string): boolean
  readonly choose: Choose
  /** Runs for other sizes of the inputs read the same weights. */
  readonly shares: boolean
}

export function linearStep(model: Model, node: Node, among: Among): Made | undefined {
  const { graph } = model
  const linear = linearOf(graphView(graph), node)
  if (!linear) return undefined
  const layer = layerOf(model, node, linear)
  if (typeof layer === 'string') return { reason: layer }
  const { patch } = linear
  if (!patch) return matrix(layer, among)
  if (patch.axes.length > 2) return { reason: `a convolution over ${patch.axes.length} axes` }
  if (linear.axes.in !== -1 - patch.axes.length) return { reason: 'channels behind the spatial axes' }
  if (!layer.weights) return { reason: 'the weight of the convolution is computed' }
  return convolution(layer, among)
}

export function layerOf(model: Model, node: Node, linear: Linear): Layer | string {
  const { graph } = model
  const sizes = (id: string | null | undefined): readonly number[] =>
    (graph.values.get(id ?? '')?.shape ?? []) as readonly number[]
  const w = storedOf(graph, node.inputs[linear.weight])
  const biasId = linear.bias && node.inputs[linear.bias.input]
  const b = storedOf(graph, biasId)
  if (biasId != null && !b) return 'the bias is computed'
  const outputs = linear.groups * linear.outputs
  if (b && elementCount(b.shape) !== 1 && elementCount(b.shape) !== outputs) return 'a bias with a number for each row'
  return {
    model,
    node,
    linear,
    x: sizes(node.inputs[linear.data]),
    y: sizes(node.outputs[0]),
    ...(w ? { weights: weightsOf(linear, w) } : {}),
    bias: (c) => (b ? (linear.bias?.beta ?? 1) * (b.floats[b.floats.length === 1 ? 0 : c] as number) : 0)
  }
}

function weightsOf({ outputs, inputs, kernel, strides, alpha, groups }: Linear, { floats, codes }: Stored): Weights {
  const index = (channel: number, term: number): number =>
    Math.floor(channel / outputs) * strides.group +
    (channel % outputs) * strides.out +
    Math.floor(term / kernel) * strides.in +
    (term % kernel) * strides.kernel
  const value = (channel: number, term: number): number => alpha * (floats[index(channel, term)] as number)
  if (!codes) return { value }
  // One byte a factor holds them only where the codes fit, and each channel has one scale.
  for (let c = 0; c < groups * outputs; c++)
    for (let t = 0; t < inputs * kernel; t++) {
      const [code, scale] = [codes.code(index(c, t)), codes.scale(index(c, t))]
      if (code < -128 || code > 127 || scale !== codes.scale(index(c, 0))) return { value }
    }
  return {
    value,
    codes: { code: (c, t) => codes.code(index(c, t)), scale: (c) => alpha * codes.scale(index(c, 0)) }
  }
}

const floats = (count: number, f: (i: number) => number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => f(i))

// ---------------------------------------------------------------- matrices

function matrix(layer: Layer, { ready, shares }: Among): Made {
  const { model, node, linear, x, y, weights } = layer
  const [n, k] = [linear.outputs, linear.inputs]
  const m = elementCount(y) / n
  const turned = linear.axes.in !== -1
  if (turned && x.length !== 2) return { reason: 'a turned matrix of more than two axes' }
  if (!weights && linear.alpha !== 1) return { reason: 'a factor of a product of two computed matrices' }
  const isTurnedWeight = !weights && linear.strides.out !== 1
  const f = follow(model, node, y.length - 1, true, ready)
  const [data, weightId] = [node.inputs[linear.data] as string, node.inputs[linear.weight] as string]
  const vectors = vectorsFor(shares || m >= 2, n)
  const hasBias = Array.from({ length: n }, (_, c) => layer.bias(c)).some((b) => b !== 0)
  return {
    with: f.nodes,
    step: {
      nodes: [node.name, ...f.nodes.map((o) => o.name)],
      what: `matrix [${m}, ${k}] × [${k}, ${n}]`,
      reads: [data, ...(weights ? [] : [weightId]), ...f.reads],
      writes: [f.output],
      scratch: isTurnedWeight ? k * n : 0,
      code: (places) => {
        const from = places.of(data)
        const a = { ...from, ...(turned ? { row: 4, step: m * 4 } : { row: k * 4, step: 4 }) }
        const b = weights
          ? { ...places.weights(panelBlocks(vectors, n, k), layer.bias, weights), panels: true as const }
          : { ...(isTurnedWeight ? places.scratch : places.of(weightId)), row: n * 4 }
        return [
          ...(isTurnedWeight ? turn(places.of(weightId), places.scratch, n, k) : []),
          ...rowsProduct({
            ...{ m, n, k, vectors, a, b, c: places.of(f.output) },
            ...(hasBias ? { start: places.constant(floats(n + 3, (c) => (c < n ? layer.bias(c) : 0))) } : {}),
            finish: f.finish(places)
          })
        ]
      }
    }
  }
}

/** [rows, columns] → [columns, rows]. */
export const turn = (from: Place, to: Place, rows: number, columns: number): Stmt[] =>
  loop(0, rows, 1, (r) =>
    loop(0, columns, 1, (c) => [store(at(to, addresses(c, rows, r)), load(at(from, addresses(r, columns, c))))])
  )

const addresses = (
  row: ReturnType<typeof i32>,
  width: number,
  column: ReturnType<typeof i32>
): ReturnType<typeof i32> => ({
  is: 'binary',
  kind: 'i32',
  op: 'add',
  a: mul(row, width * 4),
  b: mul(column, 4)
})

// ---------------------------------------------------------------- convolutions

export const none: PatchAxis = { kernel: 1, stride: 1, dilation: 1, pads: { before: 0, behind: 0 } }

function convolution(layer: Layer, { ready, choose, shares }: Among): Made {
  const { model, node, linear, x, y } = layer
  const given = layer.weights as Weights
  const transposed = linear.patch?.transposed ?? false
  const axes = linear.patch?.axes.length === 1 ? [none, ...linear.patch.axes] : (linear.patch?.axes ?? [])
  if (axes.some((a) => !a.pads)) return { reason: 'pads that depend on sizes that are not known' }
  const rank = linear.patch?.axes.length ?? 0
  const [samples, size, out] = [x[0] as number, spatial(x, rank), spatial(y, rank)]
  const slides = axes.map((a, i): Slide => {
    const before = a.pads?.before ?? 0
    const own = { out: out[i] as number, kernel: a.kernel, dilation: a.dilation }
    return transposed
      ? {
          ...own,
          size: ((size[i] as number) - 1) * a.stride + 1,
          stride: 1,
          before: (a.kernel - 1) * a.dilation - before
        }
      : { ...own, size: size[i] as number, stride: a.stride, before }
  }) as [Slide, Slide]
  const [sy, sx] = slides
  const taps = sy.kernel * sx.kernel
  /** A transposed convolution is one over the map with zeros between, its kernel turned about. */
  const weights = transposed ? turnedAbout(given, taps) : given
  const { groups, outputs, inputs } = linear
  const [p, q] = [elementCount(out), elementCount(size)]
  const data = node.inputs[linear.data] as string
  const stretched = transposed && axes.some((a) => a.stride > 1)
  const reach = stretched ? sy.size * sx.size : 0

  const isWhole =
    !transposed && p === 1 && groups === 1 && taps === q && slides.every((s) => s.before === 0 && s.size === s.kernel)
  const f = follow(model, node, 1, isWhole, ready)
  const bytesIn = groups * inputs * q * 4
  const bytesOut = groups * outputs * p * 4

  const made = (
    what: string,
    scratch: number,
    code: (places: Places, from: Place, to: Place) => Stmt[],
    kernel?: Chosen
  ): Made => ({
    with: f.nodes,
    step: {
      nodes: [node.name, ...f.nodes.map((o) => o.name)],
      what,
      reads: [data, ...f.reads],
      writes: [f.output],
      scratch,
      ...(kernel ? { kernel } : {}),
      code: (places) =>
        loop(0, samples, 1, (s) =>
          code(
            places,
            samples === 1 ? places.of(data) : at(places.of(data), mul(s, bytesIn)),
            samples === 1 ? places.of(f.output) : at(places.of(f.output), mul(s, bytesOut))
          )
        )
    }
  })
  const title = `${inputs * groups} × ${size.join('×')} → ${outputs * groups} × ${out.join('×')}`

  if (isWhole) {
    const [n, k] = [outputs, inputs * taps]
    const vectors = vectorsFor(shares || samples >= 2, n)
    return {
      with: f.nodes,
      step: {
        nodes: [node.name, ...f.nodes.map((o) => o.name)],
        what: `convolution as matrix, ${title}`,
        ...{ reads: [data, ...f.reads], writes: [f.output], scratch: 0 },
        code: (places) => {
          return rowsProduct({
            ...{ m: samples, n, k, vectors, c: places.of(f.output), finish: f.finish(places) },
            a: { ...places.of(data), row: k * 4, step: 4 },
            b: { ...places.weights(panelBlocks(vectors, n, k), layer.bias, weights), panels: true },
            start: places.constant(floats(n + 3, (c) => (c < n ? layer.bias(c) : 0)))
          })
        }
      }
    }
  }

  if (inputs === 1 && groups > 1 && !stretched) {
    const room = padded(sy, sx, 0)
    return made(`depthwise ${sy.kernel}×${sx.kernel}, ${title}`, room.floats + 4, (places, from, to) => {
      const all = groups * outputs
      const blocks = Array.from({ length: all }, (_, c) => ({ starts: [c], channels: [c], terms: taps }))
      const by = { weights: places.weights(blocks, layer.bias, weights) }
      return windows({
        maps: groups,
        each: outputs,
        y: sy,
        x: sx,
        from,
        to,
        scratch: places.scratch,
        by,
        finish: f.finish(places)
      })
    })
  }

  const isPointwise =
    taps === 1 && !stretched && slides.every((s) => s.stride === 1 && s.before === 0 && s.size === s.out)
  const room = isPointwise ? undefined : shifted(sy, sx, 0)
  const k = inputs * taps
  const scratch = (room ? inputs * room.floats : 0) + reach + 8
  const offsetOf = (i: number): number => {
    const tap = i % taps
    if (!room) return i * q * 4
    return Math.floor(i / taps) * room.floats * 4 + room.offset(Math.floor(tap / sx.kernel), tap % sx.kernel)
  }
  const dense = tilesFor({ ...{ rows: outputs, positions: p, lanes: k, weightBytes: outputs * (k + 1) * 4 }, cuts })
  const kept = (rows: number): number => keptShare({ outputs, steps: k, rows, weights })
  const isSparse = groups === 1 && kept(1) < mostKept
  const { way: tile, kernel } = choose(
    `maps f32 ${outputs}×${k}×${p}${room ? ' by table' : ''}${isSparse ? ` of ${kept(1).toFixed(2)} and ${kept(4).toFixed(2)}` : ''}`,
    isSparse ? withSparse(dense, p, kept) : dense
  )
  const code = (places: Places, from: Place, to: Place): Stmt[] => {
    const blocks = Array.from({ length: groups }, (_, g) => rowBlocks(outputs, k, tile.rows, g * outputs)).flat()
    const sparse = tile.sparse
      ? packSparse({ outputs, steps: k, rows: tile.rows, offset: offsetOf, weights, start: layer.bias })
      : undefined
    const packed = sparse ? places.sparse(sparse, tile.rows) : places.weights(blocks, layer.bias, weights)
    const finish = f.finish(places)
    const table = room && !sparse && places.constant(Int32Array.from({ length: k }, (_, i) => offsetOf(i)))
    const wide = { space: places.scratch.space, offset: places.scratch.offset + (room ? inputs * room.floats * 4 : 0) }
    return loop(
      0,
      groups,
      1,
      (g) => {
        const source = groups === 1 ? from : at(from, mul(g, inputs * q * 4))
        const b = room ? places.scratch : source
        const fill = room
          ? loop(
              0,
              inputs,
              1,
              (c) => {
                const map = at(source, mul(c, q * 4))
                const planes = at(places.scratch, mul(c, room.floats * 4))
                const make = (of: Place): Stmt =>
                  outlined('a map as its windows read it', ({ place }) => room.make(place(of), place(planes)))
                return stretched ? [...stretch(map, wide, axes, size, sx.size), make(wide)] : [make(map)]
              },
              'c'
            )
          : []
        return [
          ...fill,
          ...mapsProduct({
            ...{ m: outputs, n: p, k, b, finish },
            a: groups === 1 ? packed : at(packed, mul(g, outputs * (k + 1) * 4)),
            c: groups === 1 ? to : at(to, mul(g, outputs * p * 4)),
            steps: sparse ? { rest: sparse.rest } : table ? { table } : { step: q * 4 },
            firstRow: groups === 1 ? 0 : mul(g, outputs),
            tile
          })
        ]
      },
      'g'
    )
  }
  return made(`convolution ${sy.kernel}×${sx.kernel}, ${title}`, scratch, code, kernel)
}

/** Of factors: where fewer are zero no walk over the others is faster. */
const mostKept = 0.6

/** Tiles of maps of floats: sums, positions and factors take 14 or 15 registers. */
const cuts = [
  [4, 2],
  [2, 4],
  [4, 1]
] as const

/** A kernel turned about its middle. */
function turnedAbout({ value, codes }: Weights, taps: number): Weights {
  const term = (t: number): number => t - (t % taps) + (taps - 1 - (t % taps))
  return {
    value: (c, t) => value(c, term(t)),
    ...(codes ? { codes: { code: (c, t) => codes.code(c, term(t)), scale: codes.scale } } : {})
  }
}

/** A map with zeros between its elements. */
function stretch(from: Place, to: Place, axes: readonly PatchAxis[], size: readonly number[], width: number): Stmt[] {
  const [sy, sx] = [axes[0]?.stride ?? 1, axes[1]?.stride ?? 1]
  const [h, w] = [size[0] as number, size[1] as number]
  const zeros = loop(0, ((h - 1) * sy + 1) * width * 4, 4, (i) => [
    store(at(to, i), { is: 'const', kind: 'f32', value: 0 })
  ])
  return [
    ...zeros,
    ...loop(0, h, 1, (r) =>
      loop(0, w, 1, (c) => [store(at(to, addresses(r, sy * width, mul(c, sx))), load(at(from, addresses(r, w, c))))])
    )
  ]
}

export const spatial = (shape: readonly number[], rank: number): number[] => [
  ...(rank === 1 ? [1] : []),
  ...shape.slice(shape.length - rank)
]

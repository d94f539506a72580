/** Convolutions on codes that sum over channels. */
import {
  add,
  at,
  type Expr,
  float,
  get,
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
import { storeLanes } from '../kernels/dots.ts'
import { mapsBytes } from '../kernels/recode.ts'
import { mapsSums, type StoreTile } from '../kernels/sums.ts'
import { tilesFor } from '../kernels/tiles.ts'
import type { Made } from '../linear.ts'
import type { Places } from '../steps.ts'
import { dotsFor, type IntegerSteps } from './context.ts'
import { joinedBehind, joining } from './joined.ts'
import { type CodedLayer, filledUp, type Geometry, made, outputOf, roundingIn, shapeOf } from './layer.ts'
import { type Source, sourceOf } from './source.ts'

export function dense(steps: IntegerSteps, l: CodedLayer, g: Geometry): Made {
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
  const joins = l.behind && joinedBehind(steps, l.behind)
  const joined = joins && { ...joins, key: steps.need(joins.other, 'maps') }
  const key = joined ? steps.made(joined.to, 'maps', bytes) : outputOf(steps, l, 'maps', bytes)
  const zeros = sparse ? `, ${sparse.records.length / 20} of ${quads.length / 16} blocks` : ''
  const what = `convolution ${g.y.kernel}×${g.x.kernel}, ${g.title}${zeros}${joined ? ', joined' : ''}`
  const size = (dots === 'bytes' ? 16 : 32) * rowBlocks * source.lanes
  const isTable = source.table !== undefined && !sparse
  const { way: tile, kernel } = steps.choose(
    `maps ${dots} ${outputs}×${source.lanes}×${n}${joined ? ' joined' : ''}${isTable ? ' by table' : ''}${sparse ? ` of ${sparse.records.length / 20}` : ''}`,
    tilesFor({
      ...{ rows: sparse ? 0 : outputs, positions: n, lanes: source.lanes, weightBytes: sparse ? 0 : size },
      cuts
    })
  )
  const code = (places: Places): Stmt[] => {
    const [starts, scales] = [filledUp(l.starts, channels + 4), filledUp(l.scales, channels + 4)]
    const [startsAt, scalesAt] = [places.constant(starts), places.constant(scales)]
    const numbers = joined && places.constant(joined.numbers)
    /** How far the codes that a tile is joined with lie from where it is stored. */
    const apart = joined ? places.of(joined.key).offset - places.of(key).offset : 0
    const a = sparse ? places.records(sparse.records, dots) : places.quads(quads, dots)
    const table = isTable && source.table ? places.constant(source.table) : undefined
    const walk = sparse ? { ends: places.constant(sparse.ends) } : table ? { table } : { step: g.inside * 4 }
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
            store: (inside) => {
              const scales = inside.place(own(scalesAt))
              if (!joined || !numbers) return storeMaps(l, n, scales, roundingIn(l, inside))
              return storeJoined(scales, inside.take(apart), joining(joined, numbers, inside))
            },
            tile
          })
        ]
      })
    )
  }
  return made(l, what, from, key, source.scratch, code, kernel, joined)
}

/** Tiles of maps of codes: four rows share a quad. */
const cuts = [
  [4, 2],
  [4, 3],
  [4, 1]
] as const

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

/** The same joined with codes that lie `apart` bytes from where the tile is stored. */
function storeJoined(scales: Place, apart: Expr, code: (scaled: Expr, lanes: Expr, k: number) => Expr): StoreTile {
  return (sums, { number, to }) => {
    const factors = sums.map(() => local('f32x4', 'scale'))
    const lanes = (sums[0] ?? []).map(() => local('i32x4', 'other'))
    const from = add(to, apart)
    return [
      ...factors.map((f, i) => set(f, loadSplat(at(scales, number, i * 4)))),
      ...lanes.flatMap((l, j) => [
        set(l, load4({ space: 'values', address: from, offset: 16 * j }, 'i32x4')),
        storeLanes(
          { space: 'values', address: to, offset: 16 * j },
          pack(
            'bytes',
            ...sums.map((line, k) => code(mul(float(get(line[j] as Local)), get(factors[k] as Local)), get(l), k))
          )
        )
      ])
    ]
  }
}

/**
 * Form `bitmap`: a bit per element, m values. Element i is (0, v_1, …, v_m)[r_i], r_i the rank of its bit or 0. Form
 * `blocks`: the same with whole blocks of elements, in a row or 4×4.
 */
import { bytesOf, elementCount, tensorOf, typedValues } from '../../ir/tensor.ts'
import type { Tensor } from '../../types.ts'
import { asBits, type Bits, elementsOf, likewise } from './elements.ts'
import { type Builder, type Encoding, type Find, first, reshape, type Stored } from './expand.ts'
import { maskPath, packBits, ranks, readValues, storeValues, zero } from './sparse.ts'

/** How elements are grouped: `rows` × `columns` blocks of the tensor seen as [d_0, d_1·d_2·…]. */
interface Tile {
  readonly rows: number
  readonly columns: number
}

const single: Tile = { rows: 1, columns: 1 }
const tiles: readonly Tile[] = [
  { rows: 1, columns: 4 },
  { rows: 1, columns: 8 },
  { rows: 1, columns: 16 },
  { rows: 1, columns: 32 },
  { rows: 4, columns: 4 }
]

/** Form `bitmap`. */
export const bitmap: Encoding = {
  form: 'bitmap',
  store(t) {
    const bits = elementsOf(t)
    if (typeof bits === 'string') return bits
    const made = storeTiles(t, bits, single)
    return made.length > 0 ? made : 'it has no zeros, or nothing else'
  },
  read: (find, id) => readTiles(find, id, (tile) => size(tile) === 1)
}

/** Form `blocks`. */
export const blocks: Encoding = {
  form: 'blocks',
  store(t) {
    const bits = elementsOf(t)
    if (typeof bits === 'string') return bits
    const made = tiles.flatMap((tile) => (fits(t.shape, tile) ? storeTiles(t, bits, tile) : []))
    return made.length > 0 ? made : 'it has no blocks of zeros (1×4 … 1×32, 4×4), or nothing else'
  },
  read: (find, id) => readTiles(find, id, (tile) => size(tile) > 1)
}

const size = (tile: Tile): number => tile.rows * tile.columns

function fits(shape: readonly number[], { rows, columns }: Tile): boolean {
  if (rows === 1) return elementCount(shape) % columns === 0
  return shape.length > 1 && (shape[0] as number) % rows === 0 && elementCount(shape.slice(1)) % columns === 0
}

/** Moves elements into the order of blocks, or back. */
function reordered(bits: Bits, shape: readonly number[], { rows, columns }: Tile, isBack: boolean): Bits {
  if (rows === 1) return bits
  const width = bits.length / (shape[0] as number)
  const out = likewise(bits, bits.length)
  for (let i = 0; i < bits.length; i++) {
    const [r, c] = [Math.floor(i / width), i % width]
    const block = Math.floor(r / rows) * (width / columns) + Math.floor(c / columns)
    const at = block * rows * columns + (r % rows) * columns + (c % columns)
    if (isBack) out[i] = bits[at] as number
    else out[at] = bits[i] as number
  }
  return out
}

function storeTiles(t: Tensor, bits: Bits, tile: Tile): Stored[] {
  const n = size(tile)
  const all = reordered(bits, t.shape, tile, false)
  const count = all.length / n
  const isFull = (k: number): boolean => {
    for (let i = k * n; i < (k + 1) * n; i++) if (all[i] !== 0) return true
    return false
  }
  const mask = packBits(count, isFull)
  let full = 0
  for (const byte of mask) for (let x = byte; x > 0; x &= x - 1) full++
  if (full === 0 || full === count) return []
  const kept = likewise(all, full * n)
  for (let k = 0, at = 0; k < count; k++)
    if (((mask[k >> 3] as number) >> (k & 7)) & 1) {
      kept.set(all.subarray(k * n, (k + 1) * n), at)
      at += n
    }
  const values = tensorOf(t.dtype, n === 1 ? [full] : [full, n], bytesOf(kept))
  return storeValues(values).map((way) => tiled(t.shape, tile, mask, values, way))
}

function tiled(shape: readonly number[], tile: Tile, mask: Uint8Array, values: Tensor, stored: Stored): Stored {
  const n = size(tile)
  const count = elementCount(shape) / n
  return {
    bytes: mask.length + stored.bytes,
    nodes: 8 + stored.nodes + (tile.rows > 1 ? 2 : 0),
    opset: stored.opset,
    build(b) {
      const all = b.node('Concat', [zero(b, values.dtype, n === 1 ? [1] : [1, n]), stored.build(b)], { axis: 0 })
      const filled = b.node('Gather', [all, ranks(b, mask)])
      const whole = mask.length * 8 === count ? filled : first(b, filled, count)
      return reshape(b, tile.rows === 1 ? whole : inRows(b, whole, shape, tile), shape)
    }
  }
}

function inRows(b: Builder, id: string, shape: readonly number[], { rows, columns }: Tile): string {
  const height = shape[0] as number
  const grid = [height / rows, elementCount(shape.slice(1)) / columns, rows, columns]
  return b.node('Transpose', [reshape(b, id, grid)], { perm: [0, 2, 1, 3] })
}

function readTiles(find: Find, id: string, isMine: (tile: Tile) => boolean): ReturnType<Encoding['read']> {
  const shape = find.shape(id, 'Reshape.1')
  const inner = find.at(id, 'Reshape.0')
  const grid = find.shape(inner, 'Transpose.0/Reshape.1')
  const gather = find.at(inner, 'Transpose?.0/Reshape?.0/Slice?.0')
  const values = readValues(find, find.at(gather, 'Gather.0/Concat.1'))
  const mask = find.payload(gather, `Gather.1/${maskPath}`)
  if (!shape || !values || mask?.dtype !== 'uint8' || values.data.shape.length > 2) return undefined
  const columns = grid ? (grid[3] as number) : (values.data.shape[1] ?? 1)
  const tile: Tile = { rows: grid ? (grid[2] as number) : 1, columns }
  const known = [single, ...tiles].some((k) => k.rows === tile.rows && k.columns === tile.columns)
  if (!known || !isMine(tile) || !fits(shape, tile)) return undefined
  const n = size(tile)
  const total = elementCount(shape)
  const bytes = mask.bytes.slice()
  if (bytes.length !== Math.ceil(total / n / 8) || typeof elementsOf(values.data) === 'string') return undefined
  const from = asBits(typedValues(values.data))
  const out = likewise(from, total)
  for (let k = 0, at = 0; k < total / n; k++)
    if (((bytes[k >> 3] as number) >> (k & 7)) & 1) {
      out.set(from.subarray(at, at + n), k * n)
      at += n
    }
  const data = tensorOf(values.data.dtype, shape, bytesOf(reordered(out, shape, tile, true)))
  return { data, stored: tiled(shape, tile, bytes, values.data, values.stored) }
}

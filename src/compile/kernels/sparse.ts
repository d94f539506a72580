/**
 * Factors of a product of maps of which most are zero. For each block of rows (one, or four that share their zeros): the starts of its
 * sums, bytes of the records behind, and records: where the step's row of maps is read, as a byte offset, and the factor of each row.
 * They are kept as one bit for each block and step and the factors that are left, and expanded at the start.
 */
import {
  add,
  at,
  bits,
  get,
  i32,
  load,
  local,
  loop,
  mul,
  type Place,
  type Stmt,
  set,
  store,
  sub,
  when
} from '../../ir/loops.ts'
import type { Weights } from '../packing.ts'

/** The factors of some rows by their steps. */
export interface Sparse {
  readonly outputs: number
  readonly steps: number
  /** Rows of a block; the last block has what is left. */
  readonly rows: number
  /** Byte offset of the maps of a step. */
  offset(step: number): number
  readonly weights: Weights
  start(channel: number): number
}

export interface PackedSparse {
  /** Bit n of byte n/8: is there a record for block · steps + step? */
  readonly bits: Uint8Array
  /** For each block the starts, then the factors of its records. */
  readonly values: Float32Array
  /** Byte offset of each step. */
  readonly table: Int32Array
  /** Bytes of all records, and where those of the last block begin that is not full. */
  readonly bytes: number
  readonly rest: number
  readonly full: number
  readonly left: number
}

const blocksOf = ({ outputs, rows }: Pick<Sparse, 'outputs' | 'rows'>): number[] =>
  Array.from({ length: Math.ceil(outputs / rows) }, (_, b) => Math.min(rows, outputs - b * rows))

/** Share of blocks and steps with a factor that is not zero. */
export function keptShare({ outputs, steps, rows, weights }: Omit<Sparse, 'offset' | 'start'>): number {
  let kept = 0
  const blocks = blocksOf({ outputs, rows })
  blocks.forEach((height, b) => {
    for (let s = 0; s < steps; s++)
      for (let r = 0; r < height; r++)
        if (weights.value(b * rows + r, s) !== 0) {
          kept++
          break
        }
  })
  return kept / (blocks.length * steps)
}

export function packSparse({ outputs, steps, rows, offset, weights, start }: Sparse): PackedSparse {
  const blocks = blocksOf({ outputs, rows })
  const kept = new Uint8Array(Math.ceil((blocks.length * steps) / 8))
  const values: number[] = []
  let [bytes, rest] = [0, 0]
  for (const [b, height] of blocks.entries()) {
    if (height === rows) rest = bytes
    const channels = Array.from({ length: height }, (_, r) => b * rows + r)
    for (const c of channels) values.push(start(c))
    let count = 0
    for (let s = 0; s < steps; s++) {
      // A block of zeros keeps one record, as the walk over them runs once at least.
      if (!channels.some((c) => weights.value(c, s) !== 0) && !(s === steps - 1 && count === 0)) continue
      count++
      const n = b * steps + s
      kept[n >> 3] = (kept[n >> 3] as number) | (1 << (n & 7))
      for (const c of channels) values.push(weights.value(c, s))
    }
    bytes += height * 4 + 4 + count * (4 + height * 4)
    if (height === rows) rest = bytes
  }
  const full = blocks.filter((h) => h === rows).length
  return {
    ...{
      bits: kept,
      values: Float32Array.from(values),
      table: Int32Array.from({ length: steps }, (_, s) => offset(s))
    },
    ...{ bytes, rest, full, left: outputs % rows }
  }
}

/** The records as they lie in memory. */
export function recordsOfSparse(p: PackedSparse, rows: number): Uint8Array {
  const out = new DataView(new ArrayBuffer(p.bytes))
  const steps = p.table.length
  let [to, from, n] = [0, 0, 0]
  const copy = (count: number): void => {
    for (let i = 0; i < count; i++, to += 4) out.setFloat32(to, p.values[from++] as number, true)
  }
  for (const height of [...Array<number>(p.full).fill(rows), ...(p.left ? [p.left] : [])]) {
    copy(height)
    const head = to
    to += 4
    for (let s = 0; s < steps; s++, n++) {
      if (!(((p.bits[n >> 3] as number) >> (n & 7)) & 1)) continue
      out.setInt32(to, p.table[s] as number, true)
      to += 4
      copy(height)
    }
    out.setInt32(head, to - head - 4, true)
  }
  return new Uint8Array(out.buffer)
}

/** Code that makes them. */
export function expandingSparse(
  p: PackedSparse,
  rows: number,
  given: { readonly bits: Place; readonly values: Place; readonly table: Place },
  dest: Place
): Stmt[] {
  const [from, to, head] = [local('i32', 'from'), local('i32', 'to'), local('i32', 'head')]
  const steps = p.table.length
  const read: Place = { space: given.values.space, offset: given.values.offset, address: get(from) }
  const write: Place = { space: dest.space, offset: dest.offset, address: get(to) }
  const copy = (count: number): Stmt[] => [
    ...Array.from({ length: count }, (_, r) =>
      store(at(write, undefined, 4 * r), load(at(read, undefined, 4 * r), 'i32'), 'i32')
    ),
    set(from, add(get(from), count * 4)),
    set(to, add(get(to), count * 4))
  ]
  const blocks = (height: number, first: number, count: number): Stmt[] =>
    loop(0, count, 1, (b) => [
      ...copy(height),
      set(head, get(to)),
      set(to, add(get(to), 4)),
      ...loop(0, steps, 1, (s) => {
        const n = add(mul(add(b, first), steps), s)
        const byte = load(at(given.bits, bits('shr', n, 3)), 'u8')
        return [
          when(bits('and', bits('shr', byte, bits('and', n, 7)), 1), [
            store(write, load(at(given.table, mul(s, 4)), 'i32'), 'i32'),
            set(to, add(get(to), 4)),
            ...copy(height)
          ])
        ]
      }),
      store({ space: dest.space, offset: dest.offset, address: get(head) }, sub(sub(get(to), get(head)), 4), 'i32')
    ])
  return [set(from, i32(0)), set(to, i32(0)), ...blocks(rows, 0, p.full), ...(p.left ? blocks(p.left, p.full, 1) : [])]
}

/**
 * Products of codes. Activations are unsigned bytes, four to a lane; weights are signed bytes in quads: 16 bytes with the
 * factors of four rows (or channels) for the four bytes of a lane. `bytes`: one instruction multiplies four bytes a lane and
 * adds them (relaxed SIMD). `pairs`: two numbers of 16 bits a lane, and a quad takes 32 bytes, expanded at the start.
 *
 * Engines may hold the sum of two neighbouring products of bytes in 16 bits; `fitsPairs` tells where no data can leave them.
 */
import {
  add,
  at,
  type Expr,
  get,
  type Local,
  load4,
  loadSplat,
  local,
  type Place,
  pack,
  type Stmt,
  set
} from '../../ir/loops.ts'

export type Dots = 'bytes' | 'pairs'

/** Bytes of a quad in memory. */
export const quadBytes = (dots: Dots): number => (dots === 'bytes' ? 16 : 32)

/** Can no sum of two neighbouring products of these quads with bytes up to `most` leave 16 bits? */
export function fitsPairs(quads: Int8Array, most = 255): boolean {
  for (let i = 0; i < quads.length; i += 2) {
    const [a, b] = [quads[i] as number, quads[i + 1] as number]
    if ((Math.max(a, 0) + Math.max(b, 0)) * most > 32767) return false
    if ((Math.min(a, 0) + Math.min(b, 0)) * most < -32768) return false
  }
  return true
}

/** Quads as `pairs` reads them: bytes 0 and 2 of the four rows, then 1 and 3. */
export function pairsOf(quads: Int8Array): Int8Array<ArrayBuffer> {
  const out = new Int16Array(quads.length)
  for (let q = 0; q < quads.length; q += 16)
    for (let row = 0; row < 4; row++)
      for (let i = 0; i < 4; i++) out[q + (i % 2) * 8 + row * 2 + (i >> 1)] = quads[q + row * 4 + i] as number
  return new Int8Array(out.buffer)
}

/** The same in code: `from` + v holds a quad, `to` + 2v takes it. */
export function expandQuad(from: Place, to: Place): Stmt[] {
  const quad = local('i32x4', 'quad')
  return [
    set(quad, load4(from, 'i32x4')),
    storeLanes(to, pack('signedEvens', get(quad))),
    storeLanes(at(to, undefined, 16), pack('signedOdds', get(quad)))
  ]
}

export const storeLanes = (p: Place, value: Expr): Stmt => ({
  is: 'store',
  cell: 'i32',
  space: p.space,
  address: p.address ?? { is: 'const', kind: 'i32', value: 0 },
  offset: p.offset,
  value
})

/** What is multiplied, made ready once for all factors that it meets. */
export interface Ready {
  readonly code: readonly Stmt[]
  readonly parts: readonly Local[]
}

export function ready(dots: Dots, x: Expr): Ready {
  if (dots === 'bytes') {
    const all = local('i32x4', 'x')
    return { code: [set(all, x)], parts: [all] }
  }
  const [given, even, odd] = [local('i32x4', 'x'), local('i32x4', 'even'), local('i32x4', 'odd')]
  return {
    code: [set(given, x), set(even, pack('evens', get(given))), set(odd, pack('odds', get(given)))],
    parts: [even, odd]
  }
}

/** The factors of each row of a quad, in every lane. Few loads: engines do all loads of a block first, and hold what they gave. */
export function everyRow(dots: Dots, quad: Place): { readonly code: readonly Stmt[]; readonly rows: readonly Ready[] } {
  const lanes = ['lane0', 'lane1', 'lane2', 'lane3'] as const
  if (dots === 'bytes') {
    return { code: [], rows: lanes.map((_, r) => loaded([loadSplat(at(quad, undefined, 4 * r), 'i32x4')])) }
  }
  const all = rowsOf(dots, quad)
  const rows = lanes.map((lane) => loaded(all.parts.map((p) => pack(lane, get(p)))))
  return { code: all.code, rows }
}

/** The factors of all four rows of a quad, one row a lane. */
export const rowsOf = (dots: Dots, quad: Place): Ready =>
  loaded((dots === 'bytes' ? [0] : [0, 16]).map((offset) => load4(at(quad, undefined, offset), 'i32x4')))

function loaded(values: readonly Expr[]): Ready {
  const parts = values.map(() => local('i32x4', 'w'))
  return { parts, code: parts.map((w, i) => set(w, values[i] as Expr)) }
}

/** sum += factors · x, lane by lane. */
export const multiply = (dots: Dots, sum: Local, factors: Ready, x: Ready): Stmt[] =>
  factors.parts.map((w, i) => {
    const v = x.parts[i] as Local
    return set(
      sum,
      dots === 'bytes' ? pack('dotBytes', get(w), get(v), get(sum)) : add(get(sum), pack('dotPairs', get(w), get(v)))
    )
  })

/** Bytes of a record of a sparse layer: where its lane is read, as a byte offset, then a quad. */
export const recordBytes = (dots: Dots): number => 4 + quadBytes(dots)

/** Records of 20 bytes as `pairs` reads them. */
export function pairRecordsOf(records: Uint8Array): Uint8Array<ArrayBuffer> {
  const count = records.length / 20
  const out = new Uint8Array(count * 36)
  for (let i = 0; i < count; i++) {
    const quad = new Int8Array(records.slice(i * 20 + 4, i * 20 + 20).buffer)
    out.set(records.subarray(i * 20, i * 20 + 4), i * 36)
    out.set(new Uint8Array(pairsOf(quad).buffer), i * 36 + 4)
  }
  return out
}

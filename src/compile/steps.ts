/** What compiling a node comes to: a step that reads and writes values, with the code made once their places are known. */
import type { Cell, Place, Stmt } from '../ir/loops.ts'
import type { DType } from '../types.ts'
import type { Dots } from './kernels/dots.ts'
import type { PackedSparse } from './kernels/sparse.ts'
import type { Chosen } from './kernels/tiles.ts'
import type { Block, Weights } from './packing.ts'

/** Where things lie once memory is planned. */
export interface Places {
  /** Of a value, constant or computed. */
  of(id: string): Place
  readonly scratch: Place
  /** Puts numbers among the constants. */
  constant(data: Float32Array | Int32Array | Uint8Array): Place
  /** Quads of signed factors as a kernel reads them. */
  quads(quads: Int8Array, dots: Dots): Place
  /** Records of 20 bytes as a kernel of sparse layers reads them. */
  records(records: Uint8Array, dots: Dots): Place
  /** Factors of which most are zero, as a kernel of so many rows reads them. */
  sparse(packed: PackedSparse, rows: number): Place
  /** Weights as a kernel reads them. */
  weights(blocks: readonly Block[], start: (channel: number) => number, weights: Weights): Place
}

export interface Step {
  /** The nodes that it computes. */
  readonly nodes: readonly string[]
  readonly what: string
  readonly reads: readonly string[]
  readonly writes: readonly string[]
  /** Floats that it needs while it runs. */
  readonly scratch: number
  /** How its work is cut, where there are several ways. */
  readonly kernel?: Chosen
  code(places: Places): Stmt[]
}

/** How elements of a type lie in memory: 64-bit whole numbers as 32-bit ones. */
export const cells: Readonly<Partial<Record<DType, Cell>>> = {
  float32: 'f32',
  int64: 'i32',
  int32: 'i32',
  bool: 'u8',
  uint8: 'u8',
  int8: 'i8'
}

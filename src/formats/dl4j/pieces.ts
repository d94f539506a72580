/**
 * Where a constant's numbers stand in the flat vector of parameters, and how they are turned: a piece is a run of elements
 * seen as a row-major array, of which blocks of the first axis change places, axes are permuted, and which zeros may follow.
 */
import { elementCount } from '../../ir/tensor.ts'

export interface Turn {
  /** New order of the first axis: `blocks[i]` is the place in the file of what is i-th in the constant. */
  readonly blocks?: readonly number[]
  readonly perm?: readonly number[]
  /** Shape of the constant, by default what the turns give. */
  readonly shape?: readonly number[]
  /** Zeros behind the elements: ONNX's second bias of recurrent layers. */
  readonly zeros?: number
  /** What is computed of each element: a variance of log10 of the deviation. */
  readonly of?: 'log10stdev'
}

export interface Piece extends Turn {
  /** Id of the constant. */
  readonly id: string
  /** First element in the flat vector. */
  readonly at: number
  /** Shape of the elements as they stand in the file, row-major. */
  readonly view: readonly number[]
}

/** Shape of a piece's constant. */
export const shapeOfPiece = ({ view, perm, shape }: Pick<Piece, 'view' | 'perm' | 'shape'>): readonly number[] =>
  shape ?? (perm ? perm.map((axis) => view[axis] as number) : view)

/** Elements of the constant out of those of the file; shared with them where nothing is turned. */
export function turn(file: Float32Array, piece: Piece): Float32Array {
  let out = file
  if (piece.blocks || piece.perm) {
    const from = placesOf(piece)
    out = new Float32Array(file.length)
    for (let i = 0; i < out.length; i++) out[i] = file[from[i] as number] as number
  }
  if (piece.of) out = Float32Array.from(out, (x) => 10 ** (2 * x))
  if (piece.zeros) {
    const longer = new Float32Array(out.length + piece.zeros)
    longer.set(out)
    return longer
  }
  return out
}

/** Elements of the file out of those of the constant, into `file`. What `zeros` stands for is added to the elements. */
export function turnBack(constant: Float32Array, piece: Piece, file: Float32Array): void {
  const from = piece.blocks || piece.perm ? placesOf(piece) : undefined
  for (let i = 0; i < file.length; i++) {
    let x = constant[i] as number
    if (piece.zeros) x += constant[i + piece.zeros] as number
    file[from ? (from[i] as number) : i] = piece.of ? deviationOf(x) : x
  }
}

/** The log10 of the deviation that a variance is read from, where one of float32 gives that very variance; else the nearest. */
function deviationOf(variance: number): number {
  const around = Float32Array.of(0.5 * Math.log10(variance))
  const bits = new Int32Array(around.buffer)
  const middle = bits[0] as number
  const nearest = around[0] as number
  for (let k = 0; k < 32; k++) {
    bits[0] = middle + (k % 2 === 0 ? k / 2 : -(k + 1) / 2)
    if (Math.fround(10 ** (2 * (around[0] as number))) === variance) return around[0] as number
  }
  return nearest
}

/** For each element of the constant, its place in the file's run. */
function placesOf({ view, blocks, perm }: Piece): Uint32Array {
  const strides = view.map((_, axis) => elementCount(view.slice(axis + 1)))
  const order = perm ?? view.map((_, axis) => axis)
  const sizes = order.map((axis) => view[axis] as number)
  const out = new Uint32Array(elementCount(view))
  const index = new Array<number>(view.length).fill(0)
  for (let i = 0; i < out.length; i++) {
    let at = 0
    for (const [k, axis] of order.entries()) {
      const here = index[k] as number
      at += (axis === 0 && blocks ? (blocks[here] as number) : here) * (strides[axis] as number)
    }
    out[i] = at
    for (let k = sizes.length - 1; k >= 0; k--) {
      index[k] = (index[k] as number) + 1
      if ((index[k] as number) < (sizes[k] as number)) break
      index[k] = 0
    }
  }
  return out
}

/** Dense matrices of doubles, row-major, and their products: small ones here, large ones in the engine. */
import { builder } from '../../ir/build.ts'
import { bytesOf, tensorOf, toNumbers } from '../../ir/tensor.ts'
import type { Runner, Session } from '../../runtime/types.ts'
import type { Tensor } from '../../types.ts'

export interface Matrix {
  readonly rows: number
  readonly columns: number
  readonly data: Float64Array
}

export const matrix = (
  rows: number,
  columns: number,
  data: Float64Array = new Float64Array(rows * columns)
): Matrix => ({
  rows,
  columns,
  data
})

export function transposed({ rows, columns, data }: Matrix): Matrix {
  const out = matrix(columns, rows)
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) out.data[j * rows + i] = data[i * columns + j] as number
  return out
}

/** The first rows of a matrix; they share its memory. */
export const firstRows = ({ columns, data }: Matrix, rows: number): Matrix =>
  matrix(rows, columns, data.subarray(0, rows * columns))

/** Σ aᵢbᵢ over matrices of one shape. */
export function inner(a: Matrix, b: Matrix): number {
  let sum = 0
  for (let i = 0; i < a.data.length; i++) sum += (a.data[i] as number) * (b.data[i] as number)
  return sum
}

/** a·b. */
export function times(a: Matrix, b: Matrix): Matrix {
  const out = matrix(a.rows, b.columns)
  const n = b.columns
  for (let i = 0; i < a.rows; i++)
    for (let k = 0; k < a.columns; k++) {
      const x = a.data[i * a.columns + k] as number
      if (x === 0) continue
      for (let j = 0; j < n; j++)
        out.data[i * n + j] = (out.data[i * n + j] as number) + x * (b.data[k * n + j] as number)
    }
  return out
}

/** Multiplies matrices, those that are worth it in the engine; `close` lets go of the engine's session. */
export interface Products {
  times(a: Matrix, b: Matrix): Promise<Matrix>
  close(): Promise<void>
}

/** Multiply-adds from which on a product is left to the engine: about 30 ms of this file's own loop. */
const worthIt = 3e7

export function products(engine: Runner): Products {
  let session: Promise<Session> | undefined
  const open = (): Promise<Session> => {
    const b = builder()
    const [x, y] = [b.input('a', 'float64', ['m', 'k']), b.input('b', 'float64', ['k', 'n'])]
    return engine.open(b.model([b.op('MatMul', [x, y], {}, { outputs: ['c'] })]))
  }
  return {
    async times(a, b) {
      if (a.rows * a.columns * b.columns < worthIt) return times(a, b)
      session ??= open()
      const { c } = await (await session).run({ a: asTensor(a), b: asTensor(b) })
      return matrix(a.rows, b.columns, Float64Array.from(toNumbers(c as Tensor)))
    },
    async close() {
      await (await session)?.close()
    }
  }
}

const asTensor = ({ rows, columns, data }: Matrix): Tensor => tensorOf('float64', [rows, columns], bytesOf(data))

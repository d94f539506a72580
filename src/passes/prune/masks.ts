/** Patterns of zeros: which weights of a matrix of scores stay. */

/** A layer's weight as a matrix of outputs × inputs (for a convolution the kernel belongs to the inputs). */
export interface Matrix {
  readonly rows: number
  readonly columns: number
}

/** Which weights may become zero on their own. */
export type Pattern =
  | { readonly kind: 'any' }
  /** Of `of` weights in a row, one behind the other along the inputs, `keep` stay. */
  | { readonly kind: 'n:m'; readonly keep: number; readonly of: number }
  /** Whole blocks of rows × columns. */
  | { readonly kind: 'block'; readonly rows: number; readonly columns: number }

export const patterns = ['any', '2:4', '4:8', '1x4', '4x1', '4x4'] as const
export type PatternName = (typeof patterns)[number]

export function patternOf(name: PatternName): Pattern {
  if (name === 'any') return { kind: 'any' }
  const [a, b] = name.split(/[:x]/).map(Number) as [number, number]
  return name.includes(':') ? { kind: 'n:m', keep: a, of: b } : { kind: 'block', rows: a, columns: b }
}

/** Weights that go together, by their places in the matrix. */
export type Unit = readonly number[]

/** The blocks of a matrix, those at the edges smaller; single weights where the pattern has none. */
export function unitsOf({ rows, columns }: Matrix, pattern: Pattern): readonly Unit[] {
  const [height, width] = pattern.kind === 'block' ? [pattern.rows, pattern.columns] : [1, 1]
  const units: number[][] = []
  for (let r = 0; r < rows; r += height)
    for (let c = 0; c < columns; c += width) {
      const unit: number[] = []
      for (let i = r; i < Math.min(rows, r + height); i++)
        for (let j = c; j < Math.min(columns, c + width); j++) unit.push(i * columns + j)
      units.push(unit)
    }
  return units
}

/** Of every `of` weights along a row the `of − keep` of the lowest scores go; a rest that is shorter loses its share. */
export function fewOfMany(scores: Float64Array, { rows, columns }: Matrix, keep: number, of: number): Uint8Array {
  const gone = new Uint8Array(scores.length)
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c += of) {
      const length = Math.min(of, columns - c)
      const order = Array.from({ length }, (_, i) => r * columns + c + i)
      order.sort((a, b) => (scores[a] as number) - (scores[b] as number) || a - b)
      for (const at of order.slice(0, length - Math.ceil((keep * length) / of))) gone[at] = 1
    }
  return gone
}

/** The share of all units with the lowest mean score, taken over all matrices together or from each. */
export function lowest(
  all: readonly { readonly scores: Float64Array; readonly units: readonly Unit[] }[],
  ratio: number
): readonly Uint8Array[] {
  const gone = all.map(({ scores }) => new Uint8Array(scores.length))
  const means: { m: number; unit: Unit; mean: number }[] = []
  for (const [m, { scores, units }] of all.entries())
    for (const unit of units) means.push({ m, unit, mean: meanScore(scores, unit) })
  const total = means.reduce((n, { unit }) => n + unit.length, 0)
  means.sort((a, b) => a.mean - b.mean)
  let count = 0
  for (const { m, unit } of means) {
    if (count + unit.length / 2 > ratio * total) break
    for (const at of unit) (gone[m] as Uint8Array)[at] = 1
    count += unit.length
  }
  return gone
}

const meanScore = (scores: Float64Array, unit: Unit): number =>
  unit.reduce((sum, at) => sum + (scores[at] as number), 0) / unit.length

/** Weights smaller than a threshold; of blocks those whose root mean square is. */
export function smaller(weights: Float64Array, units: readonly Unit[], threshold: number): Uint8Array {
  const gone = new Uint8Array(weights.length)
  for (const unit of units) {
    const square = unit.reduce((sum, at) => sum + (weights[at] as number) ** 2, 0) / unit.length
    if (Math.sqrt(square) < threshold) for (const at of unit) gone[at] = 1
  }
  return gone
}

/** The first greatest of `length` values; −1 beside NaN. */
export function argmax(values: ArrayLike<number>, from: number, length: number): number {
  let best = 0
  for (let i = 0; i < length; i++) {
    const v = values[from + i] as number
    if (Number.isNaN(v)) return -1
    if (v > (values[from + best] as number)) best = i
  }
  return best
}

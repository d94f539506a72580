/** The nearest of some names by edit distance, if it is near enough to be a slip. */
export function nearest(given: string, names: readonly string[]): string | undefined {
  const plain = given.toLowerCase()
  let best: string | undefined
  let least = Math.max(2, Math.floor(given.length / 3)) + 1
  for (const name of names) {
    const d = name.toLowerCase().startsWith(plain) && plain.length > 2 ? 1 : distance(plain, name.toLowerCase())
    if (d < least) {
      best = name
      least = d
    }
  }
  return best
}

/** Levenshtein distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min(
        (next[j - 1] as number) + 1,
        (row[j] as number) + 1,
        (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1)
      )
    row = next
  }
  return row[b.length] as number
}

/** The id under `key`; made, and kept under it, the first time. */
export function once(made: Map<string, string>, key: string, make: () => string): string {
  const known = made.get(key)
  if (known !== undefined) return known
  const id = make()
  made.set(key, id)
  return id
}

/** Endings of file names, with the dot. */

/** Does a file's name end in one of these? Case does not matter. */
export function hasEnding(path: string, endings: readonly string[]): boolean {
  const name = path.toLowerCase()
  return endings.some((ending) => name.endsWith(ending))
}

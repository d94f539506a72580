/** Formats found by what they are called: no format is loaded for it. */
import { hasEnding } from '../base/endings.ts'
import { PareError } from '../base/errors.ts'
import { nearest } from '../base/suggest.ts'
import type { Reader } from './types.ts'

/** What a format calls itself and its files. */
export type Named = Pick<Reader, 'name' | 'title' | 'extensions'>

/** The format of a name. Throws `E_USAGE` with suggestions. */
export function formatNamed<F extends Named>(name: string, known: readonly F[]): F {
  const found = known.find((f) => f.name === name)
  if (found) return found
  const names = known.map((f) => f.name)
  const close = nearest(name, names)
  throw new PareError('E_USAGE', `there is no format ${name}`, {
    where: name,
    facts: { formats: names.join(', ') },
    ...(close ? { hint: `did you mean ${close}?` } : {})
  })
}

/** The format that a file's ending belongs to. */
export const formatOfFile = <F extends Named>(path: string, known: readonly F[]): F | undefined =>
  known.find((f) => hasEnding(path, f.extensions))

/** Where the result of a job goes: told by the names of formats and targets, so that no format is loaded for it. */
import { hasEnding } from '../base/endings.ts'
import { PareError } from '../base/errors.ts'
import { formatNamed, formatOfFile, type Named } from '../formats/named.ts'
import { targetFor, targetOfFile } from '../targets/index.ts'
import type { Target } from '../targets/types.ts'

/** A `Catalog`, of which only the names of formats are asked for. */
export interface Places<F extends Named = Named> {
  readonly formats: readonly F[]
  readonly targets: readonly Target[]
}

/**
 * The target of a command: the named one, else the one that the input's ending names, else, where the output's ending is not its
 * format's, the first that is written so. Throws `E_USAGE`.
 */
export function targetOf(named: string | undefined, input: string, places: Places, out?: string): Target {
  if (named !== undefined) return targetFor(named, places.targets)
  const own = targetOfFile(input, places.targets)
  const takes = (t: Target): boolean => out === undefined || hasEnding(out, formatOf(t, places).extensions)
  return takes(own) ? own : (places.targets.find(takes) ?? own)
}

/** The format that models for a target are written in. */
export const formatOf = <F extends Named>(target: Target, { formats }: Places<F>): F =>
  formatNamed(target.format, formats)

/** The same for a file that is to be written. Throws `E_USAGE` where its ending is another format's. */
export function formatToWrite<F extends Named>(path: string, target: Target, places: Places<F>): F {
  const format = formatOf(target, places)
  if (hasEnding(path, format.extensions)) return format
  const named = formatOfFile(path, places.formats)
  const other = places.targets.find((t) => t.format === named?.name)
  throw new PareError('E_USAGE', `a model for target ${target.name} is written as ${format.title}`, {
    facts: { output: path, 'endings that fit': format.extensions.join(', ') },
    hint: other ? `--target ${other.name}` : `--out NAME${format.extensions[0]}`
  })
}

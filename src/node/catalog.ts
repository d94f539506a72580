/** The formats and targets of a job: where its result goes, and in what form. */
import { hasEnding } from '../base/endings.ts'
import { PareError } from '../base/errors.ts'
import { parseOptions } from '../base/options.ts'
import { formatFor, formats } from '../formats/index.ts'
import type { AnyFormat, Catalog } from '../formats/types.ts'
import { targetFor, targetOfFile, targets } from '../targets/index.ts'
import type { Target } from '../targets/types.ts'

/** All that Pare itself knows. */
export const standard: Catalog = { formats, targets }

/**
 * The target of a command: the named one, else the one that the input's ending names, else, where the output's ending is not its
 * format's, the first that is written so. Throws `E_USAGE`.
 */
export function targetOf(named: string | undefined, input: string, catalog: Catalog, out?: string): Target {
  if (named !== undefined) return targetFor(named, catalog.targets)
  const own = targetOfFile(input, catalog.targets)
  const takes = (t: Target): boolean => out === undefined || hasEnding(out, formatOf(t, catalog).extensions)
  return takes(own) ? own : (catalog.targets.find(takes) ?? own)
}

/** The format that models for a target are written in. */
export const formatOf = (target: Target, { formats }: Catalog): AnyFormat => formatFor(target.format, formats)

/** The same for a file that is to be written. Throws `E_USAGE` where its ending is another format's, `E_OPTION` as options do. */
export function outputFormat(path: string, target: Target, catalog: Catalog, options: unknown = {}): AnyFormat {
  const format = formatOf(target, catalog)
  parseOptions(format, options)
  if (hasEnding(path, format.extensions)) return format
  const named = catalog.formats.find((f) => hasEnding(path, f.extensions))
  const other = catalog.targets.find((t) => t.format === named?.name)
  throw new PareError('E_USAGE', `a model for target ${target.name} is written as ${format.title}`, {
    facts: { output: path, 'endings that fit': format.extensions.join(', ') },
    hint: other ? `--target ${other.name}` : `--out NAME${format.extensions[0]}`
  })
}

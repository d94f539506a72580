/** The formats and targets of a job. */
import { parseOptions } from '../base/options.ts'
import { formats } from '../formats/index.ts'
import type { AnyFormat, Catalog } from '../formats/types.ts'
import { targets } from '../targets/index.ts'
import type { Target } from '../targets/types.ts'
import { formatOf, formatToWrite } from './places.ts'

/** All that Pare itself knows. */
export const standard: Catalog = { formats, targets }

/**
 * The format that a file is written in for a target. Throws `E_OPTION` for options that the format does not take, `E_USAGE` where the
 * file's ending is another format's.
 */
export function outputFormat(path: string, target: Target, catalog: Catalog, options: unknown = {}): AnyFormat {
  parseOptions(formatOf(target, catalog), options)
  return formatToWrite(path, target, catalog)
}

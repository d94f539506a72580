/** Options of formats as flags of the commands that write a model. */
import type { AnyFormat, Catalog } from '../types.ts'
import type { Command } from './command.ts'
import type { Flag, Parsed } from './flags.ts'
import { flagsOf, optionsFrom } from './schema.ts'

/** Every option of the formats that are written, once, with the formats that have it. */
function formatFlags(formats: readonly AnyFormat[]): readonly Flag[] {
  const byName = new Map<string, Flag>()
  for (const f of formats) {
    if (!f.write) continue
    for (const flag of flagsOf(f.options, 'output')) {
      const known = byName.get(flag.name)
      byName.set(flag.name, known ?? { ...flag, about: `${f.title}: ${flag.about}` })
    }
  }
  return [...byName.values()]
}

/** All flags of a command that writes a model. */
export const flagsFor = (command: Command, { formats }: Catalog): readonly Flag[] => [
  ...command.flags,
  ...formatFlags(formats)
]

/** What was given of the formats' options. */
export const writeOptions = (given: Parsed, { formats }: Catalog): Readonly<Record<string, unknown>> =>
  optionsFrom(formatFlags(formats), given.values)

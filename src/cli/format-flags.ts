/** Options of formats as flags of the commands that read or write a model. */
import type { AnyFormat, Catalog } from '../formats/types.ts'
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

/** The same of how formats are read. */
const readFlags = (formats: readonly AnyFormat[]): readonly Flag[] =>
  formats.flatMap((f) =>
    f.readOptions
      ? flagsOf(f.readOptions, 'reading').map((flag) => ({ ...flag, about: `${f.title}: ${flag.about}` }))
      : []
  )

/** All flags of a command. */
export const flagsFor = (command: Command, { formats }: Catalog): readonly Flag[] => [
  ...command.flags,
  ...(command.writes ? formatFlags(formats) : []),
  ...(command.opens ? readFlags(formats) : [])
]

/** What was given of how formats are read. */
export const readChoices = (given: Parsed, { formats }: Catalog): Readonly<Record<string, unknown>> =>
  optionsFrom(readFlags(formats), given.values)

/** What was given of the formats' options. */
export const writeOptions = (given: Parsed, { formats }: Catalog): Readonly<Record<string, unknown>> =>
  optionsFrom(formatFlags(formats), given.values)

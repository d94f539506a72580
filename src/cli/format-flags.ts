/** Options of formats as flags of the commands that read or write a model. */
import { assert } from '../base/errors.ts'
import type { FormatCard } from './cards.ts'
import type { Command } from './command.ts'
import { type Flag, optionsFrom, type Parsed } from './flags.ts'

const under = ({ title }: FormatCard, flag: Flag): Flag => ({ ...flag, about: `${title}: ${flag.about}` })

/** Every option of the formats that are written, once, with the first format that has it. */
function writingFlags(formats: readonly FormatCard[]): readonly Flag[] {
  const byName = new Map<string, Flag>()
  for (const f of formats)
    for (const flag of f.writing) if (!byName.has(flag.name)) byName.set(flag.name, under(f, flag))
  return [...byName.values()]
}

/** The same of how formats are read. */
const readingFlags = (formats: readonly FormatCard[]): readonly Flag[] =>
  formats.flatMap((f) => f.reading.map((flag) => under(f, flag)))

/** All flags of a command. A format's flag that had the name of one of the command's would take its values. */
export function flagsFor(command: Command, formats: readonly FormatCard[]): readonly Flag[] {
  const ofFormats = [...(command.writes ? writingFlags(formats) : []), ...(command.opens ? readingFlags(formats) : [])]
  const twice = ofFormats.find((flag) => command.flags.some((own) => own.name === flag.name))
  assert(!twice, `${command.name} and a format both have the flag ${twice?.name}`)
  return [...command.flags, ...ofFormats]
}

/** What was given of how formats are read. */
export const readChoices = (given: Parsed, formats: readonly FormatCard[]): Readonly<Record<string, unknown>> =>
  optionsFrom(readingFlags(formats), given.values)

/** What was given of the formats' options. */
export const writeOptions = (given: Parsed, formats: readonly FormatCard[]): Readonly<Record<string, unknown>> =>
  optionsFrom(writingFlags(formats), given.values)

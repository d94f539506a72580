/** Where a command writes its model, and the commands that make or verify it again. */
import { basename, dirname, extname, join } from 'node:path'
import { hasEnding } from '../base/endings.ts'
import { PareError } from '../base/errors.ts'
import { formatOfFile } from '../formats/named.ts'
import { formatOf, formatToWrite, targetOf } from '../node/places.ts'
import { isSame, readingNames, refuseInput, shellLine, writable } from './check.ts'
import { isOn, type Surroundings, text } from './command.ts'
import { kebab, type Parsed } from './flags.ts'

/**
 * Where the model goes: `--out`, else `NAME.pare` beside the model with the ending of the target's format. Never onto the
 * model itself. Throws `E_USAGE` where the ending is another format's.
 */
export async function outputOf(given: Parsed, model: string, at: Pick<Surroundings, 'places'>): Promise<string> {
  const places = await at.places()
  const target = targetOf(text(given, 'target'), model, places, text(given, 'out'))
  const [ending] = formatOf(target, places).extensions
  const out = text(given, 'out') ?? join(dirname(model), `${basename(model, extname(model))}.pare${ending}`)
  formatToWrite(out, target, places)
  writable(out, isOn(given, 'force'))
  if (isSame(out, model))
    throw new PareError('E_USAGE', 'the output is the model itself', {
      facts: { file: out },
      hint: '--out with another name'
    })
  return refuseInput(given, 'out', out)
}

/** Flags as they were given, spelled again. */
const again = (given: Parsed, names: readonly string[]): string[] =>
  names.flatMap((name) => (given.values.has(name) ? [`--${kebab(name)}`, String(given.values.get(name))] : []))

/** The command that makes the same model from the recipe of a report. */
export function replayLine(
  given: Parsed,
  model: string,
  out: string,
  report: string,
  { write, read }: Pick<Surroundings, 'write' | 'read'>
): string {
  const names = [
    'data',
    'eval-data',
    'calibration-data',
    ...readingNames,
    'metric',
    'output',
    'max-drop',
    'target',
    'seed',
    'threads',
    ...Object.keys(write),
    ...Object.keys(read)
  ]
  return shellLine(['compress', model, '--out', out, '--recipe', report, ...again(given, names)])
}

/** The command that verifies a result on the data that was given, as it was read. */
export async function verifyLine(
  given: Parsed,
  model: string,
  out: string,
  { read, places }: Pick<Surroundings, 'read' | 'places'>
): Promise<string | undefined> {
  const { formats } = await places()
  if (hasEnding(out, ['.ort']) || formatOfFile(out, formats)?.unread) return undefined
  if (formatOfFile(model, formats)?.weightless) return shellLine(['compress', out, '--data', 'PATH'])
  const flags = again(given, ['eval-data', 'data', ...readingNames, 'metric', 'output', ...Object.keys(read)])
  return shellLine(['verify', model, out, ...(flags.length > 0 ? flags : ['--data', 'PATH'])])
}

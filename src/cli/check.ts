/** What can be known to fail is known before the long work begins. */
import { accessSync, constants, existsSync, readFileSync, realpathSync, type Stats, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { PareError } from '../base/errors.ts'
import { nearest } from '../base/suggest.ts'
import type { DataDescription } from '../data/description.ts'
import type { JobData } from '../node/job.ts'
import type { Recipe } from '../passes/types.ts'
import { type Command, isOn, type Surroundings, text } from './command.ts'
import { systemReason } from './fault.ts'
import type { Parsed } from './flags.ts'

/** A file that is to be read. Throws `E_FILE`. */
export function readable(path: string): string {
  const stats = statsOf(path)
  if (!stats) throw new PareError('E_FILE', 'there is no such file', { facts: { file: path } })
  if (!stats.isFile())
    throw new PareError('E_FILE', stats.isDirectory() ? 'this is a folder, not a file' : 'this is not a regular file', {
      facts: { file: path }
    })
  access(path, constants.R_OK, 'the file may not be read')
  return path
}

/** A folder that is to be read. Throws `E_FILE`. */
export function folder(path: string): string {
  const stats = statsOf(path)
  if (!stats?.isDirectory())
    throw new PareError('E_FILE', stats ? 'this is a file, not a folder' : 'there is no such folder', {
      facts: { folder: path }
    })
  access(path, constants.R_OK, 'the folder may not be read')
  return path
}

/** A file that is to be written. Throws `E_EXISTS` without `force`, `E_FILE` where it cannot be. */
export function writable(path: string, force: boolean): string {
  const stats = statsOf(path)
  if (stats && !stats.isFile()) throw new PareError('E_FILE', 'the output is no file', { facts: { output: path } })
  if (stats && !force)
    throw new PareError('E_EXISTS', 'the output exists already', {
      facts: { output: path },
      hint: '--force to overwrite it, or --out with another name'
    })
  const folder = dirname(resolve(path))
  if (!statsOf(folder)?.isDirectory())
    throw new PareError('E_FILE', 'the folder of the output does not exist', { facts: { folder } })
  access(folder, constants.W_OK, 'nothing may be written in the folder of the output')
  if (stats) access(path, constants.W_OK, 'the output may not be overwritten')
  return path
}

function statsOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch (cause) {
    throw new PareError('E_FILE', 'the path cannot be followed', { facts: { path, why: systemReason(cause) }, cause })
  }
}

function access(path: string, mode: number, message: string): void {
  try {
    accessSync(path, mode)
  } catch (cause) {
    throw new PareError('E_FILE', message, { facts: { path }, cause })
  }
}

const inputFlags = [
  'data',
  'eval-data',
  'calibration-data',
  'train-data',
  'labels',
  'preprocess',
  'tokenizer',
  'recipe',
  'reference',
  'metric',
  'baseline'
] as const

/** Throws `E_USAGE` where a file that is to be written is one that is read. */
export function refuseInput(given: Parsed, flag: string, path: string): string {
  for (const read of inputFlags)
    for (const one of [text(given, read) ?? '', ...(text(given, read)?.split(',') ?? [])])
      if (one !== '' && isSame(path, one))
        throw new PareError('E_USAGE', `--${flag} would overwrite what --${read} reads`, {
          facts: { file: path },
          hint: `--${flag} with another name`
        })
  return path
}

/** Do two paths lead to one file? */
export const isSame = (a: string, b: string): boolean =>
  resolve(a) === resolve(b) || (existsSync(a) && existsSync(b) && realpathSync(a) === realpathSync(b))

/** The report's file, if one is asked for. */
export function reportOf(given: Parsed): string | undefined {
  const path = text(given, 'report')
  if (path === undefined) return undefined
  if (!/\.(html|json)$/i.test(path))
    throw new PareError('E_USAGE', `--report takes a file named .html or .json, not ${path}`)
  writable(path, isOn(given, 'force'))
  const out = text(given, 'out')
  if (out !== undefined && isSame(path, out))
    throw new PareError('E_USAGE', '--report and --out name the same file', { facts: { file: path } })
  return refuseInput(given, 'report', path)
}

/** `--max-time`: `90s`, `30min`, `2h`. Throws `E_USAGE`. */
export function maxTimeOf(given: Parsed): { readonly maxSeconds?: number } {
  const asked = text(given, 'max-time')
  if (asked === undefined) return {}
  const [, count, unit = ''] = /^(\d+(?:\.\d+)?)\s*(s|min|h)$/.exec(asked) ?? []
  if (!count || Number(count) === 0)
    throw new PareError('E_USAGE', `'${asked}' is no length of time`, { where: '--max-time', hint: '90s, 30min, 2h' })
  return { maxSeconds: Number(count) * (seconds[unit] as number) }
}

const seconds: Readonly<Record<string, number>> = { s: 1, min: 60, h: 3600 }

/** Outputs that are judged, where some were named. */
export function judgedOf(given: Parsed): { readonly judged?: readonly string[] } {
  const names = given.values.get('output')
  return Array.isArray(names) ? { judged: names.map(String) } : {}
}

/** Data of a command by role. Throws `E_FILE` where a path leads nowhere, `E_USAGE` for flags that have nothing to read. */
export function dataOf(given: Parsed): JobData {
  const shared = {
    ...(given.values.has('preprocess') ? { preprocess: text(given, 'preprocess') } : {}),
    ...(given.values.has('labels') ? { labels: readable(text(given, 'labels') ?? '') } : {}),
    ...(given.values.has('tokenizer') ? { tokenizer: readable(text(given, 'tokenizer') ?? '') } : {}),
    ...(given.values.has('max-length') ? { maxLength: wholeOf(given, 'max-length', 1) } : {}),
    ...(given.values.has('sample-rate') ? { sampleRate: wholeOf(given, 'sample-rate', 1000) } : {}),
    ...(given.values.has('window') ? { window: wholeOf(given, 'window', 1) } : {}),
    ...(given.values.has('hop') ? { hop: wholeOf(given, 'hop', 1) } : {})
  }
  const one = (flag: string): DataDescription | undefined => {
    const path = text(given, flag)
    return path === undefined ? undefined : { path: existing(flag, path), ...shared }
  }
  const [data, evaluation, calibration, train, open] = [
    ...['data', 'eval-data', 'calibration-data', 'train-data', 'public-data']
  ].map(one)
  if (!data && !evaluation && !calibration && !train)
    for (const flag of [...readingNames, 'metric', 'output', 'max-drop'])
      if (given.values.has(flag))
        throw new PareError('E_USAGE', `--${flag} needs data to work on`, { hint: '--data PATH' })
  return {
    ...(data ? { data } : {}),
    ...(evaluation ? { evaluation } : {}),
    ...(calibration ? { calibration } : {}),
    ...(train ? { train } : {}),
    ...(open ? { open } : {})
  }
}

function wholeOf(given: Parsed, flag: string, least: number): number {
  const n = given.values.get(flag) as number
  if (n < least) throw new PareError('E_USAGE', `--${flag} takes ${least} or more, not ${n}`)
  return n
}

/** A path, or two separated by a comma (IDX images and labels). */
function existing(flag: string, path: string): string {
  const found = statsOf(path) || (path.includes(',') && path.split(',').every((p) => statsOf(p)))
  if (found) return path
  throw new PareError('E_FILE', 'there is no such file or folder', { facts: { [flag]: path } })
}

/** A recipe file: the list itself, or a report (JSON or page) that holds one. Throws `E_FILE`, `E_USAGE`. */
export function recipeOf(given: Parsed): Recipe | undefined {
  const path = text(given, 'recipe')
  if (path === undefined) return undefined
  let content: unknown
  try {
    const raw = readFileSync(readable(path), 'utf8')
    content = JSON.parse(/<script type="application\/json" id="report">(.*?)<\/script>/s.exec(raw)?.[1] ?? raw)
  } catch (cause) {
    if (cause instanceof PareError) throw cause
    throw new PareError('E_USAGE', 'the recipe is not JSON', { facts: { file: path, why: String(cause) }, cause })
  }
  const list = Array.isArray(content) ? content : (content as { recipe?: unknown } | null)?.recipe
  if (!Array.isArray(list) || !list.every(isStep))
    throw new PareError('E_USAGE', 'this is no recipe', {
      facts: { file: path },
      hint: '[["fuse", {}], ["quantize-weights", { "form": "foldable" }]]'
    })
  return list
}

const isStep = (step: unknown): step is Recipe[number] =>
  Array.isArray(step) &&
  step.length === 2 &&
  typeof step[0] === 'string' &&
  typeof step[1] === 'object' &&
  step[1] !== null &&
  !Array.isArray(step[1])

/** An error for a command that does not exist. */
export function unknownCommand(name: string, names: readonly string[]): PareError {
  const [first = '', second] = name.split(' ')
  const family = second === undefined ? [] : names.filter((n) => n.startsWith(`${first} `))
  const close = family.length > 0 ? family.join(', pare ') : nearest(name, names)
  return new PareError('E_USAGE', `there is no command ${name}`, {
    hint: close === undefined ? 'pare --help lists them' : `pare ${close}`
  })
}

/** The command line as one can paste it into a shell. */
export function shellLine(argv: readonly string[]): string {
  const quote = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)
  return ['pare', ...argv].map(quote).join(' ')
}

export const readingNames = ['preprocess', 'labels', 'tokenizer', 'max-length', 'sample-rate', 'window', 'hop'] as const

/** The part of a job that every command fills in alike. */
export function common(
  given: Parsed,
  command: Command,
  { argv, write, read }: Pick<Surroundings, 'argv' | 'write' | 'read'>
) {
  const [seed, threads] = ['seed', 'threads'].map((f) => given.values.get(f) as number | undefined)
  const words = command.name.split(' ')
  if (threads !== undefined && (threads < 1 || threads > 1024))
    throw new PareError('E_USAGE', `--threads takes 1 or more, not ${threads}`)
  if (seed !== undefined && seed < 0) throw new PareError('E_USAGE', `--seed takes 0 or more, not ${seed}`)
  const [target, costModel] = [text(given, 'target'), text(given, 'cost-model')]
  return {
    line: shellLine([...words, ...argv.slice(words.length)]),
    force: isOn(given, 'force'),
    ...(given.values.has('report') || isOn(given, 'json') ? { reports: true } : {}),
    ...(given.values.get('check') === false ? { check: false } : {}),
    ...(target === undefined ? {} : { target }),
    ...(Object.keys(write).length === 0 ? {} : { write }),
    ...(Object.keys(read).length === 0 ? {} : { read }),
    ...(seed === undefined ? {} : { seed }),
    ...(threads === undefined ? {} : { threads }),
    ...(costModel === undefined ? {} : { costModel })
  }
}

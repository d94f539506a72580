/** Flags of a command as data, and the strict reading of a command line by them. */
import { parseArgs } from 'node:util'
import { PareError } from '../base/errors.ts'
import { nearest } from '../base/suggest.ts'

/** What a flag's text stands for; `share` is a fraction, also spelled in percent. */
export type FlagKind = 'text' | 'number' | 'whole' | 'share' | 'boolean' | 'choice' | 'list' | 'numbers' | 'json'

/** Which numbers a flag takes; shares as fractions. */
export interface Range {
  /** All are greater than it. */
  readonly above?: number
  readonly least?: number
  readonly most?: number
}

/** One flag. */
export interface Flag {
  /** As options and recipes spell it, `perChannel`; on the command line it is `--per-channel`. */
  readonly name: string
  readonly short?: string
  readonly kind: FlagKind
  readonly choices?: readonly (string | number)[]
  /** Of a number, a whole number or a share. A share without it is below 100 %. */
  readonly range?: Range
  /** What stands for the value in the help, such as `FILE`. */
  readonly hint?: string
  /** Shown in the help; whoever reads the flag fills it in. */
  readonly default?: unknown
  readonly about: string
  readonly group: string
}

/** A word without a flag, such as the model. */
export interface Positional {
  readonly name: string
  readonly optional?: boolean
}

/** A command line that fits its command. */
export interface Parsed {
  readonly positionals: readonly string[]
  /** Only what was given, by the flag's name. */
  readonly values: ReadonlyMap<string, unknown>
}

const usage = (message: string, hint?: string, facts?: Record<string, string>): PareError =>
  new PareError('E_USAGE', message, { ...(hint === undefined ? {} : { hint }), ...(facts ? { facts } : {}) })

/** Reads a command line. Throws `E_USAGE` for whatever is unknown, misses its value or does not fit. */
export function parseFlags(
  args: readonly string[],
  flags: readonly Flag[],
  positionals: readonly Positional[],
  command: string
): Parsed {
  const byName = new Map(flags.map((f) => [f.name, f]))
  const { tokens } = parseArgs({
    args: [...args],
    options: Object.fromEntries(
      flags.flatMap((f) => {
        const type = f.kind === 'boolean' ? ('boolean' as const) : ('string' as const)
        const names = [...new Set([f.name, kebab(f.name)])]
        return names.flatMap((name, i) => [
          [name, { type, ...(f.short === undefined || i > 0 ? {} : { short: f.short }) }],
          ...(type === 'boolean' ? [[`no-${name}`, { type }]] : [])
        ])
      })
    ),
    strict: false,
    allowPositionals: true,
    tokens: true
  })
  const values = new Map<string, unknown>()
  const words: string[] = []
  for (const t of tokens) {
    if (t.kind === 'positional') words.push(t.value)
    if (t.kind !== 'option') continue
    const name = spelled(t.name, byName)
    const negated = !byName.has(name) && name.startsWith('no-') ? byName.get(spelled(name.slice(3), byName)) : undefined
    const flag = byName.get(name) ?? (negated?.kind === 'boolean' ? negated : undefined)
    if (!flag) throw unknownFlag(t.rawName, flags, command)
    if (values.has(flag.name) && flag.kind !== 'list') throw usage(`${t.rawName} is given twice`)
    if (flag.kind === 'boolean') {
      if (t.value !== undefined) throw usage(`${t.rawName} takes no value`, `${t.rawName}, or --no-${kebab(flag.name)}`)
      values.set(flag.name, negated === undefined)
    } else {
      const value = readValue(flag, textOf(t, byName))
      const before = values.get(flag.name)
      values.set(flag.name, Array.isArray(before) && Array.isArray(value) ? [...before, ...value] : value)
    }
  }
  checkPositionals(words, positionals, command)
  return { positionals: words, values }
}

/** The flag's name for either spelling: `perChannel` for `per-channel` and for itself. */
function spelled(name: string, known: ReadonlyMap<string, Flag>): string {
  const camel = name.replace(/-([a-z])/g, (_, c: string) => c.toUpperCase())
  return !known.has(name) && known.has(camel) ? camel : name
}

/** A name as the command line spells it: `per-channel` for `perChannel`. */
export const kebab = (name: string): string => name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)

function unknownFlag(given: string, flags: readonly Flag[], command: string): PareError {
  const close = nearest(
    kebab(given.replace(/^-+/, '')),
    flags.map((f) => kebab(f.name))
  )
  return usage(
    `${command} has no option ${given}`,
    close === undefined ? `pare ${command} --help lists its options` : `--${close}`
  )
}

function textOf(
  t: { readonly rawName: string; readonly value?: string | undefined; readonly inlineValue?: boolean | undefined },
  known: ReadonlyMap<string, Flag>
): string {
  const swallowed = !t.inlineValue && t.value?.startsWith('--') && known.has(t.value.slice(2).split('=')[0] ?? '')
  if (t.value === undefined || t.value === '' || swallowed) throw usage(`${t.rawName} needs a value`)
  return t.value
}

function checkPositionals(words: readonly string[], positionals: readonly Positional[], command: string): void {
  const missing = positionals.find((p, i) => !p.optional && words[i] === undefined)
  const form = `pare ${command} ${positionals.map((p) => (p.optional ? `[${p.name}]` : p.name)).join(' ')}`
  if (missing) throw usage(`${command} needs ${missing.name}`, form)
  const extra = words[positionals.length]
  if (extra !== undefined)
    throw usage(
      `${command} takes ${positionals.length} ${positionals.length === 1 ? 'file' : 'files'}, and ${extra} is one more`,
      form
    )
}

/** A flag's value from its text. Throws `E_USAGE` naming what fits. */
export function readValue(flag: Flag, text: string): unknown {
  const wrong = (what: string, hint?: string): PareError =>
    usage(`--${kebab(flag.name)} takes ${what}, not ${text}`, hint)
  switch (flag.kind) {
    case 'number':
      return ranged(flag, text, readNumber(text) ?? raise(wrong('a number')), 'a number')
    case 'whole': {
      const n = readNumber(text)
      if (n === undefined || !Number.isSafeInteger(n)) throw wrong('a whole number')
      return ranged(flag, text, n, 'a whole number')
    }
    case 'share':
      return readShare(flag, text)
    case 'choice': {
      const found = flag.choices?.find((c) => String(c) === text)
      if (found !== undefined) return found
      const close = nearest(text, (flag.choices ?? []).map(String))
      throw wrong(
        `one of ${(flag.choices ?? []).join(', ')}`,
        close === undefined ? undefined : `--${kebab(flag.name)} ${close}`
      )
    }
    case 'list':
      return text.split(',').filter((part) => part !== '')
    case 'numbers':
      return text.split(',').map((part) => readNumber(part) ?? raise(wrong('numbers separated by commas')))
    case 'json':
      try {
        return JSON.parse(text)
      } catch (cause) {
        throw new PareError('E_USAGE', `--${kebab(flag.name)} takes JSON, not ${text}`, { cause })
      }
    default:
      return text
  }
}

/** The number, within the flag's range. Throws `E_USAGE` that names the bound which it breaks. */
function ranged(flag: Flag, text: string, n: number, what: string): number {
  const { above = -Infinity, least = -Infinity, most = Infinity } = flag.range ?? {}
  if (n > above && n >= least && n <= most) return n
  const percent = flag.kind === 'share'
  const spelled = (x: number): string => String(percent ? 100 * x : x)
  const unit = percent ? ' %' : ''
  const to = most === Infinity ? '' : ` to ${spelled(most)}`
  const fits = n <= above ? `above ${spelled(above)}` : least > -Infinity ? `from ${spelled(least)}${to}` : `up${to}`
  throw usage(`--${kebab(flag.name)} takes ${what} ${fits}${unit}, not ${text}`)
}

function raise(error: PareError): never {
  throw error
}

function readNumber(text: string): number | undefined {
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : undefined
}

/** `1%` and `0.01` are the same: one percentage point. */
function readShare(flag: Flag, text: string): number {
  const isPercent = text.endsWith('%')
  const n = readNumber(isPercent ? text.slice(0, -1) : text)
  const name = `--${kebab(flag.name)}`
  const hint = `${name} 1% is one percentage point`
  if (n === undefined || (n < 0 && !flag.range)) throw usage(`${name} takes a share, not ${text}`, hint)
  const share = isPercent ? Number((n / 100).toPrecision(12)) : n
  if (flag.range) return ranged(flag, text, share, 'a share')
  if (share >= 1) throw usage(`${name} ${text} would allow everything to be lost`, hint)
  return share
}

/** Options as the recipe holds them: only what was given. */
export function optionsFrom(flags: readonly Flag[], values: ReadonlyMap<string, unknown>): Record<string, unknown> {
  const out: Record<string, unknown> = {}
  for (const f of flags) {
    if (!values.has(f.name)) continue
    const path = f.name.split('.')
    let at = out
    for (const key of path.slice(0, -1)) {
      const next = Object.hasOwn(at, key) ? (at[key] as Record<string, unknown>) : {}
      at[key] = next
      at = next
    }
    at[path.at(-1) ?? f.name] = values.get(f.name)
  }
  return out
}

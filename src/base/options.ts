/** Options as a strict schema, of passes and of formats: how they are checked, and how wrong ones are reported. */
import { z } from 'zod'
import { PareError } from './errors.ts'
import { nearest } from './suggest.ts'

/** What has options. */
export interface Optioned<O> {
  readonly name: string
  readonly options: z.ZodType<O>
}

/**
 * Options with defaults filled in. Throws `E_OPTION` that names the option as the caller wrote it (`spelled`, by default its
 * path), and the valid ones where it is unknown.
 */
export function parseOptions<O>(
  of: Optioned<O>,
  given: unknown,
  spelled: (path: string) => string = (path) => path
): O {
  const parsed = of.options.safeParse(given ?? {})
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  const at = (issue?.path ?? []).map(String)
  if (issue?.code === 'unrecognized_keys') {
    const unknown = issue.keys[0] ?? ''
    const valid = optionNames(of.options, issue.path)
    const close = nearest(unknown, valid)
    throw new PareError('E_OPTION', `${of.name} has no option ${[...at, unknown].join('.')}`, {
      where: [...at, unknown].join('.'),
      facts: { options: valid.join(', ') || 'none' },
      ...(close ? { hint: `did you mean ${close}?` } : {})
    })
  }
  throw new PareError(
    'E_OPTION',
    `${of.name}: option ${at.length > 0 ? placeOf(at, spelled) : 'set'}: ${issue ? issueText(issue) : 'does not fit'}`,
    {
      where: at.join('.')
    }
  )
}

/** An entry of a list by the list's name and its number from 1. */
function placeOf(at: readonly string[], spelled: (path: string) => string): string {
  const last = at.at(-1) ?? ''
  const isEntry = at.length > 1 && /^\d+$/.test(last)
  return isEntry ? `${spelled(at.slice(0, -1).join('.'))}, entry ${Number(last) + 1}` : spelled(at.join('.'))
}

/** What does not fit: limits of numbers, choices and types in plain words, the rest as the schema says it. */
function issueText(issue: z.core.$ZodIssue): string {
  const isNumber = 'origin' in issue && (issue.origin === 'number' || issue.origin === 'int')
  if (isNumber && issue.code === 'too_small')
    return `must be ${issue.inclusive ? 'at least' : 'greater than'} ${issue.minimum}`
  if (isNumber && issue.code === 'too_big')
    return `must be ${issue.inclusive ? 'at most' : 'less than'} ${issue.maximum}`
  if (issue.code === 'invalid_value') return `must be one of ${issue.values.map(String).join(', ')}`
  if (issue.code === 'invalid_type') return `must be of type ${issue.expected}`
  return issue.message
}

/** Names of a schema's fields at a path; none where there is no object. */
export function optionNames(schema: z.ZodType, path: readonly PropertyKey[] = []): string[] {
  let at: unknown = schema
  for (const key of path) at = unwrap(at) instanceof z.ZodObject ? (unwrap(at) as z.ZodObject).shape[String(key)] : at
  const inner = unwrap(at)
  return inner instanceof z.ZodObject ? Object.keys(inner.shape) : []
}

function unwrap(schema: unknown): unknown {
  let s = schema
  while (
    s instanceof z.ZodDefault ||
    s instanceof z.ZodOptional ||
    s instanceof z.ZodPrefault ||
    s instanceof z.ZodNullable
  )
    s = s.def.innerType
  return s
}

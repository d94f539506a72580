/** What a pass is made of: its name, its options as a strict schema, and how wrong options are reported. */
import { z } from 'zod'
import { PareError } from '../base/errors.ts'
import { nearest } from '../base/suggest.ts'
import type { Context, Model, Pass } from '../types.ts'

/** A pass whatever its options are; what lists and recipes hold. */
export type AnyPass = Pass<unknown>

export interface PassDefinition<S extends z.ZodRawShape> {
  readonly name: string
  readonly summary: string
  readonly needs?: Pass['needs']
  readonly uses?: Pass['uses']
  readonly after?: Pass['after']
  readonly compares?: Pass['compares']
  /** Fields of the options, each with a default and a `describe`. */
  readonly options: S
  run(model: Model, options: z.output<z.ZodObject<S>>, ctx: Context): Model | Promise<Model>
}

/** Makes a pass; options outside its schema are errors. */
export function definePass<S extends z.ZodRawShape>(p: PassDefinition<S>): Pass<z.output<z.ZodObject<S>>> {
  return {
    name: p.name,
    summary: p.summary,
    needs: p.needs ?? [],
    uses: p.uses ?? [],
    after: p.after ?? [],
    compares: p.compares ?? false,
    options: z.strictObject(p.options) as unknown as z.ZodType<z.output<z.ZodObject<S>>>,
    run: async (model, options, ctx) => p.run(model, options, ctx)
  }
}

/** Options with defaults filled in. Throws `E_OPTION` that names the option, and the valid ones where it is unknown. */
export function parseOptions<O>(pass: Pass<O>, given: unknown): O {
  const parsed = pass.options.safeParse(given ?? {})
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  const at = (issue?.path ?? []).map(String)
  if (issue?.code === 'unrecognized_keys') {
    const unknown = issue.keys[0] ?? ''
    const valid = optionNames(pass.options, issue.path)
    const close = nearest(unknown, valid)
    throw new PareError('E_OPTION', `${pass.name} has no option ${[...at, unknown].join('.')}`, {
      where: [...at, unknown].join('.'),
      facts: { options: valid.join(', ') || 'none' },
      ...(close ? { hint: `did you mean ${close}?` } : {})
    })
  }
  throw new PareError(
    'E_OPTION',
    `${pass.name}: option ${at.join('.') || 'set'}: ${issue?.message ?? 'does not fit'}`,
    {
      where: at.join('.')
    }
  )
}

/** Names of a schema's fields at a path; none where there is no object. */
function optionNames(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
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

/** An options schema as flags. Nested fields: `--budget.macs`. */
import { z } from 'zod'
import type { Flag } from './flags.ts'

interface JsonSchema {
  readonly type?: string
  readonly description?: string
  /** `share`: a fraction that may be typed as a percentage. */
  readonly format?: string
  readonly default?: unknown
  readonly enum?: readonly (string | number)[]
  readonly const?: string | number
  readonly anyOf?: readonly JsonSchema[]
  readonly items?: JsonSchema
  readonly properties?: Readonly<Record<string, JsonSchema>>
}

/** One flag per field of an options schema, in the schema's order. */
export function flagsOf(schema: z.ZodType, group: string): Flag[] {
  const json = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as JsonSchema
  return fields(json, '', group, undefined)
}

function fields(json: JsonSchema, prefix: string, group: string, defaults: unknown): Flag[] {
  return Object.entries(json.properties ?? {}).flatMap(([key, field]) => {
    const name = `${prefix}${key}`
    const outer = (defaults as Readonly<Record<string, unknown>> | undefined)?.[key]
    const value = outer ?? field.default
    const inner = unwrap(field)
    if (inner.properties) return fields(inner, `${name}.`, group, value)
    const about = field.description ?? inner.description ?? ''
    return [{ name, group, about, ...(value === undefined ? {} : { default: value }), ...kindOf(inner) }]
  })
}

/** The schema without `| null`. */
function unwrap(json: JsonSchema): JsonSchema {
  const real = json.anyOf?.filter((s) => s.type !== 'null')
  return real?.length === 1 && real[0] ? real[0] : json
}

function kindOf(json: JsonSchema): Pick<Flag, 'kind' | 'choices' | 'hint'> {
  const choices = json.enum ?? constants(json)
  if (choices) return { kind: 'choice', choices }
  switch (json.type) {
    case 'integer':
      return { kind: 'whole', hint: 'N' }
    case 'number':
      return json.format === 'share' ? { kind: 'share', hint: '1%' } : { kind: 'number', hint: 'X' }
    case 'boolean':
      return { kind: 'boolean' }
    case 'string':
      return { kind: 'text', hint: 'TEXT' }
    case 'array': {
      const item = json.items?.type
      if (item === 'number' || item === 'integer') return { kind: 'numbers', hint: 'N,…' }
      if (item === 'string') return { kind: 'list', hint: 'A,B,…' }
    }
  }
  return { kind: 'json', hint: 'JSON' }
}

function constants(json: JsonSchema): readonly (string | number)[] | undefined {
  if (json.const !== undefined) return [json.const]
  const all = json.anyOf?.map((s) => s.const)
  return all?.every((c) => c !== undefined) ? all : undefined
}

/** The configuration's JSON: read and written with its keys in their order, which DL4J counts vertices by. */
import { PareError } from '../../base/errors.ts'

export type Json = null | boolean | number | string | readonly Json[] | JsonObject

/** An object of the configuration. Keys that look like numbers are marked; `keyOf` gives them as they are in the file. */
export interface JsonObject {
  readonly [key: string]: Json
}

/**
 * JavaScript moves keys that look like numbers to the front of an object; marked, they stay in place. Whole numbers above
 * 2^53, as seeds are, become marked texts (`\u0002`), so that they are written as they were.
 */
const mark = '\u0001'

const tokens = /"(?:[^"\\]|\\.)*"(\s*:)?|(?<![\d.eE+-])-?\d{16,}(?![\d.eE])/g
const maxDepth = 64

/** Parses the configuration. Throws `E_FORMAT`. */
export function parseJson(text: string, where: string): JsonObject {
  let read: unknown
  try {
    read = JSON.parse(text.replace(tokens, markToken))
  } catch (cause) {
    throw new PareError('E_FORMAT', 'the configuration is not whole JSON', {
      where,
      cause,
      facts: { parser: cause instanceof Error ? cause.message : String(cause) }
    })
  }
  if (!isObject(read as Json)) throw new PareError('E_FORMAT', 'the configuration is no JSON object', { where })
  refuseDepth(read as Json, where)
  return read as JsonObject
}

const markToken = (token: string, colon?: string): string => {
  if (!token.startsWith('"')) return `"\\u0002${token}"`
  return colon !== undefined && /^"\d/.test(token) ? `"\\u0001${token.slice(1)}` : token
}

/** Written as DL4J writes it: an entry a line. */
export const printJson = (json: JsonObject): string =>
  JSON.stringify(json, null, 2)
    .replace(/"\\u0001(?=\d)/g, '"')
    .replace(/"\\u0002(-?\d+)"/g, '$1')

/** A key as it is in the file. */
export const keyOf = (key: string): string => (key.startsWith(mark) ? key.slice(1) : key)

/** The key of a name in the file. */
export const keyFor = (name: string): string => (/^\d/.test(name) ? mark + name : name)

/** A field by its name in the file; `undefined` where it is absent. */
export function field(o: JsonObject, name: string): Json | undefined {
  const key = keyFor(name)
  return Object.hasOwn(o, key) ? o[key] : undefined
}

export const isObject = (x: Json | undefined): x is JsonObject =>
  typeof x === 'object' && x !== null && !Array.isArray(x)

function refuseDepth(json: Json, where: string): void {
  let level: Json[] = [json]
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > maxDepth)
      throw new PareError('E_LIMIT', `the configuration is nested deeper than ${maxDepth} levels`, { where })
    level = level.flatMap((x) => (typeof x === 'object' && x !== null ? Object.values(x) : []))
  }
}

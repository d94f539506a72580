/**
 * Candidates for models whose bytes are mostly tables of embeddings: rows of 4 bits, rows of half the rank where samples tell what
 * is looked up, and fewer rows where texts to train on tell which.
 */
import { inferShapes } from '../../ops/infer.ts'
import { tablesOf } from '../../passes/prune/tables.ts'
import type { Recipe } from '../../passes/types.ts'
import type { Problem } from '../strategy.ts'

/** Below this share of the file's bytes, tables cannot change much. */
const leastShare = 0.2
/** Low rank costs more than few bits: it is tried where tables are most of the bytes. */
const mostlyTables = 0.5
/** Smaller tables are of positions or kinds. */
const leastRows = 1024

/** A form that a whole model can take. */
interface Form {
  readonly name: string
  readonly tail: Recipe
}

/** `form`, which all else of the model takes, behind what is done to its tables; none where tables are small. */
export function tableForms({ model, target, bytes, isCalibrated, isTrained }: Problem, form: Form): readonly Form[] {
  const tables = tablesOf(inferShapes(model)).tables.filter((t) => t.rows >= leastRows)
  const held = tables.reduce((n, t) => n + 4 * t.rows * t.width, 0)
  if (held < leastShare * bytes) return []
  const include = tables.flatMap((t) => t.lookups.map(({ node }) => node.name))
  // What follows would take the table for a float one.
  const rest = form.tail.map(([pass, o]) => [pass, { ...o, exclude: include }] as const)
  const made = (name: string, first: Recipe): Form => ({ name: `${form.name}, ${name}`, tail: [...first, ...rest] })
  // A table is looked up, not multiplied: codes in blocks stay codes in memory, a codebook for all takes fewer bytes.
  const small: readonly (readonly [string, Recipe[number]])[] = [
    ...(target.forms.includes('nbits')
      ? [
          [
            'tables in 4-bit blocks',
            ['quantize-weights', { form: 'nbits', bits: 4, blockSize: 128, symmetric: true, include }]
          ] as const
        ]
      : []),
    ...(target.forms.includes('palette')
      ? [
          [
            'tables in a 4-bit palette',
            ['quantize-weights', { form: 'palette', bits: 4, perChannel: false, include }]
          ] as const
        ]
      : [])
  ]
  return [
    ...small.map(([name, pass]) => made(name, [pass])),
    ...(isCalibrated && held >= mostlyTables * bytes
      ? small.slice(-1).map(([name, pass]) => made(`${name} of half the rank`, [halved(include), pass]))
      : []),
    ...(isTrained
      ? small.map(([name, pass]) => made(`${name} of fewer rows`, [['prune-rows', { least: 2 }], pass]))
      : [])
  ]
}

const halved = (include: readonly string[]): Recipe[number] => ['factorize', { what: 'tables', ratio: 0.5, include }]

/** Which types a file must declare: those that do not follow from the operators, the inputs and the outputs. */
import { PareError } from '../../base/errors.ts'
import { mapGraphs } from '../../ir/edit.ts'
import { allGraphs } from '../../ir/graph.ts'
import { inferShapes } from '../../ops/infer.ts'
import type { Graph, Model, Value, ValueType } from '../../types.ts'

/** Ids of intermediate values whose known type inference would not find again. */
export function declaredIds(model: Model): ReadonlySet<string> {
  const typed = allGraphs(model).flatMap((g) => intermediate(g).filter(isTyped))
  if (typed.length === 0) return new Set()
  const found = typesFound(model)
  return new Set(typed.filter((v) => !sameType(v, found.get(v.id))).map((v) => v.id))
}

function intermediate(g: Graph): Value[] {
  const ends = new Set([...g.inputs, ...g.outputs])
  return [...g.values.values()].filter((v) => !v.data && !ends.has(v.id))
}

const isTyped = (v: Value): boolean => v.type !== 'tensor' || v.dtype !== undefined || v.shape !== undefined

/** What inference says when no intermediate type is declared; nothing for a model that contradicts itself. */
function typesFound(model: Model): ReadonlyMap<string, Value> {
  const bare = mapGraphs(model, (g) => {
    const values = new Map(g.values)
    for (const v of intermediate(g)) values.set(v.id, { id: v.id, type: 'tensor' })
    return { ...g, values }
  })
  try {
    return new Map(allGraphs(inferShapes(bare)).flatMap((g) => [...g.values]))
  } catch (error) {
    if (error instanceof PareError && error.code !== 'E_INTERNAL') return new Map()
    throw error
  }
}

function sameType(a: ValueType, b: ValueType | undefined): boolean {
  if (!b || a.type !== b.type || a.dtype !== b.dtype || a.shape?.length !== b.shape?.length) return false
  if (a.type === 'opaque' || (a.shape ?? []).some((d, i) => d !== b.shape?.[i])) return false
  return a.of === undefined ? b.of === undefined : sameType(a.of, b.of)
}

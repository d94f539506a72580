/** What can be told of a run before it is made. */
import { freemem } from 'node:os'
import { evaluateDim } from '../../base/dim.ts'
import { allGraphs } from '../../ir/graph.ts'
import { byteLength } from '../../ir/tensor.ts'
import { opFor } from '../../ops/index.ts'
import type { Model, Value } from '../../types.ts'

const symbol = /^[A-Za-z_]\w*$/

/** Of one sample; `undefined` where it is not known before running. */
export function bytesOf(v: Value | undefined): number | undefined {
  if (!v?.dtype || !v.shape) return undefined
  let count = 1
  for (const d of v.shape) {
    const size = evaluateDim(d, {}) ?? (typeof d === 'string' && symbol.test(d) ? 1 : Number.NaN)
    count *= size
  }
  return Number.isNaN(count) || v.dtype === 'string' ? undefined : byteLength(v.dtype, count)
}

/** Does the model hold loops? Only a run tells how often they turn. */
export const hasLoops = (model: Model): boolean =>
  allGraphs(model).some((graph) => graph.nodes.some((n) => opFor(n)?.unbounded))

/** Can it be told from the graph alone how much a run does and holds? */
export const isForeseen = (model: Model): boolean =>
  !hasLoops(model) &&
  allGraphs(model).every((graph) =>
    graph.nodes.every((n) =>
      n.outputs.every((id) => id === '' || (bytesOf(graph.values.get(id)) ?? Number.POSITIVE_INFINITY) < freemem() / 4)
    )
  )

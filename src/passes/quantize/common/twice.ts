/** Weights that a file holds twice: as codes for the nodes that became integer, and as float for other readers. */
import { constant, consumers } from '../../../ir/graph.ts'
import { isFloat, tensorBytes } from '../../../ir/tensor.ts'
import type { Model } from '../../../types.ts'
import type { Context } from '../../types.ts'

/** Says which of the weights that got codes are still there as float, with bytes and readers. */
export function noteTwice(made: Model, weights: Iterable<string>, ctx: Pick<Context, 'note'>): void {
  for (const id of new Set(weights)) {
    const data = constant(made.graph, id)
    if (!data || !isFloat(data.dtype)) continue
    const readers = consumers(made.graph, id).map((n) => n.name)
    const size = `${(tensorBytes(data) / 1000).toFixed(1)} kB`
    ctx.note(
      `${id} is in the file twice: as codes, and as float (${size}) for ${readers.join(', ')}; simplify may help`
    )
  }
}

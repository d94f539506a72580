/**
 * Recurrent layers: a hidden unit has a row of every gate in both weights, its biases and peepholes, and a column of the
 * recurrent weight, over which products are summed; both directions lose the same units.
 */
import { type ChannelRule, into, link, out } from './channels.ts'
import { isGiven, shapeOf } from './op.ts'
import type { Span } from './types.ts'

/** Weights [directions, gates·hidden, inputs] and [directions, gates·hidden, hidden]. */
export const recurrentChannels =
  (gates: number): ChannelRule =>
  (n) => {
    const hidden = shapeOf(n, 2)?.[2]
    const given = (at: number, span: Span): readonly Span[] => (isGiven(n, at) ? [span] : [])
    const states = n.outputs.flatMap((_, at) => (n.node.outputs[at] ? [out(at, at === 0 ? 3 : 2)] : []))
    const units: readonly Span[] = [
      into(1, 1, { outer: gates }),
      into(2, 1, { outer: gates }),
      { ...into(2, 2), sums: true },
      ...given(3, into(3, 1, { outer: 2 * gates })),
      ...given(5, into(5, 2)),
      ...given(6, into(6, 2)),
      ...given(7, into(7, 1, { outer: gates - 1 })),
      ...states
    ]
    return [
      ...link(shapeOf(n, 1)?.[2], [into(0, 2), into(1, 2)], { sums: true }),
      ...link(hidden, units, { counts: [{ in: 'hidden_size', each: 1 }] })
    ]
  }

/**
 * Convolutions: the channels of the data are summed with those of the weight; outputs go with rows of the weight and the
 * bias. In groups, a channel of a link is a whole group, with its inputs and outputs.
 */
import { attrInt } from '../ir/attrs.ts'
import { type ChannelRule, into, link, out, sameAxes } from './channels.ts'
import { isGiven, shapeOf } from './op.ts'
import type { Link, NodeView, Span } from './types.ts'

const bias = (n: NodeView, inner = 1): readonly Span[] => (isGiven(n, 2) ? [into(2, 0, { inner })] : [])

/** Weight [outputs, inputs per group, …kernel]. */
function conv(n: NodeView): readonly Link[] {
  const [outputs, perGroup] = shapeOf(n, 1) ?? []
  const group = attrInt(n.node, 'group', 1)
  const batch = sameAxes(n, [0])
  if (group !== 1) return [...batch, ...grouped(n, group, Number(perGroup), Number(outputs) / group)]
  return [
    ...batch,
    ...link(perGroup, [into(0, 1), into(1, 1)], { sums: true }),
    ...link(outputs, [into(1, 0), ...bias(n), out(0, 1)])
  ]
}

/** Weight [inputs, outputs per group, …kernel]. */
function transposed(n: NodeView): readonly Link[] {
  const [inputs, perGroup] = shapeOf(n, 1) ?? []
  const group = attrInt(n.node, 'group', 1)
  const batch = sameAxes(n, [0])
  if (group !== 1) return [...batch, ...grouped(n, group, Number(inputs) / group, Number(perGroup))]
  return [
    ...batch,
    ...link(inputs, [into(0, 1), into(1, 0)], { sums: true }),
    ...link(perGroup, [into(1, 1), ...bias(n), out(0, 1)])
  ]
}

/** The first axis of the weight holds the groups, whether by outputs or by inputs. */
function grouped(n: NodeView, group: number, inputs: number, outputs: number): readonly Link[] {
  const rows = shapeOf(n, 1)?.[0]
  if (!Number.isInteger(inputs) || !Number.isInteger(outputs) || typeof rows !== 'number') return []
  const spans = [
    into(0, 1, { inner: inputs }),
    into(1, 0, { inner: rows / group }),
    ...bias(n, outputs),
    out(0, 1, { inner: outputs })
  ]
  return link(group, spans, { counts: [{ in: 'group', each: 1 }] })
}

export const convChannels: Readonly<Record<string, ChannelRule>> = {
  Conv: conv,
  ConvTranspose: transposed,
  // With a sum at input 3 its channels stay.
  'com.microsoft:FusedConv': (n) => (isGiven(n, 3) ? [] : conv(n))
}

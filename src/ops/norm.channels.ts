/** Normalizations: scale and bias go with the axes they multiply. Axes over which statistics are taken have to stay, but for those a layer normalizes. */
import { attrInt } from '../ir/attrs.ts'
import { axesOfData, type ChannelRule, into, link, otherAxes, out, sameAxes } from './channels.ts'
import { axisOf, isGiven, shapeOf } from './op.ts'
import type { Link, NodeView } from './types.ts'

/** Inputs that hold one number a channel. */
const perChannel = (n: NodeView, inputs: readonly number[]): readonly Link[] =>
  link(shapeOf(n, 0)?.[1], [into(0, 1), ...inputs.map((i) => into(i, 0)), out(0, 1)])

/** With statistics of its own only: in training form they would be those of the batch. */
const batch: ChannelRule = (n) =>
  n.node.outputs.length > 1 ? [] : [...perChannel(n, [1, 2, 3, 4]), ...otherAxes(n, [1])]

const instance: ChannelRule = (n) => [...sameAxes(n, [0]), ...perChannel(n, [1, 2])]

/** A channel of the link is a whole group: statistics are over its members. Scales are one a group before opset 21. */
function group(n: NodeView): readonly Link[] {
  const groups = attrInt(n.node, 'num_groups', 1)
  const [channels, scales] = [shapeOf(n, 0)?.[1], shapeOf(n, 1)?.[0]]
  if (typeof channels !== 'number' || typeof scales !== 'number') return []
  const scale = { inner: scales / groups }
  const data = { inner: channels / groups }
  const spans = [into(0, 1, data), into(1, 0, scale), into(2, 0, scale), out(0, 1, data)]
  return [...sameAxes(n, [0]), ...link(groups, spans, { counts: [{ in: 'num_groups', each: 1 }] })]
}

/** Scale and bias have the shape of the axes from `axis` on; the statistics that of those before it. */
function layer(n: NodeView): readonly Link[] {
  const x = shapeOf(n, 0)
  if (!x) return []
  const from = axisOf(n, attrInt(n.node, 'axis', -1), x.length)
  return axesOfData(n).flatMap((a) => {
    if (a < from) return link(x[a], [into(0, a), ...n.outputs.flatMap((k, at) => (k ? [out(at, a)] : []))])
    const scaled = [1, 2].flatMap((at) =>
      isGiven(n, at) && shapeOf(n, at)?.[a - from] === x[a] ? [into(at, a - from)] : []
    )
    return link(x[a], [into(0, a), ...scaled, out(0, a)])
  })
}

export const normChannels: Readonly<Record<string, ChannelRule>> = {
  BatchNormalization: batch,
  InstanceNormalization: instance,
  GroupNormalization: group,
  LayerNormalization: layer,
  RMSNormalization: layer,
  SimplifiedLayerNormalization: layer
}

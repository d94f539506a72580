/** Groups of channels in words: who makes and reads them, and what holds them. */
import { consumers, opName } from '../../ir/graph.ts'
import type { Model } from '../../types.ts'
import { widthOf } from './choose.ts'
import { type ChannelGroup, channelGroups, type Slice } from './groups.ts'
import { freeGroups, whyWhole } from './narrow.ts'

/** A group, as `inspect --groups` shows it. */
interface GroupFacts {
  readonly name: string
  readonly channels: number
  /** Elements of a channel along its axis, where there are more than one, as in attention heads. */
  readonly width: number
  /** Nodes whose constants make the channels, and those that read them. */
  readonly makers: readonly string[]
  readonly readers: readonly string[]
  /** Why its channels stay; empty: they may go. */
  readonly held: readonly string[]
}

/** All groups with more than one channel, those that may lose some first. Shapes that are computed should be folded before. */
export function describeGroups(model: Model): readonly GroupFacts[] {
  const found = channelGroups(model)
  const free = new Set(freeGroups(found))
  const facts = found.groups.flatMap((group): GroupFacts[] => {
    const held = whyWhole(group).map(
      (b) => `${b.node ? `${b.node.name || opName(b.node)}: ` : `${b.value} `}${b.reason}`
    )
    if (!free.has(group) && held.length === 0) return []
    return [{ ...sizes(group), ...nodesOf(model, group), held: [...new Set(held)] }]
  })
  return facts.sort((a, b) => Number(a.held.length > 0) - Number(b.held.length > 0))
}

const sizes = (group: ChannelGroup): Pick<GroupFacts, 'name' | 'channels' | 'width'> => ({
  name: group.name,
  channels: group.channels,
  width: widthOf(group)
})

function nodesOf(model: Model, { slices }: ChannelGroup): Pick<GroupFacts, 'makers' | 'readers'> {
  const named = (own: readonly Slice[]): readonly string[] => {
    const nodes = own.flatMap((s) => consumers(model.graph, s.value))
    return [...new Set(nodes.map((n) => n.name || opName(n)))]
  }
  const constants = slices.filter((s) => s.isConstant)
  return { makers: named(constants.filter((s) => !s.isSummed)), readers: named(constants.filter((s) => s.isSummed)) }
}

/**
 * Coupled channels (the dependency graph of Fang et al., DepGraph, CVPR 2023): what has to go when a channel goes.
 * Every axis of every value is a row of positions; the links of the operators unite positions of different axes; a
 * united set is a channel. Channels with positions in the same axes make a group. What no link holds has to stay, and
 * so do inputs and outputs of the model and all that an operator without a channel rule reads or makes.
 */
import { subgraphs } from '../../ir/attrs.ts'
import { constant, opName, reads } from '../../ir/graph.ts'
import { opFor } from '../../ops/index.ts'
import { inferShapes, viewOf } from '../../ops/infer.ts'
import type { Count, Link, Span } from '../../ops/types.ts'
import type { Model, Node } from '../../types.ts'

/** Why channels have to stay: a node, or an input or output of the model. */
export interface Blocker {
  readonly node?: Node
  readonly value: string
  readonly reason: string
}

/** Where the channels of a group lie along an axis: indices of each channel. */
export interface Slice {
  readonly value: string
  readonly axis: number
  readonly isConstant: boolean
  /** A constant that the channels are multiplied with and summed: its zeros take a channel away from what follows. */
  readonly isSummed: boolean
  readonly indices: readonly (readonly number[])[]
}

/** Channels alike: any of them may go by itself, with all that it has in every slice. */
export interface ChannelGroup {
  /** The first value that is computed with these channels. */
  readonly name: string
  readonly channels: number
  readonly slices: readonly Slice[]
  /** Empty: free to go. */
  readonly blockers: readonly Blocker[]
}

/** A number in a node that counts the channels which have these indices along an axis. */
export interface Written extends Count {
  readonly node: Node
  readonly value: string
  readonly axis: number
  readonly indices: readonly number[]
}

/** The channels of a model. Only of the outermost graph; what graphs inside it read has to stay. */
export interface Channels {
  readonly model: Model
  readonly groups: readonly ChannelGroup[]
  readonly counts: readonly Written[]
}

/** Groups of channels that have weights, in the order of the model. Names of constants folded beforehand help. */
export function channelGroups(model: Model): Channels {
  const state = layOut(inferShapes(model))
  const { graph } = state.model
  for (const id of graph.inputs) hold(state, id, { value: id, reason: 'is an input of the model' })
  for (const id of graph.outputs) hold(state, id, { value: id, reason: 'is an output of the model' })
  for (const node of graph.nodes) tie(state, node)
  return { model, groups: collect(state), counts: state.counts }
}

// ---------------------------------------------------------------- positions

/** An axis of known size: index i is position `start` + i. */
interface Axis {
  readonly value: string
  readonly axis: number
  readonly start: number
  readonly size: number
}

interface State {
  readonly model: Model
  readonly axes: readonly Axis[]
  readonly axesOf: ReadonlyMap<string, readonly (Axis | undefined)[]>
  /** A forest: a root is its own parent. */
  readonly parent: Int32Array
  /** Of roots: does any position of the channel have to stay? */
  readonly isHeld: Uint8Array
  readonly blockers: (readonly [position: number, blocker: Blocker])[]
  readonly summed: Set<Axis>
  readonly counts: Written[]
}

function layOut(model: Model): State {
  const axes: Axis[] = []
  const axesOf = new Map<string, (Axis | undefined)[]>()
  let start = 0
  for (const v of model.graph.values.values()) {
    const shape = v.data?.shape ?? v.shape ?? []
    const own = shape.map((size, axis): Axis | undefined => {
      if (typeof size !== 'number') return undefined
      const made = { value: v.id, axis, start, size }
      start += size
      axes.push(made)
      return made
    })
    axesOf.set(v.id, own)
  }
  const parent = Int32Array.from({ length: start }, (_, i) => i)
  const isHeld = new Uint8Array(start)
  return { model, axes, axesOf, parent, isHeld, blockers: [], summed: new Set(), counts: [] }
}

function rootOf({ parent }: State, position: number): number {
  let at = position
  while (parent[at] !== at) {
    parent[at] = parent[parent[at] as number] as number
    at = parent[at] as number
  }
  return at
}

function unite(s: State, a: number, b: number): void {
  const [p, q] = [rootOf(s, a), rootOf(s, b)]
  if (p === q) return
  s.parent[q] = p
  s.isHeld[p] = Number(s.isHeld[p] || s.isHeld[q])
}

function holdPosition(s: State, position: number, blocker: Blocker): void {
  s.isHeld[rootOf(s, position)] = 1
  s.blockers.push([position, blocker])
}

/** All axes of a value. */
function hold(s: State, id: string, blocker: Blocker): void {
  for (const axis of s.axesOf.get(id) ?? [])
    for (let i = 0; i < (axis?.size ?? 0); i++) holdPosition(s, (axis as Axis).start + i, blocker)
}

// ---------------------------------------------------------------- the links of a node

/** A link with the positions of its spans, channel by channel. */
interface Placed {
  readonly link: Link
  readonly spans: readonly PlacedSpan[]
}

interface PlacedSpan {
  readonly end: string
  readonly axis: Axis
  readonly positions: readonly number[]
  readonly isSummed: boolean
}

function tie(s: State, node: Node): void {
  const op = opFor(node)
  if (!op?.channels || subgraphs(node).length > 0) {
    const reason = `${opName(node)} has no rule for channels`
    for (const id of [...reads(node), ...node.outputs]) hold(s, id, { node, value: id, reason })
    return
  }
  const links = op.channels(viewOf(s.model, s.model.graph, node)).flatMap((link) => place(s, node, link))
  const held = (p: Placed): number =>
    Number(p.spans.some(({ positions }) => positions.some((at) => s.isHeld[rootOf(s, at)])))
  const rank = new Map(links.map((p) => [p, held(p)]))
  const claimed = new Map<string, Set<number>>()
  for (const placed of links.toSorted((a, b) => (rank.get(a) ?? 0) - (rank.get(b) ?? 0)))
    if (claim(claimed, placed)) accept(s, node, placed)
  holdRest(s, node, claimed)
}

const endOf = (of: Span['of'], at: number): string => `${of} ${at}`

function place(s: State, node: Node, link: Link): Placed[] {
  const spans = link.spans.map((span) => {
    const id = (span.of === 'input' ? node.inputs : node.outputs)[span.at]
    const axis = id ? s.axesOf.get(id)?.[span.axis] : undefined
    if (!axis || !fits(span, link.channels, axis.size)) return undefined
    const indices = indicesOf(span, link.channels)
    return {
      end: endOf(span.of, span.at),
      axis,
      positions: indices.map((i) => axis.start + i),
      isSummed: (link.sums ?? span.sums) === true
    }
  })
  // An end of unknown size: nobody can tell what goes with the others.
  return spans.every((p) => p !== undefined) ? [{ link, spans }] : []
}

/** Files may claim any number of groups: nothing is laid out before it is known to lie in the axis. */
function fits({ offset = 0, outer = 1, inner = 1 }: Span, channels: number, size: number): boolean {
  const isWhole = [offset, outer, inner, channels].every((x) => Number.isSafeInteger(x) && x >= 0)
  return isWhole && offset + outer * inner * channels <= size
}

/** All indices of a span along its axis, channel by channel. */
function indicesOf({ offset = 0, outer = 1, inner = 1 }: Span, channels: number): number[] {
  const out: number[] = []
  for (let c = 0; c < channels; c++)
    for (let o = 0; o < outer; o++) for (let i = 0; i < inner; i++) out.push(offset + (o * channels + c) * inner + i)
  return out
}

/** Takes the positions of a link; `false` where one of them is taken at the same end of the node. */
function claim(claimed: Map<string, Set<number>>, { spans }: Placed): boolean {
  if (spans.some(({ end, positions }) => positions.some((at) => claimed.get(end)?.has(at)))) return false
  for (const { end, positions } of spans) {
    const taken = claimed.get(end) ?? new Set()
    for (const at of positions) taken.add(at)
    claimed.set(end, taken)
  }
  return true
}

function accept(s: State, node: Node, { link, spans }: Placed): void {
  const { channels, counts = [] } = link
  const firsts = spans.map(({ positions }) => positions.filter((_, i) => i % (positions.length / channels) === 0))
  for (const { positions } of spans) {
    const each = positions.length / channels
    for (const [i, at] of positions.entries()) unite(s, firsts[0]?.[Math.floor(i / each)] as number, at)
  }
  for (const { axis, isSummed } of spans) if (isSummed) s.summed.add(axis)
  const [{ axis } = { axis: undefined }] = spans
  if (!axis) return
  for (const count of counts) {
    const indices = (firsts[0] as number[]).map((at) => at - axis.start)
    s.counts.push({ ...count, node, value: axis.value, axis: axis.axis, indices })
  }
}

/** What no link of the node holds has to stay. */
function holdRest(s: State, node: Node, claimed: ReadonlyMap<string, ReadonlySet<number>>): void {
  const ends = { input: node.inputs, output: node.outputs }
  for (const of of ['input', 'output'] as const)
    for (const [at, id] of ends[of].entries())
      for (const axis of (id && s.axesOf.get(id)) || []) holdGaps(s, node, axis, claimed.get(endOf(of, at)))
}

function holdGaps(s: State, node: Node, axis: Axis | undefined, taken: ReadonlySet<number> | undefined): void {
  if (!axis) return
  const reason = `${opName(node)} cannot do with less of axis ${axis.axis}`
  const blocker = { node, value: axis.value, reason }
  for (let at = axis.start; at < axis.start + axis.size; at++) if (!taken?.has(at)) holdPosition(s, at, blocker)
}

// ---------------------------------------------------------------- groups

/** One channel: its positions, with the axes they lie in, in the order of the values. */
interface Channel {
  readonly root: number
  readonly axes: Axis[]
  readonly indices: number[]
}

function collect(s: State): ChannelGroup[] {
  const { graph } = s.model
  const channels = new Map<number, Channel>()
  for (const axis of inOrder(s))
    for (let i = 0; i < axis.size; i++) {
      const root = rootOf(s, axis.start + i)
      const channel = channels.get(root) ?? { root, axes: [], indices: [] }
      channel.axes.push(axis)
      channel.indices.push(i)
      channels.set(root, channel)
    }
  const isConstant = (axis: Axis): boolean => constant(graph, axis.value) !== undefined
  const alike = new Map<string, Channel[]>()
  for (const c of channels.values()) {
    if (!c.axes.some(isConstant) || c.axes.every(isConstant)) continue
    const key = `${s.isHeld[c.root]} ${c.axes.map((a) => a.start).join(' ')}`
    const same = alike.get(key)
    if (same) same.push(c)
    else alike.set(key, [c])
  }
  const reasons = blockersByRoot(s)
  return [...alike.values()].map((all) => groupOf(s, all, isConstant, reasons))
}

/** Axes of computed values as they are computed, then those of constants. */
function inOrder(s: State): Axis[] {
  const { graph } = s.model
  const computed = [...graph.inputs, ...graph.nodes.flatMap((n) => n.outputs)]
  const rest = [...graph.values.values()].flatMap((v) => (constant(graph, v.id) ? [v.id] : []))
  return [...computed, ...rest].flatMap((id) => s.axesOf.get(id)?.filter((a) => a !== undefined) ?? [])
}

function groupOf(
  s: State,
  all: readonly Channel[],
  isConstant: (axis: Axis) => boolean,
  reasons: ReadonlyMap<number, ReadonlySet<Blocker>>
): ChannelGroup {
  const [first] = all as [Channel]
  const byAxis = new Map(first.axes.map((axis) => [axis, all.map((): number[] => [])]))
  for (const [c, { axes, indices }] of all.entries())
    for (const [k, axis] of axes.entries()) byAxis.get(axis)?.[c]?.push(indices[k] as number)
  const slices = Array.from(byAxis, ([axis, indices]): Slice => {
    const { value, axis: at } = axis
    const constantAxis = isConstant(axis)
    return { value, axis: at, isConstant: constantAxis, isSummed: constantAxis && s.summed.has(axis), indices }
  })
  const blockers = new Set<Blocker>()
  for (const { root } of all) for (const b of reasons.get(root) ?? []) blockers.add(b)
  const name = slices.find((slice) => !slice.isConstant)?.value ?? ''
  return { name, channels: all.length, slices, blockers: [...blockers] }
}

/** The blockers of each channel, each reason of a node once. */
function blockersByRoot(s: State): ReadonlyMap<number, ReadonlySet<Blocker>> {
  const byRoot = new Map<number, Set<Blocker>>()
  const firstOf = new Map<string, Blocker>()
  const same = new Map<Blocker, Blocker>()
  for (const [position, blocker] of s.blockers) {
    let one = same.get(blocker)
    if (!one) {
      const key = `${blocker.node?.name ?? ''} ${blocker.value} ${blocker.reason}`
      one = firstOf.get(key) ?? blocker
      firstOf.set(key, one)
      same.set(blocker, one)
    }
    const root = rootOf(s, position)
    const all = byRoot.get(root)
    if (all) all.add(one)
    else byRoot.set(root, new Set([one]))
  }
  return byRoot
}

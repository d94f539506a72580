/** Values that only linear layers read, with those layers, and where a factor per channel of such a value can be folded. */
import { attrInt } from '../../../ir/attrs.ts'
import type { Draft } from '../../../ir/edit.ts'
import { elementCount } from '../../../ir/tensor.ts'
import type { Model, Node } from '../../../types.ts'
import { type Linear, linearOf } from '../../fuse/linear.ts'
import { siteOf } from './linear-change.ts'

/** Linear layers that read one value. */
export interface SmoothGroup {
  readonly x: string
  /** The channel axis, from the end. */
  readonly axis: number
  readonly rank: number
  readonly channels: number
  readonly readers: readonly Linear[]
  /** Outputs of the nodes that divide x by the factors, in the order of the graph; none: a Mul is put in. */
  readonly fold: readonly string[]
}

/** Every group, in the order of the graph; layers that cannot be in one are refused. */
export function smoothGroups(
  model: Model,
  d: Draft,
  isWanted: (node: Node) => boolean,
  refuse: (node: Node, reason: string) => void
): SmoothGroup[] {
  const byInput = new Map<string, Linear[]>()
  for (const node of model.graph.nodes) {
    if (node.domain !== undefined || !['Conv', 'Gemm', 'MatMul'].includes(node.op) || !isWanted(node)) continue
    const x = node.inputs[0]
    const linear = readerOf(d, node)
    if (typeof linear === 'string') refuse(node, linear)
    else if (x != null) byInput.set(x, [...(byInput.get(x) ?? []), linear])
  }
  return [...byInput].flatMap(([x, readers]) => {
    const { inChannels: channels, axis } = readers[0] as Linear
    const rank = d.value(x)?.shape?.length
    if (rank === undefined || readers.some((l) => l.axis !== axis || l.inChannels !== channels)) {
      for (const l of readers) refuse(l.node, 'the channels of its input are not known for sure')
      return []
    }
    return [{ x, axis, rank, channels, readers, fold: foldOf(d, x, readers, channels) }]
  })
}

function readerOf(d: Draft, node: Node): Linear | string {
  if (attrInt(node, 'transA', 0) !== 0) return 'it transposes its input'
  const linear = linearOf(node, siteOf(d))
  if (linear === undefined) return 'its weight is not a constant matrix'
  if (typeof linear === 'string') return linear
  return d.consumers(linear.weight.id).length > 1 ? 'its weight is shared' : linear
}

/** Operators through which a positive factor passes. */
const passing: ReadonlySet<string> = new Set(['Relu', 'LeakyRelu', 'PRelu', 'Identity', 'MaxPool', 'AveragePool'])

/** The nodes whose constants take the factors: LayerNormalization, a linear layer, Mul → Add of vectors. */
function foldOf(d: Draft, x: string, readers: readonly Linear[], channels: number): string[] {
  if (d.isOutput(x) || d.consumers(x).length !== readers.length) return []
  let node = d.producer(x)
  while (node && passing.has(node.op)) {
    const from = node.inputs[0] as string
    if (!d.soleConsumer(from)) return []
    node = d.producer(from)
  }
  if (!node || node.domain !== undefined) return []
  const [output] = node.outputs
  if (output === undefined || (output !== x && !d.soleConsumer(output))) return []
  if (node.op === 'LayerNormalization') return isNorm(d, node, channels) ? [output] : []
  if (node.op === 'Mul') return vectorInput(d, node, channels) === undefined ? [] : [output]
  if (node.op === 'Add') return affine(d, node, output, channels)
  const linear = linearOf(node, siteOf(d))
  if (!linear || typeof linear === 'string' || linear.outChannels !== channels) return []
  return linear.axis === readers[0]?.axis && d.consumers(linear.weight.id).length === 1 ? [output] : []
}

const isNorm = (d: Draft, node: Node, channels: number): boolean =>
  attrInt(node, 'axis', -1) === -1 &&
  node.outputs.slice(1).every((id) => !id) &&
  node.inputs.slice(1).every((id) => id === null || isVector(d, id, channels)) &&
  node.inputs[1] != null

function affine(d: Draft, node: Node, output: string, channels: number): string[] {
  const at = vectorInput(d, node, channels)
  const from = at === undefined ? undefined : node.inputs[1 - at]
  const before = from == null ? undefined : d.producer(from)
  if (!before || from == null || !d.soleConsumer(from)) return []
  if (before.op === 'MatMul') {
    const linear = linearOf(before, siteOf(d))
    if (!linear || typeof linear === 'string' || linear.outChannels !== channels) return []
    return d.consumers(linear.weight.id).length === 1 ? [from, output] : []
  }
  return before.op === 'Mul' && vectorInput(d, before, channels) !== undefined ? [from, output] : []
}

const isVector = (d: Draft, id: string, channels: number): boolean => {
  const shape = d.constant(id)?.shape
  return shape !== undefined && shape.at(-1) === channels && elementCount(shape) === channels
}

/** Which input of a Mul or Add is a constant with one number per channel of the last axis. */
export function vectorInput(d: Draft, node: Node, channels: number): number | undefined {
  const at = [0, 1].find((i) => isVector(d, node.inputs[i] ?? '', channels))
  return at !== undefined && d.value(node.inputs[1 - at] ?? '')?.shape?.at(-1) === channels ? at : undefined
}

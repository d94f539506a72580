/** Multiplying a value per channel inside the node that makes it, so that no node is added. */
import type { Draft } from '../../../ir/edit.ts'
import { elementCount, tensor, toFloats } from '../../../ir/tensor.ts'
import { factorSets, linearOf } from '../../../ops/ask.ts'
import { channelAt } from '../../../ops/linear.ts'
import type { Node, Tensor } from '../../../types.ts'

/** A constant to be multiplied: element i by the factor of channel `of(i)`. */
interface Change {
  readonly id: string
  readonly data: Tensor
  of(i: number): number
}

/**
 * Multiplies the channels of a value (those of the linear layer that makes it, else the last axis) by changing constants:
 * the weight and bias of the layer, or those that the output of the node is a multiple of, also further back. False, and
 * nothing changed, where that cannot be: other nodes read what would change, or the constants are shared. Positive
 * factors only.
 */
export function multiplyChannels(d: Draft, value: string, factors: Float64Array): boolean {
  const node = d.producer(value)
  const changes = node && !d.isOutput(value) ? changesOf(d, node, factors.length) : undefined
  if (!changes) return false
  for (const { id, data, of } of changes) {
    const values = Float64Array.from(toFloats(data), (x, i) => x * (factors[of(i)] as number))
    const v = d.value(id)
    if (v) d.set({ ...v, data: tensor(data.dtype, data.shape, values) })
  }
  return true
}

function changesOf(d: Draft, node: Node, channels: number): Change[] | undefined {
  const linear = linearOf(d, node)
  if (linear) {
    if (linear.groups * linear.outputs !== channels) return undefined
    const weight = own(d, node, linear.weight, channelAt(linear, 'out'))
    return linear.bias ? all(weight, vector(d, node, linear.bias.input, channels)) : weight
  }
  for (const set of factorSets(d, node)) {
    const made = set.reduce<Change[] | undefined>((found, input) => all(found, changesAt(d, node, input, channels)), [])
    if (made && made.length > 0) return made
  }
  return undefined
}

const all = (a: Change[] | undefined, b: Change[] | undefined): Change[] | undefined => a && b && [...a, ...b]

/** What multiplies an input: the constant itself, or what makes the value if nothing else reads it. */
function changesAt(d: Draft, node: Node, input: number, channels: number): Change[] | undefined {
  const id = node.inputs[input] ?? null
  if (id === null || d.constant(id)) return vector(d, node, input, channels)
  const maker = d.producer(id)
  return maker && d.soleConsumer(id) ? changesOf(d, maker, channels) : undefined
}

/** A constant of one number per channel along its last axis, read by this node alone; none where it is left out. */
function vector(d: Draft, node: Node, input: number, channels: number): Change[] | undefined {
  const id = node.inputs[input] ?? null
  if (id === null) return []
  const shape = d.constant(id)?.shape
  return shape?.at(-1) === channels && elementCount(shape) % channels === 0
    ? own(d, node, input, (i) => i % channels)
    : undefined
}

function own(d: Draft, node: Node, input: number, of: (i: number) => number): Change[] | undefined {
  const id = node.inputs[input]
  const data = d.constant(id)
  return id && data && d.consumers(id).length === 1 ? [{ id, data, of }] : undefined
}

/** Multiplying a value per channel inside the node that makes it, so that no node is added. */
import { attrInt } from '../../../ir/attrs.ts'
import type { Draft } from '../../../ir/edit.ts'
import { elementCount, tensor, toFloats } from '../../../ir/tensor.ts'
import type { Node, Tensor } from '../../../types.ts'

/** A constant to be multiplied: element i by the factor `⌊i / inner⌋ mod count`. */
interface Change {
  readonly id: string
  readonly data: Tensor
  readonly inner: number
}

/**
 * Multiplies the channels of a value (axis 1 behind Conv, else the last) by changing the constants of the Conv, Gemm,
 * MatMul, LayerNormalization, Add or Mul that makes it, also through Relu and LeakyRelu. False, and nothing changed, where
 * that cannot be: other nodes read what would change, or the constants are shared. Positive factors only.
 */
export function multiplyChannels(d: Draft, value: string, factors: Float64Array): boolean {
  const node = d.producer(value)
  const changes = node && !d.isOutput(value) ? changesOf(d, node, factors.length) : undefined
  if (!changes) return false
  for (const { id, data, inner } of changes) {
    const values = Float64Array.from(
      toFloats(data),
      (x, i) => x * (factors[Math.floor(i / inner) % factors.length] as number)
    )
    const v = d.value(id)
    if (v) d.set({ ...v, data: tensor(data.dtype, data.shape, values) })
  }
  return true
}

function changesOf(d: Draft, node: Node, channels: number): Change[] | undefined {
  if (node.domain !== undefined) return undefined
  switch (node.op) {
    case 'Relu':
    case 'LeakyRelu':
      return through(d, node.inputs[0], channels)
    case 'Conv':
      return all(own(d, node, 1, channels, 0), node.inputs[2] == null ? [] : own(d, node, 2, channels, 0))
    case 'Gemm': {
      const axis = attrInt(node, 'transB', 0) ? 0 : 1
      return all(own(d, node, 1, channels, axis), node.inputs[2] == null ? [] : own(d, node, 2, channels, -1))
    }
    case 'MatMul':
      return d.constant(node.inputs[1])?.shape.length === 2 ? own(d, node, 1, channels, 1) : undefined
    case 'LayerNormalization':
      return all(own(d, node, 1, channels, -1), node.inputs[2] == null ? [] : own(d, node, 2, channels, -1))
    case 'Mul':
    case 'Add': {
      const input = d.constant(node.inputs[1]) ? 1 : 0
      const constant = own(d, node, input, channels, -1)
      return node.op === 'Mul' ? constant : all(constant, through(d, node.inputs[1 - input], channels))
    }
    default:
      return undefined
  }
}

const all = (a: Change[] | undefined, b: Change[] | undefined): Change[] | undefined => a && b && [...a, ...b]

/** The same for the value that a node reads alone. */
function through(d: Draft, id: string | null | undefined, channels: number): Change[] | undefined {
  const node = id ? d.producer(id) : undefined
  return id && node && d.soleConsumer(id) ? changesOf(d, node, channels) : undefined
}

/** A constant with one index per channel along `axis` (from the end, where negative), read by this node alone. */
function own(d: Draft, node: Node, input: number, channels: number, axis: number): Change[] | undefined {
  const id = node.inputs[input]
  const data = d.constant(id)
  if (!id || !data || d.consumers(id).length !== 1) return undefined
  const at = axis < 0 ? axis + data.shape.length : axis
  if (data.shape[at] !== channels) return undefined
  return [{ id, data, inner: elementCount(data.shape.slice(at + 1)) }]
}

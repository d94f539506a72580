/**
 * Straight-through gradients of quantization (Bengio et al. 2013; Jacob et al. 2018). The gradient by a code is that by
 * the real number it stands for: DequantizeLinear hands it on, QuantizeLinear does where x was inside the range and
 * nothing where it was clipped. Scales and zero points get none.
 */
import { attrInt } from '../ir/attrs.ts'
import { rangeOf } from '../ir/tensor.ts'
import { algebra, cast, expand, inputOf, outputOf, reshape, rule, slice, where } from './grad.ts'
import type { Grad, GradBuilder, NodeView, Ref } from './types.ts'

const dequantize: Grad = rule((_, n, dy) => [dy, ...n.node.inputs.slice(1).map(() => null)])

/** (lowest code − zero point)·s ≤ x ≤ (highest code − zero point)·s. */
const quantize: Grad = rule((g, n, dy) => {
  const a = algebra(g)
  const x = inputOf(g, n, 0)
  const scale = cast(g, inputOf(g, n, 1), x.dtype)
  const { min, max } = rangeOf(outputOf(g, n).dtype)
  const zero = n.node.inputs[2] == null ? undefined : cast(g, inputOf(g, n, 2), x.dtype)
  const bound = (code: number): Ref => broadcasting(g, n, a.mul(scale, zero ? a.sub(code, zero) : code), x)
  const inside = g.op('And', [g.op('GreaterOrEqual', [x, bound(min)]), g.op('LessOrEqual', [x, bound(max)])])
  return [where(g, inside, dy), ...n.node.inputs.slice(1).map(() => null)]
})

/** Parameters per tensor, per axis or per block of an axis, made to broadcast over x. */
function broadcasting(g: GradBuilder, n: NodeView, p: Ref, x: Ref): Ref {
  if (p.shape.length === 0 || (p.shape.length === 1 && p.shape[0] === 1)) return reshape(g, p, [])
  const given = attrInt(n.node, 'axis', 1)
  const axis = given < 0 ? given + x.shape.length : given
  if (p.shape.length === 1)
    return reshape(
      g,
      p,
      x.shape.map((d, i) => (i === axis ? d : 1))
    )
  const size = attrInt(n.node, 'block_size', 0)
  const count = p.shape[axis] as number
  const apart = reshape(g, p, [...p.shape.slice(0, axis + 1), 1, ...p.shape.slice(axis + 1)])
  const blocks = expand(g, apart, apart.shape.with(axis + 1, size))
  const repeated = reshape(g, blocks, p.shape.with(axis, count * size))
  const length = x.shape[axis] as number
  return slice(g, repeated, [{ axis, start: 0, end: length }])
}

export const quantGrads: Readonly<Record<string, Grad>> = {
  QuantizeLinear: quantize,
  DequantizeLinear: dequantize
}

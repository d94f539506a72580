/**
 * What joins the codes of a layer with others element by element, as the sums of residual networks: computed on the layer's sums before
 * they are stored, with the numbers that two steps give. The layer's code stands for nearest(held(x)) · s, so that it is not stored.
 */
import { isOutput, soleConsumer } from '../../ir/graph.ts'
import {
  add,
  asWhole,
  at,
  type Expr,
  float,
  type Inside,
  loadSplat,
  max,
  min,
  mul,
  nearest,
  type Place,
  sub
} from '../../ir/loops.ts'
import { isDequantize } from '../../ops/quantized.ts'
import type { Node } from '../../types.ts'
import { lanesOf, sameSizes } from '../follow.ts'
import { allCodes, byteOf, inverse, magic, raisedBits } from '../kernels/recode.ts'
import { type Coded, codedOf, type Quantized, quantizedBehind } from './codes.ts'
import type { IntegerSteps } from './context.ts'

export interface Joined {
  readonly nodes: readonly Node[]
  /** The codes that the layer's are joined with, which lie there as maps. */
  readonly other: Coded
  readonly to: Coded
  /** Numbers that the code of a join reads, so that layers share it. */
  readonly numbers: Float32Array
  readonly raised: number
  value(own: Expr, other: Expr): Expr
}

/** `undefined` where the codes are not joined with such that are there already, or others read them too. */
export function joinedBehind(steps: IntegerSteps, { to: own, bounds }: Quantized): Joined | undefined {
  const { model } = steps
  const { graph } = model
  const back = isOutput(graph, own.id) ? undefined : soleConsumer(graph, own.id)
  const [real = ''] = back && isDequantize(back) ? back.outputs : []
  const node = back && real ? soleConsumer(graph, real) : undefined
  const loops = node && lanesOf(model, node)
  if (!back || !node || !loops || node.inputs.length !== 2 || node.outputs.length !== 1) return undefined
  const place = node.inputs.indexOf(real)
  const other = codedOf(graph, node.inputs[1 - place])
  const behind = quantizedBehind(model, node.outputs[0] as string)
  if (!other || !behind || other.id === own.id || loops.scalar || loops.channels) return undefined
  if (!sameSizes(other.shape, own.shape) || !sameSizes(behind.to.shape, own.shape)) return undefined
  if (!steps.has(other, 'maps') || behind.bounds.low > allCodes.low || behind.bounds.high < allCodes.high)
    return undefined
  const { coding: a } = own
  const { coding: b } = other
  const { coding: y } = behind.to
  const held = (zero: number, { low, high }: { readonly low: number; readonly high: number }): number[] => [
    ...[low - zero, high - zero]
  ]
  return {
    ...{ nodes: [back, node, ...behind.nodes], other, to: behind.to, raised: raisedBits(y.zero) },
    numbers: Float32Array.of(
      ...[...held(a.zero, bounds), a.scale, b.zero, b.scale, inverse(y.scale)],
      ...held(y.zero, allCodes)
    ),
    value: (x, z) => loops.value(place === 0 ? [x, z] : [z, x])
  }
}

/** The code, not yet held to a byte, of a scaled sum and byte k of the lanes that it is joined with. */
export function joining({ value, raised }: Joined, numbers: Place, inside: Inside) {
  const given = inside.place(numbers)
  const bits = inside.take(raised)
  const number = (i: number): Expr => loadSplat(at(given, undefined, 4 * i))
  return (scaled: Expr, lanes: Expr, k: number): Expr => {
    const own = mul(nearest(min(max(scaled, number(0)), number(1))), number(2))
    const other = mul(sub(float(byteOf(lanes, k)), number(3)), number(4))
    const y = mul(value(own, other), number(5))
    return sub(asWhole(add(min(max(y, number(6)), number(7)), magic)), bits)
  }
}

/**
 * Constants that multiply or divide. A bound or a guard may be moved to the nearest number that float16 has; a factor may not,
 * as every result is off by as much.
 */

import { elementCount, toFloats } from '../../../ir/tensor.ts'
import { divides, passesFactor } from '../../../ops/ask.ts'
import type { Node, Tensor } from '../../../types.ts'
import { largestHalf, leastMask, leastNormal, reasonNotNarrow } from './narrow.ts'

/** Why float16 cannot hold a constant that the node multiplies or divides by; `undefined` where it can, or is neither. */
export function reasonNotFactor(node: Node, input: number, t: Tensor): string | undefined {
  const isDivisor = divides(node, input)
  if (!isDivisor && !passesFactor(node, input)) return undefined
  const name = `${isDivisor ? 'divisor' : 'factor'} ${node.inputs[input]}`
  const values = toFloats(t)
  if (elementCount(t.shape) > 1) {
    const isMask = !isDivisor && values.every((x) => x === 0 || x <= leastMask)
    const reason = isMask ? undefined : reasonNotNarrow(t, 'float16')
    return reason && `${name} ${reason}`
  }
  const [x = 0] = values
  if (x !== 0 && Math.abs(x) < leastNormal) return `${name} is too small for float16`
  const isMask = !isDivisor && x <= leastMask
  return Number.isFinite(x) && Math.abs(x) > largestHalf && !isMask
    ? `${name} is beyond float16 (${largestHalf})`
    : undefined
}

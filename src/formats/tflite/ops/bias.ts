/** Biases of layers. */
import { tensor } from '../../../ir/tensor.ts'
import type { Call } from '../call.ts'

/** Beyond these a bias of int64 does not fit into int32. */
const limits = [-(2 ** 31), 2 ** 31 - 1] as const

/**
 * The bias of a layer as one input or none. Integer kernels add its codes to sums of products of codes: whatever the file says of
 * it, its scale is that of the data times that of the weights. `data`, `weight`: places of those inputs.
 */
export function biasOf(c: Call, i: number, data = 0, weight = 1): readonly string[] {
  if (!c.has(i)) return []
  const dtype = c.dtype(i)
  const [x, w] = [c.scope.quantizationOf(c.at(data)), c.scope.quantizationOf(c.at(weight))]
  if ((dtype !== 'int32' && dtype !== 'int64') || !x || !w) return [c.value(i)]
  const scales = w.scale.map((s) => Math.fround(Math.fround(s) * Math.fround(x.scale[0] ?? 0)))
  const axis = scales.length === 1 ? {} : { axis: 0 }
  const scale = c.constant('float32', scales.length === 1 ? [] : [scales.length], scales)
  return [c.op('DequantizeLinear', [codes(c, i), scale], axis)]
}

/** Summands of a layer whose kernel scales them by themselves: codes of int32 under the scale that the file gives. */
export function summand(c: Call, i: number): string {
  const scales = c.scope.tensor(c.at(i)).quantization?.scale ?? []
  if (c.dtype(i) !== 'int32' || scales.length === 0) return c.value(i)
  const axis = scales.length === 1 ? {} : { axis: 0 }
  const scale = c.constant('float32', scales.length === 1 ? [] : [scales.length], scales)
  return c.op('DequantizeLinear', [c.scope.raw(c.at(i)), scale], axis)
}

/** Codes of int32: ONNX has none of int64. */
function codes(c: Call, i: number): string {
  const known = c.content(i)
  if (c.dtype(i) === 'int32') return c.scope.raw(c.at(i))
  if (!known || known.some((q) => q < limits[0] || q > limits[1])) c.refuse('its bias does not fit into int32')
  return c.scope.constant(tensor('int32', c.shape(i), known), 'bias')
}

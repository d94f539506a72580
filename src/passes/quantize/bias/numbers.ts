/**
 * Bias correction. Rounded weights Ŵ shift the mean of each output channel by E[(Ŵ − W)x] = Σ_k (Ŵ − W)_k · E[x_k], which
 * the bias takes back. (Nagel et al., Data-Free Quantization, 2019, section 4.2; here E[x] is measured on calibration data,
 * per input channel, as if every kernel position saw the whole picture.)
 */
import { assert } from '../../../base/errors.ts'
import { attrInt } from '../../../ir/attrs.ts'
import { elementCount, toFloats, toNumbers } from '../../../ir/tensor.ts'
import type { ChannelMean } from '../../../observe/reductions.ts'
import type { QuantRule } from '../../../ops/types.ts'
import type { Model, Node, Tensor } from '../../../types.ts'
import type { Channels } from '../common/codes.ts'

/** The mean that the correction of a node needs; `undefined` where its output cannot be corrected. */
export function neededMean(
  model: Model,
  node: Node,
  rule: QuantRule | undefined,
  weight: Tensor
): ChannelMean | undefined {
  if (rule?.bias === undefined || !rule.weights) return undefined
  const id = node.inputs[rule.inputs.find((i) => i !== rule.weights?.input) ?? 0]
  const rank = id ? model.graph.values.get(id)?.shape?.length : undefined
  if (!id || rank === undefined || rank < 2 || attrInt(node, 'transA', 0) !== 0) return undefined
  const isFilter = weight.shape.length > 2
  return { id, axis: isFilter ? 1 : rank - 1 }
}

/** A weight and what became of it. `axis`: its output channels. */
export interface Rounded {
  readonly weight: Tensor
  readonly axis: number
  readonly codes: Tensor
  readonly channels: Channels
  readonly scales: ArrayLike<number>
}

/** The shift of the mean of every output channel; `means` are those of the input channels, all groups in order. */
export function meanShift(node: Node, r: Rounded, means: Float64Array): Float64Array {
  const { weight, axis, channels, scales } = r
  const { shape } = weight
  const inputAxis = shape.length > 2 ? 1 : 1 - axis
  const [outputs, inputs] = [shape[axis] as number, shape[inputAxis] as number]
  const perGroup = outputs / attrInt(node, 'group', 1)
  assert(means.length === inputs * (outputs / perGroup), `${means.length} means for weights of shape [${shape}]`)
  const strideOf = (a: number): number => elementCount(shape.slice(a + 1))
  const [outStride, inStride] = [strideOf(axis), strideOf(inputAxis)]
  const [exact, codes] = [toFloats(weight), toNumbers(r.codes)]
  const shift = new Float64Array(outputs)
  for (let i = 0; i < exact.length; i++) {
    const o = Math.floor(i / outStride) % outputs
    const k = Math.floor(o / perGroup) * inputs + (Math.floor(i / inStride) % inputs)
    const s = scales[Math.floor(i / channels.inner) % channels.count] as number
    const error = (codes[i] as number) * s - (exact[i] as number)
    shift[o] = (shift[o] as number) + error * (means[k] as number)
  }
  return shift
}

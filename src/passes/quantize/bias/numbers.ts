/**
 * Bias correction. Rounded weights Ŵ shift the mean of each output channel by E[(Ŵ − W)x] = Σ_k (Ŵ − W)_k · E[x_k], which
 * the bias takes back. (Nagel et al., Data-Free Quantization, 2019, section 4.2; here E[x] is measured on calibration data,
 * per input channel. A kernel position that reads beyond the border reads zeros there: it counts by the share of output
 * positions at which it reads data, as far as sizes are known.)
 */
import { assert } from '../../../base/errors.ts'
import { attrInt } from '../../../ir/attrs.ts'
import { graphView } from '../../../ir/graph.ts'
import { elementCount, toFloats, toNumbers } from '../../../ir/tensor.ts'
import type { ChannelMean } from '../../../observe/reductions.ts'
import { linearOf } from '../../../ops/ask.ts'
import type { PatchAxis, QuantRule } from '../../../ops/types.ts'
import type { Dim, Graph, Model, Node, Tensor } from '../../../types.ts'
import type { Channels } from '../common/codes.ts'

/** The mean of a node's input by channel. `seen`: by kernel position, how often it reads data; absent: always. */
export interface NeededMean extends ChannelMean {
  readonly seen?: Float64Array
}

/** The mean that the correction of a node needs; `undefined` where its output cannot be corrected. */
export function neededMean(
  model: Model,
  node: Node,
  rule: QuantRule | undefined,
  weight: Tensor
): NeededMean | undefined {
  if (rule?.bias === undefined || !rule.weights) return undefined
  const id = node.inputs[rule.inputs.find((i) => i !== rule.weights?.input) ?? 0]
  const rank = id ? model.graph.values.get(id)?.shape?.length : undefined
  if (!id || rank === undefined || rank < 2 || attrInt(node, 'transA', 0) !== 0) return undefined
  const isFilter = weight.shape.length > 2
  const seen = isFilter ? seenShares(model.graph, node, id) : undefined
  return { id, axis: isFilter ? 1 : rank - 1, ...(seen ? { seen } : {}) }
}

/** By kernel position, the last axis fastest: the share of output positions at which it reads data and not padding. */
function seenShares(graph: Graph, node: Node, id: string): Float64Array | undefined {
  const patch = linearOf(graphView(graph), node)?.patch
  const sizes = graph.values.get(id)?.shape?.slice(2)
  if (!patch || patch.transposed || !sizes) return undefined
  let shares = [1]
  for (const [i, axis] of patch.axes.entries()) {
    const own = sharesAlong(axis, sizes[i])
    if (!own) return undefined
    shares = shares.flatMap((s) => own.map((o) => s * o))
  }
  return Float64Array.from(shares)
}

function sharesAlong(
  { kernel, stride, dilation, pads }: PatchAxis,
  size: Dim | undefined
): readonly number[] | undefined {
  if (!pads || typeof size !== 'number') return undefined
  const positions = Math.floor((size + pads.before + pads.behind - dilation * (kernel - 1) - 1) / stride) + 1
  if (positions < 1) return undefined
  return Array.from({ length: kernel }, (_, k) => {
    const from = k * dilation - pads.before
    // Output position p reads data where 0 ≤ p·stride + from < size.
    const first = Math.max(0, Math.ceil(-from / stride))
    const last = Math.min(positions - 1, Math.ceil((size - from) / stride) - 1)
    return Math.max(0, last - first + 1) / positions
  })
}

/** A weight and what became of it. `axis`: its output channels. */
export interface Rounded {
  readonly weight: Tensor
  readonly axis: number
  readonly codes: Tensor
  readonly channels: Channels
  readonly scales: ArrayLike<number>
}

/** The shift of the mean of every output channel; `means` are those of the input channels, all groups in order, `seen` as in NeededMean. */
export function meanShift(node: Node, r: Rounded, means: Float64Array, seen?: Float64Array): Float64Array {
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
    const error = ((codes[i] as number) * s - (exact[i] as number)) * (seen ? (seen[i % seen.length] as number) : 1)
    shift[o] = (shift[o] as number) + error * (means[k] as number)
  }
  return shift
}

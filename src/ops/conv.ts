/**
 * Convolutions: Y[n,m,…] = Σ_{c,k} X[n,c,…·stride + k·dilation − pad] · W[m,c,k] (+ B[m]), by groups of channels.
 * MACs = elements of Y × channels per group × kernel volume; transposed: elements of X × outputs per group × volume.
 */
import { addDims, mulDims, unknownDim } from '../base/dim.ts'
import { attrInt, attrInts } from '../ir/attrs.ts'
import { elementCount } from '../ir/tensor.ts'
import type { Dim, DType } from '../types.ts'
import { withChannels } from './channels.ts'
import { convChannels } from './conv.channels.ts'
import { convGrads } from './conv.grad.ts'
import { convTrain } from './conv.train.ts'
import { convLinear, fusedConvLinear, transposedLinear } from './linear.ts'
import {
  contentOf,
  dtypeOf,
  fail,
  free,
  normalFor,
  numbersOf,
  shapeOf,
  single,
  tensorType,
  unknownDims,
  withGrads
} from './op.ts'
import type { Cost, Known, NodeView, Op, QuantRule, WeightPlace } from './types.ts'
import {
  extent,
  floorDiv,
  isChannelsLast,
  joinImage,
  nhwcDomain,
  slide,
  splitImage,
  times,
  volume,
  type WindowAxis,
  windowsOf
} from './window.ts'

interface ConvForm {
  /** Position of the weight; the data is input 0. */
  readonly weight: number
  readonly dtype: (n: NodeView) => DType | undefined
}

function inferConv(n: NodeView, form: ConvForm): readonly (Known | undefined)[] {
  const [x, w] = [shapeOf(n, 0), shapeOf(n, form.weight)]
  const dtype = form.dtype(n)
  const rank = x?.length ?? w?.length
  if (rank === undefined) return [tensorType(dtype, undefined)]
  if (rank < 3 || (w && w.length !== rank)) fail(n, 'data and weight must have the same rank, at least 3')
  const last = isChannelsLast(n)
  const { batch, channels, spatial } = splitImage(x ?? unknownDims(rank), last)
  checkChannels(n, channels, w?.[1], w?.[0])
  const windows = windowsOf(n, w?.slice(2) ?? unknownDims(rank - 2))
  const sizes = slide(n, spatial, windows)
  return [tensorType(dtype, joinImage(batch, w?.[0] ?? unknownDim, sizes, last))]
}

function checkChannels(n: NodeView, channels: Dim, perGroup: Dim | undefined, outputs: Dim | undefined): void {
  const group = attrInt(n.node, 'group', 1)
  if (typeof outputs === 'number' && outputs % group !== 0) fail(n, `${outputs} outputs in ${group} groups`)
  // Weights laid out in blocks pad the channels of both sides.
  if (n.node.domain === 'com.microsoft.nchwc') return
  if (typeof channels === 'number' && typeof perGroup === 'number' && channels !== perGroup * group)
    fail(n, `${channels} channels for a weight of ${group} × ${perGroup}`)
}

function convCost(n: NodeView, weight: number): Cost {
  const w = n.inputs[weight]
  return { macs: times(volume(n.outputs[0]), volume(w, 1)) }
}

// ---------------------------------------------------------------- transposed

function inferTransposed(n: NodeView): readonly (Known | undefined)[] {
  const [x, w] = [shapeOf(n, 0), shapeOf(n, 1)]
  const dtype = dtypeOf(n, 0)
  const rank = x?.length ?? w?.length
  if (rank === undefined) return [tensorType(dtype, undefined)]
  if (rank < 3 || (w && w.length !== rank)) fail(n, 'data and weight must have the same rank, at least 3')
  const { batch, channels, spatial } = splitImage(x ?? unknownDims(rank), false)
  if (typeof channels === 'number' && typeof w?.[0] === 'number' && channels !== w[0])
    fail(n, `${channels} channels for a weight of ${w[0]}`)
  const { axes, autoPad } = windowsOf(n, w?.slice(2) ?? unknownDims(rank - 2))
  const wanted = attrInts(n.node, 'output_shape')
  const extra = attrInts(n.node, 'output_padding')
  const sizes = axes.map((a, i) => {
    if (wanted && wanted.length > 0) return wanted[wanted.length - axes.length + i] ?? unknownDim
    return transposedSize(spatial[i] as Dim, a, extra?.[i] ?? 0, autoPad)
  })
  const outputs = mulDims(w?.[1] ?? unknownDim, attrInt(n.node, 'group', 1))
  return [tensorType(dtype, [batch, outputs, ...sizes])]
}

/** stride·(in − 1) + extra + extent − pads; SAME pads down to stride·in, and adds nothing where that is larger. */
function transposedSize(size: Dim, a: WindowAxis, extra: number, autoPad: string): Dim {
  const scaled = mulDims(size, a.stride)
  const over = addDims(extent(a), extra - a.stride)
  if (autoPad === 'SAME_UPPER' || autoPad === 'SAME_LOWER')
    return addDims(scaled, typeof over === 'number' ? Math.min(0, over) : unknownDim)
  const pads = autoPad === 'VALID' ? 0 : a.padBegin + a.padEnd
  return addDims(addDims(scaled, over), -pads)
}

// ---------------------------------------------------------------- columns

/** No tensor has more spatial axes: a bound on what a file can make us allocate. */
const maxSpatial = 64

function inferCol2Im(n: NodeView): readonly (Known | undefined)[] {
  const x = shapeOf(n, 0)
  const block = numbersOf(n, 2)
  const axes = n.inputs[1]?.shape?.[0]
  const image = contentOf(n, 1) ?? (typeof axes === 'number' && axes <= maxSpatial ? unknownDims(axes) : undefined)
  if (!image) return [tensorType(dtypeOf(n, 0), undefined)]
  const [batch, columns] = [x?.[0] ?? unknownDim, x?.[1] ?? unknownDim]
  const channels = block
    ? floorDiv(
        columns,
        block.reduce((a, b) => a * b, 1)
      )
    : unknownDim
  return [tensorType(dtypeOf(n, 0), [batch, channels, ...image])]
}

// ---------------------------------------------------------------- records

const first = (n: NodeView): DType | undefined => dtypeOf(n, 0)

/** Filters by output, and by output of a group. */
const filters: WeightPlace = { input: 1, axis: () => 0 }
const turnedFilters: WeightPlace = { input: 1, axis: () => 1 }

/** Weight per output channel, bias in int32 with the scale of data × weight. */
const convRule: QuantRule = { inputs: [0, 1], weights: filters, bias: 2, output: 'own' }

function conv(name: string, form: ConvForm, rest: Partial<Op> = {}): Op {
  return { name, infer: (n) => inferConv(n, form), cost: (n) => convCost(n, form.weight), ...rest }
}

const microsoft = 'com.microsoft'
const onCodes: ConvForm = { weight: 3, dtype: (n) => dtypeOf(n, 7) ?? dtypeOf(n, 0) }
const codesLinear: Partial<Op> = { codes: 'values', linear: (n) => convLinear(n, { weight: 3, bias: 8 }) }

/** Convolutions. ConvTranspose has no `quant`: ONNX Runtime's CPU provider has no integer kernel for it. */
export const convOps: readonly Op[] = withChannels(
  convChannels,
  withGrads(convGrads, [
    conv(
      'Conv',
      { weight: 1, dtype: first },
      {
        quant: convRule,
        weights: [filters],
        linear: (n) => convLinear(n, { weight: 1, bias: 2 }),
        train: convTrain,
        starts: [undefined, normalFor((w) => elementCount(w.slice(1))), 0]
      }
    ),
    conv(
      'ConvInteger',
      { weight: 1, dtype: () => 'int32' },
      { codes: 'values', linear: (n) => convLinear(n, { weight: 1 }) }
    ),
    conv('QLinearConv', onCodes, { ...codesLinear, ...single }),
    conv('DeformConv', { weight: 1, dtype: first }, { weights: [filters] }),
    {
      name: 'ConvTranspose',
      infer: inferTransposed,
      cost: (n) => ({ macs: times(volume(n.inputs[0]), volume(n.inputs[1], 1)) }),
      weights: [turnedFilters],
      linear: (n) => transposedLinear(n, { weight: 1, bias: 2 }),
      starts: [undefined, normalFor((w, node) => elementCount(w) / (w[1] ?? 1) / attrInt(node, 'group', 1)), 0]
    },
    { name: 'Col2Im', infer: inferCol2Im, cost: free },
    conv(
      'FusedConv',
      { weight: 1, dtype: first },
      { domain: microsoft, weights: [filters], linear: (n) => fusedConvLinear(n, { weight: 1, bias: 2 }) }
    ),
    conv('QLinearConv', onCodes, { domain: microsoft, ...codesLinear }),
    conv('QLinearConv', onCodes, { domain: nhwcDomain, codes: 'values' }),
    conv('Conv', { weight: 1, dtype: first }, { domain: nhwcDomain }),
    conv('Conv', { weight: 1, dtype: first }, { domain: 'com.microsoft.nchwc' })
  ])
)

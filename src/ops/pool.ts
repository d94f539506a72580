/**
 * Pools and regions of interest. They slide like convolutions, channel by channel; their work is comparing and adding,
 * which is no multiply-accumulate.
 */
import { addDims, mulDims, unknownDim } from '../base/dim.ts'
import { attrInt, attrInts } from '../ir/attrs.ts'
import type { Dim } from '../types.ts'
import { batchAndChannels } from './channels.ts'
import { alone, contentOf, dtypeOf, fail, free, isGiven, shapeOf, single, tensorType, withGrads } from './op.ts'
import { poolGrads } from './pool.grad.ts'
import type { Known, Link, NodeView, Op } from './types.ts'
import {
  extent,
  floorDiv,
  isChannelsLast,
  joinImage,
  nhwcDomain,
  slide,
  splitImage,
  type WindowAxis,
  windowsOf
} from './window.ts'

function inferPool(n: NodeView, channelsLast = isChannelsLast(n)): readonly (Known | undefined)[] {
  const x = shapeOf(n, 0)
  const kernel = attrInts(n.node, 'kernel_shape')
  const shape = x && kernel ? pooled(n, x, kernel, channelsLast) : undefined
  const y = tensorType(dtypeOf(n, 0), shape)
  return n.node.outputs.map((_, i) => (i === 0 ? y : tensorType('int64', shape)))
}

function pooled(n: NodeView, x: readonly Dim[], kernel: readonly number[], channelsLast: boolean): Dim[] {
  if (x.length !== kernel.length + 2) fail(n, `kernel_shape of ${kernel.length} numbers for rank ${x.length}`)
  const { batch, channels, spatial } = splitImage(x, channelsLast)
  const windows = windowsOf(n, kernel)
  const sizes = slide(n, spatial, windows)
  const isSame = windows.autoPad.startsWith('SAME')
  return joinImage(batch, channels, isSame ? sizes.map((d, i) => undilated(d, windows.axes[i])) : sizes, channelsLast)
}

/** ONNX Runtime's pools pad for SAME as if the kernel were not dilated, and come out smaller where it is. */
function undilated(size: Dim, axis: WindowAxis | undefined): Dim {
  if (!axis || axis.dilation === 1) return size
  return addDims(size, floorDiv(addDims(axis.kernel, mulDims(extent(axis), -1)), axis.stride))
}

function inferGlobal(n: NodeView): readonly (Known | undefined)[] {
  const x = shapeOf(n, 0)
  if (!x) return [tensorType(dtypeOf(n, 0), undefined)]
  if (x.length < 2) fail(n, `an input of rank ${x.length}`)
  const last = isChannelsLast(n)
  const { batch, channels, spatial } = splitImage(x, last)
  const ones = spatial.map((): Dim => 1)
  return [tensorType(dtypeOf(n, 0), joinImage(batch, channels, ones, last))]
}

function inferUnpool(n: NodeView): readonly (Known | undefined)[] {
  const x = shapeOf(n, 0)
  const kernel = attrInts(n.node, 'kernel_shape')
  if (isGiven(n, 2)) return [tensorType(dtypeOf(n, 0), contentOf(n, 2) ?? x?.map(() => unknownDim))]
  if (!x || !kernel) return [tensorType(dtypeOf(n, 0), undefined)]
  if (x.length !== kernel.length + 2) fail(n, `a kernel of rank ${kernel.length} on rank ${x.length}`)
  const { axes } = windowsOf(n, kernel)
  const sizes = axes.map((a, i) => {
    const scaled = mulDims(addDims(x[i + 2] as Dim, -1), a.stride)
    return addDims(addDims(scaled, extent(a)), -a.padBegin - a.padEnd)
  })
  return [tensorType(dtypeOf(n, 0), [...x.slice(0, 2), ...sizes])]
}

/** One pooled picture per region: `[regions, channels, height, width]`. */
function inferRegions(n: NodeView, size: readonly number[]): readonly (Known | undefined)[] {
  const [regions, channels] = [shapeOf(n, 1)?.[0] ?? unknownDim, shapeOf(n, 0)?.[1] ?? unknownDim]
  return [tensorType(dtypeOf(n, 0), [regions, channels, ...size])]
}

const pool = (name: string, rest: Partial<Op> = {}): Op => ({
  name,
  infer: (n) => inferPool(n),
  cost: free,
  ...rest
})
const whole = (name: string, rest: Partial<Op> = {}): Op => ({ name, infer: inferGlobal, cost: free, ...rest })

const microsoft = 'com.microsoft'
const blocked = 'com.microsoft.nchwc'

/** Indices count through all channels. */
const poolChannels = (n: NodeView): readonly Link[] => (n.node.outputs[1] ? [] : batchAndChannels(n))

/** Pools. */
export const poolOps: readonly Op[] = withGrads(poolGrads, [
  pool('MaxPool', {
    channels: poolChannels,
    quant: { inputs: [0], output: 'same' },
    homogeneous: alone
  }),
  pool('AveragePool', {
    channels: poolChannels,
    quant: { inputs: [0], output: 'own' },
    homogeneous: alone
  }),
  pool('LpPool', { channels: poolChannels }),
  whole('GlobalAveragePool', {
    channels: batchAndChannels,
    quant: { inputs: [0], output: 'own' },
    homogeneous: alone
  }),
  whole('GlobalMaxPool', { channels: batchAndChannels, homogeneous: alone }),
  whole('GlobalLpPool', { channels: batchAndChannels }),
  { name: 'MaxUnpool', infer: inferUnpool, cost: free },
  { name: 'MaxRoiPool', infer: (n) => inferRegions(n, attrInts(n.node, 'pooled_shape') ?? []), cost: free, ...single },
  {
    name: 'RoiAlign',
    infer: (n) => inferRegions(n, [attrInt(n.node, 'output_height', 1), attrInt(n.node, 'output_width', 1)]),
    cost: free,
    ...single
  },
  pool('QLinearAveragePool', { domain: microsoft, codes: 'values' }),
  whole('QLinearGlobalAveragePool', { domain: microsoft, codes: 'values' }),
  pool('NhwcMaxPool', { domain: microsoft, infer: (n) => inferPool(n, true) }),
  ...['MaxPool', 'AveragePool'].map((name) => pool(name, { domain: nhwcDomain })),
  ...['GlobalMaxPool', 'GlobalAveragePool'].map((name) => whole(name, { domain: nhwcDomain })),
  pool('MaxPool', { domain: blocked }),
  pool('AveragePool', { domain: blocked }),
  whole('GlobalMaxPool', { domain: blocked }),
  whole('GlobalAveragePool', { domain: blocked })
])

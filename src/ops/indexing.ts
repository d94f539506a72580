/** Operators that pick or place elements by index, and those whose output size depends on the data. */
import { productDims, unknownDim } from '../base/dim.ts'
import { attrInt, attrString, hasAttr } from '../ir/attrs.ts'
import type { Dim, Node } from '../types.ts'
import { axesOfData, into, link, out } from './channels.ts'
import { pickAlong } from './content.ts'
import { indexingGrads } from './indexing.grad.ts'
import {
  axisOf,
  contentOf,
  dtypeOf,
  elementsOf,
  fail,
  freeOp,
  numbersOf,
  shapeOf,
  single,
  tensorType,
  withGrads
} from './op.ts'
import { gathers } from './permute.ts'
import type { Known, Link, NodeView, Op, QuantRule, WeightPlace } from './types.ts'

const moves: QuantRule = { inputs: [0], output: 'same' }

function inferGather(n: NodeView): readonly Known[] {
  const [data, indices] = [shapeOf(n, 0), shapeOf(n, 1)]
  if (!data || !indices) return [tensorType(dtypeOf(n, 0), undefined)]
  const at = axisOf(n, attrInt(n.node, 'axis', 0), data.length)
  const shape = [...data.slice(0, at), ...indices, ...data.slice(at + 1)]
  const content = elementsOf(n, 0)
  const size = data[at]
  const picks = content && typeof size === 'number' ? numbersOf(n, 1)?.map((i) => (i < 0 ? i + size : i)) : undefined
  return [tensorType(dtypeOf(n, 0), shape, picks && content && pickAlong(content, data, at, picks))]
}

/** Axes that are not indexed, and those of the indices in the place of the indexed one. */
function gatherChannels(n: NodeView): readonly Link[] {
  const [data, indices] = [shapeOf(n, 0), shapeOf(n, 1)]
  if (!data || !indices) return []
  const at = axisOf(n, attrInt(n.node, 'axis', 0), data.length)
  const rest = axesOfData(n).filter((a) => a !== at)
  return [
    ...rest.flatMap((a) => link(data[a], [into(0, a), out(0, a < at ? a : a + indices.length - 1)])),
    ...indices.flatMap((size, i) => link(size, [into(1, i), out(0, at + i)]))
  ]
}

function inferGatherND(n: NodeView): readonly Known[] {
  const [data, indices] = [shapeOf(n, 0), shapeOf(n, 1)]
  const last = indices?.at(-1)
  if (!data || !indices || typeof last !== 'number') return [tensorType(dtypeOf(n, 0), undefined)]
  const skip = attrInt(n.node, 'batch_dims', 0) + last
  if (skip > data.length) fail(n, `${last} indices into rank ${data.length}`)
  return [tensorType(dtypeOf(n, 0), [...indices.slice(0, -1), ...data.slice(skip)])]
}

const inferGatherElements = (n: NodeView): readonly Known[] => [tensorType(dtypeOf(n, 0), shapeOf(n, 1))]

/** ONNX Runtime's kernels for processors reduce no float16. */
const reduced = (node: Node): 'single' | undefined =>
  attrString(node, 'reduction', 'none') === 'none' ? undefined : 'single'

/** The data's own type; the content too where single elements of a small vector are replaced. */
function inferScatter(n: NodeView): readonly Known[] {
  const shape = shapeOf(n, 0)
  const [content, at, updates] = [elementsOf(n, 0), numbersOf(n, 1), elementsOf(n, 2)]
  const isPlain = shape?.length === 1 && content && at && updates && at.length === updates.length
  if (!isPlain || (hasAttr(n.node, 'reduction') && n.node.attrs['reduction']?.value !== 'none'))
    return [tensorType(dtypeOf(n, 0), shape)]
  const out = [...content]
  for (const [i, a] of at.entries()) out[a < 0 ? a + out.length : a] = updates[i] as Dim
  return [tensorType(dtypeOf(n, 0), shape, out.length === content.length ? out : undefined)]
}

function inferTopK(n: NodeView): readonly Known[] {
  const shape = shapeOf(n, 0)
  const k = contentOf(n, 1)?.[0] ?? (hasAttr(n.node, 'k') ? attrInt(n.node, 'k', 0) : unknownDim)
  const out = shape?.with(axisOf(n, attrInt(n.node, 'axis', -1), shape.length), k)
  return [tensorType(dtypeOf(n, 0), out), tensorType('int64', out)]
}

function inferNonZero(n: NodeView): readonly Known[] {
  const shape = shapeOf(n, 0)
  const elements = shape?.length === 1 ? elementsOf(n, 0) : undefined
  const isKnown = elements?.every((d) => typeof d === 'number')
  const count = isKnown ? (elements?.filter((d) => d !== 0).length ?? unknownDim) : unknownDim
  return [tensorType('int64', [shape && shape.length > 0 ? shape.length : unknownDim, count])]
}

function inferCompress(n: NodeView): readonly Known[] {
  const shape = shapeOf(n, 0)
  if (!hasAttr(n.node, 'axis')) return [tensorType(dtypeOf(n, 0), [unknownDim])]
  return [tensorType(dtypeOf(n, 0), shape?.with(axisOf(n, attrInt(n.node, 'axis', 0), shape.length), unknownDim))]
}

function inferUnique(n: NodeView): readonly Known[] {
  const shape = shapeOf(n, 0)
  const counts = tensorType('int64', [unknownDim])
  if (!hasAttr(n.node, 'axis')) {
    const all = shape ? productDims(shape) : unknownDim
    return [tensorType(dtypeOf(n, 0), [unknownDim]), counts, tensorType('int64', [all]), counts]
  }
  const at = shape && axisOf(n, attrInt(n.node, 'axis', 0), shape.length)
  const y = shape && at !== undefined ? shape.with(at, unknownDim) : undefined
  const inverse = tensorType('int64', [shape && at !== undefined ? (shape[at] as Dim) : unknownDim])
  return [tensorType(dtypeOf(n, 0), y), counts, inverse, counts]
}

function inferOneHot(n: NodeView): readonly Known[] {
  const indices = shapeOf(n, 0)
  const [depth = unknownDim] = elementsOf(n, 1) ?? []
  if (!indices) return [tensorType(dtypeOf(n, 2), undefined)]
  const at = axisOf(n, attrInt(n.node, 'axis', -1), indices.length + 1)
  const size = typeof depth === 'number' ? Math.trunc(depth) : depth
  return [tensorType(dtypeOf(n, 2), [...indices.slice(0, at), size, ...indices.slice(at)])]
}

/** A table of embeddings, by row. */
const table: WeightPlace = { input: 0, axis: (node) => attrInt(node, 'axis', 0) }

export const indexingOps: readonly Op[] = withGrads(indexingGrads, [
  freeOp('Gather', {
    infer: inferGather,
    permute: gathers,
    channels: gatherChannels,
    quant: moves,
    weights: [table],
    lookup: (n) => (table.axis(n.node) === 0 ? { table: 0, ids: 1 } : undefined),
    starts: [{ deviation: () => 0.02 }]
  }),
  freeOp('GatherElements', { infer: inferGatherElements, quant: moves }),
  freeOp('GatherND', { infer: inferGatherND }),
  freeOp('Scatter', { infer: inferScatter }),
  freeOp('ScatterElements', { infer: inferScatter, precision: reduced }),
  freeOp('ScatterND', { infer: inferScatter, precision: reduced }),
  freeOp('TopK', { infer: inferTopK, ranks: true, ...single }),
  freeOp('NonZero', { infer: inferNonZero }),
  freeOp('Compress', { infer: inferCompress }),
  freeOp('Unique', { infer: inferUnique }),
  freeOp('OneHot', { infer: inferOneHot })
])

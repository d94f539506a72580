/** Operators that only look at a tensor under another shape, and those that ask for its shape. */
import { divDims, mulDims, productDims, sameDim, unknownDim } from '../base/dim.ts'
import { attrInt, attrInts } from '../ir/attrs.ts'
import type { Dim } from '../types.ts'
import { withChannels } from './channels.ts'
import { permuted } from './content.ts'
import {
  alone,
  axesOf,
  axisOf,
  broadcast,
  contentOf,
  dtypeOf,
  elementsOf,
  fail,
  freeOp,
  givenAxes,
  isGiven,
  maxContent,
  shapeOf,
  tensorType,
  unknownDims,
  withGrads
} from './op.ts'
import { expands, squeezes, tiles, together, unsqueezes } from './permute.ts'
import { shapeChannels } from './shape.channels.ts'
import { dropoutTrain, shapeGrads } from './shape.grad.ts'
import type { Known, NodeView, Op, QuantRule } from './types.ts'

const moves: QuantRule = { inputs: [0], output: 'same' }

/** A shape that an input holds: of unknown sizes where only its length is known. */
export function shapeInput(n: NodeView, input: number): readonly Dim[] | undefined {
  const content = contentOf(n, input)
  if (content) return content
  const length = shapeOf(n, input)?.[0]
  return typeof length === 'number' && length <= maxContent ? unknownDims(length) : undefined
}

/** The new shape of input 0, with its content. */
const viewed = (n: NodeView, shape: readonly Dim[] | undefined): readonly Known[] => [
  tensorType(dtypeOf(n, 0), shape, elementsOf(n, 0))
]

function inferShape(n: NodeView): readonly Known[] {
  const shape = shapeOf(n, 0)
  if (!shape) return [tensorType('int64', [unknownDim])]
  const at = (x: number): number => Math.min(Math.max(x < 0 ? x + shape.length : x, 0), shape.length)
  const content = shape.slice(at(attrInt(n.node, 'start', 0)), at(attrInt(n.node, 'end', shape.length)))
  return [tensorType('int64', [content.length], content)]
}

function inferSize(n: NodeView): readonly Known[] {
  const shape = shapeOf(n, 0)
  return [tensorType('int64', [], shape && [productDims(shape)])]
}

// ---------------------------------------------------------------- Reshape

function inferReshape(n: NodeView): readonly Known[] {
  const target = isGiven(n, 1) ? shapeInput(n, 1) : attrInts(n.node, 'shape')
  return viewed(n, target && reshaped(n, target))
}

function reshaped(n: NodeView, target: readonly Dim[]): readonly Dim[] {
  const from = shapeOf(n, 0)
  const copies = attrInt(n.node, 'allowzero', 0) === 0
  const copied = new Set<number>()
  const to = target.map((d, i): Dim => {
    if (d !== 0 || !copies) return d
    if (from && i >= from.length) fail(n, `a 0 at position ${i} of the target shape [${target.join(',')}]`)
    copied.add(i)
    return from?.[i] ?? unknownDim
  })
  const open = to.flatMap((d, i) => ((d === -1 || d === unknownDim) && !copied.has(i) ? [i] : []))
  if (to.filter((d) => d === -1).length > 1) fail(n, `two sizes of -1 in the target shape [${target.join(',')}]`)
  const rest = from && cancel(from, to, copied, open)
  if (
    open.length === 0 &&
    rest &&
    typeof rest.from === 'number' &&
    typeof rest.to === 'number' &&
    rest.from !== rest.to
  )
    fail(n, `[${from?.join(',')}] does not fit [${target.join(',')}]`)
  const [at] = open
  if (open.length !== 1 || at === undefined) return to.map((d) => (d === -1 ? unknownDim : d))
  const left = rest ? remaining(n, rest.from, rest.to) : unknownDim
  return to.map((d, i) => (i === at ? left : d))
}

function remaining(n: NodeView, from: Dim, to: Dim): Dim {
  if (to === 0) return unknownDim
  if (typeof from === 'number' && typeof to === 'number' && from % to !== 0)
    fail(n, `${from} elements do not divide into parts of ${to}`)
  return divDims(from, to)
}

/** Elements on both sides without the sizes that are the same on both, so that an unknown one that is kept does no harm. */
function cancel(
  from: readonly Dim[],
  to: readonly Dim[],
  copied: ReadonlySet<number>,
  open: readonly number[]
): { from: Dim; to: Dim } {
  const left = from.filter((_, i) => !copied.has(i))
  const kept: Dim[] = []
  for (const [i, d] of to.entries()) {
    if (copied.has(i) || open.includes(i)) continue
    const at = typeof d === 'string' ? left.findIndex((l) => sameDim(l, d)) : -1
    if (at >= 0) left.splice(at, 1)
    else kept.push(d)
  }
  return { from: productDims(left), to: productDims(kept) }
}

// ---------------------------------------------------------------- the others

function inferFlatten(n: NodeView): readonly Known[] {
  const shape = shapeOf(n, 0)
  if (!shape) return [tensorType(dtypeOf(n, 0), unknownDims(2))]
  const axis = attrInt(n.node, 'axis', 1)
  const at = axis === shape.length ? axis : axisOf(n, axis, Math.max(1, shape.length))
  return [tensorType(dtypeOf(n, 0), [productDims(shape.slice(0, at)), productDims(shape.slice(at))])]
}

function inferTranspose(n: NodeView): readonly Known[] {
  const shape = shapeOf(n, 0)
  const perm = attrInts(n.node, 'perm')
  if (!shape) return [tensorType(dtypeOf(n, 0), perm && unknownDims(perm.length))]
  const order = perm ?? shape.map((_, i) => shape.length - 1 - i)
  if (axesOf(n, order, shape.length).length !== shape.length) fail(n, `perm [${order.join(',')}]`)
  const at = order.map((a) => axisOf(n, a, shape.length))
  const content = elementsOf(n, 0)
  return [
    tensorType(
      dtypeOf(n, 0),
      at.map((a) => shape[a] as Dim),
      content && permuted(content, shape, at)
    )
  ]
}

function inferSqueeze(n: NodeView): readonly Known[] {
  const shape = shapeOf(n, 0)
  const axes = givenAxes(n, 1)
  if (!shape || axes === undefined) return viewed(n, undefined)
  if (axes === 'none') {
    const isFixed = shape.every((d) => typeof d === 'number')
    return viewed(n, isFixed ? shape.filter((d) => d !== 1) : undefined)
  }
  const at = axesOf(n, axes, shape.length)
  for (const a of at)
    if (typeof shape[a] === 'number' && shape[a] !== 1) fail(n, `axis ${a} has size ${shape[a]}, not 1`)
  return viewed(
    n,
    shape.filter((_, i) => !at.includes(i))
  )
}

function inferUnsqueeze(n: NodeView): readonly Known[] {
  const shape = shapeOf(n, 0)
  const axes = givenAxes(n, 1)
  if (!shape) return viewed(n, undefined)
  if (axes === undefined || axes === 'none') {
    const added = shapeInput(n, 1)?.length
    return viewed(n, added === undefined ? undefined : unknownDims(shape.length + added))
  }
  const rank = shape.length + axes.length
  const at = axesOf(n, axes, rank)
  const rest = [...shape]
  return viewed(
    n,
    Array.from({ length: rank }, (_, i) => (at.includes(i) ? 1 : (rest.shift() as Dim)))
  )
}

function inferExpand(n: NodeView): readonly Known[] {
  const target = shapeInput(n, 1)
  const shape = broadcast(n, [shapeOf(n, 0), target])
  const content = shape && shape.length <= 1 ? elementsOf(n, 0) : undefined
  const length = shape?.length === 1 ? shape[0] : 1
  const isRepeated = content?.length === 1 && typeof length === 'number' && length <= maxContent
  return [
    tensorType(
      dtypeOf(n, 0),
      shape,
      isRepeated ? Array.from({ length }, () => content[0] as Dim) : content?.length === length ? content : undefined
    )
  ]
}

function inferTile(n: NodeView): readonly Known[] {
  const shape = shapeOf(n, 0)
  const repeats = contentOf(n, 1)
  if (!shape) return [tensorType(dtypeOf(n, 0), undefined)]
  if (repeats && repeats.length !== shape.length) fail(n, `${repeats.length} repeats`)
  return [
    tensorType(
      dtypeOf(n, 0),
      shape.map((d, i) => mulDims(d, repeats?.[i] ?? unknownDim))
    )
  ]
}

function inferDropout(n: NodeView): readonly Known[] {
  return [tensorType(dtypeOf(n, 0), shapeOf(n, 0), contentOf(n, 0)), tensorType('bool', shapeOf(n, 0))]
}

export const shapeOps: readonly Op[] = withChannels(
  shapeChannels,
  withGrads(shapeGrads, [
    freeOp('Shape', { infer: inferShape }),
    freeOp('Size', { infer: inferSize }),
    freeOp('Reshape', { infer: inferReshape, quant: moves, elements: 'inOrder' }),
    freeOp('Flatten', { infer: inferFlatten, quant: moves, elements: 'inOrder' }),
    freeOp('Transpose', { infer: inferTranspose, quant: moves, elements: 'moved' }),
    freeOp('Squeeze', { infer: inferSqueeze, permute: squeezes, quant: moves, elements: 'inOrder' }),
    freeOp('Unsqueeze', { infer: inferUnsqueeze, permute: unsqueezes, quant: moves, elements: 'inOrder' }),
    freeOp('Expand', { infer: inferExpand, permute: expands, quant: moves }),
    freeOp('Tile', { infer: inferTile, permute: tiles, quant: moves }),
    freeOp('Identity', {
      infer: (n) => [n.inputs[0]],
      quant: moves,
      elements: 'inOrder',
      homogeneous: alone,
      idle: true,
      permute: together()
    }),
    freeOp('Dropout', { infer: inferDropout, quant: moves, train: dropoutTrain, idle: true, permute: together([0]) })
  ])
)

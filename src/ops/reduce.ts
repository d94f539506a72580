/** Reductions over axes, sums and maxima along one axis. Their arithmetic is not counted as work. */
import { addDims, mulDims, unknownDim } from '../base/dim.ts'
import { attrInt } from '../ir/attrs.ts'
import type { Dim, DType } from '../types.ts'
import { axesOfData, everyAxis, into, link, out } from './channels.ts'
import {
  alone,
  axesOf,
  axisOf,
  contentOf,
  dtypeOf,
  freeOp,
  givenAxes,
  shapeOf,
  single,
  tensorType,
  unknownDims,
  withGrads
} from './op.ts'
import { reducesAxes, reducesAxis } from './permute.ts'
import { reduceGrads } from './reduce.grad.ts'
import type { Known, Link, NodeView, Op } from './types.ts'

/** Takes axes away, or keeps them with size 1. */
function reduced(n: NodeView, dtype: DType | undefined, axes: readonly number[] | undefined): Known {
  const shape = shapeOf(n, 0)
  const keep = attrInt(n.node, 'keepdims', 1) !== 0
  if (!shape) return tensorType(dtype, undefined)
  if (!axes) return tensorType(dtype, keep ? unknownDims(shape.length) : undefined)
  const at = axesOf(n, axes, shape.length)
  const out = shape.flatMap((d, i) => (at.includes(i) ? (keep ? [1] : []) : [d]))
  return tensorType(dtype, out)
}

function inferReduce(n: NodeView): readonly Known[] {
  const given = givenAxes(n, 1)
  const isNone = given === 'none' || given?.length === 0
  if (isNone && attrInt(n.node, 'noop_with_empty_axes', 0) !== 0) return [tensorType(dtypeOf(n, 0), shapeOf(n, 0))]
  const rank = shapeOf(n, 0)?.length
  const all = rank === undefined ? undefined : Array.from({ length: rank }, (_, i) => i)
  if (isNone && rank === undefined && attrInt(n.node, 'keepdims', 1) === 0) return [tensorType(dtypeOf(n, 0), [])]
  const type = reduced(n, dtypeOf(n, 0), isNone ? all : (given as readonly number[] | undefined))
  const content = rank === 1 && type.shape ? reduceContent(n) : undefined
  return [content === undefined ? type : { ...type, content: [content] }]
}

/** Products and sums of sizes. */
function reduceContent(n: NodeView): Dim | undefined {
  const content = contentOf(n, 0)
  if (n.node.op === 'ReduceProd') return content?.reduce((a, b) => mulDims(a, b), 1)
  if (n.node.op === 'ReduceSum') return content?.reduce((a, b) => addDims(a, b), 0)
  if (!content?.length || !content.every((d): d is number => typeof d === 'number')) return undefined
  if (n.node.op === 'ReduceMax') return Math.max(...content)
  return n.node.op === 'ReduceMin' ? Math.min(...content) : unknownDim
}

function inferArg(n: NodeView): readonly Known[] {
  return [reduced(n, 'int64', [attrInt(n.node, 'axis', 0)])]
}

function inferCumulative(n: NodeView): readonly Known[] {
  const [axis] = contentOf(n, 1) ?? []
  const rank = shapeOf(n, 0)?.length
  if (typeof axis === 'number' && rank) axisOf(n, axis, rank)
  return [tensorType(dtypeOf(n, 0), shapeOf(n, 0))]
}

/** Axes that are not reduced. */
function keptAxes(n: NodeView, axes: readonly number[]): readonly Link[] {
  const x = shapeOf(n, 0) ?? []
  const gone = axesOf(n, axes, x.length)
  const isKept = attrInt(n.node, 'keepdims', 1) !== 0
  const left = axesOfData(n).filter((a) => !gone.includes(a))
  return left.flatMap((a, i) => link(x[a], [into(0, a), out(0, isKept ? a : i)]))
}

function reduceChannels(n: NodeView): readonly Link[] {
  const given = givenAxes(n, 1)
  const isNone = given === 'none' || given?.length === 0
  if (isNone && attrInt(n.node, 'noop_with_empty_axes', 0) !== 0) return everyAxis(n)
  return isNone || given === undefined ? [] : keptAxes(n, given as readonly number[])
}

const argChannels = (n: NodeView): readonly Link[] => (shapeOf(n, 0) ? keptAxes(n, [attrInt(n.node, 'axis', 0)]) : [])

const reductions = ['L1', 'L2', 'LogSum', 'LogSumExp', 'Max', 'Mean', 'Min', 'Prod', 'Sum', 'SumSquare']

export const reduceOps: readonly Op[] = withGrads(reduceGrads, [
  ...reductions.map((name) =>
    freeOp(`Reduce${name}`, {
      infer: inferReduce,
      channels: reduceChannels,
      permute: reducesAxes,
      ...(name === 'Mean' ? { homogeneous: alone } : {}),
      ...(name === 'Max' || name === 'Min' ? { quant: { inputs: [0], output: 'same' as const } } : {})
    })
  ),
  freeOp('ArgMax', { infer: inferArg, channels: argChannels, permute: reducesAxis, ranks: true }),
  freeOp('ArgMin', { infer: inferArg, channels: argChannels, permute: reducesAxis }),
  freeOp('CumSum', { infer: inferCumulative, ...single }),
  freeOp('CumProd', { infer: inferCumulative })
])

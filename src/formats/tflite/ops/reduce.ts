/** Reductions, and searching along an axis. */
import type { Call, Convert, Rows } from '../call.ts'

const reduced =
  (op: string): Convert =>
  (c) =>
    c.op(op, [c.value(), axesOf(c)], { keepdims: c.flag('keep_dims') ? 1 : 0 })

const axesOf = (c: Call): string => {
  const axes = c.content(1)
  if (!axes) return c.rank(1) === 0 ? c.op('Unsqueeze', [c.int64(1), c.ints([0])]) : c.int64(1)
  return c.ints(axes)
}

/** The mean over places is what other tools call global pooling. */
function mean(c: Call): ReturnType<Convert> {
  const axes = (c.content(1) ?? []).map((a) => (a < 0 ? a + c.rank() : a)).sort()
  if (c.rank() !== 4 || axes.length !== 2 || axes[0] !== 1 || axes[1] !== 2 || c.isInteger())
    return reduced('ReduceMean')(c)
  const kept = c.channelsFirst((x) => c.op('GlobalAveragePool', [x]))
  return c.flag('keep_dims') ? kept : c.op('Squeeze', [kept.id, c.ints([2, 3])])
}

/** Of truth values: the largest or smallest of 0 and 1. */
const truth =
  (op: string): Convert =>
  (c) =>
    c.cast(c.op(op, [c.cast(c.value(), 'int32'), axesOf(c)], { keepdims: c.flag('keep_dims') ? 1 : 0 }), 'bool')

const argument =
  (op: string): Convert =>
  (c) => {
    const [axis = 0] = c.fixed(1, 'its axis')
    return c.cast(c.op(op, [c.value()], { axis, keepdims: 0 }), c.outType())
  }

function topK(c: Call): readonly string[] {
  const [k] = c.content(1) ?? []
  const count = k === undefined ? c.reshape(c.int64(1), [1]) : c.ints([k])
  const [values = '', places = ''] = c.ops('TopK', [c.value(), count], { axis: -1 }, 2)
  return [values, c.cast(places, c.outType(1))]
}

function cumulated(c: Call): string {
  const [axis = 0] = c.fixed(1, 'its axis')
  const attrs = { exclusive: c.flag('exclusive') ? 1 : 0, reverse: c.flag('reverse') ? 1 : 0 }
  return c.op('CumSum', [c.value(), c.constant('int64', [], [axis])], attrs)
}

export const reduceRows: Rows = {
  MEAN: mean,
  SUM: reduced('ReduceSum'),
  REDUCE_PROD: reduced('ReduceProd'),
  REDUCE_MAX: reduced('ReduceMax'),
  REDUCE_MIN: reduced('ReduceMin'),
  REDUCE_ANY: truth('ReduceMax'),
  REDUCE_ALL: truth('ReduceMin'),
  ARG_MAX: argument('ArgMax'),
  ARG_MIN: argument('ArgMin'),
  TOPK_V2: topK,
  CUMSUM: cumulated
}

/** Picking, cutting and placing by index. */
import { elementCount } from '../../../ir/tensor.ts'
import { type Call, type Rows, range } from '../call.ts'
import { stridedSlice } from './strided-slice.ts'

/** To the end, in `Slice`. */
const end = 2 ** 31 - 1

/** With axes of a batch in front the axis that is picked along is moved behind them, and what is picked stays in its place. */
function gather(c: Call): string {
  const [rank, picks] = [c.rank(0), c.rank(1)]
  const given = c.number('axis')
  const axis = given < 0 ? given + rank : given
  const named = c.number('batch_dims')
  const batch = named < 0 ? named + picks : named
  if (batch === 0) return c.op('Gather', [c.value(0), c.value(1)], { axis })
  const front = [...range(0, batch), axis, ...range(batch, axis), ...range(axis + 1, rank)]
  const data = axis === batch ? c.value(0) : c.transpose(c.value(0), front)
  const places = c.op('Unsqueeze', [c.int64(1), c.ints([picks])])
  const picked = c.op('GatherND', [data, places], { batch_dims: batch })
  if (axis === batch) return picked
  const [inner, between] = [picks - batch, axis - batch]
  const back = [
    ...range(0, batch),
    ...range(batch + inner, batch + inner + between),
    ...range(batch, batch + inner),
    ...range(batch + inner + between, inner + rank - 1)
  ]
  return c.transpose(picked, back)
}

/** A size of -1 reaches to the end. */
function slice(c: Call): string {
  const axes = c.ints(range(0, c.rank()))
  const [begin, size] = [c.content(1), c.content(2)]
  if (begin && size) {
    const ends = begin.map((b, i) => ((size[i] ?? -1) < 0 ? end : b + (size[i] ?? 0)))
    return c.op('Slice', [c.value(), c.ints(begin), c.ints(ends), axes])
  }
  const [from, count] = [c.int64(1), c.int64(2)]
  const open = c.op('Less', [count, c.ints([0])])
  const to = c.op('Where', [open, c.ints([end]), c.op('Add', [from, count])])
  return c.op('Slice', [c.value(), from, to, axes])
}

/** Along each axis from the last to the first. */
function reverse(c: Call): string {
  const axes = c.fixed(1, 'its axes')
  const all = (x: number): string => c.ints(axes.map(() => x))
  return c.op('Slice', [c.value(), all(-1), all(-end), c.ints(axes), all(-1)])
}

function reverseSequence(c: Call): string {
  const [time, batch] = [c.number('seq_dim'), c.number('batch_dim')]
  const lengths = c.int64(1)
  if (time + batch === 1 && time * batch === 0)
    return c.op('ReverseSequence', [c.value(), lengths], { time_axis: time, batch_axis: batch })
  const rank = c.rank()
  const rest = range(0, rank).filter((a) => a !== time && a !== batch)
  const perm = [batch, time, ...rest]
  const turned = c.op('ReverseSequence', [c.transpose(c.value(), perm), lengths], { time_axis: 1, batch_axis: 0 })
  return c.transpose(
    turned,
    range(0, rank).map((a) => perm.indexOf(a))
  )
}

/** Where several updates meet, they add up. */
function scatterNd(c: Call): string {
  const zero = c.constant(c.outType(), [], [0])
  return c.op('ScatterND', [c.op('Expand', [zero, c.int64(2)]), c.int64(0), c.value(1)], { reduction: 'add' })
}

/** Places of the elements that are not 0, one row each. */
function where(c: Call): string {
  if (c.count !== 1) c.refuse('it chooses between tensors')
  const places = c.op('NonZero', [c.dtype() === 'bool' ? c.value() : c.cast(c.value(), 'bool')])
  return c.cast(c.transpose(places, [1, 0]), c.outType())
}

/** Kernels are there for few types of values: the choice is made by a truth value instead. */
function oneHot(c: Call): string {
  const depth = c.content(1)
  const given = c.number('axis', -1)
  const count = depth ? c.ints(depth.slice(0, 1)) : c.reshape(c.int64(1), [1])
  const values = c.constant('float32', [2], [0, 1])
  const hot = c.op('OneHot', [c.int64(0), count, values], { axis: given })
  return c.op('Where', [c.cast(hot, 'bool'), c.value(2), c.value(3)])
}

/** Inputs: places, shape, values, value elsewhere. */
function sparseToDense(c: Call): string {
  const axes = c.shape(1)[0] ?? 1
  const places = c.rank(0) === 2 ? c.int64(0) : c.reshape(c.int64(0), [-1, axes])
  const base = c.op('Expand', [c.value(3), c.int64(1)])
  if (c.rank(2) > 0) return c.op('ScatterND', [base, places, c.value(2)])
  const rows = c.op('Slice', [c.op('Shape', [places]), c.ints([0]), c.ints([1])])
  return c.op('ScatterND', [base, places, c.op('Expand', [c.value(2), rows])])
}

/** The update is placed as far behind the start as still leaves it inside. */
function dynamicUpdateSlice(c: Call): string {
  const [shape, update] = [c.fixedShape(0), c.fixedShape(1)]
  const count = elementCount(update)
  c.bounded(count * shape.length)
  const strides = update.map((_, i) => elementCount(update.slice(i + 1)))
  const grid = range(0, count).flatMap((k) => update.map((d, i) => Math.floor(k / (strides[i] ?? 1)) % d))
  const last = shape.map((d, i) => d - (update[i] ?? 0))
  const start = c.op('Min', [c.op('Max', [c.int64(2), c.ints([0])]), c.ints(last)])
  const places = c.op('Add', [c.ints(grid, [...update, shape.length]), start])
  return c.op('ScatterND', [c.value(0), places, c.value(1)])
}

/** Kernels are there for integers of 64 bits only. */
function unique(c: Call): readonly string[] {
  const x = c.isInteger() && c.dtype() !== 'int64' ? c.cast(c.value(), 'int64') : c.value()
  const [values = '', , places = ''] = c.ops('Unique', [x], { sorted: 0 }, 3)
  return [c.cast(values, c.outType()), c.cast(places, c.outType(1))]
}

export const indexingRows: Rows = {
  GATHER: gather,
  GATHER_ND: (c) => c.op('GatherND', [c.value(0), c.int64(1)]),
  EMBEDDING_LOOKUP: (c) => c.op('Gather', [c.value(1), c.value(0)], { axis: 0 }),
  SLICE: slice,
  STRIDED_SLICE: stridedSlice,
  REVERSE_V2: reverse,
  REVERSE_SEQUENCE: reverseSequence,
  SCATTER_ND: scatterNd,
  SPARSE_TO_DENSE: sparseToDense,
  DYNAMIC_UPDATE_SLICE: dynamicUpdateSlice,
  WHERE: where,
  ONE_HOT: oneHot,
  UNIQUE: unique
}

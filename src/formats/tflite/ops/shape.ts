/** Shapes, and what joins and cuts tensors. */
import { type Call, type Rows, range } from '../call.ts'

/** The target is an input, or an option of old files; the file's own shape where it fixes all. */
function reshape(c: Call): string {
  const target = (c.has(1) ? c.content(1) : undefined) ?? (c.has(1) ? undefined : c.list('new_shape'))
  if (target) return c.reshape(c.value(), target)
  if (c.has(1)) return c.op('Reshape', [c.value(), c.int64(1)])
  return c.reshape(c.value(), c.outShape())
}

function squeeze(c: Call): string {
  const axes = c.list('squeeze_dims') ?? []
  return c.op('Squeeze', [c.value(), axes.length > 0 ? c.ints(axes) : null].slice(0, axes.length > 0 ? 2 : 1))
}

function pack(c: Call): string {
  const axis = c.number('axis')
  const at = c.ints([axis])
  return c.op(
    'Concat',
    c.values().map((id) => c.op('Unsqueeze', [id, at])),
    { axis }
  )
}

function unpack(c: Call): readonly string[] {
  const axis = c.number('axis')
  const at = c.ints([axis])
  return cut(c, axis).map((id) => c.op('Squeeze', [id, at]))
}

/** Equal parts along an axis; one part is the whole. */
function cut(c: Call, axis: number, data = 0): readonly string[] {
  const n = c.outputCount
  return n === 1 ? [c.value(data)] : c.ops('Split', [c.value(data)], { axis, num_outputs: n }, n)
}

function split(c: Call): readonly string[] {
  const [axis = 0] = c.fixed(0, 'its axis')
  return cut(c, axis, 1)
}

/** One size may be -1: what is left. */
function splitV(c: Call): readonly string[] {
  const [axis = 0] = c.fixed(2, 'its axis')
  const sizes = c.fixed(1, 'the size of a part')
  const place = axis < 0 ? axis + c.rank() : axis
  const whole = c.shape()[place] ?? -1
  const rest = whole - sizes.filter((s) => s >= 0).reduce((a, b) => a + b, 0)
  if (sizes.some((s) => s < 0) && (whole < 0 || rest < 0)) c.refuse('the size of a part is not fixed')
  return c.ops('Split', [c.value(), c.ints(sizes.map((s) => (s < 0 ? rest : s)))], { axis }, c.outputCount)
}

function tile(c: Call): string {
  return c.op('Tile', [c.value(), c.int64(1)])
}

function range1(c: Call): string {
  return c.op('Range', [c.value(0), c.value(1), c.value(2)])
}

/** Zeros of the shape of another tensor. */
function zerosLike(c: Call): string {
  const zero = c.constant(c.outType(), [], [0])
  return c.op('Expand', [zero, c.op('Shape', [c.value()])])
}

function transpose(c: Call): string {
  const perm = c.fixed(1, 'its order of axes')
  if (perm.length !== c.rank() || perm.some((a) => a < 0 || a >= perm.length))
    c.refuse(`its order of axes is [${perm}]`)
  return c.transpose(c.value(), perm)
}

function expandDims(c: Call): string {
  const [axis = 0] = c.fixed(1, 'its axis')
  return c.op('Unsqueeze', [c.value(), c.ints([axis])])
}

/** The shape that both broadcast to; the shorter one is filled up with 1 in front. */
function broadcastArgs(c: Call): string {
  const [a, b] = [c.shape(0)[0] ?? -1, c.shape(1)[0] ?? -1]
  if (a < 0 || b < 0) c.refuse('the rank of a shape is not fixed')
  const filled = (i: number, n: number): string => {
    const missing = Math.max(a, b) - n
    return missing === 0
      ? c.value(i)
      : c.op(
          'Concat',
          [
            c.constant(
              c.outType(),
              [missing],
              range(0, missing).map(() => 1)
            ),
            c.value(i)
          ],
          { axis: 0 }
        )
  }
  return c.op('Max', [filled(0, a), filled(1, b)])
}

export const shapeRows: Rows = {
  RESHAPE: reshape,
  SQUEEZE: squeeze,
  EXPAND_DIMS: expandDims,
  TRANSPOSE: transpose,
  SHAPE: (c) => c.cast(c.op('Shape', [c.value()]), c.typed('out_type')),
  RANK: (c) => c.constant('int32', [], [c.rank()]),
  BROADCAST_TO: (c) => c.op('Expand', [c.value(), c.int64(1)]),
  BROADCAST_ARGS: broadcastArgs,
  FILL: (c) => c.op('Expand', [c.value(1), c.int64(0)]),
  RANGE: range1,
  ZEROS_LIKE: zerosLike,
  CONCATENATION: (c) => c.activation(c.op('Concat', c.values(), { axis: c.number('axis') })),
  PACK: pack,
  UNPACK: unpack,
  SPLIT: split,
  SPLIT_V: splitV,
  TILE: tile
}

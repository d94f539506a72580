/** Operators that move elements or look at them under another shape. All sizes are numbers here. */
import { attrInt, attrString, attrTensor } from '../../../ir/attrs.ts'
import { ints, tensor, toNumbers } from '../../../ir/tensor.ts'
import type { Tensor } from '../../../types.ts'
import { type Rules, refuse, type Site } from './site.ts'

const listed = (s: Site, input: number, what: string): readonly number[] => {
  const data = s.constant(input)
  return data ? ints(data) : refuse(`${what} that are computed`)
}

const positive = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis)

/** The new shape as a constant; a batch that is open stays so. */
function reshape(s: Site): void {
  const { shape, as } = s.y
  const to = s.isOpen(as) ? [-1, ...shape.slice(1)] : shape
  s.op('RESHAPE', [s.id(0), s.ints(to)], { new_shape: to }, s.y)
}

function transpose(s: Site): void {
  const rank = s.dims(0).length
  const order = s.node.attrs['perm']
  const perm = order?.kind === 'ints' ? order.value : Array.from({ length: rank }, (_, i) => rank - 1 - i)
  if (rank > 6) refuse(`a Transpose of ${rank} axes`)
  s.op('TRANSPOSE', [s.id(0), s.ints(perm)], {}, s.y)
}

function concat(s: Site): void {
  const axis = positive(attrInt(s.node, 'axis', 1), s.y.shape.length)
  s.op(
    'CONCATENATION',
    s.node.inputs.map((_, i) => s.id(i)),
    { axis },
    s.y
  )
}

function split(s: Site): void {
  const axis = positive(attrInt(s.node, 'axis', 0), s.dims(0).length)
  const { draft, node } = s
  const sizes = node.outputs.map((id) => draft.value(id)?.shape?.[axis] as number)
  const inputs = [s.id(0), s.ints(sizes), s.data(tensor('int32', [], [axis]))]
  draft.addNode({
    name: draft.fresh(node.name),
    op: 'SPLIT_V',
    domain: 'tflite',
    inputs,
    outputs: node.outputs,
    attrs: { num_splits: { kind: 'int', value: sizes.length } }
  })
}

function slice(s: Site): void {
  const shape = s.dims(0)
  const rank = shape.length
  const [starts, ends] = [listed(s, 1, 'starts'), listed(s, 2, 'ends')]
  const axes = s.has(3) ? listed(s, 3, 'axes') : starts.map((_, i) => i)
  const steps = s.has(4) ? listed(s, 4, 'steps') : starts.map(() => 1)
  const [begin, end, step] = [shape.map(() => 0), [...shape], shape.map(() => 1)]
  for (const [i, a] of axes.entries()) {
    const at = positive(a, rank)
    const size = shape[at] as number
    const by = steps[i] as number
    const clip = (x: number): number => {
      const place = x < 0 ? x + size : x
      return by > 0 ? Math.min(Math.max(place, 0), size) : Math.min(Math.max(place, -1), size - 1)
    }
    begin[at] = clip(starts[i] as number)
    end[at] = clip(ends[i] as number)
    step[at] = by
  }
  if (step.every((d) => d === 1)) {
    const size = end.map((e, i) => (s.isOpen(s.id(0)) && i === 0 ? -1 : Math.max(0, e - (begin[i] as number))))
    s.op('SLICE', [s.id(0), s.ints(begin), s.ints(size)], {}, s.y)
    return
  }
  // Backwards to before the first place: the end is left open.
  const mask = end.reduce((m, e, i) => (e < 0 ? m | (1 << i) : m), s.isOpen(s.id(0)) ? 1 : 0)
  const inputs = [s.id(0), s.ints(begin), s.ints(end), s.ints(step)]
  s.op('STRIDED_SLICE', inputs, { end_mask: mask }, s.y)
}

function pad(s: Site): void {
  const rank = s.dims(0).length
  const given = listed(s, 1, 'pads')
  const axes = s.has(3) ? listed(s, 3, 'axes').map((a) => positive(a, rank)) : Array.from({ length: rank }, (_, i) => i)
  const rows = Array.from({ length: rank }, (_, a) => {
    const i = axes.indexOf(a)
    return i < 0 ? [0, 0] : [given[i] as number, given[axes.length + i] as number]
  })
  if (rows.flat().some((d) => d < 0)) refuse('pads below 0')
  const mode = attrString(s.node, 'mode', 'constant')
  const list = s.data(tensor('int32', [rank, 2], rows.flat()))
  if (mode === 'reflect') {
    s.op('MIRROR_PAD', [s.id(0), list], { mode: 'REFLECT' }, s.y)
    return
  }
  if (mode !== 'constant') refuse(`padding of mode ${mode}`)
  const value = s.has(2) ? s.constant(2) : undefined
  if (s.has(2) && !value) refuse('a border that is computed')
  const filled = value ? (toNumbers(value)[0] as number) : 0
  if (filled === 0 && s.y.dtype !== 'int8' && s.y.dtype !== 'uint8') s.op('PAD', [s.id(0), list], {}, s.y)
  else if (rank > 4) refuse(`padding of ${rank} axes with ${filled}`)
  else s.op('PADV2', [s.id(0), list, s.id(2)], {}, s.y)
}

function expand(s: Site): void {
  s.op('BROADCAST_TO', [s.id(0), s.ints(s.y.shape)], {}, s.y)
}

function tile(s: Site): void {
  s.op('TILE', [s.id(0), s.ints(listed(s, 1, 'repeats'))], {}, s.y)
}

/** Indices as int32, counted from the front. */
function indices(s: Site, input: number, size: number | undefined): string {
  const data = s.constant(input)
  if (!data) return s.id(input)
  const all = ints(data).map((i) => (size === undefined ? i : positive(i, size)))
  return s.data(tensor('int32', data.shape, all), s.id(input))
}

function gather(s: Site): void {
  const shape = s.dims(0)
  const axis = positive(attrInt(s.node, 'axis', 0), shape.length)
  s.op('GATHER', [s.id(0), indices(s, 1, shape[axis])], { axis, batch_dims: 0 }, s.y)
}

function gatherNd(s: Site): void {
  if (attrInt(s.node, 'batch_dims', 0) !== 0) refuse('GatherND with axes of a batch')
  s.op('GATHER_ND', [s.id(0), indices(s, 1, undefined)], {}, s.y)
}

/** A constant in the node's place. */
function held(s: Site, data: Tensor): void {
  const { as } = s.y
  if (s.draft.isOutput(as)) s.onnx('Identity', [s.data(data)], {}, s.y)
  else s.draft.set({ id: as, type: 'tensor', dtype: data.dtype, shape: data.shape, data })
}

function constantNode(s: Site): void {
  const data = attrTensor(s.node, 'value')
  if (!data) refuse('a constant that is no tensor')
  held(s, data)
}

function shapeOf(s: Site): void {
  const shape = s.dims(0)
  const at = (x: number): number => Math.min(Math.max(positive(x, shape.length), 0), shape.length)
  const part = shape.slice(at(attrInt(s.node, 'start', 0)), at(attrInt(s.node, 'end', shape.length)))
  held(s, tensor('int64', [part.length], part))
}

function constantOfShape(s: Site): void {
  const { shape, dtype } = s.y
  const value = attrTensor(s.node, 'value')
  const count = shape.reduce((n, d) => n * d, 1)
  held(s, tensor(dtype, shape, Array<number>(count).fill(value ? (toNumbers(value)[0] as number) : 0)))
}

/** What hands on its input: nothing is written for it where it is not between an input and an output of the graph. */
function identity(s: Site): void {
  const { draft, node } = s
  const [from, to] = [s.id(0), node.outputs[0] as string]
  const isFree = !draft.isOutput(to) || (draft.producer(from) !== undefined && !draft.isOutput(from))
  if (isFree) {
    draft.remove(node)
    draft.rewire(to, from)
  } else reshape(s)
}

function oneHot(s: Site): void {
  const [depth, values] = [s.constant(1), s.constant(2)]
  if (!depth || !values) refuse('a depth or values that are computed')
  const [off = 0, on = 1] = Array.from(toNumbers(values))
  const { dtype } = s.y
  const one = (x: number): string => s.data(tensor(dtype, [], [x]))
  const inputs = [
    indices(s, 0, undefined),
    s.data(tensor('int32', [], [Number(toNumbers(depth)[0])])),
    one(on),
    one(off)
  ]
  s.op('ONE_HOT', inputs, { axis: attrInt(s.node, 'axis', -1) }, s.y)
}

export const moveRules: Rules = {
  Reshape: reshape,
  Flatten: reshape,
  Squeeze: reshape,
  Unsqueeze: reshape,
  Transpose: transpose,
  Concat: concat,
  Split: split,
  Slice: slice,
  Pad: pad,
  Expand: expand,
  Tile: tile,
  Gather: gather,
  GatherND: gatherNd,
  OneHot: oneHot,
  Identity: identity,
  Dropout: identity,
  Constant: constantNode,
  Shape: shapeOf,
  ConstantOfShape: constantOfShape
}

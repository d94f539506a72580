/** Gradients of operators that move elements: the move back, with zeros where nothing came from. */
import { PareError } from '../base/errors.ts'
import { attrInt, attrString } from '../ir/attrs.ts'
import {
  alongAxis,
  eye,
  flip,
  inputOf,
  int64s,
  outputOf,
  pad,
  range,
  reshape,
  rule,
  slice,
  sumOver,
  transpose,
  wants,
  zeros
} from './grad.ts'
import { numbersOf } from './op.ts'
import type { Grad, GradBuilder, NodeView, Ref } from './types.ts'

const frontAxis = (axis: number, x: Ref): number => (axis < 0 ? axis + x.shape.length : axis)

const concat: Grad = rule((g, n, dy) => {
  const inputs = n.node.inputs.map((_, i) => inputOf(g, n, i))
  if (inputs.length === 1) return [dy]
  const axis = frontAxis(attrInt(n.node, 'axis', 0), dy)
  const sizes = inputs.map((x) => x.shape[axis] as number)
  return g.ops('Split', [dy, int64s(g, sizes)], { axis }, inputs.length)
})

const split: Grad = (g, n, dys) => {
  const parts = dys.map((dy, i) => dy ?? zerosLike(g, outputOf(g, n, i)))
  const axis = frontAxis(attrInt(n.node, 'axis', 0), inputOf(g, n, 0))
  return [
    parts.length === 1 ? (parts[0] as Ref) : g.op('Concat', parts, { axis }),
    ...n.node.inputs.slice(1).map(() => null)
  ]
}

const zerosLike = (g: GradBuilder, x: Ref): Ref => zeros(g, x.dtype, x.shape)

// ---------------------------------------------------------------- Slice, Pad

/** Numbers of an input that must be known. */
function known(n: NodeView, input: number, fallback: readonly number[]): readonly number[] {
  if (n.node.inputs[input] == null) return fallback
  const found = numbersOf(n, input)
  if (found) return found
  throw new PareError('E_UNSUPPORTED', `no gradient of ${n.node.op} where input ${input} is computed`, {
    where: n.node.name,
    hint: 'simplify the model first'
  })
}

const slicing: Grad = rule((g, n, dy) => {
  const x = inputOf(g, n, 0)
  const starts = known(n, 1, [])
  const axes = known(n, 3, range(starts.length)).map((a) => frontAxis(a, x))
  const steps = known(
    n,
    4,
    starts.map(() => 1)
  )
  const dx = axes.reduce(
    (d, axis, i) => unsliced(g, d, axis, x.shape[axis] as number, starts[i] as number, steps[i] as number),
    dy
  )
  return [dx, ...n.node.inputs.slice(1).map(() => null)]
})

/** Along one axis: back in order, apart by the step, into zeros of the old size. */
function unsliced(g: GradBuilder, dy: Ref, axis: number, size: number, start: number, step: number): Ref {
  const count = dy.shape[axis] as number
  if (count === 0) return zeros(g, dy.dtype, dy.shape.with(axis, size))
  const stride = Math.abs(step)
  const from = Math.min(Math.max(start < 0 ? start + size : start, 0), size - 1)
  const first = step > 0 ? from : from - (count - 1) * stride
  const ordered = step > 0 ? dy : flip(g, dy, [axis])
  const spread = stride === 1 ? ordered : interleaved(g, ordered, axis, stride)
  const at = (v: number): number[] => dy.shape.map((_, i) => (i === axis ? v : 0))
  return pad(g, spread, at(first), at(size - first - (spread.shape[axis] as number)))
}

/** `stride` − 1 zeros behind every element. */
function interleaved(g: GradBuilder, x: Ref, axis: number, stride: number): Ref {
  const apart = reshape(g, x, [...x.shape.slice(0, axis + 1), 1, ...x.shape.slice(axis + 1)])
  const none = apart.shape.map(() => 0)
  const filled = pad(g, apart, none, none.with(axis + 1, stride - 1))
  return reshape(g, filled, x.shape.with(axis, (x.shape[axis] as number) * stride))
}

/** Constant: the part that was there. Others copy along each axis by a linear map, whose transpose takes back. */
const padding: Grad = rule((g, n, dy) => {
  const x = inputOf(g, n, 0)
  const axes = known(n, 3, range(x.shape.length)).map((a) => frontAxis(a, x))
  const pads = known(n, 1, [])
  const width = (i: number): readonly [number, number] => [pads[i] as number, pads[i + axes.length] as number]
  const mode = attrString(n.node, 'mode', 'constant')
  const dx = axes.reduce((d, axis, i) => {
    const [before, after] = width(i)
    if (before === 0 && after === 0) return d
    if (mode === 'constant') return unpadded(g, d, axis, before, after)
    const matrix = g.op('Pad', [eye(g, d.dtype, x.shape[axis] as number), int64s(g, [before, 0, after, 0])], { mode })
    return alongAxis(g, d, axis, matrix)
  }, dy)
  const value =
    n.node.inputs[2] != null && mode === 'constant' && wants(g, n, 2) ? rest(g, dy, dx, inputOf(g, n, 2)) : null
  return [dx, null, value, null].slice(0, n.node.inputs.length)
})

/** What the padding value got: all of dy that dx did not. */
function rest(g: GradBuilder, dy: Ref, dx: Ref, value: Ref): Ref {
  const sum = (x: Ref): Ref => sumOver(g, x, range(x.shape.length))
  return reshape(g, g.op('Sub', [sum(dy), sum(dx)]), value.shape)
}

function unpadded(g: GradBuilder, dy: Ref, axis: number, before: number, after: number): Ref {
  const size = dy.shape[axis] as number
  const cut = slice(g, dy, [{ axis, start: Math.max(0, before), end: size - Math.max(0, after) }])
  const at = (v: number): number[] => dy.shape.map((_, i) => (i === axis ? Math.max(0, v) : 0))
  return pad(g, cut, at(-before), at(-after))
}

// ---------------------------------------------------------------- blocks

const depthToSpace: Grad = rule((g, n, dy) => {
  const b = attrInt(n.node, 'blocksize', 1)
  if (attrString(n.node, 'mode', 'DCR') === 'DCR') return [g.op('SpaceToDepth', [dy], { blocksize: b })]
  const [batch, c, h, w] = dy.shape as [number, number, number, number]
  const apart = reshape(g, dy, [batch, c, h / b, b, w / b, b])
  return [reshape(g, transpose(g, apart, [0, 1, 3, 5, 2, 4]), inputOf(g, n, 0).shape)]
})

const spaceToDepth: Grad = rule((g, n, dy) => [
  g.op('DepthToSpace', [dy], { blocksize: attrInt(n.node, 'blocksize', 1), mode: 'DCR' })
])

/** The same part of dy. */
const trilu: Grad = rule((g, n, dy) => {
  const k = n.node.inputs[1] == null ? [] : [inputOf(g, n, 1)]
  return [g.op('Trilu', [dy, ...k], { upper: attrInt(n.node, 'upper', 1) }), ...k.map(() => null)]
})

/** Reversing twice is nothing. */
const reverseSequence: Grad = rule((g, n, dy) => {
  const [time, batch] = [attrInt(n.node, 'time_axis', 0), attrInt(n.node, 'batch_axis', 1)]
  return [g.op('ReverseSequence', [dy, inputOf(g, n, 1)], { time_axis: time, batch_axis: batch }), null]
})

export const moveGrads: Readonly<Record<string, Grad>> = {
  Concat: concat,
  Split: split,
  Slice: slicing,
  Pad: padding,
  DepthToSpace: depthToSpace,
  SpaceToDepth: spaceToDepth,
  Trilu: trilu,
  ReverseSequence: reverseSequence
}

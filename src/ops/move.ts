/** Operators that move elements: joining, cutting, padding, interleaving. */
import { addDims, divDims, mulDims, productDims, sameDim, subDims, unknownDim } from '../base/dim.ts'
import { attrInt, attrInts } from '../ir/attrs.ts'
import type { Dim } from '../types.ts'
import { withChannels } from './channels.ts'
import { pickAlong } from './content.ts'
import { anyDtype } from './elementwise.ts'
import { moveChannels } from './move.channels.ts'
import { moveGrads } from './move.grad.ts'
import {
  axisOf,
  contentOf,
  dtypeOf,
  elementsOf,
  fail,
  freeOp,
  givenAxes,
  isGiven,
  maxContent,
  numbersOf,
  shapeOf,
  tensorType,
  unknownDims,
  withGrads
} from './op.ts'
import { alongAxis, alongAxisOfAll, pads, slices } from './permute.ts'
import type { Known, NodeView, Op, QuantRule } from './types.ts'

const moves: QuantRule = { inputs: [0], output: 'same' }

// ---------------------------------------------------------------- Concat, Split

function inferConcat(n: NodeView): readonly Known[] {
  const shapes = n.inputs.map((k) => k?.shape)
  const known = shapes.filter((s) => s !== undefined)
  const rank = known[0]?.length
  if (rank === undefined) return [tensorType(anyDtype(n), undefined)]
  if (known.some((s) => s.length !== rank)) fail(n, 'inputs of different rank')
  const at = axisOf(n, attrInt(n.node, 'axis', 1), rank)
  const shape = Array.from({ length: rank }, (_, i): Dim => {
    if (i === at) return shapes.map((s) => s?.[i] ?? unknownDim).reduce(addDims)
    return known.map((s) => s[i] as Dim).reduce((a, b) => sameSize(n, a, b))
  })
  return [tensorType(anyDtype(n), shape, at === 0 ? concatContent(n) : undefined)]
}

/** Of two sizes that must be equal, the better known. */
function sameSize(n: NodeView, a: Dim, b: Dim): Dim {
  if (typeof a === 'number' && typeof b === 'number' && a !== b) fail(n, `sizes ${a} and ${b} differ`)
  return typeof a === 'number' || (b === unknownDim && a !== unknownDim) ? a : b
}

/** Elements of the inputs in a row; those of an input of known length and unknown content are unknown. */
function concatContent(n: NodeView): readonly Dim[] | undefined {
  const out: Dim[] = []
  for (const [i, k] of n.inputs.entries()) {
    const length = productDims(k?.shape ?? [unknownDim])
    const content = elementsOf(n, i)
    if (!content && (typeof length !== 'number' || length > maxContent)) return undefined
    out.push(...(content ?? unknownDims(length as number)))
  }
  return out
}

function inferSplit(n: NodeView): readonly Known[] {
  const shape = shapeOf(n, 0)
  const count = n.node.outputs.length
  const dtype = dtypeOf(n, 0)
  if (!shape) return n.node.outputs.map(() => tensorType(dtype, undefined))
  const at = axisOf(n, attrInt(n.node, 'axis', 0), shape.length)
  const isSized = isGiven(n, 1) || attrInts(n.node, 'split') !== undefined
  const given = isGiven(n, 1) ? contentOf(n, 1) : attrInts(n.node, 'split')
  if (given && given.length !== count) fail(n, `${given.length} parts for ${count} outputs`)
  const sizes = given ?? (isSized ? unknownDims(count) : evenParts(shape[at] as Dim, count))
  const total = sizes.reduce<Dim>(addDims, 0)
  if (typeof total === 'number' && typeof shape[at] === 'number' && total !== shape[at])
    fail(n, `parts of ${sizes.join(', ')} do not make ${shape[at]}`)
  const content = typeof total === 'number' ? elementsOf(n, 0) : undefined
  let from = 0
  return sizes.map((size) => {
    if (!content || typeof size !== 'number') return tensorType(dtype, shape.with(at, size))
    const start = from
    from += size
    const part =
      size > maxContent
        ? undefined
        : pickAlong(
            content,
            shape,
            at,
            Array.from({ length: size }, (_, i) => start + i)
          )
    return tensorType(dtype, shape.with(at, size), part)
  })
}

/** Equal parts, the last one smaller where they do not come out even. */
function evenParts(size: Dim, count: number): readonly Dim[] {
  if (typeof size === 'string') {
    const part = divDims(size, count)
    return Array.from({ length: count }, () =>
      typeof part === 'string' && part.startsWith('floor(') ? unknownDim : part
    )
  }
  const chunk = Math.ceil(size / count)
  return Array.from({ length: count }, (_, i) => Math.max(0, Math.min(chunk, size - i * chunk)))
}

// ---------------------------------------------------------------- Slice

function inferSlice(n: NodeView): readonly Known[] {
  const shape = shapeOf(n, 0)
  const dtype = dtypeOf(n, 0)
  if (!shape) return [tensorType(dtype, undefined)]
  const cut = cuts(n, shape)
  if (!cut) return [tensorType(dtype, unknownDims(shape.length))]
  const out = [...shape]
  for (const c of cut) out[c.axis] = sliced(shape[c.axis] as Dim, c)
  return [tensorType(dtype, out, slicedContent(elementsOf(n, 0), shape, cut))]
}

interface Cut {
  readonly axis: number
  readonly start: Dim
  readonly end: Dim
  readonly step: Dim
}

function cuts(n: NodeView, shape: readonly Dim[]): readonly Cut[] | undefined {
  const read = (input: number, name: string): readonly Dim[] | undefined =>
    isGiven(n, input) ? contentOf(n, input) : attrInts(n.node, name)
  const [starts, ends] = [read(1, 'starts'), read(2, 'ends')]
  const count = starts?.length ?? ends?.length ?? lengthOf(n, 1) ?? lengthOf(n, 2)
  const axes = givenAxes(n, 3)
  if (axes === undefined || (axes === 'none' && count === undefined)) return undefined
  if (count !== undefined && count > shape.length) fail(n, `${count} starts for rank ${shape.length}`)
  const at = axes === 'none' ? Array.from({ length: count as number }, (_, i) => i) : axes
  const steps = read(4, 'steps')
  const hasSteps = isGiven(n, 4)
  return at.map((a, i) => ({
    axis: axisOf(n, a, shape.length),
    start: starts?.[i] ?? unknownDim,
    end: ends?.[i] ?? unknownDim,
    step: steps?.[i] ?? (hasSteps ? unknownDim : 1)
  }))
}

const lengthOf = (n: NodeView, input: number): number | undefined => {
  const d = shapeOf(n, input)?.[0]
  return typeof d === 'number' ? d : undefined
}

/** Ends from here on mean "to the end", whatever the size. */
const isFarEnd = (d: Dim): boolean => typeof d === 'number' && d >= 2 ** 31 - 1

/** Start, end and step in numbers for a size in numbers, as numpy clamps them. */
function bounds(size: number, start: number, end: number, step: number): readonly [from: number, to: number] {
  const [low, high] = step > 0 ? [0, size] : [-1, size - 1]
  const at = (x: number, min: number): number => Math.min(Math.max(x < 0 ? x + size : x, min), high)
  return [at(start, step > 0 ? 0 : Math.min(0, high)), at(end, low)]
}

function sliced(size: Dim, { start, end, step }: Cut): Dim {
  if (typeof size === 'number' && typeof start === 'number' && typeof end === 'number' && typeof step === 'number') {
    if (step === 0) return unknownDim
    const [from, to] = bounds(size, start, end, step)
    return Math.max(0, Math.ceil((to - from) / step))
  }
  if (step === -1 && start === -1 && typeof end === 'number' && end < -(2 ** 31) + 2) return size
  if (step !== 1 || typeof size === 'number') return start === 0 && step === 1 && sameDim(size, end) ? size : unknownDim
  if (isFarEnd(end) || sameDim(end, size))
    return typeof start === 'number' && start < 0 ? unknownDim : subDims(size, start)
  if (typeof end === 'number' && end < 0 && typeof start === 'number' && start >= 0)
    return subDims(addDims(size, end), start)
  return unknownDim
}

function slicedContent(
  content: readonly Dim[] | undefined,
  shape: readonly Dim[],
  cut: readonly Cut[]
): readonly Dim[] | undefined {
  let left = content
  let sizes = shape
  for (const { axis, start, end, step } of cut) {
    const size = sizes[axis]
    if (!left || typeof size !== 'number' || typeof start !== 'number' || typeof end !== 'number') return undefined
    if (typeof step !== 'number' || step === 0) return undefined
    const [from, to] = bounds(size, start, end, step)
    const count = Math.max(0, Math.ceil((to - from) / step))
    if (count > maxContent) return undefined
    const positions = Array.from({ length: count }, (_, i) => from + i * step)
    left = pickAlong(left, sizes, axis, positions)
    sizes = sizes.with(axis, count)
  }
  return left
}

// ---------------------------------------------------------------- padding and blocks

function inferPad(n: NodeView): readonly Known[] {
  const shape = shapeOf(n, 0)
  const dtype = dtypeOf(n, 0)
  if (!shape) return [tensorType(dtype, undefined)]
  const pads = isGiven(n, 1) ? contentOf(n, 1) : (attrInts(n.node, 'pads') ?? attrInts(n.node, 'paddings'))
  const axes = isGiven(n, 3) ? numbersOf(n, 3) : shape.map((_, i) => i)
  if (!pads || !axes) return [tensorType(dtype, unknownDims(shape.length))]
  if (pads.length !== 2 * axes.length) fail(n, `${pads.length} pads for ${axes.length} axes`)
  const out = [...shape]
  for (const [i, a] of axes.entries()) {
    const at = axisOf(n, a, shape.length)
    out[at] = addDims(addDims(shape[at] as Dim, pads[i] as Dim), pads[i + axes.length] as Dim)
  }
  return [tensorType(dtype, out)]
}

function inferDepthToSpace(n: NodeView): readonly Known[] {
  const b = attrInt(n.node, 'blocksize', 1)
  const [batch, c, h, w] = image(n)
  return [tensorType(dtypeOf(n, 0), [batch, divide(n, c, b * b), mulDims(h, b), mulDims(w, b)])]
}

function inferSpaceToDepth(n: NodeView): readonly Known[] {
  const b = attrInt(n.node, 'blocksize', 1)
  const [batch, c, h, w] = image(n)
  return [tensorType(dtypeOf(n, 0), [batch, mulDims(c, b * b), divide(n, h, b), divide(n, w, b)])]
}

function image(n: NodeView): readonly [Dim, Dim, Dim, Dim] {
  const shape = shapeOf(n, 0) ?? unknownDims(4)
  if (shape.length !== 4) fail(n, `an input of rank ${shape.length}`)
  return shape as readonly [Dim, Dim, Dim, Dim]
}

function divide(n: NodeView, size: Dim, by: number): Dim {
  if (typeof size === 'number' && size % by !== 0) fail(n, `${size} does not divide by ${by}`)
  return divDims(size, by)
}

function inferCenterCropPad(n: NodeView): readonly Known[] {
  const shape = shapeOf(n, 0)
  if (!shape) return [tensorType(dtypeOf(n, 0), undefined)]
  const axes = attrInts(n.node, 'axes') ?? shape.map((_, i) => i)
  const sizes = contentOf(n, 1)
  const out = [...shape]
  for (const [i, a] of axes.entries()) out[axisOf(n, a, shape.length)] = sizes?.[i] ?? unknownDim
  return [tensorType(dtypeOf(n, 0), out)]
}

export const moveOps: readonly Op[] = withChannels(
  moveChannels,
  withGrads(moveGrads, [
    freeOp('Concat', {
      permute: alongAxisOfAll(1),
      infer: inferConcat,
      quant: { inputs: [], output: 'own', fewestCodes: 32 }
    }),
    freeOp('Split', { infer: inferSplit, quant: moves, permute: alongAxis(0, [0]) }),
    freeOp('Slice', { infer: inferSlice, quant: moves, permute: slices }),
    freeOp('Pad', { infer: inferPad, quant: { inputs: [0, 2], output: 'same', fill: 2 }, permute: pads }),
    freeOp('DepthToSpace', { infer: inferDepthToSpace, quant: moves }),
    freeOp('SpaceToDepth', { infer: inferSpaceToDepth, quant: moves }),
    freeOp('CenterCropPad', { infer: inferCenterCropPad }),
    freeOp('ReverseSequence'),
    freeOp('Trilu')
  ])
)

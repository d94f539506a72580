/**
 * Weights on a grid that follows them: per output channel the step is s = max|w| / L with L = 2^(bits − 1) − 1, and a weight counts as
 * s·round(w / s). The weights alone decide the steps, so all who hold the same weights round alike. Rounding has a straight-through
 * gradient, and steps have none.
 */
import { assert } from '../../base/errors.ts'
import { type Draft, edit, renameReads } from '../../ir/edit.ts'
import { elementCount, scalar, tensor } from '../../ir/tensor.ts'
import { withValues } from '../../train/index.ts'
import type { Model, Tensor } from '../../types.ts'
import { channelsOf, peaksOf, scalesOf } from '../quantize/common/codes.ts'
import { weightUses } from '../quantize/common/uses.ts'
import { rounded } from './rounded.ts'

interface Gridded {
  readonly id: string
  readonly data: Tensor
  /** Of output channels; absent: one step for all. */
  readonly axis?: number
}

/** Smaller weights take more bytes for their steps than their codes save. */
const leastElements = 65

/** Least step, in place of zero: of a channel of zeros. */
const leastStep = 1e-30

const levelOf = (bits: number): number => 2 ** (bits - 1) - 1

/** The weights that have a grid. */
function gridded(model: Model): Gridded[] {
  return [...weightUses(model)].flatMap(([id, { data, uses }]) => {
    if (data.dtype !== 'float32' || elementCount(data.shape) < leastElements || !model.graph.values.has(id)) return []
    const axis = uses[0]?.axis
    return [{ id, data, ...(axis === undefined ? {} : { axis }) }]
  })
}

/** The model that computes with its weights on their grid; its constants are those of `model`, and three small ones a weight. */
export function computingOnGrid(model: Model, bits: number): Model {
  const weights = gridded(model)
  return edit(model, (d) => {
    for (const w of weights) putGrid(d, w, levelOf(bits))
  })
}

function putGrid(d: Draft, { id, data, axis }: Gridded, level: number): void {
  const readers = d.consumers(id)
  assert(readers.length > 0, `nothing reads weight ${id}`)
  const axes = data.shape.map((_, i) => i).filter((i) => i !== axis)
  const shape = axis === undefined ? [] : [data.shape[axis] as number]
  const peak = d.add('ReduceMax', [d.add('Abs', [id]), d.addConstant(tensor('int64', [axes.length], axes), 'axes')], {
    attrs: { keepdims: 0 }
  })
  const shared = d.add('Mul', [peak, d.addConstant(scalar('float32', 1 / level), 'level')])
  const step = d.add('Max', [shared, d.addConstant(scalar('float32', leastStep), 'least')])
  const zero = d.addConstant(tensor('int8', shape, new Int8Array(elementCount(shape))), 'zero')
  const attrs = axis === undefined ? {} : { axis }
  const codes = d.add('QuantizeLinear', [id, step, zero], { attrs })
  const real = d.add('DequantizeLinear', [codes, step, zero], { attrs })
  for (const node of readers) d.replace(node, renameReads(node, id, real))
}

/** The model with its weights moved to their grid. */
export function movedToGrid(model: Model, bits: number): Model {
  const moved = gridded(model).map(({ id, data, axis }) => {
    const scales = scalesOf(peaksOf(data, channelsOf(data.shape, axis), id), levelOf(bits), 'float32')
    return [id, rounded(data, axis, scales)] as const
  })
  return withValues(model, new Map(moved))
}

/**
 * Gradients of resampling. Resize is linear and separable: along each axis y = S·x, so dx = Sᵀ·dy. S is what the very
 * same Resize makes of the identity matrix, which the engine folds once: every mode and coordinate transformation comes
 * out as it computes them. Whole factors of the nearest mode are sums over blocks.
 */
import { PareError } from '../base/errors.ts'
import { attrInts, attrString } from '../ir/attrs.ts'
import { tensor, toFloats } from '../ir/tensor.ts'
import type { AttrInput } from '../types.ts'
import { alongAxis, eye, inputOf, int64s, range, reshape, rule, sumOver } from './grad.ts'
import { isGiven, shapeOf } from './op.ts'
import type { Grad, GradBuilder, NodeView, Ref } from './types.ts'

const resize: Grad = rule((g, n, dy) => {
  const x = inputOf(g, n, 0)
  const transformation = attrString(n.node, 'coordinate_transformation_mode', 'half_pixel')
  const policy = attrString(n.node, 'keep_aspect_ratio_policy', 'stretch')
  if (transformation === 'tf_crop_and_resize' || policy !== 'stretch')
    throw new PareError(
      'E_UNSUPPORTED',
      `no gradient of Resize with ${policy === 'stretch' ? transformation : policy}`,
      {
        where: n.node.name
      }
    )
  const scales = scalesOf(n, x)
  const dx = range(x.shape.length).reduce((d, axis) => {
    const [from, to] = [x.shape[axis] as number, dy.shape[axis] as number]
    const scale = scales?.[axis]
    if (from === to && (scale === undefined || scale === 1)) return d
    if (isBlocks(n, from, to)) return blocks(g, d, axis, from, to / from)
    return alongAxis(g, d, axis, matrix(g, n, d, { from, to, scale }))
  }, dy)
  return [dx, ...n.node.inputs.slice(1).map(() => null)]
})

/** Given scales, one per axis; `undefined` where sizes are given. */
function scalesOf(n: NodeView, x: Ref): readonly number[] | undefined {
  if (isGiven(n, 3) && shapeOf(n, 3)?.[0] !== 0) return undefined
  const data = n.inputs[2]?.data
  if (!data)
    throw new PareError('E_UNSUPPORTED', 'no gradient of Resize with computed scales', {
      where: n.node.name,
      hint: 'simplify the model first'
    })
  const given = Array.from(toFloats(data))
  const axes = attrInts(n.node, 'axes')?.map((a) => (a < 0 ? a + x.shape.length : a)) ?? range(x.shape.length)
  return x.shape.map((_, axis) => given[axes.indexOf(axis)] ?? 1)
}

/** Does every element become a run of the same length? */
function isBlocks(n: NodeView, from: number, to: number): boolean {
  if (attrString(n.node, 'mode', 'nearest') !== 'nearest' || to % from !== 0) return false
  const transformation = attrString(n.node, 'coordinate_transformation_mode', 'half_pixel')
  const rounding = attrString(n.node, 'nearest_mode', 'round_prefer_floor')
  return transformation === 'asymmetric'
    ? rounding === 'floor'
    : transformation === 'half_pixel' && rounding.startsWith('round')
}

function blocks(g: GradBuilder, dy: Ref, axis: number, from: number, factor: number): Ref {
  const apart = reshape(g, dy, [...dy.shape.slice(0, axis), from, factor, ...dy.shape.slice(axis + 1)])
  return sumOver(g, apart, [axis + 1])
}

/** `[to, from]`: the resized identity, with the node's own attributes. */
function matrix(
  g: GradBuilder,
  n: NodeView,
  like: Ref,
  { from, to, scale }: { readonly from: number; readonly to: number; readonly scale: number | undefined }
): Ref {
  const identity = reshape(g, eye(g, like.dtype, from), [1, 1, from, from])
  const attrs: Record<string, AttrInput> = { ...n.node.attrs }
  delete attrs['axes']
  const scales = scale === undefined ? null : g.constant(tensor('float32', [4], [1, 1, scale, 1]))
  const sizes = scale === undefined ? [int64s(g, [1, 1, to, from])] : []
  return reshape(g, g.op('Resize', [identity, null, scales, ...sizes], attrs), [to, from])
}

export const resizeGrads: Readonly<Record<string, Grad>> = { Resize: resize }

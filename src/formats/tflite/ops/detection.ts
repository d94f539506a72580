/** Detectors' last step: boxes from anchors, and the suppression of those that overlap. */
import { toArray } from '../../../base/bytes.ts'
import type { DType } from '../../../types.ts'
import type { Call, Rows } from '../call.ts'
import { flexMap } from '../flexmap.ts'

/** Numbers of a custom operator's options. */
function optionsOf(c: Call): ReadonlyMap<string, number> {
  try {
    return flexMap(toArray(c.node.custom_options ?? new Uint8Array(0)))
  } catch (error) {
    if (error instanceof RangeError) return c.refuse('its options cannot be read')
    throw error
  }
}

/**
 * Inputs: codes of boxes [1, anchors, 4] as y, x, height and width beside the anchor's, scores [1, anchors, classes] with or
 * without the background in front, anchors [anchors, 4]. Outputs: boxes by their corners, classes, scores, how many of them are
 * meant; what is over is 0. One class an anchor: the fast way of the kernel.
 */
function postProcess(c: Call): readonly string[] {
  const options = optionsOf(c)
  const need = (key: string): number => options.get(key) ?? c.refuse(`its options do not say ${key}`)
  const most = need('max_detections')
  const classes = need('num_classes')
  if (need('max_classes_per_detection') !== 1 || need('use_regular_nms') !== 0)
    c.refuse('it gives several classes an anchor, or suppresses class by class')
  const [, anchors = -1, given = -1] = c.shape(1)
  if (anchors < 1 || given < classes || most < 1) c.refuse(`its scores have the shape [${c.shape(1)}]`)
  c.bounded(4 * most)
  const parts = (id: string): readonly string[] => c.ops('Split', [id], { axis: -1, num_outputs: 4 }, 4)
  const [y = '', x = '', h = '', w = ''] = parts(c.value(0))
  const [ay = '', ax = '', ah = '', aw = ''] = parts(c.value(2))
  const scaled = (id: string, key: string): string => c.op('Div', [id, c.scalar(need(key))])
  const center = (id: string, key: string, size: string, at: string): string =>
    c.op('Add', [c.op('Mul', [scaled(id, key), size]), at])
  const half = (id: string, key: string, size: string): string =>
    c.op('Mul', [c.op('Mul', [c.op('Exp', [scaled(id, key)]), size]), c.scalar(0.5)])
  const [cy, cx] = [center(y, 'y_scale', ah, ay), center(x, 'x_scale', aw, ax)]
  const [hh, hw] = [half(h, 'h_scale', ah), half(w, 'w_scale', aw)]
  const boxes = c.op(
    'Concat',
    [c.op('Sub', [cy, hh]), c.op('Sub', [cx, hw]), c.op('Add', [cy, hh]), c.op('Add', [cx, hw])],
    { axis: -1 }
  )
  const own = c.op('Slice', [c.value(1), c.ints([given - classes]), c.ints([given]), c.ints([2])])
  const best = c.op('ReduceMax', [own, c.ints([2])], { keepdims: 0 })
  const found = c.op('NonMaxSuppression', [
    boxes,
    c.op('Unsqueeze', [best, c.ints([1])]),
    c.ints([most]),
    c.scalar(need('nms_iou_threshold')),
    c.scalar(need('nms_score_threshold'))
  ])
  const places = c.op('Gather', [found, c.constant('int64', [], [2])], { axis: 1 })
  /** The chosen of [1, anchors, …], filled up with 0. */
  const chosen = (id: string, rest: readonly number[]): string => {
    const picked = c.op('Gather', [id, places], { axis: 1 })
    const zeros = c.constant('float32', [1, most, ...rest], new Array(most * (rest[0] ?? 1)).fill(0))
    const filled = c.op('Concat', [picked, zeros], { axis: 1 })
    return c.op('Slice', [filled, c.ints([0]), c.ints([most]), c.ints([1])])
  }
  const kinds = c.cast(c.op('ArgMax', [own], { axis: 2, keepdims: 0 }), 'float32')
  const count = c.cast(c.op('Shape', [places]), 'float32')
  return [chosen(boxes, [4]), chosen(kinds, []), chosen(best, []), count]
}

/**
 * Inputs: boxes [n, 4], scores [n], how many at most, bound of the overlap, bound of the score, in the fifth version sigma.
 * Outputs: places, filled up with 0, in the fifth version their scores, and how many are meant.
 */
function suppressed(c: Call, hasScores: boolean): readonly string[] {
  const [most = 0] = c.fixed(2, 'the number of boxes')
  if (hasScores && (c.content(5)?.[0] ?? 1) !== 0) c.refuse('it lowers the scores of boxes that overlap')
  if (most < 1) c.refuse(`it asks for ${most} boxes`)
  c.bounded(most)
  const found = c.op('NonMaxSuppression', [
    c.op('Unsqueeze', [c.value(0), c.ints([0])]),
    c.op('Unsqueeze', [c.value(1), c.ints([0, 1])]),
    c.ints([most]),
    c.value(3),
    c.value(4)
  ])
  const places = c.op('Gather', [found, c.constant('int64', [], [2])], { axis: 1 })
  const filled = (id: string, dtype: DType): string => {
    const zeros = c.constant(dtype, [most], new Array(most).fill(0))
    return c.op('Slice', [c.op('Concat', [id, zeros], { axis: 0 }), c.ints([0]), c.ints([most])])
  }
  const count = c.cast(c.reshape(c.op('Shape', [places]), []), c.outType(hasScores ? 2 : 1))
  const scores = hasScores ? [filled(c.op('Gather', [c.value(1), places], { axis: 0 }), 'float32')] : []
  return [c.cast(filled(places, 'int64'), c.outType()), ...scores, count]
}

export const detectionRows: Rows = {
  NON_MAX_SUPPRESSION_V4: (c) => suppressed(c, false),
  NON_MAX_SUPPRESSION_V5: (c) => suppressed(c, true)
}

/** By the name that their makers gave them. */
export const customDetectionRows: Rows = { TFLite_Detection_PostProcess: postProcess }

/** Pooling and normalization. */
import { float } from '../../../ir/attrs.ts'
import { rangeOf } from '../../../ir/tensor.ts'
import type { Call, Rows, Turned } from '../call.ts'
import { windowAttrs } from '../window.ts'

const attrsOf = (c: Call): ReturnType<typeof windowAttrs> => {
  c.ranked(4)
  const kernel = [c.number('filter_height'), c.number('filter_width')]
  const strides = [c.number('stride_h'), c.number('stride_w')]
  if (![...kernel, ...strides].every((s) => s > 0)) c.refuse('its window or stride is 0')
  return windowAttrs({ padding: c.text('padding'), kernel, strides }, c.shape().slice(1, 3))
}

const pooled =
  (op: string) =>
  (c: Call): Turned => {
    const attrs = attrsOf(c)
    return c.channelsFirst((x) => c.activation(c.op(op, [x], attrs)))
  }

/** Relative change of a scale: more than float32 rounds by, less than moves any sum of a window's codes across a half. */
const nudge = 2e-6
/** Kernels take scales of data and output that differ by at most 1e-6 for the same. */
const largest = 0.4

/**
 * Kernels round halves of a mean of codes away from code 0, QuantizeLinear to even. Where all values have one sign, as behind a
 * clamp, and their codes do too, an output scale that is a trifle larger, or smaller, rounds halves the same way.
 */
function average(c: Call): Turned {
  const pooling = pooled('AveragePool')(c)
  const q = c.scope.quantizationOf(c.outAt())
  const { min } = q ? rangeOf(c.outType()) : { min: Number.NaN }
  if (q && q.zero.length === 1 && q.zero[0] === min && (q.scale[0] ?? 1) < largest)
    c.scope.quantize(c.outAt(), { ...q, scale: q.scale.map((s) => s * (min < 0 ? 1 + nudge : 1 - nudge)) })
  return pooling
}

/** The root of the mean square. */
function l2Pool(c: Call): Turned {
  const attrs = attrsOf(c)
  return c.channelsFirst((x) => c.activation(c.op('Sqrt', [c.op('AveragePool', [c.op('Mul', [x, x])], attrs)])))
}

/** The kernels put this under the norm. */
const smallest = 1e-6

function l2Normalization(c: Call): string {
  const x = c.value()
  const norm = c.op('ReduceL2', [x, c.ints([-1])], { keepdims: 1 })
  return c.activation(c.op('Div', [x, c.op('Max', [norm, c.scalar(smallest)])]))
}

/** ONNX divides `alpha` by the number of channels summed. */
function localResponse(c: Call): Turned {
  c.ranked(4)
  const size = 2 * c.number('radius') + 1
  const attrs = {
    size,
    alpha: float(c.number('alpha') * size),
    beta: float(c.number('beta')),
    bias: float(c.number('bias'))
  }
  return c.channelsFirst((x) => c.op('LRN', [x], attrs))
}

function softmax(c: Call): string {
  const beta = c.number('beta', 1)
  const x = beta === 1 ? c.value() : c.op('Mul', [c.value(), c.scalar(beta)])
  return c.op('Softmax', [x], { axis: -1 })
}

export const poolRows: Rows = {
  AVERAGE_POOL_2D: average,
  MAX_POOL_2D: pooled('MaxPool'),
  L2_POOL_2D: l2Pool,
  SOFTMAX: softmax,
  LOG_SOFTMAX: (c) => c.op('LogSoftmax', [c.value()], { axis: -1 }),
  L2_NORMALIZATION: l2Normalization,
  LOCAL_RESPONSE_NORMALIZATION: localResponse
}

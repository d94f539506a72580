/** Pooling and normalization. */
import { float } from '../../../ir/attrs.ts'
import type { Call, Convert, Rows, Turned } from '../call.ts'
import { windowAttrs } from '../window.ts'

const attrsOf = (c: Call): ReturnType<typeof windowAttrs> => {
  c.ranked(4)
  const kernel = [c.number('filter_height'), c.number('filter_width')]
  const strides = [c.number('stride_h'), c.number('stride_w')]
  if (![...kernel, ...strides].every((s) => s > 0)) c.refuse('its window or stride is 0')
  return windowAttrs({ padding: c.text('padding'), kernel, strides }, c.shape().slice(1, 3))
}

const pooled =
  (op: string): Convert =>
  (c) => {
    const attrs = attrsOf(c)
    return c.channelsFirst((x) => c.activation(c.op(op, [x], attrs)))
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
  AVERAGE_POOL_2D: pooled('AveragePool'),
  MAX_POOL_2D: pooled('MaxPool'),
  L2_POOL_2D: l2Pool,
  SOFTMAX: softmax,
  LOG_SOFTMAX: (c) => c.op('LogSoftmax', [c.value()], { axis: -1 }),
  L2_NORMALIZATION: l2Normalization,
  LOCAL_RESPONSE_NORMALIZATION: localResponse
}

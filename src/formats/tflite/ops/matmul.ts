/** Products of matrices. */
import { type Call, type Rows, range } from '../call.ts'
import { biasOf } from './bias.ts'

/** Weights [out, in]; what is in front of the last axis are rows. */
function fullyConnected(c: Call): string {
  if (c.text('weights_format', 'DEFAULT') !== 'DEFAULT') c.refuse('its weights are shuffled')
  c.ranked(2, 1)
  const [, depth = 1] = c.shape(1)
  const bias = biasOf(c, 2)
  if (c.flag('keep_num_dims') && c.rank() !== 2) {
    const product = c.op('MatMul', [c.value(0), c.value(1, [1, 0])])
    return c.activation(bias.length > 0 ? c.op('Add', [product, ...bias]) : product)
  }
  const isPlain = c.rank() === 2 && c.shape()[1] === depth
  const x = isPlain ? c.value(0) : c.reshape(c.value(0), [-1, depth])
  return c.activation(c.op('Gemm', [x, c.value(1), ...bias], { transB: 1 }))
}

function batchMatmul(c: Call): string {
  const operand = (i: number, isTurned: boolean): string => {
    const axes = c.rank(i)
    if (axes < 2) c.refuse('a factor has fewer than 2 axes')
    return isTurned ? c.value(i, [...range(0, axes - 2), axes - 1, axes - 2]) : c.value(i)
  }
  return c.op('MatMul', [operand(0, c.flag('adj_x')), operand(1, c.flag('adj_y'))])
}

export const matmulRows: Rows = { FULLY_CONNECTED: fullyConnected, BATCH_MATMUL: batchMatmul }

/** Every operator that is read from TensorFlow Lite gives, in ONNX Runtime, what LiteRT gives. */
import { describe, expect, it } from 'vitest'
import { rows } from '../src/formats/tflite/ops/index.ts'
import { isFloat, tensor, toNumbers } from '../src/ir/tensor.ts'
import type { Tensor } from '../src/types.ts'
import { type Case, flatCases } from './flat.cases.ts'
import { expectedOutputs } from './flat.expected.ts'
import { both, distance, inOnnxRuntime, readFlatFile } from './flat.ts'
import { flatOperator } from './flat-file.ts'

/** Float32 results of few additions, in another order; kernels of LiteRT approximate exponentials by 1e-6. */
const close = 1e-5
/** Activations that LiteRT rounds to codes at run time. */
const dynamic = 0.05

const feedsOf = (c: Case): readonly (Tensor | undefined)[] =>
  c.inputs
    .filter((t) => t !== null && !t.data && !t.more?.is_variable)
    .map((t, i) => {
      const numbers = c.feeds?.[i]
      return numbers && tensor(t?.dtype ?? 'float32', t?.shape ?? [], numbers)
    })

async function outputs(c: Case): Promise<{ readonly inONNX: readonly Tensor[]; readonly wanted: readonly Tensor[] }> {
  const bytes = flatOperator(c)
  const expected = expectedOutputs[c.name]
  if (!expected) {
    const { inONNX, inFile } = await both(bytes, feedsOf(c))
    return { inONNX, wanted: inFile }
  }
  const inONNX = await inOnnxRuntime(readFlatFile(bytes), feedsOf(c))
  return { inONNX, wanted: inONNX.map((t, i) => tensor(t.dtype, t.shape, expected[i] ?? [])) }
}

describe('operators', () => {
  it.each(flatCases.map((c) => [c.name, c] as const))('%s', { timeout: 30_000 }, async (_, c) => {
    const { inONNX, wanted } = await outputs(c)
    const isDynamic = c.inputs.some((t) => t?.data && t.scale) && isFloat(c.inputs[0]?.dtype ?? 'float32')
    for (const [i, x] of inONNX.entries()) {
      const y = wanted[i] as Tensor
      const size = Math.max(1, ...Array.from(toNumbers(y), Math.abs))
      expect([x.dtype, x.shape]).toEqual([y.dtype, y.shape])
      const bound = c.outputs[i]?.scale ? 1 : isDynamic ? dynamic * size : close * size
      expect(distance(x, y)).toBeLessThanOrEqual(bound)
    }
  })

  it('each have a case', () => {
    const tried = new Set(flatCases.map((c) => c.op))
    expect([...rows.keys()].filter((name) => !tried.has(name))).toEqual(['DENSIFY', 'LSTM'])
  })
})

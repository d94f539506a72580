/** `infer` of each operator against the shapes and types that ONNX Runtime really returns. */
import * as ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { evaluateDim } from '../base/dim.ts'
import { writeModel } from '../formats/index.ts'
import { printType } from '../ir/print.ts'
import { tensor, typedValues } from '../ir/tensor.ts'
import { parse } from '../ir/text.ts'
import type { Dim, DType, Model, Tensor } from '../types.ts'
import { inferShapes } from './infer.ts'
import { shapeCases } from './shapes.cases.ts'

/** What the symbols of the cases stand for when they run. */
const symbols = { N: 2, H: 11, W: 14, S: 5, T: 3 }

/** Sizes that only running tells. */
const openCases = new Set(['non max suppression'])

const fixed = (shape: readonly Dim[]): number[] => shape.map((d) => evaluateDim(d, symbols) ?? Number.NaN)

/** Small values: 0 and 1 for integers, so that they are indices too. */
function feed(dtype: DType, shape: readonly Dim[]): Tensor {
  const dims = fixed(shape)
  const count = dims.reduce((a, b) => a * b, 1)
  const values = Array.from({ length: count }, (_, i) => (dtype.startsWith('float') ? (i % 7) / 7 : i % 2))
  return tensor(dtype, dims, values)
}

async function realTypes(m: Model): Promise<Record<string, string>> {
  const session = await ort.InferenceSession.create(writeModel(m).bytes, {
    graphOptimizationLevel: 'disabled',
    logSeverityLevel: 4,
    intraOpNumThreads: 1
  })
  const feeds: Record<string, ort.Tensor> = {}
  for (const id of m.graph.inputs) {
    const v = m.graph.values.get(id)
    const t = feed(v?.dtype ?? 'float32', v?.shape ?? [])
    feeds[id] = new ort.Tensor(t.dtype as 'float32', typedValues(t) as Float32Array, t.shape)
  }
  const results = await session.run(feeds)
  await session.release()
  return Object.fromEntries(
    Object.entries(results).map(([id, t]) => [id, printType({ type: 'tensor', dtype: t.type as DType, shape: t.dims })])
  )
}

describe('inferred shapes are the real ones', () => {
  it.each(Object.keys(shapeCases))('%s', async (name) => {
    const m = parse((shapeCases[name] as string).replaceAll('; ', '\n'))
    const inferred = inferShapes(m).graph.values
    const expected = await realTypes(m)
    const found: Record<string, string> = {}
    let isOpen = false
    for (const id of m.graph.outputs) {
      const v = inferred.get(id)
      isOpen ||= v?.shape === undefined || v.shape.includes('?')
      // An unknown size agrees with any: the real one takes its place.
      const real = expected[id]?.match(/\[(.*)\]/)?.[1]?.split(',') ?? []
      const shape = v?.shape?.map((d, i) => (d === '?' ? Number(real[i]) : (evaluateDim(d, symbols) ?? d)))
      found[id] = printType(v && shape ? { ...v, shape } : v)
    }
    expect(found).toEqual(expected)
    expect(isOpen).toBe(openCases.has(name))
  })
})

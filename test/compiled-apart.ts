/** How far compiled models are from ONNX Runtime. */
import { expect } from 'vitest'
import { rng as seeded } from '../src/base/random.ts'
import { tensor, toFloats } from '../src/ir/tensor.ts'
import { nodeRunner } from '../src/node/index.ts'
import { compiledRunner } from '../src/runtime/compiled.ts'
import type { Model, Tensor } from '../src/types.ts'
import { confined } from './confined.ts'

const engine = nodeRunner()
const compiled = compiledRunner('0')

/** Normal numbers for every input. */
export function feedsFor(model: Model, seed = 1): Record<string, Tensor> {
  const rng = seeded(seed)
  return Object.fromEntries(
    model.graph.inputs.map((id) => {
      const shape = (model.graph.values.get(id)?.shape ?? []) as readonly number[]
      const count = shape.reduce((n, d) => n * d, 1)
      return [
        id,
        tensor(
          'float32',
          shape,
          Array.from({ length: count }, () => rng.normal())
        )
      ]
    })
  )
}

/** The largest difference of all outputs, over 1 + the largest number. */
export async function apart(model: Model): Promise<number> {
  const feeds = feedsFor(model)
  // By default ONNX Runtime rounds the data of a product with codes to codes as well.
  const [a, b] = await Promise.all([compiled.open(model), engine.open(model, { optimization: 'disabled' })])
  const [got, expected] = [await a.run(feeds), await b.run(feeds)]
  await Promise.all([a.close(), b.close()])
  // It neither writes outside its memory nor makes results of what lies there.
  const alone = confined(model, feeds)
  let worst = 0
  for (const [id, t] of Object.entries(expected)) {
    const [x, y] = [toFloats(got[id] as Tensor), toFloats(t)]
    expect(toFloats(alone[id] as Tensor), id).toEqual(x)
    const most = y.reduce((m, v) => Math.max(m, Math.abs(v)), 0)
    x.forEach((v, i) => {
      worst = Math.max(worst, Math.abs(v - (y[i] as number)) / (1 + most))
    })
  }
  return worst
}

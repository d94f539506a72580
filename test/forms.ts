/** What the tests of forms share. */
import * as web from 'onnxruntime-web'
import { expect } from 'vitest'
import { equalBytes, quickHash, toArray } from '../src/base/bytes.ts'
import { readModel, writeModel } from '../src/formats/index.ts'
import { unfolded } from '../src/formats/onnx/forms.ts'
import { elementCount, tensor } from '../src/ir/tensor.ts'
import { parse } from '../src/ir/text.ts'
import { nodeRunner } from '../src/node/runner.ts'
import { type OrtModule, ortRunner } from '../src/runtime/index.ts'
import type { Runner } from '../src/runtime/types.ts'
import type { DType, Form, Model, Tensor } from '../src/types.ts'
import { difference, optimizedOf, randomFeeds } from './compare.ts'

web.env.wasm.numThreads = 1
/** onnxruntime-node and -web. */
export const runners: readonly Runner[] = [nodeRunner(), ortRunner(web as unknown as OrtModule)]

/** A model with other constants, by id. */
export function withConstants(text: string, data: Readonly<Record<string, { data: Tensor; form?: Form }>>): Model {
  const m = parse(text)
  const values = new Map(m.graph.values)
  for (const [id, v] of Object.entries(data)) {
    const { dtype, shape } = v.data
    values.set(id, { id, type: 'tensor', dtype, shape, ...v })
  }
  return { ...m, graph: { ...m.graph, values } }
}

/** The same constants in no form. */
export const plain = (m: Model): Model => {
  const values = [...m.graph.values].map(([id, { form: _, ...v }]) => [id, v] as const)
  return { ...m, graph: { ...m.graph, values: new Map(values) } }
}

/** Outputs without the engine's own fusions. */
export async function run(runner: Runner, m: Model, feeds: Record<string, Tensor>): Promise<Record<string, Tensor>> {
  const session = await runner.open(writeModel(m).bytes, { optimization: 'basic' })
  const made = await session.run(feeds)
  await session.close()
  return made
}

/** A graph to compare; large arrays take the test runner long. */
const hashed = ({ graph }: Model): unknown => ({
  ...graph,
  values: [...graph.values.values()]
    .map(({ data, ...v }) => ({
      ...v,
      data: data && quickHash(toArray(data.bytes)),
      type: data?.dtype,
      of: data?.shape
    }))
    .sort((a, b) => (a.id < b.id ? -1 : 1))
})

/** Reading gives what was written; the engine folds it all; outputs are those of the plain model, bit by bit. Returns the file's bytes. */
export async function holds(m: Model, reference: Model = plain(m)): Promise<number> {
  const { bytes } = writeModel(m)
  const again = readModel(bytes)
  expect(hashed(again)).toEqual(hashed(m))
  expect(equalBytes(writeModel(again).bytes, bytes)).toBe(true)
  const session = await nodeRunner().open(bytes, { keepOptimized: true })
  expect(unfolded(m, await optimizedOf(session))).toEqual([])
  await session.close()
  const feeds = randomFeeds(m, 1)
  for (const runner of runners)
    expect(difference(await run(runner, reference, feeds), await run(runner, m, feeds))).toBe(0)
  return bytes.length
}

/** A tensor of picked numbers. */
export const random = (dtype: DType, shape: readonly number[], pick: (at: number) => number): Tensor =>
  tensor(
    dtype,
    shape,
    Array.from({ length: elementCount(shape) }, (_, i) => pick(i))
  )

/**
 * Compiled models against ONNX Runtime: the ONNX project's own cases as far as their operators have loops, and the models of
 * the shared data.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fromBinary } from '@bufbuild/protobuf'
import { ModelProtoSchema } from 'onnx-buf'
import { describe, expect, it } from 'vitest'
import { PareError } from '../src/base/errors.ts'
import { readModel } from '../src/formats/index.ts'
import { edit } from '../src/ir/edit.ts'
import { isFloat, toFloats, toNumbers } from '../src/ir/tensor.ts'
import { nodeRunner } from '../src/node/index.ts'
import { compiledRunner } from '../src/runtime/compiled.ts'
import type { Session } from '../src/runtime/types.ts'
import type { Model, Tensor } from '../src/types.ts'
import { confined } from './confined.ts'
import { readFeeds } from './onnx-cases.ts'
import { onnxCases } from './shared.ts'

const engine = nodeRunner()
const compiled = compiledRunner('0')
type Feeds = Readonly<Record<string, Tensor>>

/** The model with all inputs but the first as constants: what is a weight in real models is an input in these cases. */
const weighted = (model: Model, feeds: Feeds): Model =>
  edit(model, (draft) => {
    for (const id of model.graph.inputs.slice(1))
      draft.set({ ...draft.value(id), id, type: 'tensor', data: feeds[id] as Tensor })
  })

async function outputsOf(session: Session, feeds: Feeds): Promise<Feeds> {
  try {
    return await session.run(feeds)
  } finally {
    await session.close()
  }
}

/** The largest difference, over 1 + the largest number. */
function difference(a: Tensor, b: Tensor): number {
  if (a.shape.join() !== b.shape.join()) return Number.POSITIVE_INFINITY
  const numbers = (t: Tensor): ArrayLike<number> => (isFloat(t.dtype) ? toFloats(t) : toNumbers(t))
  const [x, y] = [numbers(a), numbers(b)]
  let [worst, most] = [0, 0]
  for (let i = 0; i < x.length; i++) {
    const [p, q] = [x[i] as number, y[i] as number]
    if (Number.isFinite(q)) most = Math.max(most, Math.abs(q))
    if (!(Object.is(p, q) || p === q))
      worst = Math.max(worst, Number.isNaN(p - q) ? Number.POSITIVE_INFINITY : Math.abs(p - q))
  }
  return worst / (1 + most)
}

const bitsOf = (t: Tensor): Uint8Array => Uint8Array.from(t.bytes.slice())

const refusals = new Set(['E_UNSUPPORTED', 'E_OPTION'])

/** `undefined` where the case is refused or the engine does not run it; else how far the outputs are apart. */
async function compare(folder: string): Promise<number | undefined> {
  const bytes = readFileSync(join(folder, 'model.onnx'))
  let feeds: Record<string, Tensor>
  let model: Model
  let expected: Feeds
  try {
    feeds = readFeeds(fromBinary(ModelProtoSchema, bytes), join(folder, 'test_data_set_0'))
    model = readModel(bytes)
    expected = await outputsOf(await engine.open(model), feeds)
  } catch {
    return undefined
  }
  for (const tried of [model, weighted(model, feeds)]) {
    try {
      const given = Object.fromEntries(Object.entries(feeds).filter(([id]) => tried.graph.inputs.includes(id)))
      const got = await outputsOf(await compiled.open(tried), given)
      if (tried.graph.inputs.every((id) => tried.graph.values.get(id)?.shape?.every((d) => typeof d === 'number'))) {
        const alone = confined(tried, given)
        for (const [id, t] of Object.entries(got)) expect(bitsOf(alone[id] as Tensor), id).toEqual(bitsOf(t))
      }
      return Math.max(...Object.entries(expected).map(([id, t]) => difference(got[id] as Tensor, t)))
    } catch (error) {
      if (!(error instanceof PareError && refusals.has(error.code))) throw error
    }
  }
  return undefined
}

const root = onnxCases()

describe.skipIf(!root)('the ONNX project’s cases', () => {
  for (const group of root ? readdirSync(root) : []) {
    it(group, { timeout: 600_000 }, async () => {
      const far: string[] = []
      let run = 0
      for (const name of readdirSync(join(root as string, group))) {
        if (!existsSync(join(root as string, group, name, 'model.onnx'))) continue
        const off = await compare(join(root as string, group, name)).catch((e) => `${e}`)
        if (off === undefined) continue
        run++
        if (!(typeof off === 'number' && off <= 1e-4)) far.push(`${name}: ${off}`)
      }
      expect(far).toEqual([])
      if (group === 'node') expect(run).toBeGreaterThan(200)
      console.log(group, run)
    })
  }
})

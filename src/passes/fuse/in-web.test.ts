/** Single operators for several, in onnxruntime-web: the same numbers as the spelled-out model in onnxruntime-node. */
import * as web from 'onnxruntime-web'
import { describe, expect, it } from 'vitest'
import { difference, outputsOf, testContext } from '../../../test/compare.ts'
import { llamaFeeds, smallLlama } from '../../../test/llama-model.ts'
import { bertFeeds, gptFeeds, smallBert, smallGpt } from '../../../test/transformer-models.ts'
import { opName } from '../../ir/graph.ts'
import { ortRunner } from '../../runtime/index.ts'
import { targetFor } from '../../targets/index.ts'
import type { Model, Tensor } from '../../types.ts'
import { applyRecipe } from '../recipe.ts'
import type { Recipe } from '../types.ts'

web.env.wasm.numThreads = 1

/** float32 by other kernels of another build, relative to the largest output. */
const BUILDS = 1e-4

const models: Readonly<Record<string, readonly [Model, Readonly<Record<string, Tensor>>]>> = {
  BERT: [smallBert(), bertFeeds()],
  'BERT, masked by Where': [smallBert({ by: 'where' }), bertFeeds()],
  GPT: [smallGpt(), gptFeeds()],
  Llama: [smallLlama(), llamaFeeds()]
}

describe('fused in onnxruntime-web', () => {
  for (const [name, [m, feeds]] of Object.entries(models))
    it.each([
      ['by the target’s rows', false],
      ['all that there is', true]
    ])(`${name}, %s`, async (_, all) => {
      const recipe: Recipe = [
        ['simplify', {}],
        ['fuse', {}],
        ['fuse-transformer', { all }]
      ]
      const { model } = await applyRecipe(m, recipe, { ...testContext(), target: targetFor('ort-wasm') })
      const own = model.graph.nodes.map(opName).filter((op) => op.startsWith('com.microsoft:'))
      // Heads of Llama share their keys: its attention stays as it is.
      const most = name === 'Llama' ? 'RotaryEmbedding' : 'MultiHeadAttention'
      if (all) expect(own).toContain(`com.microsoft:${most}`)
      const session = await ortRunner(web).open(model)
      try {
        expect(difference(await outputsOf(m, feeds), await session.run(feeds))).toBeLessThan(BUILDS)
      } finally {
        await session.close()
      }
    })
})

import { expect, it } from 'vitest'
import { testContext } from '../../../test/compare.ts'
import { digits, network } from '../../../test/digits.ts'
import { toFloats } from '../../ir/tensor.ts'
import type { Model } from '../../types.ts'
import { parseOptions } from '../pass.ts'
import { train } from './train.ts'

const options = { epochs: 8, batch: 20, optimizer: { name: 'adam', rate: 0.01 } }
const samples = { train: digits(400, 'train'), selection: digits(200, 'selection') }

async function run(m: Model): Promise<{ made: Model; told: { score: { before: number; after: number } } }> {
  let told: unknown
  const ctx = {
    ...testContext(),
    data: samples,
    plan: (p: unknown) => {
      told = p
    }
  }
  const made = await train.run(m, parseOptions(train, options), ctx)
  return { made, told: told as { score: { before: number; after: number } } }
}

const weights = (m: Model, id: string): number[] => Array.from(toFloats(m.graph.values.get(id)?.data as never))

it('trains from nothing, whatever the weights were', async () => {
  const [a, b] = [await run(network('one')), await run(network('two'))]
  expect(weights(a.made, 'W2')).toEqual(weights(b.made, 'W2'))
  expect(a.told.score.before).toBeLessThan(0.35)
  expect(a.told.score.after).toBeGreaterThan(0.7)
})

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { testContext } from '../../../test/compare.ts'
import { rng } from '../../base/random.ts'
import { arrayDataset } from '../../data/index.ts'
import { formats, writeModel } from '../../formats/index.ts'
import { tensor } from '../../ir/tensor.ts'
import { model } from '../../ir/text.ts'
import { applyRecipe } from '../../passes/recipe.ts'
import type { Recipe } from '../../passes/types.ts'
import { load, save } from '../files.ts'
import { openReference } from './reference.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-test-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const file = (name: string): string => join(folder, name)

/** A normalisation that fusing folds into the weights. */
const net = (weight: string) => model`
  input x: f32[N,3,8,8]
  a = Conv(x, ${weight}: f32[8,3,3,3], pads=[1,1,1,1])
  const V: f32[8] = 1, 2, 3, 4, 5, 6, 7, 8
  b = BatchNormalization(a, S: f32[8], B: f32[8], M: f32[8], V)
  c = Relu(b)
  y = Conv(c, W2: f32[4,8,1,1], B2: f32[4])
  output y
`
const random = rng('reference')
const x = tensor(
  'float32',
  [32, 3, 8, 8],
  Float32Array.from({ length: 32 * 192 }, () => random.normal())
)
const context = () => ({ ...testContext(), data: { calibration: arrayDataset({ inputs: { x } }) } })
const prepare: Recipe = [
  ['simplify', {}],
  ['fuse', {}]
]

beforeAll(async () => {
  await save(net('W1'), file('float.onnx'))
  await save(net('other'), file('other.onnx'))
})

describe('openReference', () => {
  it.each([
    ['quantize-static', [...prepare, ['quantize-static', {}]], 'correct-bias'],
    ['quantize-weights of 4 bits', [...prepare, ['quantize-weights', { bits: 4 }]], 'round'],
    ['quantize-weights on the model as it is', [['quantize-weights', {}]], 'correct-bias']
  ] as const)('%s: a file and its original give what one recipe does', async (name, recipe, pass) => {
    const original = await load(file('float.onnx'))
    const inOne = await applyRecipe(original, [...recipe, [pass, {}]], context())
    const out = file(`${name}.onnx`)
    await save((await applyRecipe(original, recipe, context())).model, out)
    const rounded = await load(out)
    const reference = await openReference(file('float.onnx'), rounded, context(), formats)
    const after = await applyRecipe(rounded, [[pass, {}]], { ...context(), reference })
    expect(after.model).not.toBe(rounded)
    expect(writeModel(after.model).bytes).toEqual(writeModel(await reread(inOne.model)).bytes)
  })
  it('refuses what is not the original', async () => {
    const original = await load(file('float.onnx'))
    const { model: rounded } = await applyRecipe(original, [...prepare, ['quantize-static', {}]], context())
    await save(rounded, file('int8.onnx'))
    await expect(openReference(file('other.onnx'), rounded, context(), formats)).rejects.toMatchObject({
      code: 'E_USAGE',
      where: file('other.onnx'),
      message: expect.stringContaining('not the model')
    })
    await expect(openReference(file('int8.onnx'), rounded, context(), formats)).rejects.toThrow(/quantized itself/)
    await expect(openReference(file('float.onnx'), original, context(), formats)).rejects.toThrow(/not quantized/)
  })
  it('a pass without it names the flag', async () => {
    const rounded = await load(file('int8.onnx'))
    await expect(applyRecipe(rounded, [['correct-bias', {}]], context())).rejects.toMatchObject({
      code: 'E_USAGE',
      hint: expect.stringContaining('--reference FILE')
    })
  })
})

/** As it is after writing and reading. */
async function reread(m: Parameters<typeof save>[0]): ReturnType<typeof load> {
  await save(m, file('reread.onnx'), { force: true })
  return load(file('reread.onnx'))
}

import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { testContext } from '../../../test/compare.ts'
import { writeModel } from '../../formats/index.ts'
import { model } from '../../ir/text.ts'
import { applyRecipe } from '../../passes/recipe.ts'
import { standard } from '../catalog.ts'
import { inspectJob } from './inspect.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-inspect-'))
afterAll(() => rmSync(folder, { recursive: true }))

const net = model`
  input x: f32[N,64]
  input c: bool[]
  z = MatMul(x, W: f32[64,64])
  y = If(c, then_branch={ a = MatMul(x, W)
    output a }, else_branch={ b = MatMul(x, V: f32[64,64])
    output b })
  output y
  output z`

it.each([
  ['float', []],
  ['int8', [['quantize-weights', { minElements: 1 }]]],
  ['palette', [['quantize-weights', { bits: 4, form: 'palette', minElements: 1 }]]]
] as const)('bytes add up to the file, %s: codes, scales, codebooks, subgraphs', async (name, recipe) => {
  const { model: made } = await applyRecipe(net, recipe, testContext())
  const file = join(folder, `${name}.onnx`)
  writeFileSync(file, writeModel(made).bytes)
  const hooks = { progress: () => {}, signal: new AbortController().signal }
  const { inspection } = await inspectJob({ command: 'inspect', line: '', model: file }, hooks, standard)
  const shares = inspection?.bytes ?? []
  expect(shares.reduce((n, s) => n + (s.value ?? 0), 0)).toBe(statSync(file).size)
  const weights = 2 * 64 * 64 * { float: 4, int8: 1, palette: 0.5 }[name]
  const held = shares.find((s) => s.kind === 'MatMul')?.value
  expect(held).toBeGreaterThanOrEqual(weights)
  // Codebooks per channel, in float16, and the table of digits come with a palette.
  expect(held).toBeLessThan(name === 'palette' ? weights + 2 * 64 * 16 * 2 + 1024 : weights * 1.3)
})

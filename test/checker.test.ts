/**
 * ONNX's own checker, fully and with strict shape inference, over what passes write: of the small cases, and of all
 * operators' cases. Needs Python with the package onnx: `python3`, or the one that PARE_PYTHON names.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, it } from 'vitest'
import { PareError } from '../src/base/errors.ts'
import { readModel, writeModel } from '../src/formats/index.ts'
import { print } from '../src/ir/print.ts'
import { applyRecipe } from '../src/passes/recipe.ts'
import type { Recipe } from '../src/passes/types.ts'
import type { Model } from '../src/types.ts'
import { testContext } from './compare.ts'
import { modelOf, pieces } from './random/pieces.ts'
import { samplesOf, subjectOf } from './random/subject.ts'

const python = process.env['PARE_PYTHON'] ?? 'python3'
const found = spawnSync(python, ['-c', 'import onnx; print(onnx.__version__)'], { encoding: 'utf8' })
const reason = found.status === 0 ? '' : ` (skipped: ${python} has no package onnx; PARE_PYTHON names another)`

const folder = mkdtempSync(join(tmpdir(), 'pare-checker-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const small = { minElements: 1 }
const recipes: Readonly<Record<string, Recipe>> = {
  simplify: [['simplify', {}]],
  fuse: [['fuse', {}]],
  weights: [['quantize-weights', small]],
  'weights qdq': [['quantize-weights', { ...small, form: 'qdq' }]],
  'weights 4': [['quantize-weights', { ...small, bits: 4, form: 'qdq', blockSize: 16 }]],
  'weights 2': [['quantize-weights', { ...small, bits: 2 }]],
  palette: [['quantize-weights', { ...small, bits: 4, form: 'palette' }]],
  nbits: [['quantize-weights', { ...small, bits: 4, form: 'nbits', blockSize: 16, include: ['MatMul', 'Gather'] }]],
  nf4: [['quantize-nf4', { ...small, blockSize: 16 }]],
  dynamic: [['quantize-dynamic', { ...small, include: ['MatMul', 'Gemm', 'Gather', 'Conv'] }]],
  'dynamic microsoft': [['quantize-dynamic', { ...small, microsoft: true, include: ['MatMul', 'Gemm', 'LSTM'] }]],
  half: [['cast-float', small]],
  bfloat16: [['cast-float', { ...small, type: 'bfloat16' }]],
  compute: [['cast-float', { ...small, compute: true }]]
}
/** With data. */
const calibrated: Readonly<Record<string, Recipe>> = {
  static: [['quantize-static', {}]],
  qoperator: [
    ['quantize-static', {}],
    ['to-qoperator', { microsoft: true }]
  ]
}

/** Every model with its name, and what its recipe makes of it at two opsets. */
async function write(name: string, model: Model, data?: ReturnType<typeof samplesOf>): Promise<void> {
  keep(name, 'as read', model)
  for (const [how, recipe] of Object.entries(data ? { ...recipes, ...calibrated } : recipes)) {
    const made = await attempt(async () => {
      const ctx = { ...testContext(), data: data ? { calibration: data } : {} }
      return (await applyRecipe(model, recipe, ctx)).model
    })
    if (made && made !== model) keep(name, how, made)
  }
}

function keep(name: string, how: string, model: Model): void {
  for (const opset of [undefined, 23]) {
    const bytes = attemptNow(() => writeModel(model, opset === undefined ? {} : { opset }).bytes)
    const file = `${name}, ${how}${opset === undefined ? '' : `, opset ${opset}`}.onnx`
    if (bytes) writeFileSync(join(folder, file.replaceAll(/[/:]/g, '-')), bytes)
  }
}

/** `undefined` where Pare refuses with a reason. */
async function attempt<T>(make: () => Promise<T>): Promise<T | undefined> {
  try {
    return await make()
  } catch (error) {
    if (error instanceof PareError && error.code !== 'E_INTERNAL') return undefined
    throw error
  }
}

function attemptNow<T>(make: () => T): T | undefined {
  try {
    return make()
  } catch (error) {
    if (error instanceof PareError && error.code !== 'E_INTERNAL') return undefined
    throw error
  }
}

it.skipIf(reason)(`is content with every file that passes write${reason}`, { timeout: 900_000 }, async () => {
  const cases = fileURLToPath(new URL('cases', import.meta.url))
  for (const name of readdirSync(cases)) await write(name, readModel(readFileSync(join(cases, name, 'model.onnx'))))
  for (const piece of pieces) {
    const model = modelOf(piece, 'f32', false)
    if (!model) continue
    const s = await subjectOf(print(model))
    await write(piece.name, model, 'unfit' in s ? undefined : samplesOf(s))
  }
  const files = readdirSync(folder)
  const checked = spawnSync(python, [fileURLToPath(new URL('checker.py', import.meta.url)), folder], {
    encoding: 'utf8'
  })
  expect(checked.status, checked.stderr).toBe(0)
  const failed = JSON.parse(checked.stdout) as Record<string, string>
  console.info(`onnx ${found.stdout.trim()}: ${files.length} files checked, ${Object.keys(failed).length} refused`)
  if (process.env['PARE_CHECKER_DETAILS'])
    writeFileSync(process.env['PARE_CHECKER_DETAILS'], JSON.stringify(failed, null, 1))
  // What is refused as it was read is no matter of a pass.
  const given = new Set(Object.keys(failed).flatMap((f) => (f.includes(', as read') ? [f.replace(/, .*/, '')] : [])))
  expect(Object.entries(failed).filter(([f]) => !given.has(f.replace(/, .*/, '')))).toEqual([])
  expect(files.length).toBeGreaterThan(2000)
})

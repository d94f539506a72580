/** Facts of devices on real files, and the names in them. */
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { rng } from '../src/base/random.ts'
import { readModel, writeModel } from '../src/formats/index.ts'
import { operatorsOf } from '../src/formats/tflite/facts.ts'
import { fieldsOf } from '../src/formats/tflite/schema.ts'
import { recordName } from '../src/ir/graph.ts'
import { nodeRunner } from '../src/node/runner.ts'
import { operatorsOfModel } from '../src/ops/facts.ts'
import { ops } from '../src/ops/index.ts'
import { applyRecipe } from '../src/passes/recipe.ts'
import { printPreflight } from '../src/report/preflight-text.ts'
import { noStyle } from '../src/report/table.ts'
import type { Preflight } from '../src/report/types.ts'
import { preflight, targetFor, targets } from '../src/targets/index.ts'
import { sharedData } from './shared.ts'

const builtins = fieldsOf('OperatorCode').flatMap(({ kind }) => (kind.is === 'scalar' ? (kind.names ?? []) : []))

it('targets of TensorFlow Lite name operators of its schema', () => {
  for (const { format, device } of targets) {
    if (format !== 'tflite' || !device) continue
    for (const group of device.operators) for (const name of Object.keys(group.take)) expect(builtins).toContain(name)
    for (const name of device.absent?.names ?? []) expect(builtins).toContain(name)
  }
})

it('targets of ONNX name operators of the standard, or of a domain', () => {
  const known = new Set(ops.map(recordName))
  const others = new Set<string>()
  for (const { format, device } of targets) {
    if (format !== 'onnx' || !device) continue
    const named = [...device.operators.flatMap((g) => Object.keys(g.take)), ...(device.absent?.names ?? [])]
    for (const name of named) if (!known.has(name)) others.add(name)
  }
  expect([...others].toSorted()).toEqual(unrecorded)
})

/** Operators of ONNX, or of ONNX Runtime, that Pare has no record of. */
const unrecorded: readonly string[] = []

const around = {
  ...{ engine: nodeRunner(), data: {}, target: targetFor('ort-cpu'), rng: rng(1), progress: () => {} },
  signal: new AbortController().signal
}

const zoo = ['imagenet/mobilenet_v1_025_224.onnx', 'cifar10-jpeg/resnet20.onnx', 'kws/ds_cnn.onnx'] as const
const models = zoo.map((path) => sharedData(...(path.split('/') as [string, string])))

it.skipIf(models.includes(undefined))('every verdict beside the best has a reason, on every device', async () => {
  for (const path of models) {
    const given = await readModel(new Uint8Array(readFileSync(path as string)))
    const model = (
      await applyRecipe(
        given,
        ['simplify', 'fuse'].map((pass) => [pass, {}] as const),
        around
      )
    ).model
    const file = writeModel(model, { format: 'tflite' }).bytes
    for (const target of targets) {
      if (!target.device) continue
      const found = preflight(target, target.format === 'tflite' ? operatorsOf(file) : operatorsOfModel(model))
      for (const o of found?.operators ?? []) {
        if (o.verdict === 'runs') continue
        expect(o.reasons.length, `${target.name} ${o.name}`).toBeGreaterThan(0)
        for (const r of o.reasons) expect(r.says).toBeTruthy()
      }
    }
  }
})

const float = sharedData('tflite', 'resnet8_float32.tflite')
const int8 = sharedData('kws', 'ds_cnn_int8_reference.tflite')
const on = (path: string, target: string): Preflight =>
  preflight(targetFor(target), operatorsOf(new Uint8Array(readFileSync(path)))) as Preflight

it.skipIf(!float)('a float network runs wholly on each, on some once it is quantized', () => {
  const path = float as string
  expect(operatorsOf(new Uint8Array(readFileSync(path))).reduce((n, o) => n + (o.macs ?? Number.NaN), 0)).toBe(
    12_501_632
  )
  for (const name of ['litert-cpu', 'litert-gpu', 'edgetpu', 'cmsis-nn'])
    expect(on(path, name)).toMatchObject({ parts: 1, share: 1, gains: [] })
  expect(['litert-cpu', 'edgetpu', 'cmsis-nn'].map((name) => on(path, name).as)).toEqual([undefined, 'int8', 'int8'])
  expect(printPreflight(on(path, 'cmsis-nn'), noStyle)).toContain(
    '16 of 16 operators · 100 % of the multiply-adds · as int8, once it is quantized'
  )
})

it.skipIf(!int8)('an int8 network: what XNNPACK leaves to LiteRT', () => {
  const found = on(int8 as string, 'litert-cpu')
  expect(found.operators.filter((o) => o.verdict !== 'runs').map((o) => o.op)).toEqual(['AVERAGE_POOL_2D', 'SOFTMAX'])
  expect(found.parts).toBe(2)
  expect(on(int8 as string, 'edgetpu').operators.every((o) => o.verdict === 'runs')).toBe(true)
})

/**
 * Latency predicted by a cost model beside latency measured, of four models in float and int8.
 *
 *     node bench/latency-prediction.mjs DATA [--target ort-cpu] [--cost FILE] [--clock cpu]      DATA: the folder of real models
 *
 * Without --cost the target is calibrated first. Times are those that a quarter of blocks of runs take at most; --clock cpu
 * is for a machine on which other work runs. Beside them, where the runtime tells it: the sum of its kernels under its profiler.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import * as pare from '../dist/node/index.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    target: { type: 'string', default: 'ort-cpu' },
    cost: { type: 'string' },
    rounds: { type: 'string', default: '4' },
    clock: { type: 'string', default: 'wall' },
    kernels: { type: 'boolean', default: false }
  }
})
const [folder] = positionals
if (!folder) throw new Error('usage: node bench/latency-prediction.mjs DATA')

const models = [
  ['DS-CNN', 'kws/ds_cnn.onnx'],
  ['MobileNetV1-0.25', 'imagenet/mobilenet_v1_025_224.onnx'],
  ['ResNet-20', 'cifar10-jpeg/resnet20.onnx'],
  ['ResNet-56', 'cifar10-jpeg/resnet56.onnx']
]
const target = pare.targetFor(values.target)
const runner = {
  'onnxruntime-node': () => pare.nodeRunner(),
  'onnxruntime-web': () => pare.webRunner(),
  '@litertjs/core': () => pare.liteRtRunner()
}[target.runtime]
const measured = await (runner ? runner() : pare.compiledRunnerOf?.())
if (!measured) throw new Error(`${target.runtime} is not here`)

const began = performance.now()
const cost = values.cost
  ? pare.readCostModel(values.cost)
  : (await pare.calibrateTarget({ target, rounds: Number(values.rounds), clock: values.clock })).model
if (!values.cost) console.log(`calibrated in ${((performance.now() - began) / 1000).toFixed(0)} s`)
console.log(`${target.name}, ${cost.runtime.name} ${cost.runtime.version}, ${cost.machine.cpu}, ${cost.day}, 1 thread`)

const signal = new AbortController().signal
const rng = pare.rng(1)
const around = { engine: pare.nodeRunner(), target, rng, signal, progress: () => {} }
const draw = (model, n) =>
  Object.fromEntries(
    model.graph.inputs.map((id) => {
      const shape = model.graph.values.get(id).shape.map((d) => (typeof d === 'number' ? d : n))
      const count = shape.reduce((a, b) => a * b, 1)
      return [
        id,
        pare.tensor(
          'float32',
          shape,
          Float32Array.from({ length: count }, () => rng.normal())
        )
      ]
    })
  )
const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1]

async function least(model, feeds) {
  const session = await measured.open(model, { threads: 1 })
  try {
    return await pare.quietMs(session, feeds, { clock: values.clock, blocks: 60 })
  } finally {
    await session.close()
  }
}

async function kernelSum(model, feeds) {
  if (!measured.can.profile) return undefined
  const session = await measured.open(model, { threads: 1, profile: true })
  const runs = 60
  for (let i = 0; i < runs; i++) await session.run(feeds)
  const times = await session.profile()
  await session.close()
  // The least time of each kernel: those of busy moments do not add up.
  const by = new Map()
  for (const { node, ms } of times) by.set(node, [...(by.get(node) ?? []), ms])
  return [...by.values()].reduce((n, all) => n + median(all.toSorted((a, b) => a - b).slice(0, all.length >> 1)), 0)
}

const rows = []
const errors = []
for (const [name, path] of models) {
  if (!existsSync(join(folder, path))) continue
  const given = await pare.load(join(folder, path))
  const fused = (
    await pare.applyRecipe(
      given,
      [
        ['simplify', {}],
        ['fuse', {}]
      ],
      { ...around, data: {} }
    )
  ).model
  const forms = [['float32', fused]]
  if (target.integer.length > 0) {
    const calibration = pare.arrayDataset({ inputs: draw(given, 8) })
    const made = await pare.applyRecipe(fused, [['quantize-static', {}]], { ...around, data: { calibration } })
    if (made.model !== fused) forms.push(['int8', made.model])
  }
  for (const [form, model] of forms) {
    const feeds = draw(model, 1)
    const ms = await least(model, feeds)
    const { ms: predicted, perNode, guessed } = pare.predict(model, cost)
    const sum = await kernelSum(model, feeds)
    const error = predicted / ms - 1
    errors.push(Math.abs(error))
    rows.push({
      model: name,
      form,
      'predicted ms': predicted.toFixed(3),
      'measured ms': ms.toFixed(3),
      'error %': (100 * error).toFixed(1),
      'kernels, profiled ms': sum?.toFixed(3) ?? '',
      'guessed %': (100 * guessed).toFixed(1)
    })
    if (values.kernels) {
      const kinds = new Map()
      for (const k of perNode) kinds.set(k.kind, (kinds.get(k.kind) ?? 0) + k.ms)
      console.log(name, form, Object.fromEntries([...kinds].map(([k, v]) => [k, v.toFixed(3)])))
    }
  }
}
console.table(rows)
const sorted = errors.toSorted((a, b) => a - b)
console.log(
  `error of ${sorted.length} predictions: median ${(100 * median(sorted)).toFixed(1)} %, worst ${(100 * (sorted.at(-1) ?? 0)).toFixed(1)} %`
)

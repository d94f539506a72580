/**
 * What is read from TensorFlow Lite files, beside LiteRT: each file runs as it is in LiteRT and as what is read from it in ONNX
 * Runtime, on seeded inputs or on samples, and the table gives the largest difference of an output, alone and beside the largest
 * value, or, of codes, the share within one step.
 *
 *   node bench/tflite-read.mjs FILE-OR-FOLDER… [--data ARRAYS.npz] [--samples 5] [--log FILE]
 *
 * `--data`: an array `x` of samples in the units of the model, and `y` of class indices, for files of one input; top-1 of both is
 * given too. `--log` appends a line a file, and leaves out files that it has. Build first.
 */
import { appendFileSync, existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { parseArgs } from 'node:util'
import {
  elementCount,
  formatFor,
  liteRtRunner,
  loadNoted,
  nodeRunner,
  openDataset,
  rng,
  tensor,
  toNumbers,
  writeModel
} from '../dist/node/index.js'

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    data: { type: 'string' },
    samples: { type: 'string', default: '5' },
    log: { type: 'string' }
  }
})

const filesIn = (path) =>
  statSync(path).isDirectory()
    ? readdirSync(path, { withFileTypes: true }).flatMap((e) =>
        e.isDirectory() || e.name.endsWith('.tflite') ? filesIn(join(path, e.name)) : []
      )
    : [path]

const [ours, theirs] = [nodeRunner(), liteRtRunner()]
if (!theirs) throw new Error('npm install @litertjs/core')
const random = rng(0)
const codes = { int8: [-128, 127], uint8: [0, 255], int16: [-32768, 32767] }

/** Seeded numbers: floats of ±1, all codes, small integers otherwise. */
function drawn({ dtype, shape = [] }) {
  const sizes = shape.map((d) => (typeof d === 'number' ? d : 1))
  const [low, high] = codes[dtype] ?? [0, 1]
  const value = () =>
    dtype.startsWith('float') ? 2 * random.next() - 1 : low + Math.floor(random.next() * (high - low + 1))
  return tensor(dtype, sizes, Array.from({ length: elementCount(sizes) }, value))
}

/** A sample as the model's only input takes it: codes where it is quantized. */
function sampled(model, x) {
  const v = model.graph.values.get(model.graph.inputs[0])
  const shape = v.shape.map((d) => (typeof d === 'number' ? d : 1))
  const numbers = toNumbers(x)
  const reader = model.graph.nodes.find(
    (n) => n.op === 'DequantizeLinear' && v.dtype in codes && reaches(model, v.id, n)
  )
  if (!reader) return tensor(v.dtype, shape, numbers)
  const [scale, zero] = [1, 2].map((k) => toNumbers(model.graph.values.get(reader.inputs[k]).data)[0])
  return tensor(
    v.dtype,
    shape,
    Array.from(numbers, (n) => n / scale + zero)
  )
}

/** Does the node read the input, at most behind a Transpose of it? */
function reaches({ graph }, id, node) {
  const maker = graph.nodes.find((n) => n.outputs.includes(node.inputs[0]))
  return node.inputs[0] === id || (maker?.op === 'Transpose' && maker.inputs[0] === id)
}

const best = (p) => p.reduce((m, x, i) => (x > p[m] ? i : m), 0)

async function compare(path) {
  const { model, notes } = await loadNoted(path)
  const data = given.data === undefined ? undefined : await samplesOf(given.data, model)
  const a = await ours.open(writeModel(model, { format: formatFor('onnx') }).bytes)
  const b = await theirs.open({ path })
  const isCodes = (id) => model.graph.values.get(id)?.dtype in codes
  let [most, relative, near, all, rightA, rightB] = [0, 0, 0, 0, 0, 0]
  const n = data?.length ?? Number(given.samples)
  for (let i = 0; i < n; i++) {
    const feeds = data ? [sampled(model, data[i].x)] : model.graph.inputs.map((id) => drawn(model.graph.values.get(id)))
    const inA = await a.run(Object.fromEntries(model.graph.inputs.map((id, k) => [id, feeds[k]])))
    const inB = await b.run(Object.fromEntries(b.inputs.map((v, k) => [v.name, feeds[k]])))
    for (const [k, id] of model.graph.outputs.entries()) {
      const [p, q] = [Array.from(toNumbers(inA[id])), Array.from(toNumbers(inB[b.outputs[k].name]))]
      if (p.length !== q.length) throw new Error(`output ${id} has ${p.length} elements, and ${q.length} in LiteRT`)
      const size = q.reduce((m, y) => Math.max(m, Math.abs(y)), 1e-3)
      for (const [j, x] of p.entries()) {
        const d = Math.abs(x - q[j])
        if (!(d <= most)) most = d
        relative = Math.max(relative, d / size)
        if (isCodes(id) && d <= 1) near++
        if (isCodes(id)) all++
      }
      if (data && k === 0) [rightA, rightB] = [rightA + (best(p) === data[i].y), rightB + (best(q) === data[i].y)]
    }
  }
  await a.close()
  await b.close()
  return {
    nodes: model.graph.nodes.length,
    transposes: model.graph.nodes.filter((x) => x.op === 'Transpose').length,
    'max |d|': most.toExponential(1),
    relative: relative.toExponential(1),
    ...(all > 0 ? { 'within 1 step': `${((100 * near) / all).toFixed(2)} %` } : {}),
    ...(data
      ? { 'top-1': `${((100 * rightA) / n).toFixed(2)} %`, 'in LiteRT': `${((100 * rightB) / n).toFixed(2)} %` }
      : {}),
    ...(notes.length > 0 ? { notes: notes.join('; ') } : {})
  }
}

/** The first samples and their classes. */
async function samplesOf(path, model) {
  const all = []
  const { id, shape } = model.graph.values.get(model.graph.inputs[0])
  const dataset = await openDataset({ path }, [{ name: id, dtype: 'float32', shape }])
  const indices = Array.from({ length: Math.min(Number(given.samples), dataset.size) }, (_, i) => i)
  for await (const batch of dataset.batches({ batch: 1, indices }))
    all.push({ x: Object.values(batch.inputs)[0], y: batch.labels?.[0] })
  return all
}

const done =
  given.log && existsSync(given.log)
    ? readFileSync(given.log, 'utf8')
        .split('\n')
        .filter(Boolean)
        .map((l) => JSON.parse(l))
    : []
const rows = [...done]
for (const path of positionals.flatMap(filesIn)) {
  if (done.some((row) => row.file === basename(path))) continue
  const row = { file: basename(path), ...(await compare(path).catch((e) => ({ failed: e.message }))) }
  rows.push(row)
  if (given.log) appendFileSync(given.log, `${JSON.stringify(row)}\n`)
}
const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))]
console.log(`| ${columns.join(' | ')} |\n|${' --- |'.repeat(columns.length)}`)
for (const row of rows) console.log(`| ${columns.map((c) => row[c] ?? '').join(' | ')} |`)

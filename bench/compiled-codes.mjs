/**
 * Compiled models on codes beside onnxruntime-web: the same int8 model in base and in relaxed SIMD, its float original compiled, and
 * both in onnxruntime-web. Runs take turns in one process, one at a time; medians of paired ratios with quartiles, and the least
 * times, which a busy machine disturbs least. `resnet20-4x4` has 80 % of its blocks of 4×4 weights at zero, without fine-tuning.
 *
 *   node bench/compiled-codes.mjs DATA [--only ds_cnn,resnet20] [--seconds 10] [--results FILE.jsonl]
 *
 * DATA: the folder that docs/benchmarks.md describes. Relaxed SIMD needs Node 24 (`npx -y node@24 bench/…`). Models that --results holds
 * already are not measured again. Build first.
 */
import { execFileSync } from 'node:child_process'
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { brotliCompressSync } from 'node:zlib'
import * as web from 'onnxruntime-web'

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: { only: { type: 'string' }, results: { type: 'string' }, seconds: { type: 'string', default: '10' } }
})
const data = positionals[0]
if (!data || !existsSync(data)) {
  console.error('usage: node bench/compiled-codes.mjs DATA [--only NAME,NAME] [--seconds N] [--results FILE.jsonl]')
  process.exit(2)
}
web.env.wasm.numThreads = 1
const pare = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const folder = mkdtempSync(join(os.tmpdir(), 'pare-codes-'))
const cifar = join(folder, 'cifar.json')
writeFileSync(
  cifar,
  JSON.stringify({ scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], layout: 'nchw' })
)
const resnet = { file: 'cifar10-jpeg/resnet20.onnx', data: 'cifar10-jpeg/train.npz', preprocess: cifar }
const models = {
  ds_cnn: { file: 'kws/ds_cnn.onnx', data: 'kws/kws_dev.npz' },
  mobilenet: { file: 'imagenet/mobilenet_v1_025_224.onnx', data: 'imagenet/images', preprocess: 'tf' },
  resnet20: resnet,
  'resnet20-4x4': { ...resnet, pruned: true }
}
const run = (...args) => execFileSync(process.execPath, [pare, ...args, '--force', '--quiet', '--no-check'])
const quantile = (x, q) => x.slice().sort((a, b) => a - b)[Math.min(x.length - 1, Math.floor(q * x.length))]
const known = given.results && existsSync(given.results) ? readFileSync(given.results, 'utf8') : ''
const done = new Set(known.split('\n').flatMap((line) => (line ? [JSON.parse(line).name] : [])))

/** The module, and its parts by section: the description, the code, the data, the other variant. */
function variants(path) {
  const bytes = readFileSync(path)
  const module = new WebAssembly.Module(bytes)
  const [note] = WebAssembly.Module.customSections(module, 'pare')
  const [other] = WebAssembly.Module.customSections(module, 'pare.relaxed')
  const { inputs } = JSON.parse(new TextDecoder().decode(note))
  if (!other) return { inputs, base: module, bytes: bytes.length }
  const sections = []
  for (let at = 8; at < bytes.length; ) {
    const begin = at
    const id = bytes[at++]
    let [size, shift] = [0, 0]
    for (;;) {
      const byte = bytes[at++]
      size += (byte & 127) * 2 ** shift
      if (byte < 128) break
      shift += 7
    }
    at += size
    sections.push({ id, bytes: bytes.subarray(begin, at) })
  }
  const of = (id) => sections.find((s) => s.id === id).bytes
  const relaxed = Buffer.concat([bytes.subarray(0, 8), of(0), Buffer.from(other), of(11)])
  return { inputs, base: module, bytes: bytes.length, ...(WebAssembly.validate(relaxed) ? { relaxed } : {}) }
}

async function measure(name, { file, data: samples, preprocess, pruned }) {
  const original = join(data, file)
  const [codes, module, float, zeros] = ['q.onnx', 'q.wasm', 'f.wasm', 'z.onnx'].map((n) =>
    join(folder, `${name}.${n}`)
  )
  const given = ['--data', join(data, samples), ...(preprocess ? ['--preprocess', preprocess] : [])]
  if (pruned) run('prune-weights', original, '--pattern', '4x4', '--ratio', '0.8', '--form', 'plain', '-o', zeros)
  // One file for all: weights of 7 bits, which no engine's pairs of products saturate.
  run('quantize-static', pruned ? zeros : original, ...given, '--target', 'ort-cpu-avx2', '-o', codes)
  run('compile', codes, '-o', module)
  run('compile', original, '-o', float)
  const { inputs, base, relaxed, bytes } = variants(module)
  const [{ name: input, shape }] = inputs
  const x = Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, (_, i) => Math.sin(i * 7))
  const ofModule = async (made) => {
    const { exports } = await WebAssembly.instantiate(await made)
    new Float32Array(exports.memory.buffer, inputs[0].offset, x.length).set(x)
    return exports.run
  }
  const ofFloat = async () => {
    const { load } = await import(pathToFileURL(float.replace('.wasm', '.js')).href)
    const model = await load()
    return () => model.run({ [input]: x })
  }
  const ofWeb = async (path) => {
    const session = await web.InferenceSession.create(new Uint8Array(readFileSync(path)))
    const feeds = { [input]: new web.Tensor('float32', x, shape) }
    return () => session.run(feeds)
  }
  const runs = {
    'base SIMD': await ofModule(base),
    ...(relaxed ? { 'relaxed SIMD': await ofModule(WebAssembly.compile(relaxed)) } : {}),
    'compiled float': await ofFloat(),
    'onnxruntime-web float': await ofWeb(original),
    'onnxruntime-web int8': await ofWeb(codes)
  }
  const all = Object.entries(runs)
  const times = all.map(() => [])
  for (const [, f] of all) for (let i = 0; i < 50; i++) await f()
  const end = performance.now() + Number(seconds) * 1000
  while (performance.now() < end)
    for (const [k, [, f]] of all.entries()) {
      await f()
      const start = performance.now()
      await f()
      times[k].push(performance.now() - start)
    }
  const own = times[relaxed ? 1 : 0]
  return {
    name,
    engine: process.version,
    bytes: [
      bytes,
      brotliCompressSync(readFileSync(module)).length +
        brotliCompressSync(readFileSync(module.replace('.wasm', '.js'))).length
    ],
    rows: all.map(([what], k) => ({
      what,
      median: quantile(times[k], 0.5),
      least: quantile(times[k], 0),
      ratio: [0.5, 0.25, 0.75].map((q) =>
        quantile(
          times[k].map((t, i) => t / own[i]),
          q
        )
      )
    }))
  }
}

const { seconds } = given
console.log(
  `${os.cpus()[0].model}, ${process.version}, onnxruntime ${web.env.versions.common}, load ${os.loadavg()[0].toFixed(1)}\n`
)
for (const name of given.only?.split(',') ?? Object.keys(models)) {
  if (!models[name] || done.has(name)) continue
  const r = await measure(name, models[name])
  if (given.results) appendFileSync(given.results, `${JSON.stringify(r)}\n`)
  console.log(`${name}: ${r.bytes[0]} B, ${r.bytes[1]} B of brotli with its loader; ratios to the faster variant`)
  for (const { what, median, least, ratio } of r.rows)
    console.log(
      `  ${what.padEnd(22)} ${median.toFixed(3).padStart(9)} ms, least ${least.toFixed(3)}  ${ratio[0].toFixed(2)} [${ratio[1].toFixed(2)}, ${ratio[2].toFixed(2)}]`
    )
}
rmSync(folder, { recursive: true })
process.exit(0)

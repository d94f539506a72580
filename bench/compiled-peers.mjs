/**
 * Compiled models beside other runtimes of the web: TensorFlow.js on its WebAssembly back end, LiteRT.js and onnxruntime-web.
 * One thread, float32, the same weights everywhere; before anything is timed each runtime's numbers are held against the module's.
 * Runs are interleaved in one process; medians of paired ratios with quartiles.
 *
 *   node bench/compiled-peers.mjs DATA [--only ds_cnn,resnet20] [--peers FOLDER] [--seconds 8] [--results FILE.jsonl]
 *
 * DATA: the folder that docs/benchmarks.md describes. --peers: where TensorFlow.js is or will be installed; by default a folder
 * that is removed at the end. Models that --results holds already are not measured again. Build first.
 */
import { execFileSync } from 'node:child_process'
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import * as web from 'onnxruntime-web'
import { applyRecipe, rng, targetFor, tensor, toFloats } from '../dist/index.js'
import { liteRtRunner, load, nodeRunner } from '../dist/node/index.js'

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string' },
    peers: { type: 'string' },
    seconds: { type: 'string', default: '8' },
    results: { type: 'string' }
  }
})
const data = positionals[0]
if (!data || !existsSync(data)) {
  console.error('usage: node bench/compiled-peers.mjs DATA [--only NAME,NAME] [--peers FOLDER] [--results FILE.jsonl]')
  process.exit(2)
}
const pare = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const files = {
  ds_cnn: 'kws/ds_cnn.onnx',
  resnet20: 'cifar10-jpeg/resnet20.onnx',
  mobilenet: 'imagenet/mobilenet_v1_025_224.onnx'
}
const folder = mkdtempSync(join(os.tmpdir(), 'pare-peers-'))
const peers = given.peers ?? join(folder, 'peers')
web.env.wasm.numThreads = 1
const quantile = (x, q) => x.slice().sort((a, b) => a - b)[Math.min(x.length - 1, Math.floor(q * x.length))]

/** TensorFlow.js with its WebAssembly back end, one thread. */
async function tensorflow() {
  mkdirSync(peers, { recursive: true })
  if (!existsSync(join(peers, 'node_modules/@tensorflow/tfjs-backend-wasm'))) {
    writeFileSync(join(peers, 'package.json'), '{"private":true}')
    const names = ['core', 'backend-cpu', 'backend-wasm'].map((n) => `@tensorflow/tfjs-${n}@4.22.0`)
    execFileSync('npm', ['i', '--ignore-scripts', '--no-audit', '--no-fund', ...names], { cwd: peers, stdio: 'ignore' })
  }
  const at = createRequire(join(peers, 'package.json'))
  const tf = at('@tensorflow/tfjs-core')
  const wasm = at('@tensorflow/tfjs-backend-wasm')
  wasm.setWasmPaths(`${dirname(at.resolve('@tensorflow/tfjs-backend-wasm'))}/`)
  wasm.setThreadsCount(1)
  await tf.setBackend('wasm')
  await tf.ready()
  return tf
}

/** The model's nodes as calls of TensorFlow.js with channels last; a convolution takes its bias and a Relu behind it along. */
function inTensorflow(tf, { graph }) {
  const numbers = (id) => graph.values.get(id)?.data
  const ints = (id) => Array.from(toFloats(numbers(id)))
  const attr = (n, name, otherwise) => n.attrs[name]?.value ?? n.attrs[name] ?? otherwise
  const used = new Map()
  for (const n of graph.nodes) for (const id of n.inputs) used.set(id, [...(used.get(id) ?? []), n])
  const steps = []
  const done = new Set()
  const moved = (axis) => [0, 3, 1, 2][axis]
  const constant = (id, perm) => {
    const t = numbers(id)
    const x = tf.tensor(toFloats(t), [...t.shape])
    return perm ? tf.transpose(x, perm) : x
  }
  for (const n of graph.nodes) {
    if (done.has(n)) continue
    const [from] = n.inputs
    let [to] = n.outputs
    const [next] = used.get(to) ?? []
    const bounds = (clip) => clip.inputs.slice(1).map((id) => toFloats(numbers(id))[0])
    const activation = { Relu: () => 'relu', Clip: () => (`${bounds(next)}` === '0,6' ? 'relu6' : undefined) }
    const fused = () => {
      const kind = used.get(to)?.length === 1 ? activation[next.op]?.() : undefined
      if (!kind) return undefined
      done.add(next)
      to = next.outputs[0]
      return kind
    }
    const make = {
      Conv: () => {
        const [w, bias] = [numbers(n.inputs[1]), n.inputs[2] && constant(n.inputs[2])]
        const [group, strides] = [Number(attr(n, 'group', 1)), Array.from(attr(n, 'strides', [1, 1]), Number)]
        const p = Array.from(attr(n, 'pads', [0, 0, 0, 0]), Number)
        const pad = p.every((x) => x === 0)
          ? 'valid'
          : [
              [0, 0],
              [p[0], p[2]],
              [p[1], p[3]],
              [0, 0]
            ]
        const kind = fused()
        const deep = group > 1
        if (deep && w.shape[1] !== 1) throw new Error('a grouped convolution')
        const filter = constant(n.inputs[1], deep ? [2, 3, 0, 1] : [2, 3, 1, 0])
        const call = deep ? tf.fused.depthwiseConv2d : tf.fused.conv2d
        return (v) =>
          call({ x: v(from), filter, strides, pad, ...(bias ? { bias } : {}), ...(kind ? { activation: kind } : {}) })
      },
      Relu: () => (v) => tf.relu(v(from)),
      Clip: () => (v) => tf.clipByValue(v(from), ...bounds(n)),
      Add: () => (v) => tf.add(v(from), v(n.inputs[1])),
      GlobalAveragePool: () => (v) => tf.mean(v(from), [1, 2], true),
      ReduceMean: () => (v) =>
        tf.mean(
          v(from),
          ints(n.inputs[1]).map((a) => moved((a + 4) % 4)),
          Number(attr(n, 'keepdims', 1)) === 1
        ),
      Flatten: () => (v) => tf.reshape(v(from), [1, -1]),
      Squeeze: () => (v) => tf.reshape(v(from), [1, -1]),
      Reshape: () => (v) => tf.reshape(v(from), [1, -1]),
      Identity: () => (v) => v(from),
      Softmax: () => (v) => tf.softmax(v(from)),
      Slice: () => {
        const [starts, ends, axes, steps] = n.inputs.slice(1).map(ints)
        return (v) => {
          const { shape } = v(from)
          const [begin, end, stride] = [shape.map(() => 0), [...shape], shape.map(() => 1)]
          axes.forEach((a, i) => {
            const m = moved(a)
            begin[m] = starts[i]
            end[m] = Math.min(shape[m], ends[i])
            stride[m] = steps?.[i] ?? 1
          })
          return tf.stridedSlice(v(from), begin, end, stride)
        }
      },
      Pad: () => {
        const p = ints(n.inputs[1])
        return (v) =>
          tf.pad(
            v(from),
            [0, 2, 3, 1].map((a) => [p[a], p[a + 4]])
          )
      },
      Gemm: () => {
        const [b, bias] = [
          constant(n.inputs[1], Number(attr(n, 'transB', 0)) ? [1, 0] : undefined),
          constant(n.inputs[2])
        ]
        return (v) => tf.fused.matMul({ a: v(from), b, bias })
      }
    }[n.op]
    if (!make) throw new Error(`${n.op} is not written for TensorFlow.js here`)
    const run = make()
    steps.push([to, run])
  }
  const [input, output] = [graph.inputs[0], graph.outputs[0]]
  return (x) =>
    tf.tidy(() => {
      const values = new Map([[input, x]])
      for (const [to, run] of steps)
        values.set(
          to,
          run((id) => values.get(id))
        )
      return values.get(output)
    })
}

/** Milliseconds of every function, by turns; each turn runs each as often as takes about 20 ms. */
async function interleaved(runs, seconds) {
  const times = runs.map(() => [])
  const repeats = []
  for (const run of runs) {
    for (let i = 0; i < 20; i++) await run()
    const start = performance.now()
    await run()
    repeats.push(Math.max(1, Math.round(20 / Math.max(0.02, performance.now() - start))))
  }
  const end = performance.now() + seconds * 1000
  while (performance.now() < end)
    for (const [i, run] of runs.entries()) {
      const start = performance.now()
      for (let r = 0; r < repeats[i]; r++) await run()
      times[i].push((performance.now() - start) / repeats[i])
    }
  return times
}

/** Why numbers are not the module's; nothing where they are. */
function apart(name, a, b) {
  const most = Math.max(...b.map(Math.abs))
  const worst = Math.max(...b.map((v, i) => Math.abs(v - a[i])))
  if (!(worst <= 1e-3 * (1 + most))) throw new Error(`${name} computes something else: off by ${worst}`)
}

async function measure(name, tf) {
  const file = join(data, files[name])
  const made = join(folder, `${name}.wasm`)
  execFileSync(process.execPath, [pare, 'compile', file, '-o', made, '--force', '--quiet', '--no-check'])
  const { load: start } = await import(pathToFileURL(made.replace('.wasm', '.js')).href)
  const own = await start()
  const random = rng(1)
  const ctx = {
    ...{ engine: nodeRunner(), target: targetFor('ort-cpu'), rng: rng(0), data: {} },
    ...{ signal: new AbortController().signal, progress: () => undefined }
  }
  const { model } = await applyRecipe(
    await load(file),
    [
      ['fix-sizes', {}],
      ['simplify', {}],
      ['fuse', {}]
    ],
    ctx
  )
  const [input, output] = [model.graph.inputs[0], model.graph.outputs[0]]
  const shape = model.graph.values.get(input).shape
  const x = Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, () => random.normal())
  const feeds = { [input]: x }
  const expected = own.run(feeds)[output].slice()

  const [n, c, h, w] = shape
  const last = new Float32Array(x.length)
  for (let i = 0; i < c; i++) for (let p = 0; p < h * w; p++) last[p * c + i] = x[i * h * w + p]
  const network = inTensorflow(tf, model)
  const given4 = tf.tensor4d(last, [n, h, w, c])
  // As a page calls it: numbers in, numbers out.
  const ofTensorflow = () => {
    const y = network(given4)
    const out = y.dataSync()
    y.dispose()
    return out
  }
  apart('TensorFlow.js', ofTensorflow(), expected)

  const session = await web.InferenceSession.create(new Uint8Array(readFileSync(file)))
  const tensors = { [input]: new web.Tensor('float32', x, shape) }
  apart('onnxruntime-web', (await session.run(tensors))[output].data, expected)

  const lite = await liteRt(file, name, { output, x, last, shape, expected })
  const runs = [() => own.run(feeds), ofTensorflow, () => session.run(tensors)]
  const [a, b, d] = await interleaved(runs, Number(given.seconds))
  const ratios = (t) =>
    [0.5, 0.25, 0.75].map((q) =>
      quantile(
        t.map((v, i) => v / a[i]),
        q
      )
    )
  return { name, ms: quantile(a, 0.5), tfjs: ratios(b), web: ratios(d), ...(await lite?.(() => own.run(feeds))) }
}

/** LiteRT.js has a process of its own, whose clock times it; its runs and the module's are by turns too. */
async function liteRt(file, name, { output, x, last, shape, expected }) {
  const runner = liteRtRunner()
  if (!runner) return undefined
  const path = join(folder, `${name}.tflite`)
  execFileSync(process.execPath, [
    pare,
    'convert',
    file,
    '-o',
    path,
    '--force',
    '--quiet',
    '--no-check',
    '--target',
    'litert-cpu'
  ])
  const session = await runner.open({ path })
  const [told] = session.inputs
  const isLast = `${told.shape}` !== `${shape}`
  const feed = {
    [told.name]: tensor(
      'float32',
      told.shape.map((d) => (typeof d === 'number' ? d : 1)),
      isLast ? last : x
    )
  }
  const out = await session.run(feed)
  apart('LiteRT.js', toFloats(out[output] ?? Object.values(out)[0]), expected)
  return async (run) => {
    const times = [[], []]
    const end = performance.now() + Number(given.seconds) * 1000
    while (performance.now() < end) {
      const start = performance.now()
      for (let i = 0; i < 10; i++) run()
      times[0].push((performance.now() - start) / 10)
      const before = session.spentMs()
      for (let i = 0; i < 10; i++) await session.run(feed)
      times[1].push((session.spentMs() - before) / 10)
    }
    await session.close()
    const ratio = times[1].map((t, i) => t / times[0][i])
    return { litert: [0.5, 0.25, 0.75].map((q) => quantile(ratio, q)) }
  }
}

const known =
  given.results && existsSync(given.results) ? readFileSync(given.results, 'utf8').split('\n').filter(Boolean) : []
const done = new Map(known.map((line) => JSON.parse(line)).map((r) => [r.name, r]))
const tf = await tensorflow()
console.log(
  `${os.cpus()[0].model}, Node ${process.versions.node}, TensorFlow.js ${tf.version_core}, LiteRT.js ${liteRtRunner()?.version ?? '-'}, onnxruntime-web ${web.env.versions.common}\n`
)
console.log(
  '| model | a run, ms | TensorFlow.js ÷ module | LiteRT.js ÷ module | onnxruntime-web ÷ module |\n| --- | --- | --- | --- | --- |'
)
const text = (r) => (r ? `${r[0].toFixed(2)} [${r[1].toFixed(2)}, ${r[2].toFixed(2)}]` : '-')
for (const name of given.only?.split(',') ?? Object.keys(files)) {
  if (!files[name]) continue
  const r = done.get(name) ?? (await measure(name, tf))
  if (given.results && !done.has(name)) appendFileSync(given.results, `${JSON.stringify(r)}\n`)
  console.log(`| ${name} | ${r.ms.toFixed(3)} | ${text(r.tfjs)} | ${text(r.litert)} | ${text(r.web)} |`)
}
rmSync(folder, { recursive: true })
process.exit(0)

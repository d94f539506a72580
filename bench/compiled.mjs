/**
 * Compiled models beside onnxruntime-web and onnxruntime-node: time of a run (interleaved in one process, medians of paired
 * ratios with quartiles), from bytes to the first result, bytes of what is downloaded, and time to compile. With gcc, the C
 * source of the same models too, in processes of their own.
 *
 *   node bench/compiled.mjs DATA [--only ds_cnn,resnet20] [--results FILE.jsonl]
 *
 * DATA: the folder that docs/benchmarks.md describes. Models that --results holds already are not measured again. Build first.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { brotliCompressSync } from 'node:zlib'
import * as node from 'onnxruntime-node'
import * as web from 'onnxruntime-web'

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: { only: { type: 'string' }, results: { type: 'string' } }
})
const data = positionals[0]
if (!data || !existsSync(data)) {
  console.error('usage: node bench/compiled.mjs DATA [--only NAME,NAME] [--results FILE.jsonl]')
  process.exit(2)
}
const pare = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const files = {
  ds_cnn: 'kws/ds_cnn.onnx',
  mnist: 'mnist/mnist-8.onnx',
  mobilenet: 'imagenet/mobilenet_v1_025_224.onnx',
  resnet20: 'cifar10-jpeg/resnet20.onnx',
  resnet56: 'cifar10-jpeg/resnet56.onnx',
  // Two blocks of an encoder, 128 wide, over 64 tokens; its weights are drawn.
  transformer: undefined
}
const only = given.only?.split(',') ?? Object.keys(files)
const folder = mkdtempSync(join(os.tmpdir(), 'pare-compiled-'))
web.env.wasm.numThreads = 1

const quantile = (x, q) => x.slice().sort((a, b) => a - b)[Math.min(x.length - 1, Math.floor(q * x.length))]
const brotli = (path) => brotliCompressSync(readFileSync(path)).length
const done = new Set(
  given.results && existsSync(given.results)
    ? readFileSync(given.results, 'utf8')
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line).name)
    : []
)

/** A text encoder in words, as ONNX. */
function transformer(path) {
  const [tokens, width, heads, inner] = [64, 128, 2, 512]
  const each = width / heads
  const block = (n) => {
    const linear = (to, from, i, o) => [
      `${to}m${n} = MatMul(${from}, W${to}${n}: f32[${i},${o}])`,
      `${to}${n} = Add(${to}m${n}, B${to}${n}: f32[${o}])`
    ]
    const head = (k) => [
      ...linear(`${k}l`, `x${n}`, width, width),
      `${k}r${n} = Reshape(${k}l${n}, s${k}${n}: i64[4] {1,${tokens},${heads},${each}})`,
      `${k}${n} = Transpose(${k}r${n}, perm=[${k === 'k' ? '0,2,3,1' : '0,2,1,3'}])`
    ]
    const normal = (to, from) => `${to} = LayerNormalization(${from}, G${to}: f32[${width}], H${to}: f32[${width}])`
    return [
      ...['q', 'k', 'v'].flatMap(head),
      `p${n} = MatMul(q${n}, k${n})`,
      `z${n} = Mul(p${n}, c${n}: f32[] {${each ** -0.5}})`,
      `t${n} = Softmax(z${n})`,
      `a${n} = MatMul(t${n}, v${n})`,
      `b${n} = Transpose(a${n}, perm=[0,2,1,3])`,
      `d${n} = Reshape(b${n}, e${n}: i64[3] {1,${tokens},${width}})`,
      ...linear('o', `d${n}`, width, width),
      `r${n} = Add(o${n}, x${n})`,
      normal(`l${n}`, `r${n}`),
      ...linear('f', `l${n}`, width, inner),
      `g${n} = Gelu(f${n})`,
      ...linear('u', `g${n}`, inner, width),
      `w${n} = Add(u${n}, l${n})`,
      normal(`x${n + 1}`, `w${n}`)
    ]
  }
  const lines = ['opset 21', `input x0: f32[1,${tokens},${width}]`, ...block(0), ...block(1), 'output x2']
  writeFileSync(path.replace('.onnx', '.txt'), lines.join('\n'))
  execFileSync(process.execPath, [pare, 'convert', path.replace('.onnx', '.txt'), '-o', path, '--force', '--quiet'])
  return path
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

async function measure(name) {
  const file = files[name] ? join(data, files[name]) : transformer(join(folder, `${name}.onnx`))
  const made = join(folder, `${name}.wasm`)
  const began = performance.now()
  execFileSync(process.execPath, [pare, 'compile', file, '-o', made, '--force', '--quiet', '--no-check'])
  const compileMs = performance.now() - began
  const bytes = readFileSync(made)
  const { inputs } = note(bytes)
  let seed = 1
  const feeds = Object.fromEntries(
    inputs.map(({ name: input, shape }) => [
      input,
      Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, () => {
        seed = (seed * 1103515245 + 12345) & 0x7fffffff
        return seed / 0x3fffffff - 1
      })
    ])
  )
  const { load: start } = await import(pathToFileURL(made.replace('.wasm', '.js')).href)
  const ofCompiled = async () => {
    const model = await start()
    return () => model.run(feeds)
  }
  const ofRuntime = (ort) => async () => {
    const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(file)), { intraOpNumThreads: 1 })
    const tensors = Object.fromEntries(
      inputs.map(({ name: input, shape }) => [input, new ort.Tensor('float32', feeds[input], shape)])
    )
    return () => session.run(tensors)
  }
  const [firstCompiled, firstWeb] = [
    firstIn(
      `const { load } = await import(${JSON.stringify(pathToFileURL(made.replace('.wasm', '.js')).href)})
      ;(await load()).run(feeds)`,
      inputs
    ),
    firstIn(
      `const ort = await import(${JSON.stringify(import.meta.resolve('onnxruntime-web'))})
      ort.env.wasm.numThreads = 1
      const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(${JSON.stringify(file)})))
      await session.run(Object.fromEntries(inputs.map((p) => [p.name, new ort.Tensor('float32', feeds[p.name], p.shape)])))`,
      inputs
    )
  ]
  const runs = await Promise.all([ofCompiled(), ofRuntime(web)(), ofRuntime(node)()])
  const [a, b, c] = await interleaved(runs, 8)
  const ratio = (x) => x.map((t, i) => t / a[i])
  const js = made.replace('.wasm', '.js')
  return {
    name,
    ms: quantile(a, 0.5),
    web: [0.5, 0.25, 0.75].map((q) => quantile(ratio(b), q)),
    node: quantile(ratio(c), 0.5),
    first: [firstCompiled, firstWeb],
    bytes: [statSync(file).size, bytes.length, brotli(made) + brotli(js)],
    compileMs,
    ...ofC(file, name, inputs[0])
  }
}

/** Milliseconds to the first result in a fresh process, the loading of the runtime or loader with it: median of seven. */
function firstIn(code, inputs) {
  const program = `import { readFileSync } from 'node:fs'
    const inputs = ${JSON.stringify(inputs)}
    const feeds = Object.fromEntries(inputs.map((p) => [p.name, new Float32Array(p.shape.reduce((n, d) => n * d, 1)).fill(0.5)]))
    const start = performance.now()
    ${code}
    console.log(performance.now() - start)
    process.exit(0)`
  const times = Array.from({ length: 7 }, () =>
    Number(execFileSync(process.execPath, ['--input-type=module', '-e', program]).toString().trim().split('\n').at(-1))
  )
  return quantile(times, 0.5)
}

/** Milliseconds of a run in C, by compiler flags; nothing without gcc, or for models of several inputs. */
function ofC(file, name, input) {
  if (spawnSync('gcc', ['--version']).status !== 0) return {}
  const source = join(folder, `${name}.c`)
  execFileSync(process.execPath, [pare, 'compile', file, '-o', source, '--force', '--quiet', '--no-check'])
  const header = readFileSync(source.replace('.c', '.h'), 'utf8')
  const takes = /(\w+_input_\w+)\(void\);/.exec(header)[1]
  const count = input.shape.reduce((n, d) => n * d, 1)
  writeFileSync(
    join(folder, 'main.c'),
    `#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>
#include "${name}.h"
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1e3 + t.tv_nsec / 1e6; }
int main(void) {
  for (int i = 0; i < ${count}; i++) ${takes}()[i] = (float)(i % 17) / 8 - 1;
  double best = 1e9;
  for (int turn = 0; turn < 60; turn++) {
    double start = now();
    for (int i = 0; i < 5; i++) { ${takes}()[0] = (float)i; ${name}_run(); }
    double each = (now() - start) / 5;
    if (each < best) best = each;
  }
  printf("%g", best);
  return 0;
}`
  )
  const time = (flags) => {
    const began = performance.now()
    execFileSync('gcc', ['-std=c99', ...flags, '-o', 'a.out', 'main.c', `${name}.c`, '-lm'], { cwd: folder })
    return [Number(execFileSync(join(folder, 'a.out')).toString()), (performance.now() - began) / 1000]
  }
  return { c: time(['-O3'])[0], cNative: time(['-O3', '-march=native', '-ffp-contract=fast'])[0] }
}

function note(bytes) {
  const [section] = WebAssembly.Module.customSections(new WebAssembly.Module(bytes), 'pare')
  return JSON.parse(new TextDecoder().decode(section))
}

const runtimeBytes = () => {
  const dist = dirname(createRequire(import.meta.url).resolve('onnxruntime-web'))
  return ['ort-wasm-simd-threaded.wasm', 'ort.wasm.min.mjs'].reduce((n, f) => {
    const path = join(dist, f)
    return existsSync(path) ? n + brotli(path) : n
  }, 0)
}

console.log(`${os.cpus()[0].model}, Node ${process.versions.node}, onnxruntime ${web.env.versions.common}`)
console.log(`onnxruntime-web, brotli: ${(runtimeBytes() / 1e6).toFixed(2)} MB beside each model\n`)
console.log(
  'model      compiled ms  web/compiled [quartiles]  node/compiled  first ms (web)   onnx B    wasm B   brotli with loader  compile ms  C -O3 ms, native'
)
for (const name of only) {
  if (!(name in files) || done.has(name)) continue
  const r = await measure(name)
  if (given.results) appendFileSync(given.results, `${JSON.stringify(r)}\n`)
  const f = (x, n = 2) => (x === undefined ? '-' : x.toFixed(n))
  console.log(
    `${name.padEnd(10)} ${f(r.ms, 3).padStart(11)}  ${f(r.web[0])} [${f(r.web[1])}, ${f(r.web[2])}]`.padEnd(49) +
      `${f(r.node)}`.padEnd(15) +
      `${f(r.first[0], 1)} (${f(r.first[1], 0)})`.padEnd(17) +
      `${r.bytes.join('  ')}  ${f(r.compileMs, 0)}  ${f(r.c, 3)}, ${f(r.cNative, 3)}`
  )
}
rmSync(folder, { recursive: true })
process.exit(0)

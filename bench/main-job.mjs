/**
 * The main job on real models: compresses each for each objective, quantizes each statically, verifies the results on
 * all samples, and prints a table.
 *
 *   node bench/main-job.mjs DATA [--only NAME] [--keep FOLDER]
 *
 * DATA: a folder with kws/, imagenet/, cifar10-jpeg/ and mnist/ as described in docs/benchmarks.md. Build first.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { only: { type: 'string' }, keep: { type: 'string' } }
})
const data = positionals[0]
if (!data || !existsSync(data)) {
  console.error('usage: node bench/main-job.mjs DATA [--only NAME] [--keep FOLDER]')
  process.exit(2)
}
const out = values.keep ?? mkdtempSync(join(tmpdir(), 'pare-bench-'))
mkdirSync(out, { recursive: true })
const pare = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))

const cifar = join(out, 'cifar.json')
writeFileSync(cifar, JSON.stringify({ scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }))

const models = [
  { name: 'ds_cnn', file: 'kws/ds_cnn.onnx', data: 'kws/kws_dev.npz', drop: '1%' },
  {
    name: 'mobilenet',
    file: 'imagenet/mobilenet_v1_025_224.onnx',
    data: 'imagenet/images',
    drop: '1%',
    more: ['--preprocess', 'tf']
  },
  ...['resnet20', 'resnet56'].map((name) => ({
    name,
    file: `cifar10-jpeg/${name}.onnx`,
    data: 'cifar10-jpeg/test_dev.npz',
    drop: '0.5%',
    more: ['--preprocess', cifar]
  })),
  { name: 'mnist-8', file: 'mnist/mnist-8.onnx', data: 'mnist', drop: '0.2%' }
].filter((m) => !values.only || m.name === values.only)

function run(args) {
  const start = performance.now()
  const { status, stdout, stderr } = spawnSync(process.execPath, [pare, ...args, '--json', '--force'], {
    encoding: 'utf8',
    maxBuffer: 1 << 28
  })
  const seconds = (performance.now() - start) / 1000
  if (status !== 0 && status !== 3) throw new Error(`pare ${args.join(' ')}: status ${status}\n${stderr}`)
  return { status, seconds, report: JSON.parse(stdout) }
}

const number = (x, digits = 3) => (x === undefined ? '?' : x.toFixed(digits))
const interval = (x) =>
  x ? `${number(100 * x.value, 2)} [${number(100 * x.low, 2)}, ${number(100 * x.high, 2)}]` : '?'
const rows = []

for (const m of models) {
  const file = join(data, m.file)
  const source = ['--data', join(data, m.data), ...(m.more ?? [])]
  const commands = [
    ...['balanced', 'size', 'latency'].map((objective) => ({
      what: objective,
      args: ['compress', file, ...source, '--max-drop', m.drop, '--objective', objective]
    })),
    { what: 'quantize-static', args: ['quantize-static', file, ...source] }
  ]
  for (const c of commands) {
    const result = join(out, `${m.name}.${c.what}.onnx`)
    const made = run([...c.args, '--out', result, '--report', join(out, `${m.name}.${c.what}.html`)])
    const checked = made.status === 0 ? run(['verify', file, result, ...source]).report : undefined
    const r = made.report
    rows.push({
      model: m.name,
      job: c.what,
      status: made.status,
      chosen: r.candidates?.find((x) => x.chosen)?.name ?? '-',
      bytes: number(r.ratios?.bytes),
      latency: checked?.ratios?.latency
        ? `${number(checked.ratios.latency.median)} [${number(checked.ratios.latency.low)}, ${number(checked.ratios.latency.high)}]`
        : number(r.ratios?.latency?.median),
      'drop, all samples (points)': interval(checked?.drop?.top1),
      'top-1 before': number(100 * (checked?.before?.metrics?.top1?.value ?? Number.NaN), 2),
      s: number(made.seconds, 0)
    })
    console.error(rows.at(-1))
  }
}
console.table(rows)
console.log(`results and reports: ${out}`)
console.log(`node ${process.version}, ${cpus()[0]?.model}, ${cpus().length} cores`)

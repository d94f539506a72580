/**
 * Replay: runs passes over models and hashes the files that they write, so that a change of the code shows where it
 * changes a result. Nothing here depends on time: a row hashes the same on every run on one machine.
 *
 *   node bench/replay.mjs [DATA] [--save FILE] [--against FILE] [--only PART-OF-NAME]
 *
 * DATA: the folder of real models (docs/benchmarks.md), by default the one beside the checkout; without it, only the
 * bundled network is run. `--against` prints the rows that differ from a saved replay, and exits with 1 where any does.
 * Build first.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { save: { type: 'string' }, against: { type: 'string' }, only: { type: 'string' } }
})
const at = (path) => fileURLToPath(new URL(path, import.meta.url))
const data = positionals[0] ?? at('../../shared/data')
const pare = at('../dist/cli/main.js')
const scratch = mkdtempSync(join(tmpdir(), 'pare-replay-'))
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }))

const cifar = join(scratch, 'cifar.json')
writeFileSync(cifar, JSON.stringify({ scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }))

const models = {
  digits: { file: at('../examples/demo/digits.onnx'), data: ['--data', at('../examples/demo/digits-data.mjs')] },
  'ds-cnn': { file: join(data, 'kws/ds_cnn.onnx'), data: ['--data', join(data, 'kws/kws_dev.npz')] },
  'mnist-8': { file: join(data, 'mnist/mnist-8.onnx'), data: ['--data', join(data, 'mnist')] },
  'resnet-20': {
    file: join(data, 'cifar10-jpeg/resnet20.onnx'),
    data: ['--data', join(data, 'cifar10-jpeg/test_dev.npz'), '--preprocess', cifar]
  },
  mobilenet: {
    file: join(data, 'imagenet/mobilenet_v1_025_224.onnx'),
    data: ['--data', join(data, 'imagenet/images'), '--preprocess', 'tf']
  },
  ...Object.fromEntries(
    ['attention-mask-minus-inf', 'boxes-beside-scores', 'expert-stack', 'shared-head-batchnorm', 'noise-nodes'].map(
      (name) => [
        name,
        {
          file: join(data, 'cases', name, 'model.onnx'),
          data: ['--data', join(data, 'cases', name, 'input.npz')]
        }
      ]
    )
  )
}

/** `+data` stands for the model's own data; `|` separates passes, each of which reads what the one before wrote. */
const everywhere = ['convert', 'simplify', 'fuse', 'quantize-weights', 'quantize-dynamic', 'cast-float']
const classifiers = [
  'quantize-static +data',
  'quantize-weights --bits 4 --method gptq +data',
  'quantize-weights --bits 4 --form palette',
  'equalize',
  'quantize-static +data --target ort-cpu-avx2'
]
const plan = {
  digits: [
    ...everywhere,
    ...classifiers,
    'convert --opset 17',
    'quantize-weights --bits 4 --method hqq --block-size 32',
    'quantize-weights --bits 4 --method awq +data',
    'quantize-weights --bits 4 --form nbits --include Gemm,MatMul',
    'quantize-weights --bits 4 --form qdq',
    'quantize-nf4',
    'quantize-dynamic --include Conv,Gemm,MatMul --type uint8 +data',
    'quantize-static --calibrator entropy +data',
    'quantize-static --calibrator percentile +data | to-qoperator',
    'quantize-static --no-per-channel --no-correct-bias +data | correct-bias +data --reference original',
    'quantize-weights --bits 4 | round +data --reference original',
    'cast-float --compute',
    'smooth +data',
    'mix-precision --max-drop 1% +data',
    'mix-precision --max-drop 1% --types float16,int8 --least-bytes +data',
    'finetune --epochs 1 +data',
    'train-quantized --epochs 1 --bits 4 +data',
    'distill --width 0.5 --epochs 1 +data'
  ],
  'ds-cnn': [...everywhere, ...classifiers, 'mix-precision --max-drop 1% +data', 'equalize | quantize-static +data'],
  'mnist-8': [...everywhere, 'quantize-static +data'],
  'resnet-20': [...everywhere, 'quantize-static +data', 'quantize-weights --bits 4 --form palette', 'equalize'],
  mobilenet: [...everywhere, 'equalize', 'quantize-static --calibrator minmax +data'],
  'attention-mask-minus-inf': [...everywhere, 'smooth +data'],
  'boxes-beside-scores': [...everywhere, 'quantize-static +data'],
  'expert-stack': everywhere,
  'shared-head-batchnorm': everywhere,
  'noise-nodes': everywhere
}

/** Flags were once written in camel case only; both are given as the program at hand takes them. */
const camel = (flag) => flag.replace(/^--(no-)?(.*)$/, (_, no = '', name) => `--${no}${toCamel(name)}`)
const toCamel = (name) => name.replace(/-([a-z])/g, (_, c) => c.toUpperCase())
const kept = new Set(['--max-drop', '--data'])

function run(model, steps) {
  let from = model.file
  for (const [i, step] of steps.split('|').entries()) {
    const out = join(scratch, `${i}.onnx`)
    const words = step.trim().split(/\s+/)
    const args = words.flatMap((w) =>
      w === '+data'
        ? model.data
        : w === 'original'
          ? [model.file]
          : w.startsWith('--') && !kept.has(w)
            ? [camel(w)]
            : [w]
    )
    if (words[0] === 'mix-precision') args[args.indexOf('--max-drop')] = '--maxDrop'
    const [pass, ...flags] = args
    const { status, stderr } = spawnSync(
      process.execPath,
      [pare, pass, from, ...flags, '-o', out, '--force', '--quiet'],
      {
        encoding: 'utf8'
      }
    )
    if (status !== 0) return `status ${status}: ${/error:? *(.*)/i.exec(stderr)?.[1] ?? stderr.trim().split('\n')[0]}`
    from = out
  }
  return createHash('sha256').update(readFileSync(from)).digest('hex').slice(0, 16)
}

const results = {}
for (const [name, steps] of Object.entries(plan)) {
  const model = models[name]
  if (!existsSync(model.file)) {
    console.log(`${name}: skipped, ${model.file} is not there`)
    continue
  }
  for (const step of steps) {
    const row = `${name}: ${step}`
    if (values.only && !row.includes(values.only)) continue
    results[row] = run(model, step)
    if (!values.against) console.log(`${results[row].padEnd(18)} ${row}`)
  }
}
if (values.save) writeFileSync(values.save, `${JSON.stringify(results, null, 2)}\n`)
if (values.against) {
  const before = JSON.parse(readFileSync(values.against, 'utf8'))
  const compared = Object.keys(results).filter((row) => row in before)
  const changed = compared.filter((row) => before[row] !== results[row])
  for (const row of changed) console.log(`${row}\n  was ${before[row]}\n  is  ${results[row]}`)
  console.log(`${compared.length} rows compared, ${changed.length} changed`)
  if (changed.length > 0) process.exitCode = 1
}

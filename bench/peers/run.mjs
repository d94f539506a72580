/**
 * Static int8 by other tools and by Pare: the same models, calibration samples and test samples.
 *
 *   node bench/peers/run.mjs DATA [--only MODEL] [--tool NAME,…] [--samples 1000] [--seed 0] [--install] [--keep FOLDER]
 *
 * --install makes the Python environment; README.md tells what is in it and where. A tool
 * that is absent, or fails, is in the table with its reason. Build first.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { nodeRunner } from '../../dist/node/index.js'
import { measure, megabytes } from './measure.mjs'
import { foldsOf, models, writeNpy } from './models.mjs'
import { findPython, install } from './python.mjs'
import { watch } from './watch.mjs'

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string' },
    tool: { type: 'string' },
    samples: { type: 'string', default: '1000' },
    seed: { type: 'string', default: '0' },
    install: { type: 'boolean', default: false },
    keep: { type: 'string' }
  }
})
const [root] = positionals
const wanted = models.filter((m) => !given.only || m.name === given.only)
if (!root || !existsSync(root) || wanted.length === 0) {
  console.error(`usage: node bench/peers/run.mjs DATA [--only ${models.map((m) => m.name).join('|')}] [--install] …`)
  process.exit(2)
}

const here = (name) => fileURLToPath(new URL(name, import.meta.url))
const out = given.keep ?? mkdtempSync(join(os.tmpdir(), 'pare-peers-'))
mkdirSync(out, { recursive: true })
const python = given.install ? await install() : findPython()

const pare = (calibrator) => ({
  tool: 'pare',
  how: calibrator,
  recipe: [
    ['simplify', {}],
    ['fuse', {}],
    ['quantize-static', { calibrator }]
  ]
})
const peer = (tool, methods, types) =>
  methods.flatMap((how) => types.map((activations) => ({ tool, how, activations })))
const configurations = [
  ...['mse', 'percentile', 'entropy', 'best', 'minmax'].map(pare),
  ...peer('onnxruntime', ['minmax', 'percentile', 'entropy'], ['uint8', 'int8']),
  ...peer('onnxsim', ['minmax', 'percentile', 'entropy', 'mse'], ['uint8']),
  ...peer('neural-compressor', ['minmax', 'percentile', 'entropy'], ['uint8'])
].filter((c) => !given.tool || given.tool.split(',').includes(c.tool))

const rows = []
for (const m of wanted) {
  const found = await compare(m)
  console.table(found)
  rows.push(...found)
  writeFileSync(join(out, 'peers.json'), JSON.stringify(rows, null, 2))
}
console.log(
  `node ${process.version}, ${nodeRunner().name} ${nodeRunner().version}, ${os.cpus()[0].model}, ${os.cpus().length} cores`
)
if (!given.keep) rmSync(out, { recursive: true })

/** All configurations on one model: quantized in processes of their own, then measured together in this one. */
async function compare(m) {
  const { folds, costs } = await foldsOf(root, m, { most: Number(given.samples), seed: Number(given.seed) })
  const parts = costs ? [...folds, costs] : folds
  for (const [k, part] of parts.entries()) {
    part.file = join(out, `${m.name}.${k}.npy`)
    writeNpy(part.file, part.calibration)
  }
  const made = []
  for (const c of configurations) made.push({ ...c, ...(await quantizeAll(c, m, parts)) })
  const good = made.filter((x) => !x.failure)
  const measured = await measure(join(root, m.file), folds, good)
  const [accuracy, cost] = [folds[0], parts.at(-1)].map((f) => f.calibration.n)
  console.log(`\n${m.name}: ${accuracy} calibration samples; time and memory with ${cost}`)
  return made.map((x) => ({
    tool: x.tool,
    calibrator: x.how,
    activations: x.activations ?? 'uint8',
    ...(x.failure ? { failure: x.failure } : measured[good.indexOf(x)])
  }))
}

/** One configuration on all calibration parts, or the reason why it cannot. */
async function quantizeAll(c, m, parts) {
  if (c.tool !== 'pare' && !python) return { failure: 'no Python environment: --install makes one' }
  const name = [m.name, c.tool, c.how, c.activations].filter(Boolean).join('.')
  const runs = []
  for (const [k, part] of parts.entries()) {
    const run = await quantize(c, m, part, join(out, `${name}.${k}.onnx`))
    console.error(name, run.failure ?? `${run.seconds.toFixed(1)} s, ${megabytes(run.peakBytes)} MB`)
    if (run.failure) return run
    runs.push(run)
  }
  return { runs }
}

async function quantize(c, m, part, result) {
  const files = [join(root, m.file), part.file, result]
  const recipe = join(out, 'recipe.json')
  if (c.recipe) writeFileSync(recipe, JSON.stringify(c.recipe))
  const run = c.recipe
    ? await watch(process.execPath, [here('pare.mjs'), ...files, recipe])
    : await watch(python, [
        ...[here('quantize.py'), c.tool, ...files, c.how, c.activations, String(part.batch)],
        ...(m.options ?? [])
      ])
  const last = run.output.split('\n').at(-1) || `status ${run.status ?? run.signal}`
  return run.status === 0 ? { ...run, result } : { failure: last.slice(0, 120) }
}

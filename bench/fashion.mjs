/**
 * Fashion-MNIST, from nothing: a network of 225,306 parameters trained on the labels, and distilled into students of
 * 8.7 times fewer, with and without labels. The pictures are those of Debian's package dataset-fashion-mnist.
 *
 *   node bench/fashion.mjs [--only cnn|students] [--data FOLDER] [--keep FOLDER] [--seeds 5]
 *
 * `cnn` writes cnn.onnx into the folder to keep, `students` reads it there; students that are there already are not
 * trained again. All options below were chosen on 5,000 of
 * the 60,000 training pictures; the 10,000 test pictures are looked at once, at the end. Build first.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import {
  applyRecipe,
  evaluate,
  initialise,
  load,
  metricFor,
  nodeRunner,
  openDataset,
  parametersOf,
  rng,
  save,
  subset,
  targetFor
} from '../dist/node/index.js'

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    data: { type: 'string', default: '/usr/share/datasets/fashion-mnist' },
    keep: { type: 'string' },
    seeds: { type: 'string', default: '5' }
  }
})
const here = (path) => fileURLToPath(new URL(path, import.meta.url))
const keep = values.keep ?? mkdtempSync(join(tmpdir(), 'pare-fashion-'))
mkdirSync(keep, { recursive: true })
const files = {
  train: join(values.data, 'train-images-idx3-ubyte.gz'),
  test: join(values.data, 't10k-images-idx3-ubyte.gz')
}
const cnn = join(keep, 'cnn.onnx')

const runner = nodeRunner()
const open = async (path, model) => {
  const x = model.graph.values.get(model.graph.inputs[0])
  return openDataset({ path, preprocess: 'unit' }, [{ name: x.id, dtype: x.dtype, shape: x.shape }], { classes: 10 })
}

/** Percent of the test pictures that are told right. */
async function tested(model) {
  const session = await runner.open(model)
  const [scores] = await evaluate([session], {
    dataset: await open(files.test, model),
    metrics: [metricFor('top1')],
    batch: 256
  })
  await session.close()
  return (100 * scores.top1.reduce((a, b) => a + b, 0)) / scores.top1.length
}

/** Seconds of wall and of processor time since. */
function clock() {
  const [start, cpu] = [performance.now(), process.cpuUsage()]
  return () => {
    const { user, system } = process.cpuUsage(cpu)
    return { wall: (performance.now() - start) / 1000, cpu: (user + system) / 1e6 }
  }
}

const parameters = (model) => parametersOf(model).parameters

// ---------------------------------------------------------------- the network, by the command line

function trainCnn() {
  const flags = {
    'train-data': files.train,
    preprocess: 'unit',
    epochs: 12,
    'optimizer.name': 'adamw',
    'optimizer.rate': 0.002,
    'optimizer.decay': 0.05,
    'augment.kind': 'image',
    'augment.shift': 0.04
  }
  const args = ['train', here('fashion/cnn.txt'), ...Object.entries(flags).flatMap(([k, v]) => [`--${k}`, String(v)])]
  console.log(`pare ${args.join(' ')} -o cnn.onnx`)
  const { status } = spawnSync(process.execPath, [here('../dist/cli/main.js'), ...args, '-o', cnn, '--force'], {
    stdio: 'inherit'
  })
  if (status !== 0) process.exit(status ?? 1)
}

// ---------------------------------------------------------------- students, by the same passes

const adamw = (rate, decay) => ({ name: 'adamw', rate, decay })
/** By what a student learns from: options of its pass. */
const settings = {
  few: { batch: 50, epochs: 100, optimizer: adamw(0.003, 0.05), augment: { kind: 'image', shift: 0.07 } },
  all: { batch: 128, epochs: 4, optimizer: adamw(0.003, 0.05) }
}

/** The same pictures without their labels. */
const unlabelled = (data) => ({ size: data.size, labelled: false, batches: (o) => withoutLabels(data.batches(o)) })

async function* withoutLabels(batches) {
  for await (const { n, inputs } of batches) yield { n, inputs }
}

const first = (data, n) =>
  subset(
    data,
    Array.from({ length: n }, (_, i) => i)
  )

/** A hundred pictures of each class among some. */
function thousand(labels, among, seed) {
  const taken = new Array(10).fill(0)
  return rng(`thousand ${seed}`)
    .permutation(among.length)
    .map((i) => among[i])
    .filter((i) => taken[labels[i]]++ < 100)
}

/** What is trained, by what it is told. Where labels of `choosing` are given, they choose the epoch; else it is the last. */
function arms(pictures, teacher) {
  const order = rng('choosing').permutation(pictures.size)
  const [choosing, among] = [subset(pictures, order.slice(0, 5000)), order.slice(5000)]
  const most = { train: subset(pictures, among), selection: choosing }
  const taught = (options, loss) => ['distill', { ...options, student: 'student', ...(loss ? { loss } : {}) }, teacher]
  return [
    {
      id: 'few',
      name: '1,000 labels alone',
      of: (seed, student) => [
        ['finetune', settings.few, student],
        { train: subset(pictures, thousand(pictures.labels, among, seed)), selection: first(choosing, 1000) }
      ]
    },
    {
      id: 'free',
      name: 'distilled on all pictures, no label',
      of: () => [taught(settings.all), { train: unlabelled(pictures) }]
    },
    { id: 'full', name: 'all labels alone', of: (_, student) => [['finetune', settings.all, student], most] },
    { id: 'both', name: 'distilled, all labels', of: () => [taught(settings.all, { alpha: 0.5 }), most] }
  ]
}

/** Trains a student, or reads it where it was trained before. */
async function trained({ id, of }, seed, graph) {
  const file = join(keep, `${id}-${seed}.onnx`)
  if (existsSync(file)) return load(file)
  const time = clock()
  const student = initialise(graph, `student ${seed}`).model
  const [[pass, options, model], data] = of(seed, student)
  const { model: made } = await applyRecipe(model, [[pass, options]], {
    ...{ engine: runner, measured: runner, data, target: targetFor('ort-cpu'), rng: rng(seed) },
    signal: new AbortController().signal,
    progress: () => {},
    load: async () => student
  })
  await save(made, file)
  const { wall, cpu } = time()
  console.log(`${id}-${seed}: ${wall.toFixed(0)} s, ${cpu.toFixed(0)} s of the processor`)
  return made
}

const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length
const deviation = (list) => Math.sqrt(list.reduce((a, x) => a + (x - mean(list)) ** 2, 0) / (list.length - 1))
const spread = (list) => `${mean(list).toFixed(2)} ± ${deviation(list).toFixed(2)}`

async function students() {
  const [teacher, graph] = [await load(cnn), await load(here('fashion/student.txt'))]
  const all = arms(await open(files.train, teacher), teacher)
  const seeds = Array.from({ length: Number(values.seeds) }, (_, i) => i + 1)
  const models = new Map()
  for (const seed of seeds) for (const arm of all) models.set(`${arm.id} ${seed}`, await trained(arm, seed, graph))
  console.log(`\nteacher ${parameters(teacher)} parameters, student ${parameters(graph)}; test, %:`)
  const scores = []
  for (const { id, name } of all) {
    const each = []
    for (const seed of seeds) each.push(await tested(models.get(`${id} ${seed}`)))
    scores.push(each)
    console.log(`${name.padEnd(40)} ${spread(each)}   (${each.map((x) => x.toFixed(2)).join(' ')})`)
  }
  const [few, free, full, both] = scores
  const gain = (a, b) => spread(a.map((x, i) => x - b[i]))
  console.log(`\ngain by the teacher, points, by seed: no label ${gain(free, few)}, all labels ${gain(both, full)}`)
}

const begun = clock()
if (values.only !== 'students') trainCnn()
if (values.only !== 'cnn') await students()
const network = await load(cnn)
console.log(`\ncnn.onnx: ${parameters(network)} parameters, test ${(await tested(network)).toFixed(2)} %`)
console.log(`${begun().wall.toFixed(0)} s in all`)

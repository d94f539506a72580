/**
 * A training step by Pare, PyTorch and TensorFlow.js: the same model, weights and batch, one thread, SGD with momentum.
 *
 *   node bench/peers/train.mjs DATA [--only MODEL] [--peer torch,tfjs] [--rounds 15] [--install]
 *
 * The tools take turns by blocks of steps, only one of them running at a time. Printed are processor times a step
 * (medians), the paired ratio, whether the losses agree, and which kernels Pare's step consists of. --install makes
 * the environments; README.md tells where. Build first.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { nodeRunner, openTraining } from '../../dist/node/index.js'
import { findPython, install } from './python.mjs'
import { installTfjs, tfjsFolder } from './tfjs.mjs'
import { kernels, models, rate, stepper, taskOf } from './train-pare.mjs'
import { startWorker } from './train-worker.mjs'

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string' },
    peer: { type: 'string', default: 'torch,tfjs' },
    rounds: { type: 'string', default: '15' },
    install: { type: 'boolean', default: false }
  }
})
const here = (name) => fileURLToPath(new URL(name, import.meta.url))
const [root] = positionals

const chosen = models.filter((m) => !given.only || m.name === given.only)
if (!root || !existsSync(root) || chosen.length === 0) {
  console.error('usage: node bench/peers/train.mjs DATA [--only lenet|resnet20|mobilenet] [--peer torch,tfjs] …')
  process.exit(2)
}

/** Losses before training and after some steps that may differ by so much, relatively. */
const tolerances = [1e-4, 1e-2]

const wanted = given.peer.split(',')
const python = wanted.includes('torch') && given.install ? await install('requirements-train.txt') : findPython()
if (wanted.includes('tfjs') && given.install) installTfjs()

/** `turn`: steps of a block where that is not the model's; `rounds`: at most. */
const peers = [
  {
    name: 'torch',
    models: ['lenet', 'resnet20', 'mobilenet'],
    command: python && [python, here('train.py')],
    absent: 'no Python environment: --install makes one'
  },
  {
    name: 'tfjs',
    models: ['lenet'],
    turn: 1,
    rounds: 5,
    command: existsSync(tfjsFolder) ? [process.execPath, here('train-tfjs.mjs')] : undefined,
    absent: 'not installed: --install does that'
  }
].filter((p) => wanted.includes(p.name))

const scratch = mkdtempSync(join(os.tmpdir(), 'pare-train-'))
try {
  const rows = []
  for (const m of chosen) {
    const task = await taskOf(m, root, scratch)
    for (const peer of peers.filter((p) => p.models.includes(m.name))) rows.push(await against(peer, m, task))
    console.log(`\nkernels of Pare's step of ${m.name}`)
    console.table(await kernels(task))
  }
  console.log('')
  console.table(rows)
} finally {
  rmSync(scratch, { recursive: true })
}
console.log(
  `node ${process.version}, ${nodeRunner().name} ${nodeRunner().version}, ${os.cpus()[0].model}, ${os.cpus().length} cores`
)

/** One row: the losses first, then turns. */
async function against(peer, m, task) {
  const row = { model: m.name, batch: m.batch, peer: peer.name }
  if (!peer.command) return { ...row, failure: peer.absent }
  const worker = startWorker([...peer.command, m.name, scratch, String(m.batch), String(rate)])
  const session = await openTraining(task.training, { engine: nodeRunner() })
  try {
    const { version } = await worker.next()
    const sides = [
      { steps: stepper(task, session), block: m.block },
      { steps: worker.steps, block: peer.turn ?? m.block }
    ]
    const losses = await differences(sides, peer.turn ? 2 : 9)
    const pairs = await turns(sides, Math.min(Number(given.rounds), peer.rounds ?? Number.POSITIVE_INFINITY))
    return { ...row, peer: `${peer.name} ${version}`, ...summary(pairs), losses }
  } catch (e) {
    return { ...row, failure: e.message.slice(0, 120) }
  } finally {
    worker.stop()
    await session.close()
  }
}

/** How far the losses of both are apart, before the first update and after some. Throws where it is another model. */
async function differences([mine, its], more) {
  const found = []
  for (const n of [1, more]) found.push(Math.abs((await mine.steps(n)).loss / (await its.steps(n)).loss - 1))
  if (found.every((d, i) => d <= tolerances[i])) return found.map((d) => d.toExponential(0)).join(', ')
  throw new Error(`the losses differ by ${found.join(' and ')}`)
}

/** Blocks of steps in alternating order. */
async function turns(sides, rounds) {
  const pairs = []
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? [0, 1] : [1, 0]
    const pair = []
    for (const i of order) pair[i] = await sides[i].steps(sides[i].block)
    pairs.push(pair)
  }
  return pairs
}

function quantile(list, q) {
  return [...list].sort((a, b) => a - b)[Math.round(q * (list.length - 1))]
}

function summary(pairs) {
  const of = (f) => [0.25, 0.5, 0.75].map((q) => Number(quantile(pairs.map(f), q).toPrecision(3)))
  const [low, middle, high] = of(([mine, its]) => mine.cpu / its.cpu)
  return {
    'pare ms': of(([mine]) => 1000 * mine.cpu)[1],
    'peer ms': of(([, its]) => 1000 * its.cpu)[1],
    ratio: middle,
    quartiles: `${low}–${high}`,
    'ratio of wall time': of(([mine, its]) => mine.wall / its.wall)[1]
  }
}

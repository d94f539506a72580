/** Pare's side of train.mjs: the models, the training step, and what it consists of. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  differentiate,
  firstState,
  initialise,
  load,
  nextState,
  nodeRunner,
  parse,
  rateFeeds,
  rng,
  tensor,
  toFloats
} from '../../dist/node/index.js'

/** Of everyone. */
export const rate = 1e-4

const lenet = new URL('../lenet.txt', import.meta.url)

/** `block`: steps of a turn. Files lie under DATA. */
export const models = [
  {
    name: 'lenet',
    batch: 64,
    block: 40,
    sample: [1, 28, 28],
    classes: 10,
    open: async () => initialise(parse(readFileSync(lenet, 'utf8')), 1).model
  },
  {
    name: 'resnet20',
    batch: 32,
    block: 8,
    sample: [3, 32, 32],
    classes: 10,
    open: (root) => load(join(root, 'cifar10-jpeg/resnet20.onnx'))
  },
  {
    name: 'mobilenet',
    batch: 16,
    block: 4,
    sample: [3, 224, 224],
    classes: 1000,
    open: (root) => load(join(root, 'imagenet/mobilenet_v1_025_224.onnx'))
  }
]

/** The training graph of a model, with a batch of noise and random labels, which are written to a folder for the peers. */
export async function taskOf(m, root, folder) {
  const model = await m.open(root)
  const training = differentiate(model, {
    loss: [{ kind: 'cross-entropy', output: model.graph.outputs[0] }],
    batch: m.batch,
    optimizer: { kind: 'sgd', momentum: 0.9 }
  })
  const random = rng('batch')
  const shape = [m.batch, ...m.sample]
  const x = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => random.normal())
  const labels = Array.from({ length: m.batch }, () => random.below(m.classes))
  writeFileSync(join(folder, 'weights.f32'), Buffer.concat(weightsOf(model)))
  writeFileSync(join(folder, 'x.f32'), x)
  writeFileSync(join(folder, 'labels.i64'), BigInt64Array.from(labels, BigInt))
  const fixed = {
    [model.graph.inputs[0]]: tensor('float32', shape, x),
    [training.targets[0].input]: tensor('int64', [m.batch], labels)
  }
  return { model, training, fixed }
}

/** The layers' parameters in order, matrices as [outputs, inputs]. */
function weightsOf(model) {
  const layers = model.graph.nodes.filter((n) => ['Conv', 'BatchNormalization', 'Gemm'].includes(n.op))
  return layers.flatMap((node) =>
    node.inputs.slice(1, 3).map((id) => {
      const { data } = model.graph.values.get(id)
      const isTurned = node.op === 'Gemm' && data.shape.length === 2 && !node.attrs.transB?.value
      return Buffer.from((isTurned ? transposed(toFloats(data), data.shape) : Float32Array.from(toFloats(data))).buffer)
    })
  )
}

const transposed = (values, [rows, columns]) =>
  Float32Array.from(values, (_, i) => values[(i % rows) * columns + Math.floor(i / rows)])

/** Steps of Pare's, one after the other: `steps(n)` tells the last loss, and wall and processor time a step. */
export function stepper({ model, training, fixed }, session) {
  let state = firstState(training, model)
  return async (n) => {
    const [wall, cpu] = [performance.now(), process.cpuUsage()]
    let loss
    for (let i = 0; i < n; i++) {
      const made = await session.run({ ...fixed, ...state.feeds, ...rateFeeds(training, rate, state.step + 1) })
      state = nextState(training, state, made)
      loss = toFloats(made[training.outputs.loss])[0]
    }
    const { user, system } = process.cpuUsage(cpu)
    return { loss, wall: (performance.now() - wall) / 1e3 / n, cpu: (user + system) / 1e6 / n }
  }
}

/** Share of each kind of kernel in a step, the largest first; of every node the least time of some steps. */
export async function kernels(task) {
  const session = await nodeRunner().open(task.training.model, { profile: true })
  await stepper(task, session)(15)
  const nodes = new Map()
  for (const { node, op, ms } of await session.profile())
    nodes.set(node, { op, ms: Math.min(ms, nodes.get(node)?.ms ?? ms) })
  await session.close()
  const sums = new Map()
  for (const { op, ms } of nodes.values()) sums.set(op, (sums.get(op) ?? 0) + ms)
  const total = [...sums.values()].reduce((a, b) => a + b)
  return [...sums]
    .sort((a, b) => b[1] - a[1])
    .slice(0, 8)
    .map(([op, ms]) => ({ op, 'share %': Math.round((100 * ms) / total), ms: ms.toFixed(2) }))
}

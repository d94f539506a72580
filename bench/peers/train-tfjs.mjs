/**
 * TensorFlow.js's side of train.mjs, on its cpu backend: LeNet alone.
 *
 *   node train-tfjs.mjs lenet FOLDER BATCH RATE
 *
 * Files and lines as in train.py.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { folder as cache } from './python.mjs'

const tf = createRequire(join(cache, 'package.json'))('@tensorflow/tfjs')

const [, folder, batchText, rateText] = process.argv.slice(2)
const batch = Number(batchText)

const floats = (name) => new Float32Array(new Uint8Array(readFileSync(join(folder, name))).buffer)
const labels = new BigInt64Array(new Uint8Array(readFileSync(join(folder, 'labels.i64'))).buffer)

/** In the order of the layers: kernels [outputs, inputs, height, width], matrices [outputs, inputs], biases. */
const shapes = [[6, 1, 5, 5], [6], [16, 6, 5, 5], [16], [120, 400], [120], [84, 120], [84], [10, 84], [10]]

function variables() {
  const values = floats('weights.f32')
  let at = 0
  return shapes.map((shape) => {
    const size = shape.reduce((a, b) => a * b)
    const t = tf.tensor(values.slice(at, at + size), shape)
    at += size
    // This backend's convolutions take positions first, and channels last.
    return tf.variable(shape.length === 4 ? t.transpose([2, 3, 1, 0]) : shape.length === 2 ? t.transpose() : t)
  })
}

await tf.setBackend('cpu')
const [w1, b1, w2, b2, w3, b3, w4, b4, w5, b5] = variables()
const x = tf.tensor(floats('x.f32'), [batch, 1, 28, 28]).transpose([0, 2, 3, 1])
const wanted = tf.oneHot(tf.tensor1d(Array.from(labels, Number), 'int32'), 10)

function loss() {
  const a = tf.maxPool(tf.relu(tf.add(tf.conv2d(x, w1, 1, 2), b1)), 2, 2, 'valid')
  const b = tf.maxPool(tf.relu(tf.add(tf.conv2d(a, w2, 1, 'valid'), b2)), 2, 2, 'valid')
  const flat = tf.reshape(tf.transpose(b, [0, 3, 1, 2]), [batch, 400])
  const c = tf.relu(tf.add(tf.matMul(flat, w3), b3))
  const d = tf.relu(tf.add(tf.matMul(c, w4), b4))
  return tf.losses.softmaxCrossEntropy(wanted, tf.add(tf.matMul(d, w5), b5))
}

const optimizer = tf.train.momentum(Number(rateText), 0.9)
console.log(JSON.stringify({ version: tf.version_core }))
for await (const line of createInterface({ input: process.stdin })) {
  const steps = Number(line)
  const [wall, cpu] = [performance.now(), process.cpuUsage()]
  let last
  for (let i = 0; i < steps; i++) {
    const made = optimizer.minimize(loss, true)
    last = made.dataSync()[0]
    made.dispose()
  }
  const { user, system } = process.cpuUsage(cpu)
  console.log(
    JSON.stringify({
      loss: last,
      wall: (performance.now() - wall) / 1e3 / steps,
      cpu: (user + system) / 1e6 / steps
    })
  )
}

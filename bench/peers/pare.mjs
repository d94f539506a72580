/**
 * What is compared with the peers: Pare's static int8 in a process of its own.
 * usage: node bench/peers/pare.mjs MODEL CALIBRATION.npy OUT RECIPE.json
 */
import { readFileSync } from 'node:fs'
import { applyRecipe, rng, targetFor } from '../../dist/index.js'
import { load, nodeRunner, openDataset, save } from '../../dist/node/index.js'

const [path, calibrationPath, out, recipePath] = process.argv.slice(2)
const model = await load(path)
const inputs = model.graph.inputs.flatMap((id) => {
  const v = model.graph.values.get(id)
  return v.data ? [] : [{ name: id, dtype: v.dtype, shape: v.shape }]
})
const calibration = await openDataset({ path: calibrationPath }, inputs)
const made = await applyRecipe(model, JSON.parse(readFileSync(recipePath, 'utf8')), {
  engine: nodeRunner(),
  target: targetFor('ort-cpu'),
  rng: rng(0),
  data: { calibration },
  signal: new AbortController().signal,
  progress: () => {}
})
await save(made.model, out, { force: true })
for (const { pass, ms } of made.steps) console.log(`${pass} ${ms.toFixed(0)} ms`)
for (const { node, op, reason } of made.refusals) console.log(`${op} ${node}: ${reason}`)

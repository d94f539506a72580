/** A pass of one's own in a recipe, between Pare's. `node custom-pass.mjs model.onnx` */
import { applyRecipe, definePass, rng, targetFor } from 'pare'
import { load, nodeRunner, save } from 'pare/node'
import { z } from 'zod'

/** Names what the model was made for in its metadata. */
const label = definePass({
  name: 'label',
  summary: 'write a line into the metadata of the model',
  options: { text: z.string().default('').describe('the line') },
  run: (model, { text }) => (text === '' ? model : { ...model, meta: { ...model.meta, label: text } })
})

const [path = 'model.onnx'] = process.argv.slice(2)
const ctx = {
  engine: nodeRunner(),
  target: targetFor('ort-cpu'),
  data: {},
  rng: rng(0),
  signal: new AbortController().signal,
  progress: () => {}
}
const recipe = [
  ['simplify', {}],
  ['label', { text: 'for the kiosk' }],
  ['quantize-weights', {}]
]
const { model, recipe: replay } = await applyRecipe(await load(path), recipe, ctx, { passes: [label] })
await save(model, 'labelled.onnx', { force: true })
console.log(JSON.stringify(replay), (await load('labelled.onnx')).meta.label)

/** A page that reads a model the visitor picks, says what is in it, and hands back int8 weights. */
import { applyRecipe, ortRunner, parametersOf, readModel, rng, targetFor, writeModel } from 'pare'

/** The smaller file of a model's bytes. `ort`: onnxruntime-web, which runs what passes ask for. */
export async function shrink(bytes, ort) {
  const ctx = {
    engine: ortRunner(ort),
    target: targetFor('ort-web'),
    data: {},
    rng: rng(0),
    signal: new AbortController().signal,
    progress: () => {}
  }
  const before = readModel(bytes)
  const { model } = await applyRecipe(before, [['quantize-weights', {}]], ctx)
  const file = new Blob([writeModel(model).bytes])
  return { parameters: parametersOf(before).parameters, file }
}

globalThis.document?.querySelector('input')?.addEventListener('change', async ({ target }) => {
  const ort = await import('onnxruntime-web')
  const { parameters, file } = await shrink(await target.files[0].arrayBuffer(), ort)
  document.querySelector('output').textContent = `${parameters} parameters, ${file.size} bytes`
})

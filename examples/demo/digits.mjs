/**
 * The digits of the `mnist` package as a Dataset: `{ size, labelled, batches({ batch, indices }) }`, where a tensor is
 * `{ dtype, shape, bytes }`, little-endian. Every fifth of each class is held out: the demo's network never sees it.
 */
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const side = 28
const pixels = side * side

/** The digits to train on, those held out, or without `heldOut` all of them; `name`: the network's input. */
export function digits({ heldOut, name = 'image' }) {
  const samples = []
  for (let label = 0; label < 10; label++) {
    const data = Float32Array.from(require(`mnist/src/digits/${label}.json`).data)
    for (let i = 0; i < data.length / pixels; i++)
      if (heldOut === undefined || (i % 5 === 4) === heldOut)
        samples.push({ label, image: data.subarray(i * pixels, (i + 1) * pixels) })
  }
  return {
    size: samples.length,
    labelled: true,
    async *batches({ batch, indices = samples.map((_, i) => i) }) {
      for (let at = 0; at < indices.length; at += batch) {
        const picked = indices.slice(at, at + batch).map((i) => samples[i])
        const image = new Float32Array(picked.length * pixels)
        for (const [i, s] of picked.entries()) image.set(s.image, i * pixels)
        yield {
          n: picked.length,
          inputs: {
            [name]: { dtype: 'float32', shape: [picked.length, 1, side, side], bytes: new Uint8Array(image.buffer) }
          },
          labels: picked.map((s) => s.label)
        }
      }
    }
  }
}

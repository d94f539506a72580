/**
 * A dataset module: the digits of the `mnist` package that the demo's network has never seen, every fifth of each class.
 * A Dataset is `{ size, labelled, batches({ batch, indices }) }`; a tensor is `{ dtype, shape, bytes }`, little-endian.
 */
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const side = 28
const pixels = side * side

const samples = []
for (let label = 0; label < 10; label++) {
  const data = Float32Array.from(require(`mnist/src/digits/${label}.json`).data)
  for (let i = 4; i < data.length / pixels; i += 5)
    samples.push({ label, image: data.subarray(i * pixels, (i + 1) * pixels) })
}

export default {
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
          image: { dtype: 'float32', shape: [picked.length, 1, side, side], bytes: new Uint8Array(image.buffer) }
        },
        labels: picked.map((s) => s.label)
      }
    }
  }
}

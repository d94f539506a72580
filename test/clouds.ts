import { rng } from '../src/base/random.ts'
import { arrayDataset, type LabelledDataset } from '../src/data/arrays.ts'
import { tensor } from '../src/ir/tensor.ts'

/** Points around three centres, a class each. */
export function clouds(n: number, seed: string): LabelledDataset {
  const random = rng(seed)
  const x = new Float32Array(2 * n)
  const labels = Array.from({ length: n }, (_, i) => {
    const angle = (2 * Math.PI * (i % 3)) / 3
    x[2 * i] = 2 * Math.cos(angle) + 0.7 * random.normal()
    x[2 * i + 1] = 2 * Math.sin(angle) + 0.7 * random.normal()
    return i % 3
  })
  return arrayDataset({ inputs: { x: tensor('float32', [n, 2], x) }, labels })
}

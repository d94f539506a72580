import { createRequire } from 'node:module'
import { rng } from '../src/base/random.ts'
import { arrayDataset, type LabelledDataset } from '../src/data/arrays.ts'
import { noLabel } from '../src/data/labels.ts'
import { tensor } from '../src/ir/tensor.ts'
import { model } from '../src/ir/text.ts'
import { initialise } from '../src/train/index.ts'
import type { Model } from '../src/types.ts'

/** A few of the digits of the `mnist` package, at a quarter of their size, in a seeded order; some without their label. */
export function digits(count: number, seed: string, hasLabel: (i: number) => boolean = () => true): LabelledDataset {
  const sets = createRequire(import.meta.url)('mnist') as Record<number, { readonly raw: readonly number[] }>
  const random = rng(seed)
  const x = new Float32Array(count * 196)
  const labels: number[] = []
  for (let i = 0; i < count; i++) {
    const label = i % 10
    const { raw } = sets[label] as { readonly raw: readonly number[] }
    const from = random.below(raw.length / 784) * 784
    for (let r = 0; r < 14; r++)
      for (let c = 0; c < 14; c++) {
        const at = from + 56 * r + 2 * c
        const sum = [0, 1, 28, 29].reduce((n, k) => n + (raw[at + k] as number), 0)
        x[i * 196 + r * 14 + c] = sum / 4
      }
    labels.push(hasLabel(i) ? label : noLabel)
  }
  return arrayDataset({ inputs: { x: tensor('float32', [count, 1, 14, 14], x) }, labels })
}

/** A small network for them, with residual blocks, and random weights. */
export const network = (seed: string): Model => initialised(residual, seed)

const residual = model`
input x: f32[N,1,14,14]
a = Conv(x, W1: f32[8,1,3,3], B1: f32[8], strides=[2,2], pads=[1,1,1,1])
b = Relu(a)
c = Conv(b, W2: f32[8,8,3,3], B2: f32[8], pads=[1,1,1,1])
d = Relu(c)
e = Conv(d, W3: f32[8,8,3,3], B3: f32[8], pads=[1,1,1,1])
f = Add(e, b)
g = Relu(f)
h = Conv(g, W4: f32[8,8,3,3], B4: f32[8], pads=[1,1,1,1])
i = Add(h, g)
j = Relu(i)
k = MaxPool(j, kernel_shape=[2,2], strides=[2,2])
l = Flatten(k)
logits = Gemm(l, W5: f32[72,10], B5: f32[10])
output logits`

/** The model with weights drawn by a seed. */
export const initialised = (m: Model, seed: string): Model => initialise(m, seed).model

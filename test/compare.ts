import { rng } from '../src/base/random.ts'
import { arrayDataset } from '../src/data/index.ts'
import { elementCount, equalTensors, isFloat, tensor, toFloats, toNumbers } from '../src/ir/tensor.ts'
import { machine } from '../src/node/machine.ts'
import { nodeRunner } from '../src/node/runner.ts'
import { saturatingNodes } from '../src/passes/quantize/common/saturation.ts'
import type { Context, Refusal } from '../src/passes/types.ts'
import type { Session } from '../src/runtime/types.ts'
import { targetFor } from '../src/targets/index.ts'
import type { Dataset, Model, Tensor } from '../src/types.ts'

/** The target of this processor: sums of 8-bit products saturate without VNNI, so weights have 7 bits there. */
export const cpuTarget = machine().vnni === false ? 'ort-cpu-avx2' : 'ort-cpu'

/** Can int8 sums of the model saturate in ONNX Runtime on this processor, and not on those that have VNNI? */
export const saturatesHere = (model: Model): boolean =>
  machine().vnni === false && saturatingNodes(model, targetFor('ort-cpu-avx2')).length > 0

/** A context over the real Runner that records what a pass says. */
export function testContext(target = 'ort-cpu'): Context & { readonly refusals: Refusal[]; readonly notes: string[] } {
  const refusals: Refusal[] = []
  const notes: string[] = []
  return {
    engine: nodeRunner(),
    measured: nodeRunner(),
    data: {},
    target: targetFor(target),
    rng: rng(0),
    signal: new AbortController().signal,
    progress: () => {},
    refuse: (node, reason) => refusals.push({ node: node.name, op: node.op, reason }),
    note: (fact) => notes.push(fact),
    plan: () => {},
    refusals,
    notes
  }
}

/** The optimised graph of a session that keeps it. */
export async function optimizedOf(session: Session): Promise<Model> {
  const optimized = await session.optimized?.()
  if (!optimized) throw new Error('the session does not keep its optimised graph')
  return optimized
}

/** Seeded inputs; every symbol is `size`. */
export function randomFeeds(model: Model, seed: number, size = 2): Record<string, Tensor> {
  const random = rng(seed)
  const feeds: Record<string, Tensor> = {}
  for (const id of model.graph.inputs) {
    const v = model.graph.values.get(id)
    if (!v?.dtype || !v.shape) throw new Error(`input ${id} has no type`)
    const shape = v.shape.map((d) => (typeof d === 'number' ? d : size))
    const isReal = isFloat(v.dtype)
    feeds[id] = tensor(
      v.dtype,
      shape,
      Array.from({ length: elementCount(shape) }, () => (isReal ? random.normal() : random.below(2)))
    )
  }
  return feeds
}

/** Seeded samples of normal inputs, one to an element of the first axis. */
export function normalData(model: Model, samples: number, { mean = 0, scale = 1 } = {}): Dataset {
  const random = rng('data')
  const inputs = model.graph.inputs.map((id) => {
    const shape = [samples, ...(model.graph.values.get(id)?.shape ?? []).slice(1).map(Number)]
    const values = Array.from({ length: elementCount(shape) }, () => random.normal() * scale + mean)
    return [id, tensor('float32', shape, values)] as const
  })
  return arrayDataset({ inputs: Object.fromEntries(inputs) })
}

/** Runs a model without the engine's own optimisation. */
export async function outputsOf(
  model: Model,
  feeds: Readonly<Record<string, Tensor>>
): Promise<Record<string, Tensor>> {
  const session = await nodeRunner().open(model, { optimization: 'disabled' })
  try {
    return await session.run(feeds)
  } finally {
    await session.close()
  }
}

/** Largest |a − b| relative to the largest |a|, over all outputs; infinite where types or shapes differ. */
export function difference(a: Readonly<Record<string, Tensor>>, b: Readonly<Record<string, Tensor>>): number {
  let worst = Object.keys(a).join() === Object.keys(b).join() ? 0 : Number.POSITIVE_INFINITY
  for (const [name, x] of Object.entries(a)) {
    const y = b[name]
    if (!y || x.dtype !== y.dtype || x.shape.join() !== y.shape.join()) return Number.POSITIVE_INFINITY
    if (x.strings) {
      if (x.strings.join('\n') !== y.strings?.join('\n')) return Number.POSITIVE_INFINITY
      continue
    }
    if (x.dtype.startsWith('complex')) {
      if (!equalTensors(x, y)) return Number.POSITIVE_INFINITY
    } else worst = Math.max(worst, apart(toNumbers(x), toNumbers(y)))
  }
  return worst
}

/** First outputs of two models over all samples. */
export async function firstOutputs(a: Model, b: Model, data: Dataset): Promise<readonly [Tensor, Tensor]> {
  for await (const { inputs } of data.batches({ batch: data.size })) {
    const [x, y] = [Object.values(await outputsOf(a, inputs))[0], Object.values(await outputsOf(b, inputs))[0]]
    if (x && y) return [x, y]
  }
  throw new Error('no output')
}

/** Σ(x − y)² / Σx² of the first output over the samples. */
export async function noise(a: Model, b: Model, data: Dataset): Promise<number> {
  const [u, v] = (await firstOutputs(a, b, data)).map(toFloats) as [Float32Array, Float32Array]
  let [error, power] = [0, 0]
  for (let i = 0; i < u.length; i++) {
    error += ((u[i] as number) - (v[i] as number)) ** 2
    power += (u[i] as number) ** 2
  }
  return error / power
}

/** Root mean square, over channels of the first output, of how far the mean over the samples is off. */
export async function meanError(a: Model, b: Model, data: Dataset): Promise<number> {
  const [x, y] = await firstOutputs(a, b, data)
  const [n, channels] = x.shape as [number, number]
  const positions = elementCount(x.shape) / n / channels
  const [u, v] = [toFloats(x), toFloats(y)]
  const off = new Float64Array(channels)
  for (let i = 0; i < u.length; i++) {
    const c = Math.floor(i / positions) % channels
    off[c] = (off[c] as number) + ((v[i] as number) - (u[i] as number)) / (n * positions)
  }
  return Math.sqrt(off.reduce((sum, e) => sum + e * e, 0) / channels)
}

function apart(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [scale, worst] = [1e-6, 0]
  for (let i = 0; i < a.length; i++) {
    const v = Math.abs(a[i] as number)
    if (Number.isFinite(v) && v > scale) scale = v
  }
  for (let i = 0; i < a.length; i++) {
    const [v, w] = [a[i] as number, b[i] as number]
    if (v === w || (Number.isNaN(v) && Number.isNaN(w))) continue
    const d = Math.abs(v - w) / scale
    worst = Math.max(worst, Number.isNaN(d) ? Number.POSITIVE_INFINITY : d)
  }
  return worst
}

import { rng } from '../src/base/random.ts'
import { elementCount, equalTensors, isFloat, tensor, toNumbers } from '../src/ir/tensor.ts'
import { nodeRunner } from '../src/node/runner.ts'
import { targetFor } from '../src/targets/index.ts'
import type { Context, Model, Refusal, Tensor } from '../src/types.ts'

/** A context over the real Runner that records what a pass says. */
export function testContext(): Context & { readonly refusals: Refusal[]; readonly notes: string[] } {
  const refusals: Refusal[] = []
  const notes: string[] = []
  return {
    runner: nodeRunner(),
    data: {},
    target: targetFor('ort-cpu'),
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

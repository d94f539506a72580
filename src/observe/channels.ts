/** What values are per channel on data: least, greatest, mean and mean square over samples and positions, reduced inside the engine. */
import { assert } from '../base/errors.ts'
import { type Draft, edit } from '../ir/edit.ts'
import { tensor, toFloats } from '../ir/tensor.ts'
import type { Context, Dataset, Model, Tensor } from '../types.ts'
import { type ChannelMean, eachBatch, fixedBatch, sampleBytes } from './calibrate.ts'

const reductions = { least: 'ReduceMin', greatest: 'ReduceMax', mean: 'ReduceMean', power: 'ReduceMean' } as const
export type Reduction = keyof typeof reductions

/** Numbers of one value, one per channel, by what was asked. */
export type ChannelNumbers = Readonly<Record<Reduction, Float64Array>>

type Surroundings = Pick<Context, 'engine' | 'signal' | 'progress'>

/**
 * Quantized values are watched as the float numbers they stand for: integer kernels made of the products and sums added
 * here would run over 32 bits.
 */
export const asFloat = { quantization: 'asFloat' } as const

const memoryBytes = 64 * 1024 * 1024

/**
 * By id, the numbers asked for; those not asked for are empty. Only what leads to the values runs. Throws `E_DATA` where
 * no sample ran.
 */
export async function observeChannels(
  model: Model,
  wanted: readonly ChannelMean[],
  asked: readonly Reduction[],
  data: Dataset,
  ctx: Surroundings
): Promise<ReadonlyMap<string, ChannelNumbers>> {
  if (wanted.length === 0) return new Map()
  const taps = new Map<string, string>()
  const reduced = edit(model, (d) => {
    for (const w of wanted) for (const r of asked) taps.set(`${r} ${w.id}`, addReduction(d, w, r))
    d.setOutputs([...taps.values()])
    d.sweep()
  })
  const perSample = wanted.reduce((n, w) => n + sampleBytes(model, w.id), 0)
  const batch = fixedBatch(model) ?? Math.max(1, Math.min(32, Math.floor(memoryBytes / perSample)))
  const found = new Map<string, Float64Array>()
  let samples = 0
  const session = await ctx.engine.open(reduced, asFloat)
  try {
    const feed = { dataset: data, batch, isFixed: fixedBatch(model) !== undefined, ctx }
    await eachBatch(session, feed, 'watching channels', (outputs, n) => {
      for (const [key, id] of taps) join(found, key, toFloats(outputs[id] as Tensor), n)
      samples += n
    })
  } finally {
    await session.close()
  }
  const numbers = (id: string, r: Reduction): Float64Array => {
    const all = found.get(`${r} ${id}`) ?? new Float64Array(0)
    return isMean(r) ? all.map((x) => x / samples) : all
  }
  return new Map(
    wanted.map(({ id }) => [
      id,
      {
        least: numbers(id, 'least'),
        greatest: numbers(id, 'greatest'),
        mean: numbers(id, 'mean'),
        power: numbers(id, 'power')
      }
    ])
  )
}

function addReduction(d: Draft, { id, axis }: ChannelMean, r: Reduction): string {
  const rank = d.value(id)?.shape?.length
  assert(rank !== undefined, `the rank of ${id} is not known`)
  const axes = Array.from({ length: rank }, (_, i) => i).filter((i) => i !== axis)
  const constant = d.addConstant(tensor('int64', [axes.length], axes), 'axes')
  const of = r === 'power' ? d.add('Mul', [id, id]) : id
  return d.add(reductions[r], [of, constant], { attrs: { keepdims: 0 } })
}

const isMean = (r: string): boolean => r === 'mean' || r === 'power'

/** Joins the numbers of a batch to those before: sums weighted by samples for means. */
function join(found: Map<string, Float64Array>, key: string, values: Float32Array, n: number): void {
  const known = found.get(key)
  const isSum = isMean(key.slice(0, key.indexOf(' ')))
  if (!known) {
    found.set(
      key,
      Float64Array.from(values, (x) => (isSum ? n * x : x))
    )
    return
  }
  const pick = key.startsWith('least ') ? Math.min : Math.max
  for (let c = 0; c < known.length; c++) {
    const [a, x] = [known[c] as number, values[c] as number]
    known[c] = isSum ? a + n * x : pick(a, x)
  }
}

/** Reductions of values that nodes added to a graph compute inside the engine, and how those of several runs are joined. */
import { assert } from '../base/errors.ts'
import type { Draft } from '../ir/edit.ts'
import { tensor, toFloats } from '../ir/tensor.ts'
import type { Tensor } from '../types.ts'

/** A value and its channel axis. The value's rank must be known. */
export interface ChannelMean {
  readonly id: string
  readonly axis: number
}

const ops = {
  least: 'ReduceMin',
  greatest: 'ReduceMax',
  mean: 'ReduceMean',
  /** The mean square. */
  power: 'ReduceMean',
  sum: 'ReduceSum',
  /** The largest magnitude. */
  peak: 'ReduceMax'
} as const
export type Reduction = keyof typeof ops

/** One number per channel: over samples and positions. */
export type ChannelReduction = 'least' | 'greatest' | 'mean' | 'power'

/** A vector of one number per channel. */
export function reduceChannels(d: Draft, { id, axis }: ChannelMean, r: ChannelReduction): string {
  return d.add(ops[r], [squared(d, id, r), otherAxes(d, id, axis)], { attrs: { keepdims: 0 } })
}

/** A scalar over all elements. */
export function reduceAll(d: Draft, id: string, r: Reduction): string {
  return d.add(ops[r], [r === 'peak' ? d.add('Abs', [id]) : squared(d, id, r)], { attrs: { keepdims: 0 } })
}

/** Mean and deviation per channel, of the value's rank: they can be computed with inside the graph. */
export function momentsOf(d: Draft, id: string, { rank, axis }: { readonly rank: number; readonly axis: number }) {
  const axes = axesBeside(d, rank, axis)
  const mean = d.add('ReduceMean', [id, axes])
  const apart = d.add('Sub', [id, mean])
  const variance = d.add('ReduceMean', [d.add('Mul', [apart, apart]), axes])
  return { mean, deviation: d.add('Sqrt', [variance]) }
}

const squared = (d: Draft, id: string, r: Reduction): string => (r === 'power' ? d.add('Mul', [id, id]) : id)

function otherAxes(d: Draft, id: string, axis: number): string {
  const rank = d.value(id)?.shape?.length
  assert(rank !== undefined, `the rank of ${id} is not known`)
  return axesBeside(d, rank, axis)
}

function axesBeside(d: Draft, rank: number, axis: number): string {
  const axes = Array.from({ length: rank }, (_, i) => i).filter((i) => i !== axis)
  return d.addConstant(tensor('int64', [axes.length], axes), 'axes')
}

/** Numbers of many runs, one per channel. */
export interface Joined {
  /** `n`: samples of the run. */
  take(numbers: Tensor, n: number): void
  /** Empty where nothing was taken. */
  numbers(): Float64Array
}

/** Joins the numbers of runs: means by their samples, in float64. */
export function joining(r: ChannelReduction): Joined {
  const isMean = r === 'mean' || r === 'power'
  const pick = r === 'least' ? Math.min : Math.max
  let known: Float64Array | undefined
  let samples = 0
  return {
    take: (numbers, n) => {
      const values = toFloats(numbers)
      samples += n
      if (!known) {
        known = Float64Array.from(values, (x) => (isMean ? n * x : x))
        return
      }
      for (let c = 0; c < known.length; c++) {
        const [a, x] = [known[c] as number, values[c] as number]
        known[c] = isMean ? a + n * x : pick(a, x)
      }
    },
    numbers: () => (isMean ? known?.map((x) => x / samples) : known) ?? new Float64Array(0)
  }
}

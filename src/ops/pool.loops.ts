/** Pools over windows, as loops. */
import { attrInt, attrInts } from '../ir/attrs.ts'
import { sizes } from './move.loops.ts'
import type { Loops, NodeView, PoolAxis } from './types.ts'
import { extent, windowsOf } from './window.ts'

function axesOf(n: NodeView): readonly PoolAxis[] | undefined {
  const kernel = attrInts(n.node, 'kernel_shape')
  if (!kernel) return undefined
  const { axes, autoPad } = windowsOf(n, kernel)
  const [x, y] = [sizes(n, 'inputs', 0).slice(2), sizes(n, 'outputs', 0).slice(2)]
  return axes.map((a, i) => {
    const span = extent(a) as number
    const total = Math.max(0, ((y[i] as number) - 1) * a.stride + span - (x[i] as number))
    const before =
      autoPad === 'SAME_UPPER'
        ? Math.floor(total / 2)
        : autoPad === 'SAME_LOWER'
          ? Math.ceil(total / 2)
          : autoPad === 'VALID'
            ? 0
            : a.padBegin
    return { kernel: a.kernel as number, stride: a.stride, dilation: a.dilation, before }
  })
}

function maxPool(n: NodeView): Loops | undefined {
  const axes = axesOf(n)
  return axes && !n.node.outputs[1] ? { is: 'pool', by: 'max', axes } : undefined
}

/** Divided by the positions of the window that count: all within the given pads, or those inside the map alone. */
function averagePool(n: NodeView): Loops | undefined {
  const axes = axesOf(n)
  const kernel = attrInts(n.node, 'kernel_shape')
  if (!axes || !kernel) return undefined
  const all = attrInt(n.node, 'count_include_pad', 0) !== 0
  const given = windowsOf(n, kernel).axes
  const [x, y] = [sizes(n, 'inputs', 0).slice(2), sizes(n, 'outputs', 0).slice(2)]
  const counts = axes.map((a, i) =>
    Array.from({ length: y[i] as number }, (_, p) => {
      let count = 0
      for (let k = 0; k < a.kernel; k++) {
        const at = p * a.stride + k * a.dilation - a.before
        const [low, high] = all ? [-a.before, (x[i] as number) + (given[i]?.padEnd ?? 0)] : [0, x[i] as number]
        if (at >= low && at < high) count++
      }
      return count
    })
  )
  const divisors = counts.reduce((rows, line) => rows.flatMap((r) => line.map((c) => r * c)), [1])
  const isSame = divisors.every((d) => d === divisors[0])
  return { is: 'pool', by: 'sum', axes, divisors: isSame ? (divisors[0] as number) : Float32Array.from(divisors) }
}

/** By name; see `withLoops`. */
export const poolLoops: Readonly<Record<string, (n: NodeView) => Loops | undefined>> = {
  MaxPool: maxPool,
  AveragePool: averagePool,
  MatMul: () => ({ is: 'matrices' })
}

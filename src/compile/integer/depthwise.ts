/** Depthwise convolutions on codes. */
import { at, float, load4, loop, mul, type Place, type Stmt } from '../../ir/loops.ts'
import { laneOf } from '../kernels/copy.ts'
import { depthLanes, depthSums } from '../kernels/depth.ts'
import { mapsBytes } from '../kernels/recode.ts'
import type { Made } from '../linear.ts'
import type { IntegerSteps } from './context.ts'
import { type CodedLayer, filledUp, type Geometry, made, roundingIn, shapeOf } from './layer.ts'

/** Most steps of a window that code spells out. */
export const mostTaps = 64
export function depthwise(steps: IntegerSteps, l: CodedLayer, g: Geometry): Made | undefined {
  const { behind } = l
  if (!behind) return undefined
  const channels = l.linear.groups
  const [blocks, taps] = [Math.ceil(channels / 4), g.y.kernel * g.x.kernel]
  const groups = Math.ceil(taps / 4)
  const quads = new Int8Array(blocks * groups * 16)
  // Two steps of a window are multiplied at a time: the pairs of a quad are steps 0 and 1, then 2 and 3.
  const step = [0, 2, 1, 3]
  for (let c = 0; c < channels; c++)
    for (let t = 0; t < taps; t++) {
      const quad = ((c >> 2) * groups + (t >> 2)) * 16
      quads[quad + (c % 4) * 4 + step.indexOf(t % 4)] = l.code(c, t)
    }
  const from = steps.need(l.data, 'maps')
  const key = steps.made(behind.to, 'maps', mapsBytes(shapeOf(channels, g)) + 16)
  const what = `depthwise ${g.y.kernel}×${g.x.kernel}, ${g.title}`
  return made(l, what, from, key, depthLanes(g.y, g.x), (places) => {
    const scales = places.constant(filledUp(l.scales, blocks * 4))
    const starts = places.constant(filledUp(l.starts, blocks * 4))
    const weights = places.quads(quads, 'pairs')
    return perSample(g, blocks, blocks, places.of(from), places.of(key), (source, target) =>
      depthSums({
        ...{ blocks, y: g.y, x: g.x, from: source, to: target, scratch: places.scratch },
        by: { is: 'weights', weights, starts },
        outside: laneOf(l.data.coding.zero),
        finish: (inside) => {
          const [factors, round] = [inside.place(scales), roundingIn(l, inside)]
          return (sums, number) => round(mul(float(sums), load4(at(factors, number))))
        }
      })
    )
  })
}

function perSample(
  g: Geometry,
  blocksIn: number,
  blocksOut: number,
  from: Place,
  to: Place,
  code: (from: Place, to: Place) => Stmt[]
): Stmt[] {
  if (g.samples === 1) return code(from, to)
  return loop(0, g.samples, 1, (s) =>
    code(at(from, mul(s, blocksIn * g.inside * 4)), at(to, mul(s, blocksOut * g.positions * 4)))
  )
}

/** Where samples could leave a model: places that all later work depends on through one value alone. */
import { reads } from '../../ir/graph.ts'
import { isFloat } from '../../ir/tensor.ts'
import { costOf } from '../../ops/cost.ts'
import type { Dim, Model, Value } from '../../types.ts'

/** One such place. */
export interface CutPoint {
  /** All that comes later reads this value, and nothing else that is computed. */
  readonly value: string
  readonly shape: readonly Dim[]
  /** Elements of the value for one sample. */
  readonly width: number
  /** Of the multiply-adds, those that are done by then. */
  readonly share: number
}

/** All places, in order, of a model with inferred types. `undefined` where its multiply-adds are not known. */
export function cutPoints(model: Model): readonly CutPoint[] | undefined {
  const { graph } = model
  const { byNode, total } = costOf(model)
  if (!total) return undefined
  const nodes = graph.nodes
  const lastRead = new Map<string, number>()
  for (const [i, n] of nodes.entries()) for (const id of reads(n)) if (!graph.values.get(id)?.data) lastRead.set(id, i)
  for (const id of graph.outputs) lastRead.set(id, nodes.length)
  const live = new Set(graph.inputs.filter((id) => lastRead.has(id)))
  const samples = graph.values.get(graph.inputs[0] ?? '')?.shape?.[0]
  const out: CutPoint[] = []
  let done = 0
  for (const [i, n] of nodes.entries()) {
    done += byNode.get(n) ?? 0
    for (const id of n.outputs) if ((lastRead.get(id) ?? -1) > i) live.add(id)
    for (const id of [...live]) if ((lastRead.get(id) as number) <= i) live.delete(id)
    const [only] = live
    const value = live.size === 1 && only !== undefined && n.outputs.includes(only) ? graph.values.get(only) : undefined
    const width = value && !graph.outputs.includes(value.id) ? widthOf(value, samples) : undefined
    if (value && width !== undefined)
      out.push({ value: value.id, shape: value.shape ?? [], width, share: done / total })
  }
  return out
}

/** Elements a sample; `undefined` for what is no float of rows of samples. */
function widthOf({ dtype, shape }: Value, samples: Dim | undefined): number | undefined {
  if (!dtype || !isFloat(dtype) || !shape || shape.length < 2 || shape.length > 4 || shape[0] !== samples)
    return undefined
  const rest = shape.slice(1)
  return rest.every((d): d is number => typeof d === 'number') ? rest.reduce((a, b) => a * b, 1) : undefined
}

/** The narrowest place in each of `count` parts of equal work between the shares `from` and `to`. */
export function narrowest(
  points: readonly CutPoint[],
  count: number,
  [from, to]: readonly [number, number]
): readonly CutPoint[] {
  const best = new Map<number, CutPoint>()
  for (const p of points) {
    const at = Math.floor(((p.share - from) / (to - from)) * count)
    if (at < 0 || at >= count) continue
    const known = best.get(at)
    if (!known || p.width < known.width) best.set(at, p)
  }
  return [...best.entries()].sort(([a], [b]) => a - b).map(([, p]) => p)
}

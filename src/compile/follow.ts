/** Element-wise nodes behind a layer, done to its sums before they are stored. */

import { soleConsumer } from '../ir/graph.ts'
import { at, type Expr, load4, loadSplat } from '../ir/loops.ts'
import { elementCount, toFloats } from '../ir/tensor.ts'
import { opFor } from '../ops/index.ts'
import { viewOf } from '../ops/infer.ts'
import type { Loops } from '../ops/types.ts'
import type { Model, Node } from '../types.ts'
import type { Finish } from './kernels/product.ts'
import type { Places } from './steps.ts'
import { floatConstant } from './stored.ts'

export interface Followed {
  /** The nodes that are done with the layer. */
  readonly nodes: readonly Node[]
  /** The value that the layer and they give together. */
  readonly output: string
  /** Values that they read besides. */
  readonly reads: readonly string[]
  finish(places: Places): Finish
}

/** How an operand meets the sums. */
type Operand =
  | { readonly is: 'sums' }
  | { readonly is: 'number'; readonly value: number }
  | { readonly is: 'each'; readonly id: string }
  | { readonly is: 'channel'; readonly data: Float32Array }

/** `channel`: the axis of the output along which channels run; `vectors`: whether four sums on end are four channels. */
export function follow(
  model: Model,
  node: Node,
  channel: number,
  vectors: boolean,
  ready: (id: string) => boolean
): Followed {
  const { graph } = model
  const nodes: Node[] = []
  const steps: { readonly value: (x: readonly Expr[]) => Expr; readonly operands: readonly Operand[] }[] = []
  let output = node.outputs[0] as string
  const shape = (id: string): readonly number[] => (graph.values.get(id)?.shape ?? []) as readonly number[]
  const own = shape(output)
  for (;;) {
    const next = soleConsumer(graph, output)
    if (next?.outputs.length !== 1) break
    const loops = lanesOf(model, next)
    const to = next.outputs[0] as string
    if (!loops || loops.scalar || graph.values.get(to)?.dtype !== 'float32' || !sameSizes(shape(to), own)) break
    const operands = next.inputs.map((id, i) => operandOf(id, loops.channels?.includes(i) ?? false))
    if (operands.some((o) => o === undefined)) break
    nodes.push(next)
    steps.push({ value: loops.value, operands: operands as readonly Operand[] })
    output = to
  }

  function operandOf(id: string | null, perChannel: boolean): Operand | undefined {
    if (id === null) return { is: 'number', value: 0 }
    if (id === output) return { is: 'sums' }
    if (graph.values.get(id)?.dtype !== 'float32') return undefined
    const data = floatConstant(graph, id)
    if (data && elementCount(data.shape) === 1) return { is: 'number', value: toFloats(data)[0] as number }
    if (data && perChannel) return { is: 'channel', data: toFloats(data) }
    const sizes = shape(id)
    if (data && elementCount(sizes) === own[channel] && sizes[sizes.length - (own.length - channel)] === own[channel])
      return { is: 'channel', data: toFloats(data) }
    return sameSizes(sizes, own) && (data || ready(id)) ? { is: 'each', id } : undefined
  }

  const reads = steps.flatMap((s) => s.operands.flatMap((o) => (o.is === 'each' ? [o.id] : [])))
  const finish = (places: Places): Finish => {
    const channels = new Map<Float32Array, ReturnType<Places['constant']>>()
    for (const { operands } of steps)
      for (const o of operands) if (o.is === 'channel') channels.set(o.data, places.constant(o.data))
    return (sums, spot) =>
      steps.reduce((x, { value, operands }) => {
        const given = operands.map((o): Expr => {
          if (o.is === 'sums') return x
          if (o.is === 'number') return { is: 'const', kind: 'f32x4', value: o.value }
          if (o.is === 'each') return load4(at(spot.through(places.of(o.id)), spot.address))
          const place = spot.through(channels.get(o.data) as ReturnType<Places['constant']>)
          return vectors ? load4(at(place, spot.column)) : loadSplat(at(place, spot.row))
        })
        return value(given)
      }, sums)
  }
  return { nodes, output, reads, finish }
}

/** The lanes of a node's loops, where it has such. */
export function lanesOf(model: Model, node: Node): (Loops & { readonly is: 'lanes' }) | undefined {
  const loops = opFor(node)?.loops?.(viewOf(model, model.graph, node))
  return loops?.is === 'lanes' ? loops : undefined
}

export const sameSizes = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((d, i) => d === b[i])

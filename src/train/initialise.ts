/**
 * Weights drawn anew, so that a model can be trained from nothing. How each begins is told by the operators that read it
 * (`starts`): kernels and matrices normal with variance 2 / inputs of a unit (He et al. 2015), biases 0, normalizations
 * the identity. Every constant has a stream of its own, so that adding a layer does not change how the others begin.
 */
import { rng } from '../base/random.ts'
import { producer } from '../ir/graph.ts'
import { elementCount, isFloat, tensor } from '../ir/tensor.ts'
import { isAdd } from '../ops/ask.ts'
import { opFor } from '../ops/index.ts'
import type { Start } from '../ops/types.ts'
import type { Graph, Model, Node, Tensor, Value } from '../types.ts'
import { withValues } from './state.ts'

export interface Initialised {
  readonly model: Model
  /** Float constants of more than one element that no operator says how to begin: they are as they were. */
  readonly kept: readonly string[]
}

/** Draws the weights of a model's outermost graph by a seed. */
export function initialise(model: Model, seed: number | string): Initialised {
  const { graph } = model
  const values = new Map<string, Tensor>()
  const kept = new Set<string>()
  for (const node of graph.nodes)
    for (const [i, id] of node.inputs.entries()) {
      const v = id === null ? undefined : graph.values.get(id)
      if (!v?.data || !isFloat(v.data.dtype) || values.has(v.id)) continue
      const start = startOf(graph, node, i, v)
      if (start !== undefined) values.set(v.id, drawn(v.data, start, node, `${seed}/${v.id}`))
      else if (elementCount(v.data.shape) > 1) kept.add(v.id)
    }
  return { model: withValues(model, values), kept: [...kept].filter((id) => !values.has(id)) }
}

/** What is added along one axis to a product is its bias. */
function startOf(graph: Graph, node: Node, position: number, v: Value): Start | undefined {
  const told = opFor(node)?.starts?.[position]
  if (told !== undefined || !isAdd(node)) return told
  const maker = producer(graph, node.inputs[1 - position] ?? '')
  const isProduct = maker !== undefined && typeof opFor(maker)?.starts?.[1] === 'object'
  return isProduct && (v.data?.shape ?? []).filter((d) => d > 1).length <= 1 ? 0 : undefined
}

function drawn({ dtype, shape }: Tensor, start: Start, node: Node, seed: string): Tensor {
  const random = rng(seed)
  const deviation = typeof start === 'number' ? 0 : start.deviation(shape, node)
  const values = Float32Array.from({ length: elementCount(shape) }, () =>
    typeof start === 'number' ? start : deviation * random.normal()
  )
  return tensor(dtype, shape, values)
}

/** What the weights of a model belong to: products and recurrent layers, whose inputs can be quantized at run time, or others. */
import { allGraphs, graphView, opName } from '../../ir/graph.ts'
import { tensorBytes } from '../../ir/tensor.ts'
import { linearOf } from '../../ops/ask.ts'
import { opFor } from '../../ops/index.ts'
import { weightUses } from '../../passes/quantize/common/uses.ts'
import type { Target } from '../../targets/types.ts'
import type { Graph, Model, Node } from '../../types.ts'

export interface MadeOf {
  /** Operator types of the model that have a form with inputs quantized at run time, without convolutions. */
  readonly dynamic: readonly string[]
  /** Part of the bytes of all multiplied weights, 0 to 1, that their products and recurrent layers hold. */
  readonly share: number
  readonly isRecurrent: boolean
}

type Kind = 'product' | 'convolution' | 'recurrent' | 'table'

/** What the weights of a model belong to, on a target. */
export function madeOf(model: Model, target: Target): MadeOf {
  const homes = new Map(allGraphs(model).flatMap((g) => g.nodes.map((n) => [n, g] as const)))
  const found = new Map<string, Kind>()
  let [able, all] = [0, 0]
  for (const { data, uses } of weightUses(model).values()) {
    const node = uses[0]?.node
    const kind = node && kindOf(homes.get(node) ?? model.graph, node)
    if (!node || !kind) continue
    const hasForm = kind !== 'convolution' && target.dynamic.some((row) => row.op === opName(node))
    if (hasForm) found.set(opName(node), kind)
    if (kind === 'table') continue
    all += tensorBytes(data)
    if (hasForm) able += tensorBytes(data)
  }
  return {
    dynamic: [...found.keys()],
    share: all === 0 ? 0 : able / all,
    isRecurrent: [...found.values()].includes('recurrent')
  }
}

/** A layer with weights at several inputs, for its data and its state, is recurrent; weights that nothing multiplies are a table. */
function kindOf(graph: Graph, node: Node): Kind {
  const op = opFor(node)
  if (op?.linear) return linearOf(graphView(graph), node)?.patch ? 'convolution' : 'product'
  return new Set(op?.weights?.map((w) => w.input)).size > 1 ? 'recurrent' : 'table'
}

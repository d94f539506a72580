/** A model that answers easy samples early, as one model a stage: what a server runs by turns. */
import type { Graph, Model, Node, Value } from '../types.ts'
import { constant, producer, reads } from './graph.ts'
import { type Exit, stagesOf, unfoldStages } from './stages.ts'

/**
 * One stage. Its inputs are inputs of the model and values that earlier stages hand on, by the ids that they have there; its outputs
 * are its scores, its confidence (the last stage has none), and what it hands on.
 */
export interface StageModel {
  readonly model: Model
  readonly scores: string
  readonly confidence?: string
}

/** All stages in order. `undefined` where the graph is no longer what `foldStages` made of it. */
export function splitStages(folded: Model, exits: readonly Exit[]): readonly StageModel[] | undefined {
  const straight = unfoldStages(folded, exits)
  if (!straight) return undefined
  const { model, confidence, scores } = straight
  const { graph } = model
  const last = scores.length - 1
  const stage = stagesOf(graph, [...confidence, scores[last] as string])
  const needed = (n: Node, i: number): readonly string[] =>
    reads(n).filter((id) => {
      const made = producer(graph, id)
      return made ? stage.get(made) !== i : !constant(graph, id)
    })
  return scores.map((own, i) => {
    const nodes = graph.nodes.filter((n) => stage.get(n) === i)
    const later = new Set(graph.nodes.flatMap((n) => ((stage.get(n) ?? -1) > i ? reads(n) : [])))
    const handedOn = nodes.flatMap((n) => n.outputs).filter((id) => later.has(id))
    const ends = [own, ...(i < last ? [confidence[i] as string] : [])]
    const inputs = [...new Set(nodes.flatMap((n) => needed(n, i)))]
    return {
      model: { ...model, graph: part(graph, nodes, inputs, [...new Set([...ends, ...handedOn])]) },
      scores: own,
      ...(i < last ? { confidence: confidence[i] as string } : {})
    }
  })
}

function part(graph: Graph, nodes: readonly Node[], inputs: readonly string[], outputs: readonly string[]): Graph {
  const ids = new Set([...inputs, ...nodes.flatMap((n) => [...reads(n), ...n.outputs])])
  const values = new Map<string, Value>()
  for (const id of ids) {
    const value = graph.values.get(id)
    if (value) values.set(id, value)
  }
  return { ...graph, nodes, inputs, outputs, values }
}

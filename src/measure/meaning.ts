/** What outputs mean, as far as the graph tells: scores of classes, embeddings and hidden states, or plain numbers. */
import { isScores, mayClassify } from '../data/metrics.ts'
import { constant, graphView, producer } from '../ir/graph.ts'
import { isFloat, isInteger } from '../ir/tensor.ts'
import { linearOf } from '../ops/ask.ts'
import { opFor } from '../ops/index.ts'
import type { Session } from '../runtime/types.ts'
import type { Dim, Model, Node } from '../types.ts'

type Port = Session['outputs'][number]

/** A metric by name, and why it. */
export interface Decision {
  readonly metric: 'top1' | 'agreement' | 'cosine' | 'relativeError'
  readonly why: string
}

/** The metric that fits a model's outputs. */
export function decide(model: Model, ports: readonly Port[], labelled: boolean): Decision {
  if (labelled && ports.some(mayClassify)) return { metric: 'top1', why: 'the data has labels' }
  const meanings = ports.filter((p) => p.dtype === undefined || isFloat(p.dtype)).map((p) => meaningOf(model, p))
  const scores = meanings.find((m) => m.kind === 'scores')
  if (scores) return { metric: 'agreement', why: `${scores.why}, and the data has no labels` }
  if (meanings.length > 0 && meanings.every((m) => m.kind === 'features'))
    return { metric: 'cosine', why: meanings.map((m) => m.why).join('; ') }
  return { metric: 'relativeError', why: meanings.find((m) => m.kind === 'numbers')?.why ?? 'no output is of floats' }
}

interface Meaning {
  readonly kind: 'scores' | 'features' | 'numbers'
  readonly why: string
}

function meaningOf(model: Model, port: Port): Meaning {
  const { name, shape = [] } = port
  const end = endOf(model, name)
  if (isScores(port)) return flatMeaning(model, name, shape[1] as number, end)
  const width = shape.at(-1)
  const isSequence = typeof shape[1] === 'string' || hasTokens(model)
  const isHidden = shape.length === 3 && isSequence && isWide(width) && end?.meaning !== 'scores'
  if (isHidden) return { kind: 'features', why: `${name} is hidden states, ${width} numbers at every position` }
  return { kind: 'numbers', why: `${name} [${shape.join(', ')}] is neither class scores nor an embedding` }
}

/** [N, count]: what the graph ends with tells, and where that is a plain sum the count. */
function flatMeaning(model: Model, name: string, count: number, end: End | undefined): Meaning {
  const op = end?.node.op ?? 'an input'
  if (end?.meaning === 'scores') return { kind: 'scores', why: `${name} ends with ${op}: scores of ${count} classes` }
  if (end?.meaning === 'features' && count > 1)
    return { kind: 'features', why: `${name} ends with ${op}: an embedding of ${count} numbers` }
  const isLayer = end !== undefined && linearOf(graphView(model.graph), end.node) !== undefined
  if (isWide(count) && (!isLayer || count >= leastEmbedding))
    return {
      kind: 'features',
      why: `${name} is ${count} numbers, a width that embeddings have, behind ${op} and without Softmax; --metric agreement takes them for classes`
    }
  return { kind: 'scores', why: `${name} ends with ${op}: scores of ${count} classes` }
}

/** Widths of embeddings and hidden states are multiples of 64; few models have so many classes. */
const isWide = (d: Dim | undefined): boolean => typeof d === 'number' && d >= 64 && d % 64 === 0
/** Behind a linear layer, as classifiers end with one too. */
const leastEmbedding = 128

interface End {
  readonly node: Node
  readonly meaning?: 'scores' | 'features'
}

/** The node that decides what an output means: behind it there are only constants and changes of shape and scale. */
function endOf({ graph }: Model, name: string): End | undefined {
  const view = graphView(graph)
  let node = producer(graph, name)
  for (let left = graph.nodes.length; node && left > 0; left--) {
    const meaning = opFor(node)?.meaning
    if (meaning) return { node, meaning }
    const from = node.inputs.filter((id) => id && !constant(graph, id))
    const before = from.length === 1 ? producer(graph, from[0] as string) : undefined
    if (!before || linearOf(view, node)) return { node }
    node = before
  }
  return node && { node }
}

/** Is an input a matrix of whole numbers, as token ids are? */
const hasTokens = ({ graph }: Model): boolean =>
  graph.inputs.some((id) => {
    const { dtype, shape } = graph.values.get(id) ?? {}
    return dtype !== undefined && isInteger(dtype) && (shape?.length ?? 0) >= 2
  })

/** Is an output an input as it is, through nodes that give theirs on? */
export function isHandedOn({ graph }: Model, output: string): boolean {
  let id = output
  for (let left = graph.nodes.length; left >= 0; left--) {
    if (graph.inputs.includes(id)) return true
    const node = producer(graph, id)
    if (!node || !opFor(node)?.idle) return false
    id = node.inputs[0] ?? ''
  }
  return false
}

/**
 * Recurrent layers: per step and direction, G gates of H units each read the input (I) and the last state (H).
 * MACs = sequence · batch · directions · G · H · (I + H).
 */
import { divDims, unknownDim } from '../base/dim.ts'
import { attrInt, attrString } from '../ir/attrs.ts'
import type { Dim } from '../types.ts'
import { dtypeOf, fail, shapeOf, tensorType } from './op.ts'
import { recurrentChannels } from './rnn.channels.ts'
import type { Cost, Known, NodeView, Op, WeightPlace } from './types.ts'
import { times } from './window.ts'

interface Sizes {
  readonly sequence: Dim
  readonly batch: Dim
  readonly input: Dim
  readonly directions: number
  readonly hidden: Dim
  readonly batchFirst: boolean
}

function sizesOf(n: NodeView, gates: number): Sizes {
  const [x, w, r] = [shapeOf(n, 0), shapeOf(n, 1), shapeOf(n, 2)]
  if (x && x.length !== 3) fail(n, `input of rank ${x.length}, not 3`)
  const batchFirst = attrInt(n.node, 'layout', 0) === 1
  const [first, second] = [x?.[0] ?? unknownDim, x?.[1] ?? unknownDim]
  const given = attrInt(n.node, 'hidden_size', 0)
  // The recurrent weight is [directions, gates·hidden, hidden], or [directions, hidden, gates·hidden] quantized.
  const isTransposed = n.node.op === 'DynamicQuantizeLSTM'
  const found = r?.[isTransposed ? 1 : 2] ?? divDims(w?.[isTransposed ? 2 : 1] ?? unknownDim, gates)
  return {
    sequence: batchFirst ? second : first,
    batch: batchFirst ? first : second,
    input: x?.[2] ?? unknownDim,
    directions: attrString(n.node, 'direction', 'forward') === 'bidirectional' ? 2 : 1,
    hidden: given > 0 ? given : found,
    batchFirst
  }
}

/** All states, the last state, and (LSTM) the last cell. */
function infer(n: NodeView, gates: number): readonly (Known | undefined)[] {
  const s = sizesOf(n, gates)
  const all = s.batchFirst
    ? [s.batch, s.sequence, s.directions, s.hidden]
    : [s.sequence, s.directions, s.batch, s.hidden]
  const last = s.batchFirst ? [s.batch, s.directions, s.hidden] : [s.directions, s.batch, s.hidden]
  return n.node.outputs.map((_, i) => tensorType(dtypeOf(n, 0), i === 0 ? all : last))
}

function cost(n: NodeView, gates: number): Cost {
  const s = sizesOf(n, gates)
  const reads = typeof s.input === 'number' && typeof s.hidden === 'number' ? s.input + s.hidden : undefined
  return { macs: times(s.sequence, s.batch, s.directions, gates, s.hidden, reads) }
}

const recurrent = (name: string, gates: number, rest: Partial<Op> = {}): Op => ({
  name,
  infer: (n) => infer(n, gates),
  cost: (n) => cost(n, gates),
  ...rest
})

/** Weights of the data and of the state: [directions, gates × hidden, inputs]. */
const weights: readonly WeightPlace[] = [1, 2].map((input) => ({ input, axis: () => 1 }))

/** Recurrent layers. */
export const rnnOps: readonly Op[] = [
  recurrent('LSTM', 4, { weights, channels: recurrentChannels(4) }),
  recurrent('GRU', 3, { weights, channels: recurrentChannels(3) }),
  recurrent('RNN', 1, { weights, channels: recurrentChannels(1) }),
  recurrent('DynamicQuantizeLSTM', 4, { domain: 'com.microsoft', codes: 'values' })
]

/**
 * Attention: softmax(Q·Kᵀ)·V over heads. MACs = batch · query heads · queries · keys · (size of a key + size of a value),
 * plus the projections that the packed forms contain. Grouped heads share keys and values, not work.
 */
import { addDims, divDims, mulDims, unknownDim } from '../base/dim.ts'
import { attrInt, attrInts } from '../ir/attrs.ts'
import type { Dim, DType } from '../types.ts'
import { contentOf, dtypeOf, freeOp, isGiven, shapeOf, tensorType } from './op.ts'
import type { Cost, Known, NodeView, Op } from './types.ts'
import { times, volume } from './window.ts'

/** Sizes of one attention; any may be unknown. `keys` counts those of the past too. */
interface Heads {
  readonly batch: Dim
  readonly heads: Dim
  readonly keyHeads: Dim
  readonly queries: Dim
  readonly keys: Dim
  readonly keySize: Dim
  readonly valueSize: Dim
}

const at = (shape: readonly Dim[] | undefined, axis: number): Dim => shape?.at(axis) ?? unknownDim

function attentionMacs(h: Heads): number | undefined {
  return times(h.batch, h.heads, h.queries, h.keys, addDims(h.keySize, h.valueSize))
}

// ---------------------------------------------------------------- ONNX

/** Q, K, V of rank 3 `[batch, length, heads·size]` or 4 `[batch, heads, length, size]`; past keys have rank 4. */
function headsOf(n: NodeView): Heads | undefined {
  const [q, k, v] = [shapeOf(n, 0), shapeOf(n, 1), shapeOf(n, 2)]
  if (!q || !k || !v) return undefined
  const packed = q.length === 3
  const heads = packed ? attrInt(n.node, 'q_num_heads', 0) : at(q, 1)
  const keyHeads = packed ? attrInt(n.node, 'kv_num_heads', 0) : at(k, 1)
  const past = isGiven(n, 4) ? at(shapeOf(n, 4), 2) : 0
  return {
    batch: at(q, 0),
    heads,
    keyHeads,
    queries: at(q, -2),
    keys: addDims(at(k, -2), past),
    keySize: packed ? divDims(at(k, -1), keyHeads) : at(k, -1),
    valueSize: packed ? divDims(at(v, -1), keyHeads) : at(v, -1)
  }
}

function inferAttention(n: NodeView): readonly (Known | undefined)[] {
  const h = headsOf(n)
  const [q, v] = [dtypeOf(n, 0), dtypeOf(n, 2)]
  if (!h) return [q, dtypeOf(n, 1), v, q].map((dtype) => tensorType(dtype, undefined))
  const y =
    shapeOf(n, 0)?.length === 3
      ? [h.batch, h.queries, mulDims(h.heads, h.valueSize)]
      : [h.batch, h.heads, h.queries, h.valueSize]
  return [
    tensorType(q, y),
    tensorType(dtypeOf(n, 1), [h.batch, h.keyHeads, h.keys, h.keySize]),
    tensorType(v, [h.batch, h.keyHeads, h.keys, h.valueSize]),
    tensorType(q, [h.batch, h.heads, h.queries, h.keys])
  ]
}

function attentionCost(n: NodeView): Cost {
  const h = headsOf(n)
  return { macs: h && attentionMacs(h) }
}

// ---------------------------------------------------------------- com.microsoft: projections inside

interface Projected {
  readonly heads: Heads
  readonly output: Dim
}

/** Input `[batch, length, size]`, weight `[size, q + k + v]`; past and present `[2, batch, heads, length, size]`. */
function projectedOf(n: NodeView, past: number): Projected {
  const [x, w] = [shapeOf(n, 0), shapeOf(n, 1)]
  const heads = attrInt(n.node, 'num_heads', 1)
  const given = attrInts(n.node, 'qkv_hidden_sizes')
  const output = given?.[2] ?? divDims(at(w, 1), 3)
  const before = isGiven(n, past) ? at(shapeOf(n, past), 3) : 0
  const sizes: Heads = {
    batch: at(x, 0),
    heads,
    keyHeads: heads,
    queries: at(x, 1),
    keys: addDims(at(x, 1), before),
    keySize: divDims(given?.[0] ?? divDims(at(w, 1), 3), heads),
    valueSize: divDims(output, heads)
  }
  return { heads: sizes, output }
}

function inferProjected(n: NodeView, past: number, dtype: DType | undefined): readonly (Known | undefined)[] {
  const { heads: h, output } = projectedOf(n, past)
  return [
    tensorType(dtype, [h.batch, h.queries, output]),
    tensorType(dtype, [2, h.batch, h.heads, h.keys, h.keySize])
  ].slice(0, n.node.outputs.length)
}

function projectedCost(n: NodeView, past: number): Cost {
  const { heads: h } = projectedOf(n, past)
  const projections = times(volume(n.inputs[0]), shapeOf(n, 1)?.[1])
  const products = attentionMacs(h)
  return { macs: projections === undefined || products === undefined ? undefined : projections + products }
}

// ---------------------------------------------------------------- com.microsoft: projected already

/** Query `[batch, length, size]` or everything packed `[batch, length, heads, 3, size]`; keys and values in three layouts. */
function multiHeadOf(n: NodeView): Heads {
  const [q, k, v] = [shapeOf(n, 0), shapeOf(n, 1), shapeOf(n, 2)]
  const heads = attrInt(n.node, 'num_heads', 1)
  const keySize = q?.length === 5 ? at(q, 4) : divDims(at(q, 2), heads)
  const past = isGiven(n, 6) ? at(shapeOf(n, 6), 2) : 0
  const fresh = q?.length === 5 ? at(q, 1) : k?.length === 4 ? at(k, 2) : at(k, 1)
  const apart = v?.length === 4 ? at(v, 3) : divDims(at(v, 2), heads)
  return {
    batch: at(q, 0),
    heads,
    keyHeads: heads,
    queries: at(q, 1),
    keys: addDims(fresh, past),
    keySize,
    valueSize: isGiven(n, 2) ? apart : keySize
  }
}

function inferMultiHead(n: NodeView): readonly (Known | undefined)[] {
  const h = multiHeadOf(n)
  const dtype = dtypeOf(n, 0)
  return [
    tensorType(dtype, [h.batch, h.queries, mulDims(h.heads, h.valueSize)]),
    tensorType(dtype, [h.batch, h.heads, h.keys, h.keySize]),
    tensorType(dtype, [h.batch, h.heads, h.keys, h.valueSize])
  ].slice(0, n.node.outputs.length)
}

/** Keys and values are shared by groups of heads; without them, query holds all three side by side. */
function groupedOf(n: NodeView): Heads {
  const q = shapeOf(n, 0)
  const [heads, keyHeads] = [attrInt(n.node, 'num_heads', 1), attrInt(n.node, 'kv_num_heads', 1)]
  const size = divDims(at(q, 2), isGiven(n, 1) ? heads : heads + 2 * keyHeads)
  // Present keys lie in the buffer of the past, or in a longer one.
  const [past, total] = [isGiven(n, 3) ? at(shapeOf(n, 3), 2) : 0, contentOf(n, 6)?.[0] ?? unknownDim]
  const keys = typeof past === 'number' && typeof total === 'number' ? Math.max(past, total) : unknownDim
  return { batch: at(q, 0), heads, keyHeads, queries: at(q, 1), keys, keySize: size, valueSize: size }
}

function inferGrouped(n: NodeView): readonly (Known | undefined)[] {
  const h = groupedOf(n)
  const present = tensorType(dtypeOf(n, 3) ?? dtypeOf(n, 0), [h.batch, h.keyHeads, h.keys, h.keySize])
  const y = tensorType(dtypeOf(n, 0), [h.batch, h.queries, mulDims(h.heads, h.valueSize)])
  return [y, present, present].slice(0, n.node.outputs.length)
}

const microsoft = 'com.microsoft'

/** Attention, and what goes with it. */
export const attentionOps: readonly Op[] = [
  { name: 'Attention', infer: inferAttention, cost: attentionCost },
  freeOp('RotaryEmbedding'),
  freeOp('TensorScatter'),
  {
    name: 'Attention',
    domain: microsoft,
    infer: (n) => inferProjected(n, 4, dtypeOf(n, 0)),
    cost: (n) => projectedCost(n, 4),
    weights: [{ input: 1, axis: () => 1 }]
  },
  {
    name: 'QAttention',
    domain: microsoft,
    infer: (n) => inferProjected(n, 8, dtypeOf(n, 3)),
    codes: 'values',
    cost: (n) => projectedCost(n, 8)
  },
  {
    name: 'MultiHeadAttention',
    domain: microsoft,
    infer: inferMultiHead,
    cost: (n) => ({ macs: attentionMacs(multiHeadOf(n)) })
  },
  {
    name: 'GroupQueryAttention',
    domain: microsoft,
    infer: inferGrouped,
    cost: (n) => ({ macs: attentionMacs(groupedOf(n)) })
  },
  freeOp('RotaryEmbedding', { domain: microsoft })
]

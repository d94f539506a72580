/** Normalizations. All keep the shape of their data; none is a sum of products in the sense of MACs. */
import { attrInt } from '../ir/attrs.ts'
import type { Dim, DType } from '../types.ts'
import { withChannels } from './channels.ts'
import { normChannels } from './norm.channels.ts'
import { batchTrain, normGrads } from './norm.grad.ts'
import { axisOf, dtypeOf, fail, freeOp, shapeOf, tensorType, withGrads } from './op.ts'
import type { Known, NodeView, Op, WeightPlace } from './types.ts'

/** The further outputs are statistics per channel: running, and before opset 14 also saved ones. */
function inferBatch(n: NodeView): readonly (Known | undefined)[] {
  const x = shapeOf(n, 0)
  const statistics = tensorType(dtypeOf(n, 3), shapeOf(n, 3) ?? (x && [x[1] ?? 1]))
  const channels = x?.[1]
  const scale = shapeOf(n, 1)?.[0]
  if (typeof channels === 'number' && typeof scale === 'number' && channels !== scale)
    fail(n, `${scale} scales for ${channels} channels`)
  return n.node.outputs.map((_, i) => (i === 0 ? tensorType(dtypeOf(n, 0), x) : statistics))
}

/** Mean and inverse deviation keep the rank, with 1 from `axis` on. Their type is float32 unless the data is float64. */
function inferLayer(n: NodeView, output: DType | undefined): readonly (Known | undefined)[] {
  const x = shapeOf(n, 0)
  const from = x && axisOf(n, attrInt(n.node, 'axis', -1), x.length)
  const reduced = x?.map((d, i): Dim => (i < (from ?? 0) ? d : 1))
  const statistics = tensorType(dtypeOf(n, 0) === 'float64' ? undefined : 'float32', reduced)
  return n.node.outputs.map((_, i) => (i === 0 ? tensorType(output, x) : statistics))
}

/** Output, two statistics that inference leaves empty, and the sum of input, skip and bias. */
function inferSkip(n: NodeView): readonly (Known | undefined)[] {
  const x = tensorType(dtypeOf(n, 0), shapeOf(n, 0))
  return n.node.outputs.map((_, i) => (i === 0 || i === 3 ? x : undefined))
}

/** Ids of tokens to `[batch, sequence, hidden]`, a mask index per batch, and the sum before normalizing. */
function inferEmbed(n: NodeView): readonly (Known | undefined)[] {
  const [ids, table] = [shapeOf(n, 0), shapeOf(n, 2)]
  const y = tensorType(dtypeOf(n, 2), ids && table && [...ids, table[1] ?? 1])
  const mask = tensorType('int32', ids ? [ids[0] ?? 1] : undefined)
  return n.node.outputs.map((_, i) => (i === 1 ? mask : y))
}

const microsoft = 'com.microsoft'

const gainAndBias = [undefined, 1, 0]

/** Words, positions and segments, by row. */
const tables: readonly WeightPlace[] = [2, 3, 4].map((input) => ({ input, axis: () => 0 }))

/** Normalizations. */
export const normOps: readonly Op[] = withChannels(
  normChannels,
  withGrads(normGrads, [
    freeOp('BatchNormalization', {
      infer: inferBatch,
      train: batchTrain,
      starts: [undefined, 1, 0, 0, 1],
      normalizes: { scale: 1, mean: 3, variance: 4 }
    }),
    freeOp('InstanceNormalization', { starts: gainAndBias, normalizes: { scale: 1 } }),
    freeOp('GroupNormalization', { starts: gainAndBias, normalizes: { scale: 1 } }),
    freeOp('LpNormalization', { meaning: 'features' }),
    freeOp('LRN'),
    freeOp('MeanVarianceNormalization'),
    freeOp('LayerNormalization', {
      infer: (n) => inferLayer(n, dtypeOf(n, 0)),
      starts: gainAndBias,
      homogeneous: [[1, 2]],
      normalizes: { scale: 1 },
      meaning: 'features'
    }),
    freeOp('RMSNormalization', {
      infer: (n) => inferLayer(n, dtypeOf(n, 1)),
      starts: gainAndBias,
      normalizes: { scale: 1 },
      meaning: 'features'
    }),
    // ONNX Runtime registers this one in the default domain.
    freeOp('SimplifiedLayerNormalization', { infer: (n) => inferLayer(n, dtypeOf(n, 1)), meaning: 'features' }),
    freeOp('SkipLayerNormalization', { domain: microsoft, infer: inferSkip, meaning: 'features' }),
    freeOp('SkipSimplifiedLayerNormalization', { domain: microsoft, infer: inferSkip, meaning: 'features' }),
    freeOp('EmbedLayerNormalization', { domain: microsoft, infer: inferEmbed, weights: tables }),
    freeOp('GroupNorm', { domain: microsoft }),
    freeOp('SkipGroupNorm', {
      domain: microsoft,
      infer: (n) => n.node.outputs.map(() => tensorType(dtypeOf(n, 0), shapeOf(n, 0)))
    }),
    freeOp('BiasSoftmax', { domain: microsoft, meaning: 'scores' })
  ])
)

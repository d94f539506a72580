/** Linear layers on codes: which kernel computes which. */
import { graphView } from '../../ir/graph.ts'
import { linearOf } from '../../ops/ask.ts'
import type { Node } from '../../types.ts'
import { layerOf, type Made } from '../linear.ts'
import { codedOf } from './codes.ts'
import type { IntegerSteps } from './context.ts'
import { dense } from './dense.ts'
import { depthwise, mostTaps } from './depthwise.ts'
import { type CodedLayer, codedLayer, geometryOf } from './layer.ts'
import { matrix, wholeMaps } from './matrix.ts'

/** Steps of a layer in whole numbers; `undefined` where it has to be computed in floats. */
export function layerOnCodes(steps: IntegerSteps, node: Node): Made | undefined {
  const { model } = steps
  const linear = linearOf(graphView(model.graph), node)
  const data = linear && codedOf(model.graph, node.inputs[linear.data])
  if (!linear || !data) return undefined
  const layer = layerOf(model, node, linear)
  const coded = typeof layer === 'string' ? undefined : codedLayer(steps, layer, data)
  if (!coded) return undefined
  return linear.patch ? convolution(steps, coded) : matrix(steps, coded)
}

function convolution(steps: IntegerSteps, l: CodedLayer): Made | undefined {
  const g = geometryOf(l)
  if (!g) return undefined
  const { groups, outputs, inputs } = l.linear
  const taps = g.y.kernel * g.x.kernel
  const isWhole =
    g.positions === 1 &&
    groups === 1 &&
    taps === g.inside &&
    [g.y, g.x].every((s) => s.before === 0 && s.size === s.kernel)
  if (isWhole) return wholeMaps(steps, l, g)
  if (inputs === 1 && groups > 1) return outputs === 1 && taps <= mostTaps ? depthwise(steps, l, g) : undefined
  if (groups > 1 && (inputs % 4 || outputs % 4)) return undefined
  return dense(steps, l, g)
}

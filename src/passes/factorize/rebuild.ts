/** Layers in the place of one, as the operator of the one spells them. */
import type { Draft } from '../../ir/edit.ts'
import { tensor } from '../../ir/tensor.ts'
import type { LayerInput } from '../../observe/gram.ts'
import { withAxes } from '../../ops/window.ts'
import type { Node } from '../../types.ts'
import type { Matrix } from './matrices.ts'
import type { Factors } from './methods.ts'
import type { Shape } from './splits.ts'

/** Puts the layers of a split, with the matrices of every group, in the place of `node`, which has the bias it is to keep. */
export function rebuild(
  d: Draft,
  node: Node,
  layer: LayerInput,
  shapes: readonly Shape[],
  groups: readonly Factors[]
): void {
  const { linear, weight } = layer
  const last = shapes.length - 1
  d.remove(node)
  let x = node.inputs[linear.data] as string
  for (const [i, shape] of shapes.entries()) {
    const matrices = groups.map((g) => g.layers[i] as Matrix)
    // Every layer multiplies by alpha, and together they should do so once.
    const data = layerWeight(layer, shape, matrices, i < last ? 1 / linear.alpha : 1)
    const id = d.addConstant(data, `${weight}_${i + 1}`)
    const inputs = node.inputs.with(linear.data, x).with(linear.weight, id)
    const output = i < last ? d.fresh(`${node.outputs[0]}_rank`) : (node.outputs[0] as string)
    d.addNode({
      ...(shape.axes ? withAxes(node, shape.axes) : node),
      name: i < last ? d.fresh(`${node.name}_${i + 1}`) : node.name,
      inputs: i < last && linear.bias ? inputs.slice(0, linear.bias.input) : inputs,
      outputs: [output]
    })
    x = output
  }
}

/** The weight of one of the layers. Groups one below the other; of a matrix, inputs and outputs lie as in the weight that it replaces. */
export function layerWeight(
  { linear, groups }: LayerInput,
  { outputs, inputs, axes }: Shape,
  parts: readonly Matrix[],
  factor: number
): ReturnType<typeof tensor> {
  const size = parts.reduce((n, p) => n + p.data.length, 0)
  const values = new Float32Array(size)
  const isTurned = !axes && linear.strides.out === 1
  let at = 0
  for (const { rows, columns, data } of parts) {
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < columns; c++)
        values[at + (isTurned ? c * rows + r : r * columns + c)] = (data[r * columns + c] as number) * factor
    at += data.length
  }
  if (axes) return tensor('float32', [groups * outputs, inputs, ...axes.map((a) => a.kernel)], values)
  return tensor('float32', isTurned ? [inputs, outputs] : [outputs, inputs], values)
}

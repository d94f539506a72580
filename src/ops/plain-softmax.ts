/**
 * Softmax of opset 12 and below, raised as Flatten → Softmax → Reshape, is plain Softmax where shapes are known after
 * all and only one of the flattened axes is longer than 1.
 */
import { PareError } from '../base/errors.ts'
import { attrInt, attrs } from '../ir/attrs.ts'
import { edit } from '../ir/edit.ts'
import type { Model, Node } from '../types.ts'
import { inferShapes } from './infer.ts'

const family = ['Softmax', 'LogSoftmax', 'Hardmax']

/** The very same model where there is none. Shapes found on the way are not kept. */
export function plainSoftmax(model: Model): Model {
  const isFlat = (n: Node): boolean => family.includes(n.op) && attrInt(n, 'axis', 0) === -1
  if (!model.graph.nodes.some((n) => n.op === 'Flatten') || !model.graph.nodes.some(isFlat)) return model
  const typed = inferred(model)
  return edit(model, (d) => {
    for (const n of d.nodes().filter(isFlat)) {
      const flat = d.producer(n.inputs[0] ?? '')
      const back = d.soleConsumer(n.outputs[0] ?? '')
      if (flat?.op !== 'Flatten' || back?.op !== 'Reshape' || attrInt(back, 'allowzero', 0) !== 1) continue
      const whole = d.producer(back.inputs[1] ?? '')
      const [x] = flat.inputs
      if (whole?.op !== 'Shape' || whole.inputs[0] !== x || Object.keys(whole.attrs).length > 0) continue
      const shape = typed.graph.values.get(x ?? '')?.shape
      const axis = attrInt(flat, 'axis', 1)
      const at = shape && axis < 0 ? axis + shape.length : axis
      if (!shape || at >= shape.length || shape.slice(at + 1).some((dim) => dim !== 1)) continue
      d.remove(back)
      d.replace(n, { ...n, inputs: [x ?? null], outputs: back.outputs, attrs: attrs({ axis: at }) })
    }
    d.sweep((n) => n.op !== 'Flatten' && n.op !== 'Shape')
  })
}

/** Shapes are only an aid here: a model that contradicts itself keeps the longer form, which is right in any case. */
function inferred(model: Model): Model {
  try {
    return inferShapes(model)
  } catch (error) {
    if (error instanceof PareError && error.code !== 'E_INTERNAL') return model
    throw error
  }
}

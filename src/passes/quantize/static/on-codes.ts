/**
 * Data movement whose kernel takes codes. DequantizeLinear → operator → QuantizeLinear, all under the same scale and zero
 * point, becomes the operator on the codes: each element is moved as its code, and the code of 0 is the zero point.
 */
import { type Draft, renameReads } from '../../../ir/edit.ts'
import { isDequantize, isQuantize } from '../../../ops/quantized.ts'
import type { Node } from '../../../types.ts'
import type { NodePlan } from './plan.ts'

/** Takes what decodes and encodes around the maker of `output` away; leaves all as it is where these do not stand around it. */
export function putOnCodes(d: Draft, output: string, { data, constants, onCodes }: NodePlan): void {
  const encoder = encoderOf(d, output)
  const node = encoder && d.producer(encoder.inputs[0] as string)
  if (!encoder || !node) return
  const [, scale, zero] = encoder.inputs
  const inputs = [...node.inputs]
  const decoders: Node[] = []
  for (const i of [...data, ...constants]) {
    const decoder = d.producer(inputs[i] as string)
    if (!decoder || !isDequantize(decoder) || decoder.inputs[1] !== scale || decoder.inputs[2] !== zero) return
    decoders.push(decoder)
    inputs[i] = decoder.inputs[0] as string
  }
  const fill = onCodes?.fill
  if (fill !== undefined && inputs[fill] == null) {
    while (inputs.length < fill) inputs.push(null)
    inputs[fill] = zero ?? null
  }
  d.remove(encoder)
  d.replace(node, { ...node, inputs, outputs: encoder.outputs })
  keepName(d, output, encoder.outputs[0] as string)
  for (const decoder of new Set(decoders)) {
    const id = decoder.outputs[0] as string
    if (d.consumers(id).length === 0 && !d.isOutput(id)) d.remove(decoder)
  }
}

/** The node that encodes a value; of an output of the model, which is decoded again, the one before. */
function encoderOf(d: Draft, output: string): Node | undefined {
  const maker = d.producer(output)
  const found = isDequantize(maker) ? d.producer(maker?.inputs[0] as string) : d.soleConsumer(output)
  return isQuantize(found) ? found : undefined
}

/** The decoded value gets the id that the value had in float. */
function keepName(d: Draft, output: string, code: string): void {
  const [decoder] = d.consumers(code)
  if (!decoder || d.producer(output)) return
  const id = decoder.outputs[0] as string
  const readers = d.consumers(id)
  d.replace(decoder, { ...decoder, name: output, outputs: [output] })
  for (const n of readers) d.replace(n, renameReads(n, id, output))
}

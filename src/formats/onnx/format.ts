import { z } from 'zod'
import { plainSoftmax } from '../../ops/plain-softmax.ts'
import type { Format } from '../types.ts'
import { spellForms } from './forms.ts'
import { onnxReader } from './reader.ts'
import { writeOnnx } from './write.ts'

const options = z.strictObject({
  opset: z.int().optional().describe('opset to write, 13 and up; by default the model’s'),
  external: z.boolean().default(false).describe('weights in a file beside the model'),
  remarks: z.boolean().default(true).describe('keep documentation and metadata of nodes and graphs')
})

/** The ONNX format. */
export const onnx: Format<z.output<typeof options>> = {
  ...onnxReader,
  options,
  spelled: (model) => spellForms(model),
  read: (bytes, o) => {
    const { model, notes } = onnxReader.read(bytes, o)
    return { model: Number(model.origin?.version) < 13 ? plainSoftmax(model) : model, notes }
  },
  write: (model, o, place) => writeOnnx(model, { ...o, ...place })
}

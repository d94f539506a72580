import { z } from 'zod'
import type { Format } from '../../types.ts'
import { spellForms } from './forms.ts'
import { formatName } from './meta.ts'
import { readOnnx } from './read.ts'
import { looksLikeModel } from './scan.ts'
import { writeOnnx } from './write.ts'

const options = z.strictObject({
  opset: z.int().optional().describe('opset to write, 13 and up; by default the model’s'),
  external: z.boolean().default(false).describe('weights in a file beside the model')
})

/** The ONNX format. */
export const onnx: Format<z.output<typeof options>> = {
  name: formatName,
  title: 'ONNX',
  extensions: ['.onnx'],
  options,
  detect: looksLikeModel,
  read: readOnnx,
  spelled: (model) => spellForms(model),
  write: (model, o, place) => writeOnnx(model, { ...o, ...place })
}

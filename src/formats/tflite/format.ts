/** The format of TensorFlow Lite and LiteRT. */
import { z } from 'zod'
import { moveTransposes } from '../../ops/layout.ts'
import type { Format } from '../../types.ts'
import { looksLikeFlatModel } from './decode.ts'
import { operatorsOf } from './facts.ts'
import { refuseFloats } from './integers.ts'
import { formatName, readFlat } from './read.ts'
import { writeFlat } from './write/index.ts'

const options = z.strictObject({
  fixedBatch: z.int().positive().default(1).describe('samples that the file takes at once'),
  layout: z
    .enum(['keep', 'nhwc'])
    .default('keep')
    .describe('of images at inputs and outputs: as the model has them, or with channels last'),
  io: z
    .enum(['keep', 'int8'])
    .default('keep')
    .describe('of quantized models: the types of inputs and outputs as the model has them, or the codes'),
  intOnly: z
    .boolean()
    .default(false)
    .describe(
      'int8 inputs and outputs, and nothing in between that computes on floats: else a list of what does, status 3'
    ),
  dynamic: z
    .boolean()
    .default(true)
    .describe(
      'layers of int8 weights and float data round the data while they run; else the weights are widened when the file is loaded'
    )
})

export const tflite: Format<z.output<typeof options>> = {
  name: formatName,
  title: 'TensorFlow Lite',
  extensions: ['.tflite'],
  numbers: true,
  detect: looksLikeFlatModel,
  read: (bytes) => {
    const { model, notes } = readFlat(bytes)
    return { model: moveTransposes(model), notes }
  },
  options,
  after: ['simplify', 'fuse'],
  write: (model, { intOnly, fixedBatch: batch, ...o }, place) => {
    if (!intOnly) return writeFlat(model, { ...o, batch })
    const written = writeFlat(model, { ...o, batch, io: 'int8' })
    refuseFloats(operatorsOf(written.bytes), place?.target)
    return written
  },
  operators: operatorsOf
}

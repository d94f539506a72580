/** The format of TensorFlow Lite and LiteRT. */
import { z } from 'zod'
import { moveTransposes } from '../../ops/layout.ts'
import type { Format, Written } from '../types.ts'
import { looksLikeFlatModel } from './decode.ts'
import { operatorsOf } from './facts.ts'
import { floatNotes, hasNoFloats, refuseFloats } from './integers.ts'
import { formatName, readFlat } from './read.ts'
import { writeFlat } from './write/index.ts'

const options = z.strictObject({
  fixedBatch: z.int().positive().default(1).describe('samples that the file takes at once'),
  layout: z
    .enum(['keep', 'nhwc'])
    .default('keep')
    .describe('of images at inputs and outputs: as the model has them, or with channels last'),
  io: z
    .enum(['auto', 'keep', 'int8'])
    .default('auto')
    .describe(
      'of quantized models: types of inputs and outputs as they are, or codes; auto: codes where the target has no floats'
    ),
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

const withNotes = (written: Written, notes: readonly string[]): Written => ({
  ...written,
  notes: [...(written.notes ?? []), ...notes],
  get bytes() {
    return written.bytes
  }
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
    const integers = place?.target !== undefined && hasNoFloats(place.target)
    const io = o.io === 'auto' ? (integers ? 'int8' : 'keep') : o.io
    if (!intOnly) {
      const written = writeFlat(model, { ...o, batch, io })
      const notes = integers ? floatNotes(operatorsOf(written.bytes), place.target) : []
      return notes.length === 0 ? written : withNotes(written, notes)
    }
    const written = writeFlat(model, { ...o, batch, io: 'int8' })
    refuseFloats(operatorsOf(written.bytes), place?.target)
    return written
  },
  operators: operatorsOf
}

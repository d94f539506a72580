/** The format of TensorFlow Lite and LiteRT. */
import { z } from 'zod'
import type { Format } from '../../types.ts'
import { looksLikeFlatModel } from './decode.ts'
import { formatName, readFlat } from './read.ts'

export const tflite: Format<object> = {
  name: formatName,
  title: 'TensorFlow Lite',
  extensions: ['.tflite'],
  detect: looksLikeFlatModel,
  read: (bytes) => readFlat(bytes),
  options: z.strictObject({})
}

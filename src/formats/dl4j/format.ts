import { z } from 'zod'
import { parseOptions } from '../../base/options.ts'
import type { Format } from '../types.ts'
import { looksLikeArchive } from './archive.ts'
import { formatName } from './facts.ts'
import { readDl4j } from './read.ts'
import { writeDl4j } from './write.ts'

const readOptions = z.strictObject({
  normalizer: z
    .enum(['none', 'graph'])
    .default('none')
    .describe('the normalizer of the archive: left to whoever feeds the model, or nodes at its input'),
  imageSize: z.string().optional().describe('height and width of images where the archive leaves a choice, as 28x28'),
  conv1d: z
    .enum(['auto', 'M1', 'beta7'])
    .default('auto')
    .describe('order of weights of Convolution1D: of releases from M1 on, or up to beta7')
})

/** Archives of DeepLearning4J, as its `ModelSerializer` writes them. */
export const dl4j: Format<object> = {
  name: formatName,
  title: 'DL4J',
  extensions: ['.zip'],
  detect: looksLikeArchive,
  options: z.strictObject({}),
  readOptions,
  read: (bytes, { choices } = {}) => readDl4j(bytes, parseOptions({ name: 'dl4j', options: readOptions }, choices)),
  write: (model) => writeDl4j(model)
}

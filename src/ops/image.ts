/** Decoding of pictures inside a model. */
import { unknownDim } from '../base/dim.ts'
import { attrString } from '../ir/attrs.ts'
import { freeOp, tensorType } from './op.ts'
import type { Op } from './types.ts'

/** Decoding of pictures: `[height, width, channels]`. */
export const imageOps: readonly Op[] = [
  freeOp('ImageDecoder', {
    infer: (n) => [
      tensorType('uint8', [unknownDim, unknownDim, attrString(n.node, 'pixel_format', 'RGB') === 'Grayscale' ? 1 : 3])
    ]
  })
]

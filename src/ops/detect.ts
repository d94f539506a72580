/** Detection. How many boxes survive shows only when running. */
import { unknownDim } from '../base/dim.ts'
import { freeOp, single, tensorType } from './op.ts'
import type { Op } from './types.ts'

/** Detection. */
export const detectOps: readonly Op[] = [
  freeOp('NonMaxSuppression', { infer: () => [tensorType('int64', [unknownDim, 3])], ...single })
]

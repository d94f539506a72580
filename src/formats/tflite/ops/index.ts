/** The only list of the operators that are converted, but for those that hold subgraphs (`../control.ts`). */
import type { Convert } from '../call.ts'
import { convRows, customConvRows } from './conv.ts'
import { customDetectionRows, detectionRows } from './detection.ts'
import { elementwiseRows } from './elementwise.ts'
import { indexingRows } from './indexing.ts'
import { matmulRows } from './matmul.ts'
import { poolRows } from './pool.ts'
import { typeRows } from './quantize.ts'
import { reduceRows } from './reduce.ts'
import { rnnRows } from './rnn.ts'
import { shapeRows } from './shape.ts'
import { spaceRows } from './space.ts'

/** Converters by name of the builtin operator. */
export const rows: ReadonlyMap<string, Convert> = new Map(
  [
    convRows,
    detectionRows,
    elementwiseRows,
    indexingRows,
    matmulRows,
    poolRows,
    typeRows,
    reduceRows,
    rnnRows,
    shapeRows,
    spaceRows
  ].flatMap((family) => Object.entries(family))
)

/** Converters by name of the operators of others that are known. */
export const customRows: ReadonlyMap<string, Convert> = new Map(
  [customConvRows, customDetectionRows].flatMap((family) => Object.entries(family))
)

/** Operators on strings. */

import { unknownDim } from '../base/dim.ts'
import { greatest } from '../base/extremes.ts'
import { attrInts, attrStrings } from '../ir/attrs.ts'
import { broadcast, freeOp, shapeOf, single, tensorType } from './op.ts'
import type { Known, NodeView, Op } from './types.ts'

const inferConcat = (n: NodeView): readonly Known[] => [
  tensorType('string', broadcast(n, [shapeOf(n, 0), shapeOf(n, 1)]))
]

/** Words of every string along a new axis, and how many there are in each. */
function inferSplit(n: NodeView): readonly Known[] {
  const shape = shapeOf(n, 0)
  return [tensorType('string', shape && [...shape, unknownDim]), tensorType('int64', shape)]
}

/** Stop words are taken out of the last axis; without any the size stays. */
function inferNormalizer(n: NodeView): readonly Known[] {
  const shape = shapeOf(n, 0)
  const drops = (attrStrings(n.node, 'stopwords')?.length ?? 0) > 0
  return [tensorType('string', shape && drops ? shape.with(-1, unknownDim) : shape)]
}

function inferTfIdf(n: NodeView): readonly Known[] {
  const shape = shapeOf(n, 0)
  const columns = attrInts(n.node, 'ngram_indexes')
  const width = columns ? greatest(columns, 0) + 1 : unknownDim
  return [tensorType('float32', shape && [...shape.slice(0, -1), width])]
}

export const textOps: readonly Op[] = [
  freeOp('StringConcat', { infer: inferConcat }),
  freeOp('StringSplit', { infer: inferSplit }),
  freeOp('StringNormalizer', { infer: inferNormalizer }),
  freeOp('TfIdfVectorizer', { infer: inferTfIdf, ...single }),
  freeOp('RegexFullMatch', { infer: (n) => [tensorType('bool', shapeOf(n, 0))] })
]

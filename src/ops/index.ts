/** The only list of operators. */
import { opName, recordName } from '../ir/graph.ts'
import type { Node } from '../types.ts'
import { activationOps } from './activation.ts'
import { attentionOps } from './attention.ts'
import { contribOps } from './contrib.ts'
import { controlOps } from './control.ts'
import { convOps } from './conv.ts'
import { detectOps } from './detect.ts'
import { elementwiseOps } from './elementwise.ts'
import { generateOps } from './generate.ts'
import { imageOps } from './image.ts'
import { indexingOps } from './indexing.ts'
import { laneLoops } from './lanes.loops.ts'
import { logicOps } from './logic.ts'
import { lossOps } from './loss.ts'
import { matmulOps } from './matmul.ts'
import { mlOps } from './ml.ts'
import { moveLoops } from './move.loops.ts'
import { moveOps } from './move.ts'
import { normOps } from './norm.ts'
import { withLoops } from './op.ts'
import { poolLoops } from './pool.loops.ts'
import { poolOps } from './pool.ts'
import { quantOps } from './quant.ts'
import { reduceOps } from './reduce.ts'
import { resizeOps } from './resize.ts'
import { rnnOps } from './rnn.ts'
import { rowLoops } from './rows.loops.ts'
import { sequenceOps } from './sequence.ts'
import { shapeOps } from './shape.ts'
import { signalOps } from './signal.ts'
import { textOps } from './text.ts'
import type { Op } from './types.ts'

/** Every operator Pare knows. */
export const ops: readonly Op[] = withLoops({ ...laneLoops, ...moveLoops, ...poolLoops, ...rowLoops }, [
  ...activationOps,
  ...attentionOps,
  ...contribOps,
  ...controlOps,
  ...convOps,
  ...detectOps,
  ...elementwiseOps,
  ...generateOps,
  ...imageOps,
  ...indexingOps,
  ...logicOps,
  ...lossOps,
  ...matmulOps,
  ...mlOps,
  ...moveOps,
  ...normOps,
  ...poolOps,
  ...quantOps,
  ...reduceOps,
  ...resizeOps,
  ...rnnOps,
  ...sequenceOps,
  ...shapeOps,
  ...signalOps,
  ...textOps
])

const byName = new Map(ops.map((op) => [recordName(op), op]))

/** What is known about a node's operator; `undefined` where it is unknown. */
export const opFor = (node: Pick<Node, 'op' | 'domain'>): Op | undefined => byName.get(opName(node))

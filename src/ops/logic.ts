/** Comparisons and boolean logic, with numpy broadcasting. */

import { everyAxis } from './channels.ts'
import { contentOver, unaryContent } from './content.ts'
import { inferBroadcast } from './elementwise.ts'
import { freeOp, shapeOf, tensorType } from './op.ts'
import { together } from './permute.ts'
import type { Known, NodeView, Op } from './types.ts'

const inferLogic = (n: NodeView): readonly Known[] => [{ ...(inferBroadcast(n)[0] as Known), dtype: 'bool' }]
const inferNot = (n: NodeView): readonly Known[] => [
  tensorType('bool', shapeOf(n, 0), unaryContent['Not'] && contentOver(n, unaryContent['Not'], 1))
]

export const logicOps: readonly Op[] = [
  ...['Equal', 'Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual'].map((name) =>
    freeOp(name, { infer: inferLogic, channels: everyAxis, permute: together() })
  ),
  ...['And', 'Or', 'Xor'].map((name) => freeOp(name, { infer: inferLogic, channels: everyAxis, permute: together() })),
  freeOp('Not', { infer: inferNot, channels: everyAxis, permute: together() })
]

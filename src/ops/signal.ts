/** Signal processing. Transforms have no `cost`: their work depends on the algorithm the runtime picks. */
import { addDims, mulDims, unknownDim } from '../base/dim.ts'
import { attrInt } from '../ir/attrs.ts'
import { dtypeOfCode } from '../ir/dtype-code.ts'
import type { Dim } from '../types.ts'
import { axisOf, contentOf, dtypeOf, freeOp, isGiven, numbersOf, shapeOf, single, tensorType } from './op.ts'
import type { Known, NodeView, Op } from './types.ts'
import { floorDiv } from './window.ts'

/** Bins of a real signal's spectrum: n/2 + 1. */
const half = (length: Dim): Dim => addDims(floorDiv(length, 2), 1)

/** A scalar input, followed symbolically. */
const scalarOf = (n: NodeView, input: number): Dim => contentOf(n, input)?.[0] ?? unknownDim

/** The last axis is 1 (real) or 2 (complex). Before opset 20 the axis is an attribute that counts from 1 by default. */
function inferDft(n: NodeView): readonly (Known | undefined)[] {
  const x = shapeOf(n, 0)
  const axis = n.opset < 20 ? attrInt(n.node, 'axis', 1) : isGiven(n, 2) ? numbersOf(n, 2)?.[0] : -2
  if (!x) return [tensorType(dtypeOf(n, 0), undefined)]
  const oneSided = attrInt(n.node, 'onesided', 0) !== 0
  const isReal = oneSided && attrInt(n.node, 'inverse', 0) !== 0
  if (axis === undefined)
    return [tensorType(dtypeOf(n, 0), [...x.slice(0, -1).map(() => unknownDim), isReal ? unknownDim : 2])]
  const at = axisOf(n, axis, x.length)
  const length = isGiven(n, 1) ? scalarOf(n, 1) : (x[at] as Dim)
  // Back from one side, the result is real and its length is that of both sides.
  const size = isReal ? unknownDim : oneSided ? half(length) : length
  const y = x.map((d, i) => (i === x.length - 1 ? (isReal ? unknownDim : 2) : i === at ? size : d))
  return [tensorType(dtypeOf(n, 0), y)]
}

/** Signal `[batch, length, 1 or 2]` to `[batch, frames, bins, 2]`. */
function inferStft(n: NodeView): readonly (Known | undefined)[] {
  const x = shapeOf(n, 0)
  const length = isGiven(n, 3) ? scalarOf(n, 3) : (shapeOf(n, 2)?.[0] ?? unknownDim)
  const step = scalarOf(n, 1)
  const room = addDims(x?.[1] ?? unknownDim, mulDims(length, -1))
  const frames = typeof step === 'number' && step > 0 ? floorDiv(addDims(room, step), step) : unknownDim
  const bins = attrInt(n.node, 'onesided', 1) !== 0 ? half(length) : length
  return [tensorType(dtypeOf(n, 0), [x?.[0] ?? unknownDim, frames, bins, 2])]
}

const outputType = (n: NodeView): ReturnType<typeof dtypeOfCode> => dtypeOfCode(attrInt(n.node, 'output_datatype', 1))

const inferWindow = (n: NodeView): readonly (Known | undefined)[] => [tensorType(outputType(n), [scalarOf(n, 0)])]

const inferMel = (n: NodeView): readonly (Known | undefined)[] => [
  tensorType(outputType(n), [half(scalarOf(n, 1)), scalarOf(n, 0)])
]

/** Signal processing. */
export const signalOps: readonly Op[] = [
  { name: 'DFT', infer: inferDft, ...single },
  { name: 'STFT', infer: inferStft, ...single },
  freeOp('MelWeightMatrix', { infer: inferMel, ...single }),
  ...['HannWindow', 'HammingWindow', 'BlackmanWindow'].map((name) => freeOp(name, { infer: inferWindow, ...single }))
]

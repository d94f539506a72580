/** Sequences of tensors and optional values. The type of a sequence is what holds for all its elements. */
import { unknownDim } from '../base/dim.ts'
import { attrGraph, attrInt } from '../ir/attrs.ts'
import { dtypeOfCode } from '../ir/dtype-code.ts'
import type { Dim, ValueType } from '../types.ts'
import { axisOf, contentOf, dtypeOf, fail, freeOp, isGiven, joinTypes, shapeOf, tensorType, typeOnly } from './op.ts'
import type { Known, NodeView, Op } from './types.ts'

type Types = readonly (Known | undefined)[]

const sequence = (of: ValueType | undefined): Known => ({ type: 'sequence', ...(of ? { of } : {}) })
const elementOf = (n: NodeView, input: number): Known | undefined => n.inputs[input]?.of
const count = tensorType('int64', [])

function inferConstruct(n: NodeView): Types {
  const all = n.inputs.map(typeOnly)
  return [sequence(all.length === 0 ? undefined : all.reduce((a, b) => joinTypes(a, b)))]
}

const inferEmpty = (n: NodeView): Types => [sequence(tensorType(dtypeOfCode(attrInt(n.node, 'dtype', 1)), undefined))]

const inferInsert = (n: NodeView): Types => [sequence(joinTypes(elementOf(n, 0), typeOnly(n.inputs[1])))]

function inferSplitToSequence(n: NodeView): Types {
  const shape = shapeOf(n, 0)
  if (!shape) return [sequence(tensorType(dtypeOf(n, 0), undefined))]
  const at = axisOf(n, attrInt(n.node, 'axis', 0), shape.length)
  if (!isGiven(n, 1)) {
    const keep = attrInt(n.node, 'keepdims', 1) !== 0
    return [sequence(tensorType(dtypeOf(n, 0), keep ? shape.with(at, 1) : shape.toSpliced(at, 1)))]
  }
  return [sequence(tensorType(dtypeOf(n, 0), shape.with(at, partSize(n, shape[at] as Dim))))]
}

/** Size of every part; unknown where they differ. */
function partSize(n: NodeView, size: Dim): Dim {
  const parts = contentOf(n, 1)
  const [first = unknownDim] = parts ?? []
  if (shapeOf(n, 1)?.length === 0)
    return typeof first === 'number' && first > 0 && typeof size === 'number' && size % first === 0 ? first : unknownDim
  return parts?.every((p) => p === first) ? first : unknownDim
}

function inferConcatFromSequence(n: NodeView): Types {
  const element = elementOf(n, 0)
  const shape = element?.shape
  if (!shape) return [tensorType(element?.dtype, undefined)]
  const isNew = attrInt(n.node, 'new_axis', 0) !== 0
  const at = axisOf(n, attrInt(n.node, 'axis', 0), shape.length + (isNew ? 1 : 0))
  const out = isNew ? shape.toSpliced(at, 0, unknownDim) : shape.with(at, unknownDim)
  return [tensorType(element.dtype, out)]
}

function inferSequenceMap(n: NodeView): Types {
  const body = attrGraph(n.node, 'body') ?? fail(n, 'no graph body')
  const inputs = n.inputs.map((k, i) => (i === 0 || k?.type === 'sequence' ? elementOf(n, i) : typeOnly(k)))
  return n.inferGraph(body, inputs).map((k) => sequence(typeOnly(k)))
}

function inferOptional(n: NodeView): Types {
  const declared = n.node.attrs['type']
  const of = isGiven(n, 0) ? typeOnly(n.inputs[0]) : declared?.kind === 'type' ? declared.value : undefined
  return [{ type: 'optional', ...(of ? { of } : {}) }]
}

const inferGetElement = (n: NodeView): Types => [
  n.inputs[0]?.type === 'optional' ? n.inputs[0].of : typeOnly(n.inputs[0])
]

export const sequenceOps: readonly Op[] = [
  freeOp('SequenceConstruct', { infer: inferConstruct }),
  freeOp('SequenceEmpty', { infer: inferEmpty }),
  freeOp('SequenceInsert', { infer: inferInsert }),
  freeOp('SequenceErase'),
  freeOp('SequenceAt', { infer: (n) => [elementOf(n, 0)] }),
  freeOp('SequenceLength', { infer: () => [count] }),
  freeOp('SplitToSequence', { infer: inferSplitToSequence }),
  freeOp('ConcatFromSequence', { infer: inferConcatFromSequence }),
  { name: 'SequenceMap', infer: inferSequenceMap },
  freeOp('Optional', { infer: inferOptional }),
  freeOp('OptionalGetElement', { infer: inferGetElement }),
  freeOp('OptionalHasElement', { infer: () => [tensorType('bool', [])] })
]

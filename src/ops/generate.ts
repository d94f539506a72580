/** Operators that make tensors from nothing or from a shape: constants, ranges, random numbers. */
import { divDims, subDims, unknownDim } from '../base/dim.ts'
import { attrFloat, attrFloats, attrInt, attrInts, attrString, attrStrings, attrTensor, hasAttr } from '../ir/attrs.ts'
import { dtypeOfCode } from '../ir/dtype-code.ts'
import { isInteger, tensor, toNumbers } from '../ir/tensor.ts'
import type { Dim, DType, Tensor } from '../types.ts'
import { anyDtype } from './elementwise.ts'
import { dtypeOf, elementsOf, freeOp, maxContent, shapeOf, single, tensorType } from './op.ts'
import { shapeInput } from './shape.ts'
import type { Known, NodeView, Op } from './types.ts'

/** The tensor a Constant node holds; `undefined` for a sparse one. */
function constantOf(n: NodeView): Tensor | undefined {
  const { node } = n
  const [ints, reals, strings] = [
    attrInts(node, 'value_ints'),
    attrFloats(node, 'value_floats'),
    attrStrings(node, 'value_strings')
  ]
  if (ints) return tensor('int64', [ints.length], ints)
  if (reals) return tensor('float32', [reals.length], reals)
  if (strings) return tensor('string', [strings.length], strings)
  if (hasAttr(node, 'value_int')) return tensor('int64', [], [attrInt(node, 'value_int', 0)])
  if (hasAttr(node, 'value_float')) return tensor('float32', [], [attrFloat(node, 'value_float', 0)])
  if (hasAttr(node, 'value_string')) return tensor('string', [], [attrString(node, 'value_string', '')])
  return attrTensor(node, 'value')
}

function inferConstant(n: NodeView): readonly (Known | undefined)[] {
  const data = constantOf(n)
  return [data && { ...tensorType(data.dtype, data.shape), data }]
}

function inferConstantOfShape(n: NodeView): readonly Known[] {
  const shape = shapeInput(n, 0)
  const value = attrTensor(n.node, 'value')
  const dtype = value?.dtype ?? 'float32'
  const length = shape?.length === 0 ? 1 : shape?.length === 1 ? shape[0] : undefined
  const isFollowed = typeof length === 'number' && length <= maxContent && (isInteger(dtype) || dtype === 'bool')
  const item = value && isFollowed ? (toNumbers(value)[0] ?? 0) : 0
  return [tensorType(dtype, shape, isFollowed ? Array.from({ length }, () => item) : undefined)]
}

function inferRange(n: NodeView): readonly Known[] {
  const dtype = anyDtype(n)
  const [start, limit, delta] = [0, 1, 2].map((i) => elementsOf(n, i)?.[0] ?? unknownDim) as [Dim, Dim, Dim]
  const size = rangeSize(start, limit, delta, dtype)
  const isFollowed =
    typeof size === 'number' && size <= maxContent && typeof start === 'number' && typeof delta === 'number'
  const content =
    isFollowed && dtype && isInteger(dtype) ? Array.from({ length: size }, (_, i) => start + i * delta) : undefined
  return [tensorType(dtype, [size], content)]
}

function rangeSize(start: Dim, limit: Dim, delta: Dim, dtype: DType | undefined): Dim {
  if (delta === 0 || !dtype) return unknownDim
  if (typeof start === 'number' && typeof limit === 'number' && typeof delta === 'number') {
    const span = dtype === 'float32' ? Math.fround(limit - start) : limit - start
    const size = Math.max(0, Math.ceil(span / delta))
    return Number.isSafeInteger(size) ? size : unknownDim
  }
  if (!isInteger(dtype)) return unknownDim
  const size = divDims(subDims(limit, start), delta)
  return typeof size === 'number' ? Math.max(0, size) : size.includes('floor(') ? unknownDim : size
}

/** Type by attribute, otherwise the input's. */
const dtypeLike = (n: NodeView): DType | undefined => dtypeOfCode(attrInt(n.node, 'dtype', 0)) ?? dtypeOf(n, 0)

const inferLike = (n: NodeView): readonly Known[] => [tensorType(dtypeLike(n), shapeOf(n, 0))]

function inferRandom(n: NodeView): readonly Known[] {
  return [tensorType(dtypeOfCode(attrInt(n.node, 'dtype', 1)), attrInts(n.node, 'shape'))]
}

function inferMultinomial(n: NodeView): readonly Known[] {
  const dtype = dtypeOfCode(attrInt(n.node, 'dtype', 6))
  return [tensorType(dtype, [shapeOf(n, 0)?.[0] ?? unknownDim, attrInt(n.node, 'sample_size', 1)])]
}

const drawn = { impure: true, ...single } as const

export const generateOps: readonly Op[] = [
  freeOp('Constant', { infer: inferConstant, ...single }),
  freeOp('ConstantOfShape', { infer: inferConstantOfShape }),
  freeOp('Range', { infer: inferRange, ...single }),
  freeOp('EyeLike', { infer: inferLike, ...single }),
  freeOp('RandomNormal', { infer: inferRandom, ...drawn }),
  freeOp('RandomUniform', { infer: inferRandom, ...drawn }),
  freeOp('RandomNormalLike', { infer: inferLike, ...drawn }),
  freeOp('RandomUniformLike', { infer: inferLike, ...drawn }),
  freeOp('Bernoulli', { infer: inferLike, ...drawn }),
  freeOp('Multinomial', { infer: inferMultinomial, ...drawn })
]

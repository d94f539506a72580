/** TypeProto ⇄ ValueType. Types that Pare does not know (maps, sparse tensors) are carried unread. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { type TensorShapeProto_Dimension, type TypeProto, TypeProtoSchema } from 'onnx-buf'
import { unknownDim } from '../../base/dim.ts'
import { codeOfDtype, dtypeOfCode } from '../../ir/dtype-code.ts'
import type { Dim, ValueType } from '../../types.ts'

const untyped: ValueType = { type: 'tensor' }

/** Reads a type; an absent one is a tensor of which nothing is known. */
export function readType(p: TypeProto | undefined): ValueType {
  switch (p?.value.case) {
    case 'tensorType': {
      const { elemType, shape } = p.value.value
      const dtype = dtypeOfCode(elemType)
      if (elemType !== 0 && !dtype) return opaque(p)
      return { type: 'tensor', ...(dtype ? { dtype } : {}), ...(shape ? { shape: shape.dim.map(readDim) } : {}) }
    }
    case 'sequenceType':
      return { type: 'sequence', of: readType(p.value.value.elemType) }
    case 'optionalType':
      return { type: 'optional', of: readType(p.value.value.elemType) }
    case 'mapType':
    case 'sparseTensorType':
      return opaque(p)
    default:
      return untyped
  }
}

const opaque = (p: TypeProto): ValueType => ({ type: 'opaque', raw: toBinary(TypeProtoSchema, p) })

/** A symbol that arithmetic on dimensions can hold; anything else is unknown. Spaces around operators go. */
function readDim(p: TensorShapeProto_Dimension): Dim {
  if (p.value.case === 'dimValue') {
    const n = Number(p.value.value)
    return n >= 0 && Number.isSafeInteger(n) ? n : unknownDim
  }
  const text = p.value.case === 'dimParam' ? p.value.value.replace(/\s*([+*/()])\s*/g, '$1').trim() : ''
  return isSymbol(text) ? text : unknownDim
}

function isSymbol(text: string): boolean {
  if (text === '' || text.length > 200 || /^-?\d+$/.test(text)) return false
  let depth = 0
  for (const c of text) {
    if (c === '(') depth++
    if (c === ')') depth--
    if (depth < 0) return false
  }
  return depth === 0
}

/** Writes a type; `undefined` where nothing is known. */
export function writeType(t: ValueType): TypeProto | undefined {
  if (t.type === 'opaque') return t.raw ? fromBinary(TypeProtoSchema, t.raw) : undefined
  if (t.type === 'sequence' || t.type === 'optional') {
    const elemType = t.of && writeType(t.of)
    const value = elemType ? { elemType } : {}
    return create(TypeProtoSchema, {
      value: t.type === 'sequence' ? { case: 'sequenceType', value } : { case: 'optionalType', value }
    })
  }
  if (!t.dtype && !t.shape) return undefined
  return create(TypeProtoSchema, {
    value: {
      case: 'tensorType',
      value: {
        elemType: t.dtype ? codeOfDtype(t.dtype) : 0,
        ...(t.shape ? { shape: { dim: t.shape.map(writeDim) } } : {})
      }
    }
  })
}

function writeDim(
  d: Dim
): { value: { case: 'dimValue'; value: bigint } | { case: 'dimParam'; value: string } } | object {
  if (typeof d === 'number') return { value: { case: 'dimValue', value: BigInt(d) } }
  return d === unknownDim ? {} : { value: { case: 'dimParam', value: d } }
}

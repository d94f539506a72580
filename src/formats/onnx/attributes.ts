/** AttributeProto ⇄ Attr. What Pare has no kind for is carried as its bytes. */
import { create, toBinary } from '@bufbuild/protobuf'
import {
  type AttributeProto,
  AttributeProtoSchema,
  AttributeProto_AttributeType as AttributeType,
  type GraphProto,
  type TensorProto
} from 'onnx-buf'
import { PareError } from '../../base/errors.ts'
import type { Attr, Graph, Tensor } from '../../types.ts'
import { readType, writeType } from './value-types.ts'

/** How the parts of an attribute that need their surroundings are read. */
export interface AttrSource {
  tensor(p: TensorProto): Tensor
  graph(p: GraphProto): Graph
}

const maxInt64 = 2n ** 63n - 1n

/** Reads one attribute. Throws `E_FORMAT` where its content is not of the kind it names. */
export function readAttr(p: AttributeProto, source: AttrSource): Attr {
  switch (p.type === AttributeType.UNDEFINED ? kindByContent(p) : p.type) {
    case AttributeType.FLOAT:
      return { kind: 'float', value: p.f }
    case AttributeType.INT:
      return isPlain(p.i) ? { kind: 'int', value: toNumber(p.i) } : raw(p)
    case AttributeType.STRING: {
      const value = text(p.s)
      return value === undefined ? raw(p) : { kind: 'string', value }
    }
    case AttributeType.FLOATS:
      return { kind: 'floats', value: p.floats }
    case AttributeType.INTS:
      return p.ints.every(isPlain) ? { kind: 'ints', value: p.ints.map(toNumber) } : raw(p)
    case AttributeType.STRINGS: {
      const value = p.strings.map(text)
      return value.every((s) => s !== undefined) ? { kind: 'strings', value } : raw(p)
    }
    case AttributeType.TENSOR:
      return p.t ? { kind: 'tensor', value: source.tensor(p.t) } : empty(p)
    case AttributeType.TENSORS:
      return { kind: 'tensors', value: p.tensors.map((t) => source.tensor(t)) }
    case AttributeType.GRAPH:
      return p.g ? { kind: 'graph', value: source.graph(p.g) } : empty(p)
    case AttributeType.GRAPHS:
      return { kind: 'graphs', value: p.graphs.map((g) => source.graph(g)) }
    case AttributeType.TYPE_PROTO:
      return p.tp ? { kind: 'type', value: readType(p.tp) } : empty(p)
    default:
      return raw(p)
  }
}

/** IR version 1 did not store the kind. */
function kindByContent(p: AttributeProto): AttributeType {
  if (p.t) return AttributeType.TENSOR
  if (p.g) return AttributeType.GRAPH
  if (p.floats.length > 0) return AttributeType.FLOATS
  if (p.ints.length > 0) return AttributeType.INTS
  if (p.strings.length > 0) return AttributeType.STRINGS
  if (p.tensors.length > 0) return AttributeType.TENSORS
  if (p.graphs.length > 0) return AttributeType.GRAPHS
  if (p.s.length > 0) return AttributeType.STRING
  return p.f !== 0 ? AttributeType.FLOAT : AttributeType.INT
}

function empty(p: AttributeProto): never {
  throw new PareError('E_FORMAT', `attribute ${p.name} has no content`)
}

/** Of a large tensor only its place in the file was decoded, which bytes of their own cannot carry. */
function raw(p: AttributeProto): Attr {
  const sparse = [p.sparseTensor, ...p.sparseTensors]
  if (sparse.some((t) => t?.values?.segment || t?.indices?.segment))
    throw new PareError('E_UNSUPPORTED', `attribute ${p.name} holds a large sparse tensor, which only a Constant may`)
  return { kind: 'raw', value: toBinary(AttributeProtoSchema, p) }
}

/** Can a plain number stand for it? The ends of int64 can: they mean "to the end". */
const isPlain = (x: bigint): boolean =>
  (x >= -9007199254740991n && x <= 9007199254740991n) || x === maxInt64 || x === -maxInt64 || x === -maxInt64 - 1n

const toNumber = (x: bigint): number => Number(x)

/** A plain number as int64, saturating. */
export function toInt64(x: number): bigint {
  if (x >= 2 ** 63) return maxInt64
  return x <= -(2 ** 63) ? -maxInt64 - 1n : BigInt(Math.trunc(x))
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function text(bytes: Uint8Array): string | undefined {
  try {
    return strict.decode(bytes)
  } catch (error) {
    if (error instanceof TypeError) return undefined
    throw error
  }
}

const encoder = new TextEncoder()

/** Spells an attribute; tensors and graphs are added by the caller, who knows how. */
export function attrHeader(name: string, a: Exclude<Attr, { kind: 'raw' }>): Uint8Array {
  const made = create(AttributeProtoSchema, { name, ...content(a) })
  return toBinary(AttributeProtoSchema, made)
}

function content(a: Exclude<Attr, { kind: 'raw' }>): Partial<Omit<AttributeProto, '$typeName' | '$unknown'>> {
  switch (a.kind) {
    case 'int':
      return { type: AttributeType.INT, i: toInt64(a.value) }
    case 'float':
      return { type: AttributeType.FLOAT, f: a.value }
    case 'string':
      return { type: AttributeType.STRING, s: encoder.encode(a.value) }
    case 'ints':
      return { type: AttributeType.INTS, ints: a.value.map(toInt64) }
    case 'floats':
      return { type: AttributeType.FLOATS, floats: [...a.value] }
    case 'strings':
      return { type: AttributeType.STRINGS, strings: a.value.map((s) => encoder.encode(s)) }
    case 'tensor':
      return { type: AttributeType.TENSOR }
    case 'tensors':
      return { type: AttributeType.TENSORS }
    case 'graph':
      return { type: AttributeType.GRAPH }
    case 'graphs':
      return { type: AttributeType.GRAPHS }
    case 'type': {
      const tp = writeType(a.value)
      return { type: AttributeType.TYPE_PROTO, ...(tp ? { tp } : {}) }
    }
  }
}

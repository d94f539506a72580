/**
 * Model → ModelProto. Weights are never copied on the way: the file is put together once from parts (fields of a
 * protobuf message may come in any order and in several pieces), or they go into an external file as they are.
 */
import { create, toBinary } from '@bufbuild/protobuf'
import {
  GraphProtoSchema,
  ModelProtoSchema,
  NodeProtoSchema,
  StringStringEntryProtoSchema,
  TensorProto_DataLocation,
  TensorProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema
} from 'onnx-buf'
import { toArray } from '../../base/bytes.ts'
import { unknownDim } from '../../base/dim.ts'
import { PareError } from '../../base/errors.ts'
import { mapGraphs } from '../../ir/edit.ts'
import { allGraphs } from '../../ir/graph.ts'
import type { Attr, Bytes, Dim, Graph, Model, Node, Tensor, Value } from '../../types.ts'
import type { WritePlace, Written } from '../types.ts'
import { attrHeader } from './attributes.ts'
import { declaredIds } from './declared.ts'
import { spellForms } from './forms.ts'
import { lowerModel } from './lower.ts'
import { writeMeta } from './meta.ts'
import { remarkFields, withoutRemarks } from './remarks.ts'
import { prefix, total } from './scan.ts'
import { tensorHeader } from './tensors.ts'
import { writeType } from './value-types.ts'

/** protobuf stops at 2^31 − 1 bytes; the rest is for the graph. */
const mostInside = 2_000_000_000

/** Weights up to this size stay inside even when others go out. */
const smallBytes = 1024

export interface WriteOnnxOptions extends WritePlace {
  /** Opset of the default domain to write at, 13 or newer; by default the model's own, or the newest of the target. */
  readonly opset?: number | undefined
  /** Put weights above 1 kB beside the model; by default only near protobuf's 2 GB limit, or where there is a name for them. */
  readonly external?: boolean
  /** Write documentation and metadata of graphs, nodes, inputs and outputs; by default they are. */
  readonly remarks?: boolean
}

/** Writes a model. The same model gives the same bytes. Throws `E_LIMIT` when it cannot fit, `E_OPSET` as `lowerModel`. */
export function writeOnnx(model: Model, o: WriteOnnxOptions = {}): Written {
  const opset = opsetFor(model, o)
  const expanded = spellForms(o.remarks === false ? mapGraphs(model, withoutRemarks) : model, opset)
  const spelled = lowerModel(expanded, opset)
  const isOut = o.external || weightBytes(spelled) > mostInside
  const name = o.externalName ?? (isOut ? 'weights.data' : undefined)
  const external = name === undefined ? undefined : new External(name)
  const meta = writeMeta(model)
  const header = create(ModelProtoSchema, {
    ...meta,
    irVersion: BigInt(irVersionOf(spelled)),
    opsetImport: importsOf(spelled).map(([domain, version]) => ({ domain, version: BigInt(version) }))
  })
  const graph = graphParts(named(spelled), { external, declared: declaredIds(spelled) })
  const parts = gathered([toBinary(ModelProtoSchema, header), prefix(7, total(graph)), ...graph])
  if (total(parts) >= 2 ** 31) throw new PareError('E_LIMIT', 'a model of more than 2 GB without external weights')
  return {
    parts,
    get bytes() {
      return joined(parts)
    },
    ...(external && external.length > 0 ? { external: external.file() } : {})
  }
}

/** Versions by domain: those of the model, and the first version of every other domain that a node is of. */
function importsOf(model: Model): (readonly [string, number])[] {
  const used = allGraphs(model).flatMap((g) => g.nodes.flatMap((n) => (n.domain ? [n.domain] : [])))
  const others = new Set(used.filter((domain) => !Object.hasOwn(model.domains, domain)))
  return [['', model.opset], ...Object.entries(model.domains), ...[...others].map((domain) => [domain, 1] as const)]
}

/** The graph with the free sizes of its inputs and outputs under the names that the file they came from gives them. */
function named({ graph, origin }: Model): Graph {
  const values = new Map(graph.values)
  for (const id of [...graph.inputs, ...graph.outputs]) {
    const [was, v] = [origin?.shapes?.[id], values.get(id)]
    if (!was || v?.shape?.length !== was.length || v.data) continue
    const isFree = (d: Dim | undefined): d is string => typeof d === 'string' && d !== unknownDim
    values.set(id, { ...v, shape: v.shape.map((d, i) => (isFree(d) && isFree(was[i]) ? was[i] : d)) })
  }
  return { ...graph, values }
}

/** The opset to write. Throws `E_OPSET` where the asked one is none of the target's. */
function opsetFor(model: Model, { opset, target }: WriteOnnxOptions): number {
  const { min, max } = target?.opset ?? { min: 0, max: Number.POSITIVE_INFINITY }
  const chosen = opset ?? Math.min(model.opset, max)
  if (target && (chosen < min || chosen > max))
    throw new PareError('E_OPSET', `target ${target.name} loads opset ${min} to ${max}, not ${chosen}`, {
      where: target.name
    })
  return chosen
}

/** Parts up to this size are put together, so that a file is written in few pieces. */
const pieceBytes = 64 * 1024

function gathered(parts: readonly Bytes[]): Bytes[] {
  const out: Bytes[] = []
  let small: Bytes[] = []
  const close = (): void => {
    if (small.length > 0) out.push(joined(small))
    small = []
  }
  for (const p of parts)
    if (p.length <= pieceBytes) small.push(p)
    else {
      close()
      out.push(p)
    }
  close()
  return out
}

function joined(parts: readonly Bytes[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(total(parts))
  let at = 0
  for (const p of parts) {
    bytes.set(toArray(p), at)
    at += p.length
  }
  return bytes
}

function weightBytes(model: Model): number {
  let n = 0
  for (const g of allGraphs(model)) for (const v of g.values.values()) n += v.data?.bytes.length ?? 0
  return n
}

/** The lowest IR version that has the content's element types and initializers that are no inputs. */
function irVersionOf(model: Model): number {
  const byOpset = model.opset >= 21 ? 10 : model.opset >= 19 ? 9 : model.opset >= 15 ? 8 : 7
  const since: Readonly<Record<string, number>> = {
    int4: 10,
    uint4: 10,
    float4e2m1: 11,
    float8e8m0: 12,
    int2: 13,
    uint2: 13
  }
  let version = byOpset
  for (const g of allGraphs(model))
    for (const v of g.values.values()) {
      const dtype = v.data?.dtype ?? v.dtype
      if (dtype !== undefined) version = Math.max(version, since[dtype] ?? 0)
    }
  return version
}

/** Weights on their way to a file beside the model. */
class External {
  length = 0
  private readonly name: string
  private readonly parts: Bytes[] = []
  constructor(name: string) {
    this.name = name
  }

  /** Places data behind what is there; large data at a page, so that it can be mapped. */
  place(data: Bytes): { key: string; value: string }[] {
    const alignment = data.length > 1024 * 1024 ? 4096 : 64
    const padding = (alignment - (this.length % alignment)) % alignment
    if (padding > 0) this.parts.push(new Uint8Array(padding))
    const offset = this.length + padding
    this.parts.push(data)
    this.length = offset + data.length
    return [
      { key: 'location', value: this.name },
      { key: 'offset', value: String(offset) },
      { key: 'length', value: String(data.length) }
    ]
  }

  file(): { name: string; parts: readonly Bytes[] } {
    return { name: this.name, parts: this.parts }
  }
}

/** What the parts of one file share. */
interface Context {
  readonly external: External | undefined
  /** Intermediate values whose types are written. */
  readonly declared: ReadonlySet<string>
}

function graphParts(graph: Graph, c: Context): Bytes[] {
  const declared = [...graph.values.values()].filter((v) => c.declared.has(v.id))
  const header = create(GraphProtoSchema, {
    name: graph.name,
    ...remarkFields(graph.remarks),
    input: graph.inputs.map((id) => valueInfo(id, graph.values.get(id))),
    output: graph.outputs.map((id) => valueInfo(id, graph.values.get(id))),
    valueInfo: declared.map((v) => valueInfo(v.id, v)).filter((v) => v.type)
  })
  const out: Bytes[] = []
  for (const n of graph.nodes) put(out, 1, nodeParts(n, c))
  out.push(toBinary(GraphProtoSchema, header))
  for (const v of graph.values.values()) if (v.data) put(out, 5, tensorParts(v.data, v.id, c.external))
  return out
}

/** Adds a field of nested parts. */
function put(out: Bytes[], number: number, parts: readonly Bytes[]): void {
  out.push(prefix(number, total(parts)))
  for (const part of parts) out.push(part)
}

function valueInfo(name: string, v: Value | undefined): ValueInfoProto {
  const type = v && writeType(v)
  return create(ValueInfoProtoSchema, { name, ...(type ? { type } : {}), ...remarkFields(v?.remarks) })
}

function nodeParts(n: Node, c: Context): Bytes[] {
  const header = create(NodeProtoSchema, {
    name: n.name,
    opType: n.op,
    domain: n.domain ?? '',
    input: n.inputs.map((id) => id ?? ''),
    output: [...n.outputs],
    ...remarkFields(n.remarks)
  })
  const out: Bytes[] = [toBinary(NodeProtoSchema, header)]
  for (const [name, a] of Object.entries(n.attrs)) put(out, 5, attrParts(name, a, c))
  return out
}

function attrParts(name: string, a: Attr, c: Context): Bytes[] {
  if (a.kind === 'raw') return [a.value]
  const out: Bytes[] = [attrHeader(name, a)]
  if (a.kind === 'tensor') put(out, 5, tensorParts(a.value, '', undefined))
  if (a.kind === 'tensors') for (const t of a.value) put(out, 10, tensorParts(t, '', undefined))
  if (a.kind === 'graph') put(out, 6, graphParts(a.value, c))
  if (a.kind === 'graphs') for (const g of a.value) put(out, 11, graphParts(g, c))
  return out
}

function tensorParts(t: Tensor, name: string, external: External | undefined): Bytes[] {
  const header = tensorHeader(t, name)
  if (t.strings) return [toBinary(TensorProtoSchema, header)]
  if (!external || t.bytes.length <= smallBytes)
    return [toBinary(TensorProtoSchema, header), prefix(9, t.bytes.length), t.bytes]
  const externalData = external.place(t.bytes).map((e) => create(StringStringEntryProtoSchema, e))
  return [toBinary(TensorProtoSchema, { ...header, dataLocation: TensorProto_DataLocation.EXTERNAL, externalData })]
}

/** ModelProto → Model: the header, the bounds, and what follows once the graph is read (graphs.ts). */
import { fromBinary } from '@bufbuild/protobuf'
import {
  type FunctionProto,
  type GraphProto,
  type ModelProto,
  ModelProtoSchema,
  type NodeProto,
  type OperatorSetIdProto
} from 'onnx-buf'
import { unknownDim } from '../../base/dim.ts'
import { PareError } from '../../base/errors.ts'
import { dtypeOfCode } from '../../ir/dtype-code.ts'
import type { Bytes, Dim, DType, Graph, Model } from '../../types.ts'
import type { Noted, ReadOptions } from '../types.ts'
import { recogniseForms } from './forms.ts'
import { functionKey, GraphReader } from './graphs.ts'
import { readMeta, restoreMarks } from './meta.ts'
import { newestOpset, oldestOpset, workingOpset } from './opsets.ts'
import { skeletonOf } from './scan.ts'
import { growth } from './tensors.ts'

/**
 * Reads an ONNX model: raised to the opset Pare works in, functions inlined, Constant nodes as constants. The notes tell
 * what is left behind: what `scan.ts` drops. No weight is copied. Without `external`, a model that needs it throws `E_FILE`.
 */
export function readOnnx(bytes: Bytes, o: ReadOptions = {}): Noted {
  const { proto, notes } = decode(bytes)
  if (!proto.graph) throw new PareError('E_FORMAT', 'an ONNX model without a graph')
  const imports = opsetsOf(proto.opsetImport)
  const opset = imports.get('') ?? (proto.irVersion < 3n ? 1 : workingOpset)
  checkOpset(opset, 'the model')
  const functions = new Map(proto.functions.map((f) => [functionKey(f.domain, f.name, f.overload), f] as const))
  for (const f of proto.functions) for (const [domain, v] of opsetsOf(f.opsetImport)) addImport(imports, domain, v, f)
  const target = Math.max(workingOpset, imports.get('') ?? opset)
  const reader = new GraphReader({
    source: { bytes, external: externalFiles(o), grow: growth() },
    functions,
    opset,
    initializersAreConstant: proto.irVersion < 4n,
    soleFloat: soleFloat(proto)
  })
  const graph = reader.outermost(proto.graph)
  imports.delete('')
  for (const f of proto.functions) if (!reader.domains.has(f.domain)) imports.delete(f.domain)
  for (const domain of reader.domains) if (!imports.has(domain)) imports.set(domain, 1)
  const { meta, origin } = readMeta(proto, opset)
  const shapes = namedShapes(graph)
  const model: Model = {
    graph,
    opset: target,
    domains: Object.fromEntries(imports),
    meta,
    origin: { ...origin, ...(shapes ? { shapes } : {}) }
  }
  return { model: restoreMarks(recogniseForms(model)), notes }
}

/** Shapes of inputs and outputs in which a size has a name; `undefined` where none has. */
function namedShapes({ inputs, outputs, values }: Graph): Record<string, readonly Dim[]> | undefined {
  const found = [...inputs, ...outputs].flatMap((id) => {
    const shape = values.get(id)?.shape
    return shape?.some((d) => typeof d === 'string' && d !== unknownDim) ? [[id, shape] as const] : []
  })
  return found.length > 0 ? Object.fromEntries(found) : undefined
}

function decode(bytes: Bytes): { readonly proto: ModelProto; readonly notes: readonly string[] } {
  if (bytes.length === 0) throw new PareError('E_FORMAT', 'an empty file')
  const { skeleton, dropped } = skeletonOf(bytes)
  const left = [...dropped].map(([what, n]) => `${what} (${n})`)
  const notes = left.length > 0 ? [`left behind on reading: ${left.join(', ')}`] : []
  try {
    return { proto: fromBinary(ModelProtoSchema, skeleton, { readUnknownFields: false }), notes }
  } catch (cause) {
    throw new PareError('E_FORMAT', 'not a whole ONNX model', {
      cause,
      facts: { decoder: cause instanceof Error ? cause.message : String(cause) },
      hint: 'is the file cut off, or of another kind?'
    })
  }
}

/** Versions by domain, `''` for the default one. */
function opsetsOf(imports: readonly OperatorSetIdProto[]): Map<string, number> {
  return new Map(
    imports.map(({ domain, version }) => {
      if (version < 0n || version > 1_000_000n) throw new PareError('E_OPSET', `opset ${version} of domain "${domain}"`)
      return [domain === 'ai.onnx' ? '' : domain, Number(version)]
    })
  )
}

/** A function's import joins the model's; the default domain is raised node by node and takes the newer. */
function addImport(imports: Map<string, number>, domain: string, version: number, f: FunctionProto): void {
  const known = imports.get(domain)
  if (domain === '') checkOpset(version, `function ${f.name}`)
  else if (known !== undefined && known !== version)
    throw new PareError('E_OPSET', `function ${f.name} wants version ${version} of ${domain}, the model ${known}`)
  imports.set(domain, Math.max(known ?? version, version))
}

function checkOpset(opset: number, where: string): void {
  if (opset >= oldestOpset && opset <= newestOpset) return
  throw new PareError('E_OPSET', `opset ${opset}, where Pare reads ${oldestOpset} to ${newestOpset}`, { where })
}

const floatTypes = new Set(['float16', 'bfloat16', 'float64', 'float32'])

/** The floating-point type of all inputs, weights, casts and constants, if there is one. */
function soleFloat(p: ModelProto): DType | undefined {
  const seen = new Set<DType>()
  const see = (code: number): void => {
    const dtype = dtypeOfCode(code)
    if (dtype && floatTypes.has(dtype)) seen.add(dtype)
  }
  const seeNodes = (nodes: readonly NodeProto[]): void => {
    for (const n of nodes)
      for (const a of n.attribute) {
        if (a.t) see(a.t.dataType)
        if (a.name === 'to' || a.name === 'dtype') see(Number(a.i))
        for (const g of a.g ? [a.g, ...a.graphs] : a.graphs) seeGraph(g)
      }
  }
  const seeGraph = (g: GraphProto): void => {
    for (const t of g.initializer) see(t.dataType)
    for (const v of [...g.input, ...g.output]) {
      const type = v.type?.value
      if (type?.case === 'tensorType') see(type.value.elemType)
    }
    seeNodes(g.node)
  }
  if (p.graph) seeGraph(p.graph)
  for (const f of p.functions) seeNodes(f.node)
  return seen.size === 1 ? [...seen][0] : undefined
}

/** Each external file is opened once. */
function externalFiles(o: ReadOptions): (name: string) => Bytes {
  const opened = new Map<string, Bytes>()
  return (name) => {
    const known = opened.get(name)
    if (known) return known
    if (!o.external)
      throw new PareError('E_FILE', `weights are in another file, ${name}`, {
        hint: 'open the model from its folder, with that file beside it'
      })
    const made = o.external(name)
    opened.set(name, made)
    return made
  }
}

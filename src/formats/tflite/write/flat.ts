/** Lowered nodes → the objects of the file: tensors, operators, buffers. */
import { toArray } from '../../../base/bytes.ts'
import { assert, PareError } from '../../../base/errors.ts'
import { attrTensor } from '../../../ir/attrs.ts'
import { opName } from '../../../ir/graph.ts'
import { tensor } from '../../../ir/tensor.ts'
import type { Attr, Graph, Node, Tensor, Value } from '../../../types.ts'
import { customDomain, domain, typeName } from '../lower/site.ts'
import type { FlatModel, FlatOperator, FlatTensor, OperatorCode, Options, QuantizationParameters } from '../model.ts'
import { fieldsOf, nameOf } from '../schema.ts'
import { optionsOf } from './options.ts'
import type { Sparse } from './sparse.ts'

/** What is known of a tensor beside its value. */
export interface Facts {
  readonly quantization?: QuantizationParameters
  readonly sparsity?: Sparse
  /** Its first size is that of the open batch. */
  readonly open?: boolean
}

/** The parts of a file that a graph makes, and where its values are among the tensors. */
export interface Flat {
  readonly parts: Pick<FlatModel, 'operator_codes' | 'subgraphs' | 'buffers'>
  readonly places: ReadonlyMap<string, number>
}

/** A graph of lowered nodes as a file has it. */
export function flatten(graph: Graph, factsOf: (id: string) => Facts): Flat {
  const places = new Map<string, number>()
  const tensors: FlatTensor[] = []
  const buffers: { data?: Uint8Array }[] = [{}]
  const known = new Map<string, number>()
  const bufferOf = (t: Tensor): number => {
    const data = toArray(t.strings ? packed(t.strings) : t.bytes)
    const key = `${data.length} ${hash(data)}`
    const at = known.get(key)
    if (at !== undefined && same(buffers[at]?.data, data)) return at
    known.set(key, buffers.length)
    return buffers.push({ data }) - 1
  }
  const place = (id: string): number => {
    const at = places.get(id)
    if (at !== undefined) return at
    const v = graph.values.get(id) as Value
    if (!v.shape?.every((d) => typeof d === 'number'))
      throw new PareError('E_UNSUPPORTED', `the size of ${id} is not known before running`, { where: id })
    const facts = factsOf(id)
    const data = graph.inputs.includes(id) ? undefined : (facts.sparsity?.data ?? v.data)
    tensors.push(tensorFor(v, facts, data ? bufferOf(data) : 0))
    places.set(id, tensors.length - 1)
    return tensors.length - 1
  }
  for (const id of graph.inputs) place(id)
  const codes: string[] = []
  const operators = graph.nodes.map((node): FlatOperator => {
    const code = opName(node)
    if (!codes.includes(code)) codes.push(code)
    const inputs = node.inputs.map((id) => (id === null ? -1 : place(id)))
    while (inputs.at(-1) === -1 && node.op !== 'FULLY_CONNECTED') inputs.pop()
    return {
      opcode_index: codes.indexOf(code),
      inputs,
      outputs: node.outputs.map(place),
      ...optionsFor(node)
    }
  })
  const subgraph = {
    tensors,
    inputs: graph.inputs.map(place),
    outputs: graph.outputs.map(place),
    operators,
    name: graph.name || 'main'
  }
  const operator_codes = codes.map((op) => codeFor(op))
  return { parts: { operator_codes, subgraphs: [subgraph], buffers }, places }
}

const builtins = new Map(Array.from({ length: 256 }, (_, i) => [nameOf('BuiltinOperator', i), i] as const))
/** Codes that have a field of one byte in old files; readers of those look at that field alone. */
const lastOld = 127

/** Versions of operators where not the first: that one was never released. */
const versions: Readonly<Record<string, number>> = { BROADCAST_TO: 2 }

function codeFor(name: string): OperatorCode {
  const custom = `${customDomain}:`
  if (name.startsWith(custom)) return { ...codeFor(`${domain}:CUSTOM`), custom_code: name.slice(custom.length) }
  const op = name.slice(domain.length + 1)
  const code = builtins.get(op)
  assert(code !== undefined, `${op} is no operator of TensorFlow Lite`)
  return { deprecated_builtin_code: Math.min(code, lastOld), builtin_code: op, version: versions[op] ?? 1 }
}

function tensorFor(v: Value, { quantization, sparsity, open }: Facts, buffer: number): FlatTensor {
  const shape = v.shape as readonly number[]
  return {
    shape,
    type: typeName(v.dtype ?? 'float32'),
    buffer,
    name: v.id,
    ...(quantization ? { quantization } : {}),
    ...(sparsity ? { sparsity: sparsity.parameters } : {}),
    ...(open ? { shape_signature: [-1, ...shape.slice(1)] } : {}),
    ...(shape.length === 0 ? { has_rank: true } : {})
  }
}

function optionsFor(node: Node): Partial<FlatOperator> {
  const own = attrTensor(node, 'custom_options')
  if (own) return { custom_options: own.bytes }
  const table = optionsOf(node.op)
  if (table === undefined) return {}
  const fields = fieldsOf(table).flatMap((f) => {
    const a = node.attrs[f.name]
    return a === undefined ? [] : [[f.name, contentOf(a, f.kind.is === 'scalar' && f.kind.scalar === 'bool')] as const]
  })
  return { builtin_options: { table, ...Object.fromEntries(fields) } as Options }
}

const contentOf = (a: Attr, isFlag: boolean): unknown => (isFlag ? a.value !== 0 : a.value)

/** Count, offsets of the texts and of their end, texts. */
function packed(strings: readonly string[]): Uint8Array {
  const texts = strings.map((s) => new TextEncoder().encode(s))
  const head = 4 * (texts.length + 2)
  let at = head
  const offsets = texts.map((t) => {
    at += t.length
    return at - t.length
  })
  const out = new Uint8Array(at)
  out.set(toArray(tensor('int32', [texts.length + 2], [texts.length, ...offsets, at]).bytes))
  for (const [i, t] of texts.entries()) out.set(t, offsets[i] as number)
  return out
}

function hash(bytes: Uint8Array): number {
  let h = 0x811c9dc5
  for (let i = 0; i < bytes.length; i++) h = Math.imul(h ^ (bytes[i] as number), 0x01000193)
  return h >>> 0
}

const same = (a: Uint8Array | undefined, b: Uint8Array): boolean =>
  a !== undefined && a.length === b.length && a.every((x, i) => x === b[i])

/** Subgraphs of a file → graphs: each operator by its row, those that hold subgraphs here. */
import { toArray } from '../../base/bytes.ts'
import { PareError } from '../../base/errors.ts'
import { float, tensorAttr } from '../../ir/attrs.ts'
import { tensor } from '../../ir/tensor.ts'
import type { Attr, AttrInput, Graph, Value } from '../../types.ts'
import { Call, type Convert, Refused, type Turned } from './call.ts'
import { Emitter, type Ids } from './emit.ts'
import type { FlatModel, FlatOperator, SubGraph } from './model.ts'
import { customRows, rows } from './ops/index.ts'
import { nameOf } from './schema.ts'
import { Scope } from './scope.ts'
import { dtypeOf, shapeOf } from './tensors.ts'

/** Domains of operators that stay as they are in the file: builtin ones, and those of the file's makers. */
export const domains = { builtin: 'tflite', custom: 'tflite.custom' } as const

/** Subgraphs inside subgraphs, and operators of all of them together, at most. */
const deepest = 16
const mostOperators = 2 ** 20

/** What the whole file shares. `notes`: what to say, with the places it is about. */
export interface Conversion {
  readonly model: FlatModel
  readonly ids: Ids
  readonly notes: Map<string, string[]>
  operators: number
}

/** Converts the operators of a subgraph, whose inputs are bound already. */
export function convertInto(scope: Scope, at: Conversion, depth: number): void {
  if (depth > deepest) throw new PareError('E_LIMIT', `subgraphs are nested more than ${deepest} deep`)
  for (const node of scope.graph.operators ?? []) {
    if (++at.operators > mostOperators) throw new PareError('E_LIMIT', `more than ${mostOperators} operators`)
    scope.begin(node.outputs ?? [])
    const name = operatorOf(at.model, node)
    const call = new Call(scope, node, name.builtin, (text) => noted(at, `${name.builtin}: ${text}`, node, scope))
    try {
      const known = name.custom === undefined ? rows.get(name.builtin) : customRows.get(name.custom)
      const convert = held(name.builtin, at, depth) ?? known
      if (convert === undefined)
        throw new Refused(name.custom === undefined ? 'it has no counterpart' : 'it is the maker’s own')
      bindAll(call, convert(call))
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      opaque(call, name)
      noted(at, `${name.custom ?? name.builtin} stays as it is in the file: ${error.reason}`, node, scope)
    }
  }
}

function noted(at: Conversion, text: string, node: FlatOperator, scope: Scope): void {
  const places = at.notes.get(text) ?? []
  const [first] = node.outputs ?? []
  places.push(first === undefined ? '' : scope.nameOf(first))
  at.notes.set(text, places)
}

/** Codes above 127 have a field of their own; files from before it have only the old one. */
function operatorOf(model: FlatModel, node: FlatOperator): { readonly builtin: string; readonly custom?: string } {
  const code = model.operator_codes?.[node.opcode_index ?? 0]
  if (!code) throw new PareError('E_FORMAT', `an operator has code ${node.opcode_index}, which the file does not list`)
  const { builtin_code: now = 'ADD', deprecated_builtin_code: old = 0 } = code
  const builtin = now === 'ADD' ? nameOf('BuiltinOperator', old) : now
  const name = typeof builtin === 'string' ? builtin : `operator ${builtin}`
  return { builtin: name, ...(name === 'CUSTOM' ? { custom: code.custom_code ?? 'CUSTOM' } : {}) }
}

function bindAll(call: Call, made: ReturnType<Convert>): void {
  const all = Array.isArray(made) ? made : [made]
  for (const [o, at] of (call.node.outputs ?? []).entries()) {
    const value: string | Turned | undefined = all[o]
    if (at < 0 || value === undefined) continue
    if (typeof value === 'string') call.scope.give(at, value)
    else call.scope.give(at, value.id, value.perm)
  }
}

/** A node of a domain of its own, on tensors as they are, with the operator's options. */
function opaque(call: Call, { builtin, custom }: { readonly builtin: string; readonly custom?: string }): void {
  const { scope, node } = call
  const { custom_options: bytes } = node
  const options = node.builtin_options ?? node.builtin_options_2 ?? {}
  const attrs = Object.fromEntries(
    Object.entries(options).flatMap(([k, v]) => {
      const a = attrOf(v)
      return a === undefined || k === 'table' ? [] : [[k, a]]
    })
  )
  const own =
    bytes && bytes.length > 0 ? { custom_options: tensorAttr({ dtype: 'uint8', shape: [bytes.length], bytes }) } : {}
  const inputs = (node.inputs ?? []).map((at) => (at < 0 ? null : scope.raw(at)))
  const outputs = (node.outputs ?? []).filter((at) => at >= 0)
  const domain = custom === undefined ? domains.builtin : domains.custom
  const made = scope.addAll(custom ?? builtin, inputs, { ...attrs, ...own }, outputs.length, domain)
  for (const [i, at] of outputs.entries()) {
    const t = scope.tensor(at)
    const [dtype, shape] = [dtypeOf(t), shapeOf(t)]
    const id = made[i] as string
    if (dtype && shape.length > 0)
      scope.emitter.set({ id, type: 'tensor', dtype, shape: shape.map((d) => (d < 0 ? '?' : d)) })
    scope.bind(at, id)
  }
}

function attrOf(value: unknown): AttrInput | undefined {
  if (typeof value === 'boolean') return Number(value)
  if (typeof value === 'number') return Number.isInteger(value) ? value : float(value)
  if (typeof value === 'string') return value
  if (value instanceof Uint8Array) return tensorAttr(tensor('uint8', [value.length], toArray(value)))
  if (!Array.isArray(value) || !value.every((x) => typeof x === 'number')) return undefined
  return value.every(Number.isInteger) ? (value as number[]) : { kind: 'floats', value: value as number[] }
}

// ---------------------------------------------------------------- operators with subgraphs

function held(name: string, at: Conversion, depth: number): ((c: Call) => readonly string[]) | undefined {
  if (name === 'CALL') return (c) => inline(c, at, depth, c.number('subgraph'), rawInputs(c))
  if (name === 'STABLEHLO_COMPOSITE')
    return (c) => inline(c, at, depth, c.number('decomposition_subgraph_index'), rawInputs(c))
  if (name === 'IF') return (c) => branches(c, at, depth)
  if (name === 'WHILE') return (c) => loop(c, at, depth)
  return undefined
}

const rawInputs = (c: Call): readonly string[] => (c.node.inputs ?? []).map((at) => c.scope.raw(at))

function subgraph(at: Conversion, index: number): SubGraph {
  const graph = at.model.subgraphs?.[index]
  if (!graph)
    throw new PareError('E_FORMAT', `subgraph ${index} is asked for, and the file has ${at.model.subgraphs?.length}`)
  return graph
}

/** Converts a subgraph on values that are there; gives its outputs as they are in the file. */
function within(
  emitter: Emitter,
  at: Conversion,
  depth: number,
  index: number,
  inputs: readonly string[]
): readonly string[] {
  const graph = subgraph(at, index)
  const scope = new Scope(at.model, graph, emitter)
  for (const [i, t] of (graph.inputs ?? []).entries()) {
    const id = inputs[i]
    if (id === undefined)
      throw new PareError('E_FORMAT', `subgraph ${index} takes more than the ${inputs.length} inputs it is given`)
    scope.bind(t, id)
  }
  convertInto(scope, at, depth + 1)
  return (graph.outputs ?? []).map((t) => scope.raw(t))
}

/** The outputs are bound as they are: those of quantized tensors are codes. */
function bindRaw(c: Call, ids: readonly string[]): readonly string[] {
  for (const [o, at] of (c.node.outputs ?? []).entries()) if (at >= 0 && ids[o] !== undefined) c.scope.bind(at, ids[o])
  return []
}

const inline = (c: Call, at: Conversion, depth: number, index: number, inputs: readonly string[]): readonly string[] =>
  bindRaw(c, within(c.scope.emitter, at, depth, index, inputs))

/** A graph with these outputs; what is not made in it passes through a node of its own. */
function graphOf(emitter: Emitter, name: string, inputs: readonly Value[], outputs: readonly string[]): Graph {
  const seen = new Set<string>()
  const made = outputs.map((id) => {
    const own =
      emitter.makes(id) && !seen.has(id) ? id : (emitter.add('Identity', [id], {}, [`${id}/out`])[0] as string)
    seen.add(own)
    return own
  })
  return emitter.graph(
    name,
    inputs.map((v) => v.id),
    made,
    inputs
  )
}

function branches(c: Call, at: Conversion, depth: number): readonly string[] {
  const [condition = '', ...inputs] = rawInputs(c)
  const branch = (field: string): Attr => {
    const index = c.number(field)
    const emitter = new Emitter(at.ids)
    const outputs = within(emitter, at, depth, index, inputs)
    return { kind: 'graph', value: graphOf(emitter, subgraph(at, index).name ?? field, [], outputs) }
  }
  const attrs = { then_branch: branch('then_subgraph_index'), else_branch: branch('else_subgraph_index') }
  return bindRaw(c, c.ops('If', [condition], attrs, c.outputCount))
}

/** A condition of one element as a scalar, as Loop wants it. */
function asScalar(emitter: Emitter, id: string): string {
  const shape = emitter.constant(tensor('int64', [0], []), `${id}/shape`)
  return emitter.add('Reshape', [id, shape], {}, [`${id}/scalar`])[0] as string
}

/** The condition is asked before the loop, and at the end of every turn on the new values. */
function loop(c: Call, at: Conversion, depth: number): readonly string[] {
  const inputs = rawInputs(c)
  const [condition, body] = [c.number('cond_subgraph_index'), c.number('body_subgraph_index')]
  const [first = ''] = within(c.scope.emitter, at, depth, condition, inputs)
  const emitter = new Emitter(at.ids)
  const scalarValue = (hint: string, dtype: 'int64' | 'bool'): Value => ({
    id: at.ids.fresh(hint),
    type: 'tensor',
    dtype,
    shape: []
  })
  const turn = scalarValue('turn', 'int64')
  const goes = scalarValue('goes', 'bool')
  const values = (subgraph(at, body).inputs ?? []).map((_, i): Value => {
    const dtype = dtypeOf(c.scope.tensor(c.at(i)))
    return { id: at.ids.fresh(`state_${i}`), type: 'tensor', ...(dtype ? { dtype } : {}) }
  })
  const next = within(
    emitter,
    at,
    depth,
    body,
    values.map((v) => v.id)
  )
  const [again = ''] = within(emitter, at, depth, condition, next)
  const graph = graphOf(
    emitter,
    subgraph(at, body).name ?? 'body',
    [turn, goes, ...values],
    [asScalar(emitter, again), ...next]
  )
  return bindRaw(
    c,
    c.ops(
      'Loop',
      [null, asScalar(c.scope.emitter, first), ...inputs],
      { body: { kind: 'graph', value: graph } },
      c.outputCount
    )
  )
}

/**
 * GraphProto → Graph. Names are resolved through the graphs around; every value gets an id that is unique in the whole
 * model; functions are inlined where they are called, with a scope of their own; each node is raised to the working
 * opset as it is read.
 */
import {
  type AttributeProto,
  AttributeProto_AttributeType as AttributeType,
  type FunctionProto,
  type GraphProto,
  type NodeProto,
  type SparseTensorProto,
  type TensorProto
} from 'onnx-buf'
import { PareError } from '../../base/errors.ts'
import { sortNodes } from '../../ir/graph.ts'
import { tensor } from '../../ir/tensor.ts'
import type { Attr, DType, Graph, Node, Tensor, Value, ValueType } from '../../types.ts'
import { readAttr } from './attributes.ts'
import { raiseNode } from './opsets.ts'
import type { Surroundings } from './raise.ts'
import { passOn, remarksOf } from './remarks.ts'
import { readSparse, readTensor, type TensorSource } from './tensors.ts'
import { readType } from './value-types.ts'

/** Nodes, names and attributes that inlining may make; a few functions that call each other can grow without end. */
const maxExpanded = 500_000
const maxCallDepth = 64
/** Names made up or repeated while inlining are cut here. */
const maxHint = 200

export interface GraphContext {
  readonly source: TensorSource
  readonly functions: ReadonlyMap<string, FunctionProto>
  /** The model's own default opset. */
  readonly opset: number
  /** IR version 3 and below: an initializer listed as an input is a constant. */
  readonly initializersAreConstant: boolean
  /** The only floating-point type in the model; `undefined` where there are several. */
  readonly soleFloat: DType | undefined
}

/** How a function is found from its call. */
export const functionKey = (domain: string, name: string, overload: string): string =>
  JSON.stringify([domain === 'ai.onnx' ? '' : domain, name, overload])

/** What the names in a graph or function body stand for. */
interface Scope {
  /** Ids by name; `null`: an input that the call left out. */
  readonly names: Map<string, string | null>
  /** The graph around; a function body has none. */
  readonly around: Scope | undefined
  /** Attributes that a function body refers to, with the scope they were written in. */
  readonly given: ReadonlyMap<string, { readonly proto: AttributeProto; readonly scope: Scope }> | undefined
  /** Default opset of the nodes. */
  readonly opset: number
  readonly depth: number
}

/** A graph under construction. */
interface Target {
  readonly nodes: Node[]
  readonly values: Map<string, Value>
}

/** Names given out, each once; a taken one gets a number. */
class Names {
  private readonly taken = new Set<string>()
  private readonly numbers = new Map<string, number>()

  fresh(hint: string): string {
    let name = hint
    let i = this.numbers.get(hint) ?? 0
    while (this.taken.has(name) || name === '') name = `${hint}_${++i}`
    if (i > 0) this.numbers.set(hint, i)
    this.taken.add(name)
    return name
  }
}

/** Reads the graphs of one model. */
export class GraphReader {
  /** Other domains that nodes use. */
  readonly domains = new Set<string>()
  private readonly c: GraphContext
  private readonly ids = new Names()
  private readonly nodeNames = new Names()
  /** What is the same at every call of a function is read once. */
  private readonly tensors = new WeakMap<TensorProto | SparseTensorProto, Tensor>()
  private readonly plainAttrs = new WeakMap<AttributeProto, Attr>()
  /** Types and constants of all graphs, by id. */
  private readonly known = new Map<string, Value>()
  private expanded = 0

  constructor(context: GraphContext) {
    this.c = context
  }

  outermost(p: GraphProto): Graph {
    return this.graph(p, undefined)
  }

  private graph(p: GraphProto, around: Scope | undefined): Graph {
    const scope: Scope = {
      names: new Map(),
      around,
      given: around?.given,
      opset: around?.opset ?? this.c.opset,
      depth: around?.depth ?? 0
    }
    const target: Target = { nodes: [], values: new Map() }
    if (scope.depth > 0) this.expand(p.input.length + p.output.length + p.valueInfo.length + p.initializer.length)
    const inputs = p.input.map((v) => this.declare(scope, v.name, target, { ...readType(v.type), ...remarksOf(v) }))
    const constants = this.initializers(p, scope, target, new Set(inputs))
    const isDefault = (id: string): boolean => constants.has(id)
    for (const n of p.node)
      for (const name of n.output) if (name !== '') this.declare(scope, name, target, { type: 'tensor' })
    for (const v of p.valueInfo) this.describe(scope, target, v.name, readType(v.type))
    for (const v of p.output) this.describe(scope, target, v.name, readType(v.type), remarksOf(v))
    for (const n of p.node) this.node(n, scope, target)
    const isConstant = around === undefined && this.c.initializersAreConstant
    return {
      name: p.name,
      inputs: isConstant ? inputs.filter((id) => !isDefault(id)) : inputs,
      outputs: p.output.map((v) => this.resolve(scope, v.name, 'the outputs')),
      nodes: sortNodes(target.nodes, p.name),
      values: target.values,
      ...remarksOf(p)
    }
  }

  /** Adds constants; returns their ids. */
  private initializers(p: GraphProto, scope: Scope, target: Target, inputs: ReadonlySet<string>): Set<string> {
    const ids = new Set<string>()
    const add = (name: string, data: Tensor): void => {
      const listed = scope.names.get(name)
      const isInput = typeof listed === 'string' && inputs.has(listed) && !ids.has(listed)
      const id = isInput ? listed : this.declare(scope, name, target, { type: 'tensor' })
      ids.add(id)
      this.setConstant(target, id, data)
    }
    for (const t of p.initializer) add(t.name, this.tensor(t))
    for (const t of p.sparseInitializer) add(t.values?.name ?? '', this.sparse(t))
    return ids
  }

  /** A name of this graph gets an id: itself, or where another graph uses that already, a fresh one. */
  private declare(scope: Scope, name: string, target: Target, type: ValueType & Pick<Value, 'remarks'>): string {
    if (name === '') throw new PareError('E_MODEL', 'a value without a name')
    if (scope.names.has(name)) throw new PareError('E_MODEL', `${name} is made twice`, { where: name })
    const id = this.ids.fresh(name)
    scope.names.set(name, id)
    this.setValue(target, { ...type, id })
    return id
  }

  private setValue(target: Target, v: Value): void {
    target.values.set(v.id, v)
    this.known.set(v.id, v)
  }

  private setConstant(target: Target, id: string, data: Tensor): void {
    this.setValue(target, { id, type: 'tensor', dtype: data.dtype, shape: data.shape, data })
  }

  /** What the file says about a value's type; it never changes that of a constant. */
  private describe(
    scope: Scope,
    target: Target,
    name: string,
    type: ValueType,
    remarks: Pick<Value, 'remarks'> = {}
  ): void {
    const id = scope.names.get(name)
    const v = typeof id === 'string' ? target.values.get(id) : undefined
    const isTold = !v?.data && (type.type !== 'tensor' || type.dtype !== undefined || type.shape !== undefined)
    if (v && (isTold || remarks.remarks)) this.setValue(target, { ...v, ...(isTold ? type : {}), ...remarks })
  }

  /** Reads a tensor, once. */
  private tensor(p: TensorProto): Tensor {
    const made = this.tensors.get(p) ?? readTensor(p, this.c.source)
    this.tensors.set(p, made)
    return made
  }

  private sparse(p: SparseTensorProto): Tensor {
    const made = this.tensors.get(p) ?? readSparse(p, this.c.source)
    this.tensors.set(p, made)
    return made
  }

  private expand(by: number): void {
    this.expanded += by
    if (this.expanded > maxExpanded)
      throw new PareError('E_LIMIT', `functions that expand to more than ${maxExpanded} nodes and names`)
  }

  private resolve(scope: Scope, name: string, where: string): string {
    const id = this.find(scope, name)
    if (typeof id !== 'string') throw new PareError('E_MODEL', `${name} is read, but nothing makes it`, { where })
    return id
  }

  private find(scope: Scope, name: string): string | null | undefined {
    for (let s: Scope | undefined = scope; s; s = s.around) {
      const id = s.names.get(name)
      if (id !== undefined) return id
    }
    return undefined
  }

  private node(p: NodeProto, scope: Scope, target: Target): void {
    if (scope.depth > 0) this.expand(1 + p.input.length + p.output.length + p.attribute.length)
    const domain = p.domain === '' || p.domain === 'ai.onnx' ? undefined : p.domain
    const called = this.c.functions.get(functionKey(p.domain, p.opType, p.overload))
    const name = this.nodeName(p)
    if (called) this.call(called, p, name, scope, target)
    else if (domain === undefined && p.opType === 'Constant') this.constantNode(p, name, scope, target)
    else this.plainNode(p, domain, name, scope, target)
  }

  private plainNode(p: NodeProto, domain: string | undefined, name: string, scope: Scope, target: Target): void {
    if (domain !== undefined) this.domains.add(domain)
    const inputs = p.input.map((n) => this.input(scope, n, name))
    while (inputs.at(-1) === null) inputs.pop()
    const outputs = p.output.map((n) => (n === '' ? '' : this.resolve(scope, n, name)))
    const attrs = this.attrs(p, scope)
    const own = { ...(domain === undefined ? {} : { domain }), ...remarksOf(p) }
    const made: Node = { name, op: p.opType, ...own, inputs, outputs, attrs }
    this.emit(made, scope, target)
  }

  private emit(node: Node, scope: Scope, target: Target): void {
    if (node.domain !== undefined) {
      target.nodes.push(node)
      return
    }
    for (const n of raiseNode(node, scope.opset, this.surroundings(target))) {
      target.nodes.push(n)
      for (const id of n.outputs) if (id && !target.values.has(id)) this.setValue(target, { id, type: 'tensor' })
    }
  }

  private surroundings(target: Target): Surroundings {
    return {
      value: (id) => this.known.get(id),
      fresh: (hint) => this.ids.fresh(hint),
      name: (hint) => this.freshName(hint),
      soleFloat: this.c.soleFloat,
      constant: (data, hint) => {
        const id = this.ids.fresh(hint)
        this.setConstant(target, id, data)
        return id
      }
    }
  }

  private input(scope: Scope, name: string, where: string): string | null {
    if (name === '') return null
    const id = this.find(scope, name)
    return id === undefined ? this.resolve(scope, name, where) : id
  }

  private nodeName(p: NodeProto): string {
    const output = p.output.find((n) => n !== '')
    return this.freshName(p.name !== '' ? p.name : output === undefined ? p.opType : `${p.opType}_${output}`)
  }

  private freshName(hint: string): string {
    return this.nodeNames.fresh(hint.slice(0, maxHint))
  }

  private attrs(p: NodeProto, scope: Scope): Node['attrs'] {
    const out: [string, Attr][] = []
    for (const a of p.attribute) {
      const made = this.attr(a, scope)
      if (made) out.push([a.name, made])
    }
    return Object.fromEntries(out)
  }

  /** An attribute, looked up where it refers to one of the function around; `undefined` where the call gives none. */
  private attr(p: AttributeProto, scope: Scope): Attr | undefined {
    if (p.refAttrName === '') {
      const known = this.plainAttrs.get(p)
      if (known) return known
      const made = readAttr(p, { tensor: (t) => this.tensor(t), graph: (g) => this.graph(g, scope) })
      if (made.kind !== 'graph' && made.kind !== 'graphs') this.plainAttrs.set(p, made)
      return made
    }
    const given = scope.given?.get(p.refAttrName)
    return given && this.attr(given.proto, given.scope)
  }

  private constantNode(p: NodeProto, name: string, scope: Scope, target: Target): void {
    const [output] = p.output
    const data = p.attribute.map((a) => this.constantData(a, scope)).find((t) => t !== undefined)
    if (!output || !data) throw new PareError('E_FORMAT', 'a Constant without a value', { where: name })
    this.setConstant(target, this.resolve(scope, output, name), data)
  }

  private constantData(p: AttributeProto, scope: Scope): Tensor | undefined {
    const resolved = this.dereference(p, scope)
    const sparse: SparseTensorProto | undefined = resolved?.sparseTensor
    if (sparse && (resolved?.type === AttributeType.SPARSE_TENSOR || p.name === 'sparse_value'))
      return this.sparse(sparse)
    const a = this.attr(p, scope)
    switch (a?.kind) {
      case 'tensor':
        return a.value
      case 'float':
        return tensor('float32', [], [a.value])
      case 'floats':
        return tensor('float32', [a.value.length], a.value)
      case 'int':
        return tensor('int64', [], [a.value])
      case 'ints':
        return tensor('int64', [a.value.length], a.value)
      case 'string':
        return tensor('string', [], [a.value])
      case 'strings':
        return tensor('string', [a.value.length], a.value)
      default:
        return undefined
    }
  }

  private dereference(p: AttributeProto, scope: Scope): AttributeProto | undefined {
    let [at, within]: [AttributeProto, Scope] = [p, scope]
    while (at.refAttrName !== '') {
      const given = within.given?.get(at.refAttrName)
      if (!given) return undefined
      at = given.proto
      within = given.scope
    }
    return at
  }

  /** Puts a function's body in place of a call. Names of the body get ids under the call's name. */
  private call(f: FunctionProto, p: NodeProto, name: string, around: Scope, target: Target): void {
    if (around.depth >= maxCallDepth)
      throw new PareError('E_LIMIT', `functions that call each other more than ${maxCallDepth} deep`, { where: f.name })
    this.expand(f.input.length + f.output.length + f.attributeProto.length)
    const given = new Map<string, { proto: AttributeProto; scope: Scope }>()
    for (const a of f.attributeProto) given.set(a.name, { proto: a, scope: around })
    for (const a of p.attribute) if (this.dereference(a, around)) given.set(a.name, { proto: a, scope: around })
    const own = f.opsetImport.find((o) => o.domain === '' || o.domain === 'ai.onnx')
    const names = new Map<string, string | null>()
    for (const [i, formal] of f.input.entries()) names.set(formal, this.input(around, p.input[i] ?? '', name))
    const scope: Scope = {
      names,
      around: undefined,
      given,
      opset: own ? Number(own.version) : around.opset,
      depth: around.depth + 1
    }
    const actual = new Map(f.output.map((formal, i) => [formal, p.output[i] ?? ''] as const))
    for (const n of f.node)
      for (const inner of n.output) {
        if (inner === '') continue
        if (names.has(inner)) throw new PareError('E_MODEL', `${inner} is made twice in function ${f.name}`)
        const outer = actual.get(inner)
        if (outer) names.set(inner, this.resolve(around, outer, name))
        else {
          const id = this.ids.fresh(`${name}/${inner}`.slice(0, maxHint))
          names.set(inner, id)
          this.setValue(target, { id, type: 'tensor' })
        }
      }
    const start = target.nodes.length
    for (const n of f.node) this.node(n, scope, target)
    for (const [formal, outer] of actual) if (outer) this.passThrough(f, formal, outer, scope, around, target)
    const made = new Set([...actual.values()].flatMap((outer) => this.find(around, outer) ?? []))
    passOn(target.nodes, start, made, [remarksOf(p).remarks, remarksOf(f).remarks])
  }

  /** An output of a function that is one of its inputs, or made under another name. */
  private passThrough(
    f: FunctionProto,
    formal: string,
    outer: string,
    scope: Scope,
    around: Scope,
    target: Target
  ): void {
    const from = this.input(scope, formal, f.name)
    const to = this.resolve(around, outer, f.name)
    if (from === to) return
    if (from === null) throw new PareError('E_MODEL', `function ${f.name} returns an input that was left out`)
    target.nodes.push({
      name: this.freshName(`Identity_${to}`),
      op: 'Identity',
      inputs: [from],
      outputs: [to],
      attrs: {}
    })
  }
}

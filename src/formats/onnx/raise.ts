/** Raising one node from the opset it was written for: applies the changes of opsets.ts in order. */
import { PareError } from '../../base/errors.ts'
import { attrs as makeAttrs } from '../../ir/attrs.ts'
import { tensor } from '../../ir/tensor.ts'
import type { AttrInput, Dim, DType, Graph, Node, Tensor, Value } from '../../types.ts'

/** What a node's reader knows and makes. */
export interface Surroundings {
  value(id: string): Value | undefined
  fresh(hint: string): string
  constant(data: Tensor, hint: string): string
  name(hint: string): string
  /** The only floating-point type in the model; `undefined` where there are several. */
  readonly soleFloat: DType | undefined
}

/** What a change may use. Nodes it adds are of the working opset. */
export interface Raising {
  value(id: string | null | undefined): Value | undefined
  data(id: string | null | undefined): Tensor | undefined
  shape(id: string | null | undefined): readonly Dim[] | undefined
  floatType(id: string | null | undefined): DType | undefined
  ints(values: readonly number[], hint: string): string
  constant(data: Tensor, hint: string): string
  /** Puts a node before the one being raised; returns its output. */
  before(op: string, inputs: readonly (string | null)[], attrs?: Readonly<Record<string, AttrInput>>): string
  /** The raised node makes a fresh value instead of its output `index`, and the node put behind it makes that output. */
  behind(
    node: Node,
    index: number,
    op: string,
    rest: readonly (string | null)[],
    attrs?: Readonly<Record<string, AttrInput>>
  ): Node
  fresh(hint: string): string
}

export type Rule = (node: Node, c: Raising) => Node

/** From opset `since` on, `op` has another form; `rule` makes the newer form of the older one. */
export interface Change {
  readonly op: string | readonly string[]
  readonly since: number
  readonly rule: Rule
  /** Opset of the form that the rule gives, where that is newer than `since`. */
  readonly gives?: number
}

/** Changes by operator, oldest first. */
export function byOperator(changes: readonly Change[]): ReadonlyMap<string, readonly Change[]> {
  const out = new Map<string, Change[]>()
  for (const c of changes)
    for (const op of typeof c.op === 'string' ? [c.op] : c.op) out.set(op, [...(out.get(op) ?? []), c])
  for (const list of out.values()) list.sort((a, b) => a.since - b.since)
  return out
}

/** The node in its newest form, with the nodes it needs around it, in order. Throws `E_OPSET` where there is none. */
export function raiseWith(
  table: ReadonlyMap<string, readonly Change[]>,
  node: Node,
  from: number,
  s: Surroundings
): readonly Node[] {
  if (!table.has(node.op)) return [node]
  const [before, after]: [Node[], Node[]] = [[], []]
  let raised = node
  const c = changing(node, s, before, after)
  for (let at = from; ; ) {
    const next = table.get(raised.op)?.find((change) => change.since > at)
    if (!next) break
    raised = next.rule(raised, c)
    at = next.gives ?? next.since
  }
  return [...before, raised, ...after]
}

/** What a change of `original` may use; the nodes it adds go into `before` and `after`. */
export function changing(original: Node, s: Surroundings, before: Node[], after: Node[]): Raising {
  const value: Raising['value'] = (id) => (id == null ? undefined : s.value(id))
  const hint = (what: string): string => `${original.outputs.find((id) => id !== '') ?? original.name}_${what}`
  const make = (
    op: string,
    inputs: readonly (string | null)[],
    output: string,
    attrs: Record<string, AttrInput>
  ): Node => ({
    name: s.name(hint(op)),
    op,
    inputs,
    outputs: [output],
    attrs: makeAttrs(attrs)
  })
  return {
    value,
    data: (id) => value(id)?.data,
    shape: (id) => value(id)?.data?.shape ?? value(id)?.shape,
    floatType: (id) => value(id)?.dtype ?? s.soleFloat,
    ints: (values, what) => s.constant(tensor('int64', [values.length], values), hint(what)),
    constant: (data, what) => s.constant(data, hint(what)),
    fresh: (what) => s.fresh(hint(what)),
    before: (op, inputs, attrs = {}) => {
      const output = s.fresh(hint(op))
      before.push(make(op, inputs, output, attrs))
      return output
    },
    behind: (node, index, op, rest, attrs = {}) => {
      const output = node.outputs[index] as string
      const inner = s.fresh(hint(`before_${op}`))
      after.unshift(make(op, [inner, ...rest], output, attrs))
      return { ...node, outputs: node.outputs.map((id, i) => (i === index ? inner : id)) }
    }
  }
}

/** Stops reading at a form that has no newer one. */
export function cannotRaise(node: Node, why: string): never {
  throw new PareError('E_OPSET', `${node.op} in an old form that cannot be raised: ${why}`, {
    where: node.name,
    hint: 'export the model again at opset 13 or newer'
  })
}

/** The node without some attributes. */
export function without(node: Node, ...names: readonly string[]): Node {
  if (!names.some((name) => Object.hasOwn(node.attrs, name))) return node
  return { ...node, attrs: Object.fromEntries(Object.entries(node.attrs).filter(([name]) => !names.includes(name))) }
}

/** The node with attributes added or replaced. */
export function withAttrs(node: Node, added: Readonly<Record<string, AttrInput>>): Node {
  return { ...node, attrs: { ...node.attrs, ...makeAttrs(added) } }
}

/** The node with an input at a place, the ones before it filled up with inputs left out. */
export function withInput(node: Node, index: number, id: string | null): Node {
  const inputs = [...node.inputs]
  while (inputs.length < index) inputs.push(null)
  inputs[index] = id
  while (inputs.at(-1) === null) inputs.pop()
  return { ...node, inputs }
}

/** A graph around one node, as the body of Scan or Loop. */
export function graphOf(name: string, node: Node, inputs: readonly Value[], outputs: readonly string[]): Graph {
  const made: Value[] = node.outputs.filter((id) => id !== '').map((id) => ({ id, type: 'tensor' }))
  const values = new Map([...inputs, ...made].map((v) => [v.id, v] as const))
  return { name, inputs: inputs.map((v) => v.id), outputs, nodes: [node], values }
}

/** Reading and making node attributes. */
import { PareError } from '../base/errors.ts'
import type { Attr, AttrInput, Attrs, Graph, Node, Tensor } from '../types.ts'

type Kind = Attr['kind']

function read<A extends Attr>(node: Node, name: string, kind: Kind): A['value'] | undefined {
  const a = Object.hasOwn(node.attrs, name) ? node.attrs[name] : undefined
  if (a !== undefined && a.kind !== kind)
    throw new PareError('E_MODEL', `attribute ${name} of ${node.op} is of kind ${a.kind}, not ${kind}`, {
      where: node.name
    })
  return a?.value
}

type Of<K extends Kind> = Extract<Attr, { kind: K }>

/** Attribute of one kind, or the fallback where it is absent. Throws `E_MODEL` when it is of another kind. */
export const attrInt = (n: Node, name: string, fallback: number): number => read<Of<'int'>>(n, name, 'int') ?? fallback
export const attrFloat = (n: Node, name: string, fallback: number): number =>
  read<Of<'float'>>(n, name, 'float') ?? fallback
export const attrString = (n: Node, name: string, fallback: string): string =>
  read<Of<'string'>>(n, name, 'string') ?? fallback
export const attrInts = (n: Node, name: string): readonly number[] | undefined => read<Of<'ints'>>(n, name, 'ints')
export const attrFloats = (n: Node, name: string): readonly number[] | undefined =>
  read<Of<'floats'>>(n, name, 'floats')
export const attrStrings = (n: Node, name: string): readonly string[] | undefined =>
  read<Of<'strings'>>(n, name, 'strings')
export const attrTensor = (n: Node, name: string): Tensor | undefined => read<Of<'tensor'>>(n, name, 'tensor')
export const attrGraph = (n: Node, name: string): Graph | undefined => read<Of<'graph'>>(n, name, 'graph')
export const hasAttr = (n: Node, name: string): boolean => Object.hasOwn(n.attrs, name)

export const float = (value: number): Attr => ({ kind: 'float', value })
export const tensorAttr = (value: Tensor): Attr => ({ kind: 'tensor', value })

/** Makes attributes from plain values; leaves out those that are `undefined`. */
export function attrs(input: Readonly<Record<string, AttrInput | undefined>>): Attrs {
  const out: Record<string, Attr> = {}
  for (const [name, v] of Object.entries(input)) if (v !== undefined) out[name] = attr(v)
  return out
}

function attr(v: AttrInput): Attr {
  if (typeof v === 'number') return { kind: 'int', value: v }
  if (typeof v === 'string') return { kind: 'string', value: v }
  if (Array.isArray(v))
    return typeof v[0] === 'string'
      ? { kind: 'strings', value: v as readonly string[] }
      : { kind: 'ints', value: v as readonly number[] }
  return v as Attr
}

/** The subgraphs a node holds, with the names of their attributes. */
export function subgraphs(node: Node): readonly (readonly [attribute: string, graph: Graph])[] {
  const out: [string, Graph][] = []
  for (const [name, a] of Object.entries(node.attrs)) {
    if (a.kind === 'graph') out.push([name, a.value])
    if (a.kind === 'graphs') for (const g of a.value) out.push([name, g])
  }
  return out
}

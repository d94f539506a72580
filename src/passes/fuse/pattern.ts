/**
 * Patterns of nodes as text, written as a formula:
 *
 *   Mul(Mul(x, Add(Erf(Div(x, 1.41421356)), 1)), 0.5)
 *
 *   Op(a, b)      the first output of such a node, whose further inputs may be anything; Add and Mul take their operands in
 *                 either order. `A|B(…)`: one operator or the other. `Op?(a)`: with or without the node.
 *   name=Op(…)    remembers the node
 *   x             any value; the same name is the same value everywhere
 *   $e            a constant of one element, whatever its number
 *   #g            a constant
 *   0.5           a constant of one element that is this number up to a relative 1e-4
 *   {a; b}        one or the other, the first that fits
 *   _             anything, or an input left out
 */
import { assert } from '../../base/errors.ts'
import { opName } from '../../ir/graph.ts'
import { elementCount, isFloat, isInteger, toNumbers } from '../../ir/tensor.ts'
import type { Node, Tensor } from '../../types.ts'
import type { Site } from './rule.ts'
import { sizesRead } from './sizes.ts'

type Tree =
  | {
      readonly kind: 'node'
      readonly ops: readonly string[]
      readonly args: readonly Tree[]
      readonly name?: string
      readonly isOptional: boolean
    }
  | { readonly kind: 'value' | 'scalar' | 'constant'; readonly name: string }
  | { readonly kind: 'number'; readonly number: number }
  | { readonly kind: 'either'; readonly of: readonly Tree[] }
  | { readonly kind: 'any' }

/** What a pattern was found to be. */
export interface Bound {
  /** All nodes of it, without what makes its values. */
  readonly nodes: ReadonlySet<Node>
  readonly values: Readonly<Record<string, string>>
  readonly named: Readonly<Record<string, Node>>
}

export interface Pattern {
  /** Operators that the pattern can end in. */
  readonly roots: readonly string[]
  /** The pattern that ends in a node. */
  find(root: Node, site: Site): Bound | undefined
}

/** One pattern of several spellings, the first that is found counts. */
export function pattern(...spellings: readonly string[]): Pattern {
  const trees = spellings.map((text) => {
    const tree = parse(text)
    assert(tree.kind === 'node', `${text} is a pattern of no node`)
    return tree
  })
  return {
    roots: [...new Set(trees.flatMap((t) => t.ops))],
    find(root, site) {
      for (const tree of trees) {
        const [found] = matchNode(tree, root, site, nothing)
        if (found) return found
      }
      return undefined
    }
  }
}

const nothing: Bound = { nodes: new Set(), values: {}, named: {} }

// ---------------------------------------------------------------- matching

const tolerance = 1e-4
const commutative = new Set(['Add', 'Mul', 'Sum', 'And', 'Equal'])

/** All ways in which a value is what a tree says. */
function match(tree: Tree, id: string | null | undefined, site: Site, so: Bound): readonly Bound[] {
  if (tree.kind === 'any') return [so]
  if (tree.kind === 'either') return tree.of.flatMap((t) => match(t, id, site, so))
  if (id == null) return []
  switch (tree.kind) {
    case 'number':
      return isNumber(site.constant(id), tree.number) ? [so] : []
    case 'scalar':
      return isScalar(site.constant(id)) ? bind(tree.name, id, so) : []
    case 'constant':
      return site.constant(id) ? bind(tree.name, id, so) : []
    case 'value':
      return bind(tree.name, id, so)
    default: {
      const node = site.producer(id)
      const through = node && node.outputs[0] === id ? matchNode(tree, node, site, so) : []
      const around = tree.isOptional && tree.args[0] ? match(tree.args[0], id, site, so) : []
      return [...through, ...around]
    }
  }
}

function matchNode(tree: Tree & { kind: 'node' }, node: Node, site: Site, so: Bound): readonly Bound[] {
  if (!tree.ops.includes(opName(node))) return []
  const named = tree.name === undefined ? so.named : { ...so.named, [tree.name]: node }
  const begun: Bound = { ...so, named, nodes: new Set([...so.nodes, node]) }
  const straight = matchInputs(tree.args, node.inputs, site, begun)
  if (!commutative.has(node.op) || tree.args.length !== 2) return straight
  return [...straight, ...matchInputs(tree.args, [node.inputs[1] ?? null, node.inputs[0] ?? null], site, begun)]
}

function matchInputs(
  args: readonly Tree[],
  inputs: readonly (string | null)[],
  site: Site,
  so: Bound
): readonly Bound[] {
  let found: readonly Bound[] = [so]
  for (const [i, arg] of args.entries()) found = found.flatMap((f) => match(arg, inputs[i], site, f))
  return found
}

function bind(name: string, id: string, so: Bound): readonly Bound[] {
  const known = so.values[name]
  if (known !== undefined) return known === id ? [so] : []
  return [{ ...so, values: { ...so.values, [name]: id } }]
}

const isScalar = (t: Tensor | undefined): t is Tensor =>
  t !== undefined && elementCount(t.shape) === 1 && (isFloat(t.dtype) || isInteger(t.dtype))

function isNumber(t: Tensor | undefined, number: number): boolean {
  if (!isScalar(t)) return false
  return Math.abs((toNumbers(t)[0] as number) - number) <= tolerance * Math.abs(number)
}

/** The number of a constant of one element. */
export function numberOf(id: string | undefined, site: Site): number | undefined {
  const data = site.constant(id)
  return isScalar(data) ? toNumbers(data)[0] : undefined
}

/**
 * Why the nodes of a pattern cannot go; `undefined` where nothing outside reads them. What only leads back into the pattern,
 * such as the shape of one of its Reshapes, is not outside, nor is a Shape whose sizes can be read elsewhere. `given`: those that may be read.
 */
export function readOutside(found: Bound, given: readonly Node[], site: Site): string | undefined {
  const kept = new Set(Object.values(found.values))
  for (const node of found.nodes) {
    if (given.includes(node)) continue
    const name = node.name || node.op
    for (const id of node.outputs) {
      if (site.isOutput(id)) return `the output of ${name} is an output of the graph`
      const others = site
        .consumers(id)
        .filter((n) => !sizesRead(n, found.nodes, site) && leadsOut(n, found, kept, site)).length
      if (others > 0) return `the output of ${name} is also used by ${others} other node(s)`
    }
  }
  return undefined
}

/** Does anything but the pattern's nodes need a node? What the pattern's values are made from is needed. */
function leadsOut(from: Node, found: Bound, kept: ReadonlySet<string>, site: Site): boolean {
  const seen = new Set<Node>(found.nodes)
  const queue = [from]
  for (let node = queue.pop(); node; node = queue.pop()) {
    if (seen.has(node)) continue
    seen.add(node)
    for (const id of node.outputs) {
      if (kept.has(id) || site.isOutput(id)) return true
      for (const reader of site.consumers(id)) queue.push(reader)
    }
  }
  return false
}

// ---------------------------------------------------------------- reading

function parse(text: string): Tree {
  const tokens = text.match(/[A-Za-z_][\w.:|]*\??|[$#][A-Za-z_]\w*|-?\d[\d.]*(?:e-?\d+)?|[(),={};]/g) ?? []
  let at = 0
  const next = (): string => tokens[at++] ?? ''
  const isNext = (t: string): boolean => tokens[at] === t
  const tree = (): Tree => {
    const token = next()
    if (token === '_') return { kind: 'any' }
    if (token === '{') {
      const of = [tree()]
      while (next() === ';') of.push(tree())
      return { kind: 'either', of }
    }
    if (token.startsWith('$')) return { kind: 'scalar', name: token.slice(1) }
    if (token.startsWith('#')) return { kind: 'constant', name: token.slice(1) }
    if (/^-?\d/.test(token)) return { kind: 'number', number: Number(token) }
    if (isNext('=')) {
      next()
      const named = tree()
      assert(named.kind === 'node', `${token} in ${text} names no node`)
      return { ...named, name: token }
    }
    if (!isNext('(')) return { kind: 'value', name: token }
    const args: Tree[] = []
    do {
      next()
      args.push(tree())
    } while (isNext(','))
    assert(next() === ')', `a bracket is open in ${text}`)
    const isOptional = token.endsWith('?')
    return { kind: 'node', ops: token.replace('?', '').split('|'), args, isOptional }
  }
  const made = tree()
  assert(at === tokens.length, `there is more behind the pattern ${text}`)
  return made
}

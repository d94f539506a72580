/** A small rewriting engine: a rule finds chains of nodes, says why a chain must stay as it is, or builds what replaces it. */
import type { Draft } from '../../ir/edit.ts'
import { type GraphView, opName } from '../../ir/graph.ts'
import type { Dim, Graph, Node, Value } from '../../types.ts'

/** The graph under change, as rules see it. */
export interface Site extends GraphView {
  readonly draft: Draft
  /** Type of a value of this graph or of those around it. */
  value(id: string | null | undefined): Value | undefined
  /** What is known of a small integer vector: numbers, and sizes by name. */
  content(id: string): readonly Dim[] | undefined
}

/** A draft as rules see it; `around`: the graphs around it, outermost first; `contents`: those of its small integer vectors. */
export const siteOf = (
  draft: Draft,
  around: readonly Graph[] = [],
  contents: ReadonlyMap<string, readonly Dim[]> = new Map()
): Site => ({
  draft,
  content: (id) => contents.get(id),
  value: (id) => (id == null ? undefined : around.reduceRight((v, g) => v ?? g.values.get(id), draft.value(id))),
  constant: (id) => draft.constant(id),
  producer: (id) => draft.producer(id),
  consumers: (id) => draft.consumers(id),
  soleConsumer: (id) => draft.soleConsumer(id),
  isOutput: (id) => draft.isOutput(id)
})

/** One rewriting. `M` is what the rule found out about the chain. */
export interface Rule<M = unknown> {
  readonly name: string
  /** Operators of a chain of nodes, each reading the first output of the one before. */
  readonly chain: readonly (readonly string[])[]
  /** What is needed to rewrite the chain; `undefined` where it is not a case for this rule. */
  match(chain: readonly Node[], site: Site): M | undefined
  /** Why a case must stay as it is; `undefined` to go ahead. */
  check(found: M, site: Site): string | undefined
  build(found: M, site: Site): void
}

export const defineRule = <M>(rule: Rule<M>): Rule => rule as Rule

/**
 * Applies rules until none fires. Refusals are reported for the final state only. Every firing must leave fewer nodes
 * or a simpler one; the bound on firings guards against rules that undo each other.
 */
export function rewrite(site: Site, rules: readonly Rule[], refuse: (node: Node, reason: string) => void): number {
  let fired = 0
  const bound = 100 + 4 * site.draft.nodes().length
  for (let before = -1; fired !== before && fired < bound; ) {
    before = fired
    const refusals: [Node, string][] = []
    for (const node of site.draft.nodes()) if (fired < bound && fireAt(node, site, rules, refusals)) fired++
    if (fired === before) for (const [node, reason] of refusals) refuse(node, reason)
  }
  return fired
}

/** Tries the rules on the chains that end in a node; true as soon as one fired. */
function fireAt(node: Node, site: Site, rules: readonly Rule[], refusals: [Node, string][]): boolean {
  if (!isIn(site, node)) return false
  for (const rule of rules) {
    for (const chain of chainsTo(node, rule.chain, site)) {
      const found = rule.match(chain, site)
      if (found === undefined) continue
      const reason = rule.check(found, site)
      if (reason === undefined) {
        rule.build(found, site)
        return true
      }
      refusals.push([node, reason])
    }
  }
  return false
}

const isIn = (site: Site, node: Node): boolean =>
  node.outputs.some((id) => id !== '' && site.draft.producer(id) === node)

/** Chains of the given operators that end in a node, by walking from its inputs to what makes them. */
function chainsTo(node: Node, ops: readonly (readonly string[])[], site: Site): Node[][] {
  const last = ops.at(-1)
  if (!last?.includes(opName(node))) return []
  if (ops.length === 1) return [[node]]
  const out: Node[][] = []
  for (const id of new Set(node.inputs)) {
    const from = id === null ? undefined : site.draft.producer(id)
    if (from && from.outputs[0] === id)
      for (const head of chainsTo(from, ops.slice(0, -1), site)) out.push([...head, node])
  }
  return out
}

/** Why the output of a node cannot disappear into its reader; `undefined` where it can. */
export function usedElsewhere(node: Node, site: Site): string | undefined {
  const id = node.outputs[0] ?? ''
  if (site.draft.isOutput(id)) return `the output of ${node.name || node.op} is an output of the graph`
  const readers = site.draft.consumers(id)
  if (readers.length > 1)
    return `the output of ${node.name || node.op} is also used by ${readers.length - 1} other node(s)`
  return undefined
}

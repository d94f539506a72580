/** Choosing nodes by operator or by name. */
import { nearest } from '../../../base/suggest.ts'
import { allGraphs, opName } from '../../../ir/graph.ts'
import type { Model, Node } from '../../../types.ts'
import type { Context } from '../../types.ts'

type Named = Pick<Node, 'name' | 'op' | 'domain'>

/** Does a node fit any of the patterns? A pattern is an operator (`Conv`, `com.microsoft:Gelu`) or a node name, where `*` is any text. */
export function matcher(patterns: readonly string[]): (node: Named) => boolean {
  const operators = new Set(patterns)
  const names = patterns.map(nameMatcher)
  return (node) => operators.has(opName(node)) || names.some((fits) => fits(node.name))
}

/**
 * Notes every pattern that fits no node, with the nearest name: by a misspelt pattern a node would be quantized, or left in
 * float, without anyone noticing.
 * `kind`: the option that holds the patterns.
 */
export function noteUnmatched(
  model: Model,
  kind: 'include' | 'exclude' | 'bitsOf',
  patterns: readonly string[],
  ctx: Pick<Context, 'note'>
): void {
  const nodes = allGraphs(model).flatMap((g) => g.nodes)
  for (const pattern of patterns) {
    if (nodes.some(matcher([pattern]))) continue
    const close = nearest(pattern, [...new Set(nodes.flatMap((n) => [opName(n), n.name]))])
    const hint = close === undefined ? 'pare inspect lists the nodes' : `did you mean ${close}?`
    ctx.note(`${kind}: no node is, or is named, ${pattern}, so it changes nothing: ${hint}`)
  }
}

/** Linear in the name: patterns and names may both come from strangers, and a regular expression would backtrack. */
function nameMatcher(pattern: string): (name: string) => boolean {
  const [first = '', ...others] = pattern.split(/\*+/)
  const last = others.pop()
  if (last === undefined) return (name) => name === pattern
  return (name) => {
    if (!name.startsWith(first)) return false
    let at = first.length
    for (const part of others) {
      const found = name.indexOf(part, at)
      if (found < 0) return false
      at = found + part.length
    }
    return name.length - last.length >= at && name.endsWith(last)
  }
}

/** Rules that write one operator for a pattern of several: what the pattern means is said once, as a formula. */

import { attrs as makeAttrs } from '../../ir/attrs.ts'
import { opName } from '../../ir/graph.ts'
import type { AttrInput, Node, Tensor, ValueType } from '../../types.ts'
import { type Bound, type Pattern, readOutside } from './pattern.ts'
import type { Rule, Site } from './rule.ts'

/** The operator that is written: inputs are values, constants to be added, or functions that add what makes them. */
export interface Written {
  /** Absent: what the rule makes. */
  readonly op?: string
  readonly inputs: readonly (string | Tensor | (() => string) | null)[]
  readonly attrs?: Readonly<Record<string, AttrInput | undefined>>
  /** Absent: those of the last node of the pattern. */
  readonly outputs?: readonly string[]
  /** Nodes of the pattern whose outputs are among these. */
  readonly given?: readonly Node[]
  /** The only node of the pattern that it takes the place of; absent: of all. */
  readonly at?: Node
}

export interface Spelling {
  readonly name: string
  /** The operator that it writes, `domain:Name` outside the default domain. */
  readonly makes: string
  readonly pattern: Pattern
  /** It keeps the runtime from making the operator by itself. */
  readonly prevents?: true
  /** What is written; a text: why not; `undefined`: not a case. */
  write(found: Bound, root: Node, site: Site): Written | string | undefined
}

/** A rule that writes one operator. */
export interface WritingRule extends Rule<Made> {
  readonly makes: string
  readonly prevents?: true
  /** The node as far as conditions of a target's rows are about it. */
  facts(found: Made): Node
}

interface Made {
  readonly found: Bound
  readonly root: Node
  readonly written: Written | string
}

/** The rule of a spelling: the pattern's nodes go where nothing else reads them. */
export const spelling = ({ name, makes, prevents, pattern, write }: Spelling): WritingRule => ({
  name,
  makes,
  ...(prevents ? { prevents } : {}),
  chain: [pattern.roots],
  match: ([root], site) => {
    const found = root && pattern.find(root, site)
    const written = found && write(found, root, site)
    return written === undefined || !root || !found ? undefined : { found, root, written }
  },
  check: ({ found, root, written }, site) => {
    if (typeof written === 'string') return written
    return written.at ? undefined : readOutside(found, [root, ...(written.given ?? [])], site)
  },
  facts: ({ root, written }) => {
    if (typeof written === 'string') return root
    return { ...root, outputs: written.outputs ?? root.outputs, attrs: makeAttrs(written.attrs ?? {}) }
  },
  build: ({ found, root, written }, site) => {
    if (typeof written === 'string') return
    const last = written.at ?? root
    const [op = '', domain] = (written.op ?? makes).split(':').reverse()
    const inputs = written.inputs.map((x, i) => {
      if (x === null || typeof x === 'string') return x
      return typeof x === 'function' ? x() : site.draft.addConstant(x, `${root.outputs[0]}_${i}`)
    })
    if (!written.at) for (const node of found.nodes) if (node !== root) site.draft.remove(node)
    const outputs = written.outputs ?? last.outputs
    const attrs = makeAttrs(written.attrs ?? {})
    site.draft.replace(last, { name: last.name, op, ...(domain ? { domain } : {}), inputs, outputs, attrs })
    // What computed shapes for nodes of the pattern is dead now.
    site.draft.sweep()
  }
})

/** The first output of a node of these inputs: one that is there already, or a new one. */
export function existing(
  op: string,
  inputs: readonly string[],
  hint: string,
  type: Omit<ValueType, 'type'>,
  site: Site,
  attrs: Readonly<Record<string, AttrInput>> = {}
): string {
  const known = site.consumers(inputs[0] as string).find((n) => opName(n) === op && n.inputs.join() === inputs.join())
  if (known) return known.outputs[0] as string
  return site.draft.add(op, inputs, { name: hint, attrs, type: { ...type, type: 'tensor' } })
}

/** A constant under this name, which layers share. */
export const shared = (data: Tensor, id: string, site: Site): string =>
  site.constant(id) ? id : site.draft.addConstant(data, id)

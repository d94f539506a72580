/** Rules that write one operator for a pattern of several: what the pattern means is said once, as a formula. */

import { attrs as makeAttrs } from '../../ir/attrs.ts'
import type { FusedRow } from '../../targets/types.ts'
import type { AttrInput, Node, Tensor } from '../../types.ts'
import { type Bound, type Pattern, readOutside } from './pattern.ts'
import type { Rule, Site } from './rule.ts'
import { untie } from './sizes.ts'

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
  /** Nodes of the pattern that stay. */
  readonly keeps?: readonly Node[]
  /** The only node of the pattern that it takes the place of; absent: of all. */
  readonly at?: Node
  /** How an attention's past is kept, as far as rows of a target ask for it. */
  readonly past?: FusedRow['past']
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
  /** What rows of a target ask: the node, and how the past of an attention is kept; `undefined` where none would be written. */
  facts(found: Made): { readonly node: Node; readonly past?: FusedRow['past'] } | undefined
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
    return written.at ? undefined : readOutside(goneOf(found, written), [root, ...(written.given ?? [])], site)
  },
  facts: ({ root, written }) => {
    if (typeof written === 'string') return undefined
    const node = { ...root, outputs: written.outputs ?? root.outputs, attrs: makeAttrs(written.attrs ?? {}) }
    return written.past ? { node, past: written.past } : { node }
  },
  build: ({ found, root, written }, site) => {
    if (typeof written === 'string') return
    const last = written.at ?? root
    const [op = '', domain] = (written.op ?? makes).split(':').reverse()
    const gone = goneOf(found, written)
    if (!written.at) untie(gone.nodes, root, site)
    const inputs = written.inputs.map((x, i) => {
      if (x === null || typeof x === 'string') return x
      return typeof x === 'function' ? x() : site.draft.addConstant(x, `${root.outputs[0]}_${i}`)
    })
    if (!written.at) for (const node of gone.nodes) if (node !== root) site.draft.remove(node)
    const outputs = written.outputs ?? last.outputs
    const attrs = makeAttrs(written.attrs ?? {})
    site.draft.replace(last, { name: last.name, op, ...(domain ? { domain } : {}), inputs, outputs, attrs })
    // What computed shapes for nodes of the pattern is dead now.
    site.draft.sweep()
  }
})

const goneOf = (found: Bound, { keeps = [] }: Written): Bound => ({
  ...found,
  nodes: new Set([...found.nodes].filter((n) => !keeps.includes(n)))
})

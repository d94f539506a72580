/** Einsum: labels name axes; what is not in the output is summed over. */
import { sameDim, unknownDim } from '../base/dim.ts'
import { attrString } from '../ir/attrs.ts'
import type { Dim } from '../types.ts'
import { dtypeOf, fail, shapeOf, tensorType } from './op.ts'
import type { Cost, Known, NodeView } from './types.ts'
import { times } from './window.ts'

const ellipsis = '…'

/** Labels of one term, one per axis; those of an ellipsis are `…0`, `…1`, counted from the right. */
export function labelsOf(n: NodeView, term: string, rank: number): readonly string[] {
  const [before, after, ...more] = term.split('...')
  if (before === undefined || more.length > 0) fail(n, `two ellipses in "${term}"`)
  if (after === undefined) {
    if (before.length !== rank) fail(n, `"${term}" for an input of rank ${rank}`)
    return [...before]
  }
  const hidden = rank - before.length - after.length
  if (hidden < 0) fail(n, `"${term}" for an input of rank ${rank}`)
  return [...before, ...hiddenLabels(hidden), ...after]
}

const hiddenLabels = (count: number): string[] => Array.from({ length: count }, (_, i) => `${ellipsis}${count - 1 - i}`)

export interface Contraction {
  readonly sizes: ReadonlyMap<string, Dim>
  readonly output: readonly string[]
}

/** The terms of the inputs and, where it is given, of the output. */
export function termsOf(n: NodeView): { readonly inputs: readonly string[]; readonly output: string | undefined } {
  const [left = '', right] = attrString(n.node, 'equation', '').replaceAll(' ', '').split('->')
  return { inputs: left.split(','), output: right }
}

/** Sizes of all labels and the labels of the output; `undefined` while a rank is unknown. */
export function contraction(n: NodeView): Contraction | undefined {
  const { inputs: terms, output: right } = termsOf(n)
  if (terms.length !== n.node.inputs.length) fail(n, `${terms.length} terms for ${n.node.inputs.length} inputs`)
  const sizes = new Map<string, Dim>()
  const count = new Map<string, number>()
  let hidden = 0
  for (const [i, term] of terms.entries()) {
    const shape = shapeOf(n, i)
    if (!shape) return undefined
    for (const [axis, label] of labelsOf(n, term, shape.length).entries()) {
      sizes.set(label, merged(n, sizes.get(label) ?? 1, shape[axis] as Dim))
      count.set(label, (count.get(label) ?? 0) + 1)
    }
    if (term.includes('...')) hidden = Math.max(hidden, shape.length - (term.length - 3))
  }
  if (right !== undefined)
    return { sizes, output: labelsOf(n, right, right.replace('...', '').length + (right.includes('...') ? hidden : 0)) }
  const once = [...count].filter(([label, times]) => times === 1 && !label.startsWith(ellipsis)).map(([label]) => label)
  return { sizes, output: [...hiddenLabels(hidden), ...once.sort()] }
}

function merged(n: NodeView, a: Dim, b: Dim): Dim {
  if (a === 1 || sameDim(a, b)) return b
  if (b === 1) return a
  if (typeof a === 'number' && typeof b === 'number') fail(n, `sizes ${a} and ${b} of one label`)
  return typeof a === 'number' ? a : b
}

export function inferEinsum(n: NodeView): readonly (Known | undefined)[] {
  const found = contraction(n)
  return [
    tensorType(
      dtypeOf(n, 0),
      found?.output.map((label) => found.sizes.get(label) ?? unknownDim)
    )
  ]
}

export function einsumCost(n: NodeView): Cost {
  const found = contraction(n)
  return { macs: times(found && times(...found.sizes.values()), n.node.inputs.length - 1) }
}

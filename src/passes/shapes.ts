/** What passes that rearrange graphs ask of shapes and places. */
import { sameDim } from '../base/dim.ts'
import type { Draft } from '../ir/edit.ts'
import type { Dim, Node } from '../types.ts'

/** Equal as far as can be proven. */
export function sameShape(a: readonly Dim[] | undefined, b: readonly Dim[] | undefined): boolean {
  return a !== undefined && b !== undefined && a.length === b.length && a.every((d, i) => sameDim(d, b[i] as Dim))
}

/** Does `from` broadcast to `to` without widening it? */
export function broadcastsTo(from: readonly Dim[], to: readonly Dim[]): boolean {
  if (from.length > to.length) return false
  return from.every((d, i) => d === 1 || sameDim(d, to[to.length - from.length + i] as Dim))
}

/**
 * A shape input for Reshape (allowzero = 0) that turns `from` into `to`: numbers, 0 for a dimension kept in its place,
 * −1 for at most one other. `undefined` where that cannot say it.
 */
export function reshapeTarget(from: readonly Dim[] | undefined, to: readonly Dim[]): number[] | undefined {
  if (to.some((d) => d === 0)) return undefined
  let isOpen = false
  const out: number[] = []
  for (const [i, d] of to.entries()) {
    if (typeof d === 'number') out.push(d)
    else if (from && sameDim(d, from[i] ?? '?')) out.push(0)
    else if (isOpen) return undefined
    else {
      isOpen = true
      out.push(-1)
    }
  }
  return out
}

/**
 * Can all that reads the first output of `node` read `to` instead, without an Identity taking its place? An output of
 * the graph keeps its name only if a node of this graph makes `to` and `to` is no output itself.
 */
export function canRewire(node: Node, to: string, draft: Draft): boolean {
  return !draft.isOutput(node.outputs[0] ?? '') || (draft.producer(to) !== undefined && !draft.isOutput(to))
}

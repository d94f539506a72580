/** What printers share: which expressions of a statement are computed once for several places. */
import type { Expr, Stmt } from '../ir/loops.ts'

export const operands = (e: Expr): readonly Expr[] => {
  switch (e.is) {
    case 'const':
    case 'get':
      return []
    case 'load':
      return [e.address]
    case 'binary':
    case 'compare':
      return [e.a, e.b]
    case 'select':
      return [e.when, e.a, e.b]
    default:
      return [e.of]
  }
}

/** The expressions that a statement itself computes; a loop's bounds, not its body. */
export function rootsOf(s: Stmt): readonly Expr[] {
  if (s.is === 'set') return [s.value]
  if (s.is === 'store') return [s.address, s.value]
  return s.is === 'loop' ? [s.from, s.to] : [s.when]
}

/** Expressions that stand at several places below these, those that others need first. */
export function sharedIn(roots: readonly Expr[]): Expr[] {
  const seen = new Map<Expr, number>()
  const order: Expr[] = []
  const walk = (e: Expr): void => {
    if (e.is === 'const' || e.is === 'get') return
    const times = (seen.get(e) ?? 0) + 1
    seen.set(e, times)
    if (times > 1) return
    for (const o of operands(e)) walk(o)
    order.push(e)
  }
  for (const r of roots) walk(r)
  return order.filter((e) => (seen.get(e) ?? 0) > 1)
}

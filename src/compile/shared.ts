/** What printers share: which expressions of a statement are computed once for several places, and which routines are one. */
import type { Expr, Routine, Stmt } from '../ir/loops.ts'

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
    case 'packed':
      return e.of
    default:
      return [e.of]
  }
}

/** The expressions that a statement itself computes; a loop's bounds, not its body. */
export function rootsOf(s: Stmt): readonly Expr[] {
  if (s.is === 'set') return [s.value]
  if (s.is === 'store') return [s.address, s.value]
  if (s.is === 'call') return s.args
  if (s.is === 'loop') return typeof s.step === 'number' ? [s.from, s.to] : [s.from, s.to, s.step]
  return [s.when]
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

const bodies = (s: Stmt): readonly (readonly Stmt[])[] =>
  s.is === 'loop' ? [s.body] : s.is === 'if' ? [s.then, s.otherwise] : []

/** The text of a routine by which it is known: locals by the order in which they come. */
function textOf({ params, body }: Routine, called: (r: Routine) => number): string {
  const names = new Map<unknown, number>()
  const nameOf = (l: unknown): number => names.get(l) ?? (names.set(l, names.size).get(l) as number)
  return JSON.stringify([params, body], (key, value) => {
    if (key === 'routine') return called(value)
    if (value !== null && typeof value === 'object' && 'name' in value && 'kind' in value)
      return [nameOf(value), value.kind]
    return Object.is(value, -0) ? '-0' : typeof value === 'number' && !Number.isFinite(value) ? `${value}` : value
  })
}

/** Routines that others call, those that are called first; each once, however often it was made. */
export interface Called {
  readonly routines: readonly Routine[]
  indexOf(r: Routine): number
}

export function calledBy(callers: readonly Routine[]): Called {
  const routines: Routine[] = []
  const byText = new Map<string, number>()
  const known = new Map<Routine, number>()
  const indexOf = (r: Routine): number => {
    const at = known.get(r)
    if (at !== undefined) return at
    walk(r.body)
    const text = textOf(r, indexOf)
    const same = byText.get(text) ?? routines.push(r) - 1
    byText.set(text, same)
    known.set(r, same)
    return same
  }
  const walk = (all: readonly Stmt[]): void => {
    for (const s of all) {
      if (s.is === 'call') indexOf(s.routine)
      for (const b of bodies(s)) walk(b)
    }
  }
  for (const r of callers) walk(r.body)
  return { routines, indexOf }
}

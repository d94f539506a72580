/**
 * Arithmetic on dimensions. A symbolic dimension is a polynomial over symbols in a canonical spelling, such as `4*N`
 * or `H*W+2`; `'?'` is unknown and swallows everything. Two equal spellings are the same number, save `'?'`.
 */
import type { Dim } from '../types.ts'

export const unknownDim = '?'

/** A term is `coefficient × product of symbols`; the key is the sorted product, `''` for the constant. */
type Polynomial = Map<string, number>

/** Known to be equal; `'?'` equals nothing. */
export function sameDim(a: Dim, b: Dim): boolean {
  return a === b && a !== unknownDim
}

export function addDims(a: Dim, b: Dim): Dim {
  if (typeof a === 'number' && typeof b === 'number') return a + b
  return combine(a, b, (p, q) => {
    const out = new Map(p)
    for (const [k, c] of q) out.set(k, (out.get(k) ?? 0) + c)
    return out
  })
}

export function subDims(a: Dim, b: Dim): Dim {
  return addDims(a, mulDims(b, -1))
}

export function mulDims(a: Dim, b: Dim): Dim {
  if (typeof a === 'number' && typeof b === 'number') return a * b
  return combine(a, b, (p, q) => {
    const out: Polynomial = new Map()
    for (const [k, c] of p)
      for (const [l, d] of q) {
        const key = [...k.split('*'), ...l.split('*')].filter(Boolean).sort().join('*')
        out.set(key, (out.get(key) ?? 0) + c * d)
      }
    return out
  })
}

/** Exact quotient of polynomials by a single term, floor of numbers; otherwise an opaque symbol `floor(a/b)`. */
export function divDims(a: Dim, b: Dim): Dim {
  if (a === unknownDim || b === unknownDim || b === 0) return unknownDim
  if (typeof a === 'number' && typeof b === 'number') return Math.floor(a / b)
  if (b === 1) return a
  if (a === b) return 1
  const [p, q] = [polynomial(a), polynomial(b)]
  if (q.size === 1) {
    const [[key, divisor]] = [...q] as [[string, number]]
    const out: Polynomial = new Map()
    for (const [k, c] of p) {
      const rest = without(k, key)
      if (rest === undefined || c % divisor !== 0) return opaque(a, b)
      out.set(rest, c / divisor)
    }
    return spell(out)
  }
  return opaque(a, b)
}

/** Product of all dimensions; 1 for none. */
export function productDims(dims: readonly Dim[]): Dim {
  return dims.reduce<Dim>((n, d) => mulDims(n, d), 1)
}

/** The value of a dimension when symbols are given numbers; `undefined` while some are not. */
export function evaluateDim(d: Dim, symbols: Readonly<Record<string, number>>): number | undefined {
  if (typeof d === 'number') return d
  if (d === unknownDim) return undefined
  if (Object.hasOwn(symbols, d)) return symbols[d]
  if (!/[*+]/.test(d) && !d.startsWith('floor(')) return undefined
  let sum = 0
  for (const [key, c] of polynomial(d)) {
    let term = c
    for (const s of key.split('*').filter(Boolean)) {
      const v = s.startsWith('floor(') ? evaluateFloor(s, symbols) : Object.hasOwn(symbols, s) ? symbols[s] : undefined
      if (v === undefined) return undefined
      term *= v
    }
    sum += term
  }
  return sum
}

function evaluateFloor(s: string, symbols: Readonly<Record<string, number>>): number | undefined {
  const at = topLevel(s.slice(6, -1), '/')
  const body = s.slice(6, -1)
  const a = evaluateDim(number(body.slice(0, at)), symbols)
  const b = evaluateDim(number(body.slice(at + 1)), symbols)
  return a === undefined || !b ? undefined : Math.floor(a / b)
}

const number = (s: string): Dim => (/^-?\d+$/.test(s) ? Number(s) : s)

function combine(a: Dim, b: Dim, f: (p: Polynomial, q: Polynomial) => Polynomial): Dim {
  if (a === unknownDim || b === unknownDim) return unknownDim
  const out = spell(f(polynomial(a), polynomial(b)))
  return typeof out === 'string' && out.length > 200 ? unknownDim : out
}

function opaque(a: Dim, b: Dim): Dim {
  const out = `floor(${a}/${b})`
  return out.length > 200 ? unknownDim : out
}

function polynomial(d: Dim): Polynomial {
  if (typeof d === 'number') return new Map([['', d]])
  const out: Polynomial = new Map()
  for (const term of split(d, '+')) {
    let c = 1
    const symbols: string[] = []
    for (const factor of split(term, '*')) {
      if (/^-?\d+$/.test(factor)) c *= Number(factor)
      else symbols.push(factor)
    }
    const key = symbols.sort().join('*')
    out.set(key, (out.get(key) ?? 0) + c)
  }
  return out
}

/** Splits at a separator outside parentheses. */
function split(text: string, separator: string): string[] {
  const out: string[] = []
  let rest = text
  for (let at = topLevel(rest, separator); at >= 0; at = topLevel(rest, separator)) {
    out.push(rest.slice(0, at))
    rest = rest.slice(at + 1)
  }
  return [...out, rest]
}

function topLevel(text: string, separator: string): number {
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '(') depth++
    else if (text[i] === ')') depth--
    else if (depth === 0 && text[i] === separator) return i
  }
  return -1
}

function without(key: string, divisor: string): string | undefined {
  const symbols = key.split('*').filter(Boolean)
  for (const s of divisor.split('*').filter(Boolean)) {
    const at = symbols.indexOf(s)
    if (at < 0) return undefined
    symbols.splice(at, 1)
  }
  return symbols.join('*')
}

function spell(p: Polynomial): Dim {
  const terms = [...p].filter(([, c]) => c !== 0).sort(([a], [b]) => (a === '' ? 1 : b === '' ? -1 : a < b ? -1 : 1))
  if (terms.length === 0) return 0
  if (terms.length === 1 && terms[0]?.[0] === '') return terms[0][1]
  return terms.map(([k, c]) => (k === '' ? `${c}` : c === 1 ? k : `${c}*${k}`)).join('+')
}

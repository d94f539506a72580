/**
 * Loops: the language of compiled code, between what operators mean and what is printed (WebAssembly, C). Plain data.
 *
 * Memory is one run of bytes for constants and one for values (`Space`); addresses are byte offsets. A vector has four
 * lanes, and every operation on vectors works lane by lane, so that a printer without vectors prints four times the same.
 * An expression object that stands at several places of one statement is computed once.
 */

/** Scalars, and vectors of four. Four bytes of a model's codes may share one lane of an `i32x4`. */
export type Kind = 'i32' | 'f32' | 'i32x4' | 'f32x4'
export type Space = 'constants' | 'values'
/** How an element lies in memory: i32 and f32 take 4 bytes, the others 1. */
export type Cell = 'f32' | 'i32' | 'i8' | 'u8'

export type Unary = 'neg' | 'abs' | 'sqrt' | 'floor' | 'ceil' | 'nearest'
export type Binary = 'add' | 'sub' | 'mul' | 'div' | 'min' | 'max'
/** Of whole numbers alone: `div` and `rem` cut off towards 0. */
export type Bits = 'rem' | 'and' | 'or' | 'xor' | 'shl' | 'shr'
export type Relation = 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge'

export interface Local {
  readonly name: string
  readonly kind: Kind
}

export type Expr =
  | { readonly is: 'const'; readonly kind: Kind; readonly value: number }
  | { readonly is: 'get'; readonly kind: Kind; readonly local: Local }
  /** Reads at address + offset; a vector reads four elements on end, or with `splat` one for all lanes. */
  | {
      readonly is: 'load'
      readonly kind: Kind
      readonly cell: Cell
      readonly space: Space
      readonly address: Expr
      readonly offset: number
      readonly splat?: true
    }
  | { readonly is: 'unary'; readonly kind: Kind; readonly op: Unary; readonly of: Expr }
  | { readonly is: 'binary'; readonly kind: Kind; readonly op: Binary | Bits; readonly a: Expr; readonly b: Expr }
  /** 1 or 0 of scalars; of vectors a mask for `select` alone. */
  | { readonly is: 'compare'; readonly kind: 'i32' | 'mask'; readonly op: Relation; readonly a: Expr; readonly b: Expr }
  | { readonly is: 'select'; readonly kind: Kind; readonly when: Expr; readonly a: Expr; readonly b: Expr }
  | { readonly is: 'splat'; readonly kind: 'i32x4' | 'f32x4'; readonly of: Expr }
  /** `float`: whole number to float; `whole`: towards 0, saturating; `asFloat`, `asWhole`: the same bits. */
  | {
      readonly is: 'convert'
      readonly kind: Kind
      readonly op: 'float' | 'whole' | 'asFloat' | 'asWhole'
      readonly of: Expr
    }
  /** 2^n of a whole number n between −126 and 127, lane by lane; `of` is a float that holds a whole number. */
  | { readonly is: 'exp2'; readonly kind: Kind; readonly of: Expr }
  /** What `Packed` names, of vectors whose lanes hold several small numbers. */
  | { readonly is: 'packed'; readonly kind: 'i32x4'; readonly op: Packed; readonly of: readonly Expr[] }

/**
 * Operations on lanes of several small numbers, little end first.
 *
 * Lane by lane: `dotPairs` a·b of two signed 16-bit numbers each, summed; `dotBytes` c + a·b of four bytes each, those of a
 * signed, of b unsigned, exact while no sum of two neighbouring products leaves 16 bits; `evens`, `odds` the bytes 0 and 2, or
 * 1 and 3, as 16-bit numbers; `signedEvens`, `signedOdds` the same of signed bytes; `maxBytes` the greater unsigned byte;
 * `bytes` the four operands, each held to 0 … 255, as bytes 0 to 3.
 *
 * Across lanes (the operands are locals): `zip0` … `zip3` of two vectors of bytes: lane l holds byte l of lane 0 … 3 of each,
 * as 16-bit numbers; `bytesAcross` lane l holds the four lanes of operand l, each held to 0 … 255; `lane0` … `lane3` one lane
 * of the operand in all.
 */
export type Packed =
  | 'dotPairs'
  | 'dotBytes'
  | 'evens'
  | 'odds'
  | 'signedEvens'
  | 'signedOdds'
  | 'maxBytes'
  | 'bytes'
  | 'zip0'
  | 'zip1'
  | 'zip2'
  | 'zip3'
  | 'bytesAcross'
  | 'lane0'
  | 'lane1'
  | 'lane2'
  | 'lane3'

export type Stmt =
  | { readonly is: 'set'; readonly local: Local; readonly value: Expr }
  | {
      readonly is: 'store'
      readonly cell: Cell
      readonly space: Space
      readonly address: Expr
      readonly offset: number
      readonly value: Expr
    }
  /** Runs the body for local = from, from + step, … while local < to; at least once, which the builder sees to. */
  | {
      readonly is: 'loop'
      readonly local: Local
      readonly from: Expr
      readonly to: Expr
      /** Above 0. */
      readonly step: number | Expr
      readonly body: readonly Stmt[]
    }
  | { readonly is: 'if'; readonly when: Expr; readonly then: readonly Stmt[]; readonly otherwise: readonly Stmt[] }
  | { readonly is: 'call'; readonly routine: Routine; readonly args: readonly Expr[] }

/** A function without results. `what`: one line on what it computes. */
export interface Routine {
  readonly name: string
  readonly what: string
  /** Whole numbers. */
  readonly params: readonly Local[]
  readonly body: readonly Stmt[]
}

type Operand = Expr | number

/** A number in the kind of what stands beside it. */
const like = (x: Operand, kind: Kind): Expr => {
  if (typeof x === 'number') return { is: 'const', kind, value: x }
  const isScalar = x.kind === 'f32' || x.kind === 'i32'
  return isScalar && (kind === 'f32x4' || kind === 'i32x4') ? { is: 'splat', kind, of: x } : x
}
const kindOf = (a: Operand, b: Operand): Kind => {
  const kinds = [a, b].flatMap((x) => (typeof x === 'number' ? [] : [x.kind as Kind]))
  return kinds.find((k) => k === 'f32x4' || k === 'i32x4') ?? kinds[0] ?? 'f32'
}

export const i32 = (value: number): Expr => ({ is: 'const', kind: 'i32', value })
export const f32 = (value: number): Expr => ({ is: 'const', kind: 'f32', value })
export const get = (local: Local): Expr => ({ is: 'get', kind: local.kind, local })
export const set = (local: Local, value: Operand): Stmt => ({ is: 'set', local, value: like(value, local.kind) })

const binary = (op: Binary | Bits, a: Operand, b: Operand): Expr => {
  const kind = kindOf(a, b)
  const [x, y] = [like(a, kind), like(b, kind)]
  return (kind === 'i32' ? known(op, x, y) : undefined) ?? { is: 'binary', kind, op, a: x, b: y }
}
/** Whole numbers whose sum, difference or product is known when the code is made. */
function known(op: Binary | Bits, a: Expr, b: Expr): Expr | undefined {
  const [x, y] = [a, b].map((e) => (e.is === 'const' ? e.value : undefined))
  if (y === 0 && (op === 'add' || op === 'sub')) return a
  if (x === 0 && op === 'add') return b
  if (y === 1 && op === 'mul') return a
  if (x === undefined || y === undefined) return undefined
  const result = op === 'add' ? x + y : op === 'sub' ? x - y : op === 'mul' ? x * y : undefined
  return result !== undefined && Number.isSafeInteger(result) && result === (result | 0) ? i32(result) : undefined
}
export const add = (a: Operand, b: Operand): Expr => binary('add', a, b)
export const sub = (a: Operand, b: Operand): Expr => binary('sub', a, b)
export const mul = (a: Operand, b: Operand): Expr => binary('mul', a, b)
export const div = (a: Operand, b: Operand): Expr => binary('div', a, b)
/** Of whole numbers by choice: there is no instruction for them. */
export const min = (a: Operand, b: Operand): Expr =>
  kindOf(a, b) === 'i32' ? select(compare('lt', a, b), a, b) : binary('min', a, b)
export const max = (a: Operand, b: Operand): Expr =>
  kindOf(a, b) === 'i32' ? select(compare('gt', a, b), a, b) : binary('max', a, b)
export const bits = (op: Bits, a: Operand, b: Operand): Expr => binary(op, a, b)

const unary = (op: Unary, of: Expr): Expr => ({ is: 'unary', kind: of.kind as Kind, op, of })
export const neg = (x: Expr): Expr => unary('neg', x)
export const abs = (x: Expr): Expr => unary('abs', x)
export const sqrt = (x: Expr): Expr => unary('sqrt', x)
export const floor = (x: Expr): Expr => unary('floor', x)
export const ceil = (x: Expr): Expr => unary('ceil', x)
/** Halves go to the even neighbour. */
export const nearest = (x: Expr): Expr => unary('nearest', x)

export const compare = (op: Relation, a: Operand, b: Operand): Expr => {
  const kind = kindOf(a, b)
  return {
    is: 'compare',
    kind: kind === 'f32x4' || kind === 'i32x4' ? 'mask' : 'i32',
    op,
    a: like(a, kind),
    b: like(b, kind)
  }
}
export const select = (when: Expr, a: Operand, b: Operand): Expr => {
  const kind = kindOf(a, b)
  const wide = (when as { kind: string }).kind === 'mask' && kind !== 'i32x4' ? 'f32x4' : kind
  return { is: 'select', kind: wide, when, a: like(a, wide), b: like(b, wide) }
}
export const splat = (of: Expr): Expr => ({ is: 'splat', kind: of.kind === 'i32' ? 'i32x4' : 'f32x4', of })
export const float = (of: Expr): Expr => ({
  is: 'convert',
  kind: of.kind === 'i32x4' ? 'f32x4' : 'f32',
  op: 'float',
  of
})
export const whole = (of: Expr): Expr => ({ is: 'convert', kind: 'i32', op: 'whole', of })
export const asWhole = (of: Expr): Expr => ({
  is: 'convert',
  kind: of.kind === 'f32x4' ? 'i32x4' : 'i32',
  op: 'asWhole',
  of
})
export const asFloat = (of: Expr): Expr => ({ is: 'convert', kind: 'f32', op: 'asFloat', of })
export const pack = (op: Packed, ...of: readonly Expr[]): Expr => ({ is: 'packed', kind: 'i32x4', op, of })
export const exp2 = (of: Expr): Expr => ({ is: 'exp2', kind: of.kind as Kind, of })

/** Where an element lies: a run of memory, a fixed offset, and what is added to it when it runs. */
export interface Place {
  readonly space: Space
  readonly offset: number
  readonly address?: Expr
}

export const at = (p: Place, address?: Expr, offset = 0): Place => {
  const sum = p.address && address ? add(p.address, address) : (p.address ?? address)
  return { space: p.space, offset: p.offset + offset, ...(sum ? { address: sum } : {}) }
}
const kindOfCell = (cell: Cell): Kind => (cell === 'f32' ? 'f32' : 'i32')
export const load = (p: Place, cell: Cell = 'f32'): Expr => ({
  is: 'load',
  kind: kindOfCell(cell),
  cell,
  space: p.space,
  address: p.address ?? i32(0),
  offset: p.offset
})
/** Four floats on end, or four lanes of whole numbers. */
export const load4 = (p: Place, kind: 'f32x4' | 'i32x4' = 'f32x4'): Expr => ({
  ...(load(p, kind === 'f32x4' ? 'f32' : 'i32') as Expr & { is: 'load' }),
  kind
})
/** One float or lane in all lanes. */
export const loadSplat = (p: Place, kind: 'f32x4' | 'i32x4' = 'f32x4'): Expr => ({
  ...(load4(p, kind) as Expr & { is: 'load' }),
  splat: true
})
export const store = (p: Place, value: Expr, cell: Cell = 'f32'): Stmt => ({
  is: 'store',
  cell,
  space: p.space,
  address: p.address ?? i32(0),
  offset: p.offset,
  value
})

let made = 0
/** A fresh local. Names only serve reading. */
export const local = (kind: Kind, name = kind[0] ?? 'x'): Local => ({ kind, name: `${name}${made++}` })

/** The body for every value from `from` below `to` by `step`; nothing where there is none, and no loop where there is one. */
export function loop(from: number, to: number, step: number, body: (i: Expr) => readonly Stmt[], name = 'i'): Stmt[] {
  if (from >= to) return []
  if (from + step >= to) return [...body(i32(from))]
  const i = local('i32', name)
  return [{ is: 'loop', local: i, from: i32(from), to: i32(to), step, body: body(get(i)) }]
}

/** The body for local = from, from + step, … while local < to, where it runs at least once. */
export function loopOver(
  from: Expr,
  to: Expr,
  step: Expr | number,
  body: (i: Expr) => readonly Stmt[],
  name = 'i'
): Stmt {
  const i = local('i32', name)
  return { is: 'loop', local: i, from, to, step, body: body(get(i)) }
}

/** What stands inside a routine for what is known outside. */
export interface Inside {
  take(value: Operand): Expr
  /** The same place twice is one parameter. */
  place(p: Place): Place
}

/**
 * Code that is called: what it takes from outside becomes parameters, so that steps which differ only in these share a function.
 * An engine optimises a function for its next call, so that what runs long is better called often. `own`: what is known when the
 * code is made stands in it instead, and is no parameter.
 */
export function outlined(what: string, make: (inside: Inside) => readonly Stmt[], own = false): Stmt {
  const params: Local[] = []
  const args: Expr[] = []
  const known: (readonly [Place, Place])[] = []
  const take = (value: Operand): Expr => {
    const given = like(value, 'i32')
    if (own && given.is === 'const') return given
    const param = local('i32', 'p')
    params.push(param)
    args.push(given)
    return get(param)
  }
  const place = (p: Place): Place => {
    const same = known.find(([o]) => o.space === p.space && o.offset === p.offset && o.address === p.address)
    if (same) return same[1]
    const made: Place = { space: p.space, offset: 0, address: take(p.address ? add(p.address, p.offset) : p.offset) }
    known.push([p, made])
    return made
  }
  const body = make({ take, place })
  const used = partsOf(body)
  const kept = params.flatMap((p, i) => (used.has(p) ? [i] : []))
  const routine = { name: 'kernel', what, params: kept.map((i) => params[i] as Local), body }
  return { is: 'call', routine, args: kept.map((i) => args[i] as Expr) }
}

/** All objects that plain data is made of. */
function partsOf(data: unknown, found = new Set<unknown>()): ReadonlySet<unknown> {
  if (data === null || typeof data !== 'object' || found.has(data)) return found
  found.add(data)
  for (const part of Object.values(data)) partsOf(part, found)
  return found
}

export const when = (condition: Expr, then: readonly Stmt[], otherwise: readonly Stmt[] = []): Stmt => ({
  is: 'if',
  when: condition,
  then,
  otherwise
})

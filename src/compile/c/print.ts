/**
 * Loops as C99: one function a routine, vectors as arrays of four under a loop over their lanes, which compilers turn into
 * vectors again. No allocation, no library beyond <math.h>.
 */
import type { Binary, Cell, Expr, Local, Relation, Routine, Space, Stmt } from '../../ir/loops.ts'
import { rootsOf, sharedIn } from '../shared.ts'

/** What every file begins with: memory is bytes, and is read and written by memcpy, which compilers know as plain loads. */
export const prelude = `#include <math.h>
#include <stdint.h>
#include <string.h>

typedef unsigned char byte;

static inline float load_f32(const byte *p) { float x; memcpy(&x, p, 4); return x; }
static inline int32_t load_i32(const byte *p) { int32_t x; memcpy(&x, p, 4); return x; }
static inline void store_f32(byte *p, float x) { memcpy(p, &x, 4); }
static inline void store_i32(byte *p, int32_t x) { memcpy(p, &x, 4); }
static inline float least(float a, float b) { return b < a ? b : a; }
static inline float greatest(float a, float b) { return a < b ? b : a; }
static inline int32_t whole(float x) {
  if (!(x > -2147483648.0f)) return x == x ? INT32_MIN : 0;
  return x < 2147483648.0f ? (int32_t)x : INT32_MAX;
}
static inline float as_float(int32_t x) { float y; memcpy(&y, &x, 4); return y; }
static inline int32_t as_whole(float x) { int32_t y; memcpy(&y, &x, 4); return y; }
static inline float power_of_two(float n) { return as_float((int32_t)((uint32_t)(whole(n) + 127) << 23)); }
static inline int32_t absolute(int32_t x) { return x < 0 ? -x : x; }
`

const relations: Readonly<Record<Relation, string>> = { eq: '==', ne: '!=', lt: '<', le: '<=', gt: '>', ge: '>=' }
const signs: Readonly<Record<string, string>> = {
  add: '+',
  sub: '-',
  mul: '*',
  div: '/',
  rem: '%',
  and: '&',
  or: '|',
  xor: '^',
  shr: '>>'
}
const floatUnary: Readonly<Record<string, string>> = {
  neg: '-',
  abs: 'fabsf',
  sqrt: 'sqrtf',
  floor: 'floorf',
  ceil: 'ceilf',
  nearest: 'rintf'
}
/** Whole numbers are whole: rounding leaves them. */
const wholeUnary: Readonly<Record<string, string>> = { neg: '-', abs: 'absolute' }
const memories: Readonly<Record<Space, string>> = { constants: '((const byte *)constants)', values: '((byte *)values)' }

/** A float as C reads it back to the same bits. */
function floatText(value: number): string {
  const x = Math.fround(value)
  if (Number.isNaN(x)) return 'NAN'
  if (!Number.isFinite(x)) return x < 0 ? '-INFINITY' : 'INFINITY'
  const text = String(x)
  const plain = /[.e]/.test(text) ? text : `${text}.0`
  return `${Object.is(x, -0) ? '-0.0' : plain}f`
}

/** The function of a routine. `nameOfRoutine`: of functions that are called. */
export function printC({ name, what, params, body }: Routine, nameOfRoutine: (r: Routine) => string): string {
  const names = new Map<Local | Expr, string>(params.map((p, i) => [p, `p${i}`]))
  const declared: string[] = []
  const lines: string[] = []
  let depth = 1
  let count = 0

  const line = (text: string): void => {
    lines.push(`${'  '.repeat(depth)}${text}`)
  }
  const nameOf = (l: Local | Expr): string => {
    const known = names.get(l)
    if (known) return known
    const kind = l.kind as string
    const made = `${kind === 'f32x4' ? 'v' : kind === 'f32' ? 'f' : 'i'}${count++}`
    names.set(l, made)
    declared.push(kind === 'f32x4' ? `float ${made}[4];` : kind === 'f32' ? `float ${made};` : `int32_t ${made};`)
    return made
  }
  const isVector = (e: Expr): boolean => e.kind === 'f32x4' || e.kind === 'mask'

  const pointer = (space: Space, address: Expr, offset: number, lane = ''): string => {
    const parts = [
      address.is === 'const' ? '' : `(${expr(address)})`,
      `${offset + (address.is === 'const' ? address.value : 0)}`,
      lane
    ]
    return `${memories[space]} + ${parts.filter((p) => p !== '' && p !== '0').join(' + ') || '0'}`
  }
  const loadText = (cell: Cell, at: string): string =>
    cell === 'f32' || cell === 'i32'
      ? `load_${cell}(${at})`
      : `(int32_t)*(const ${cell === 'i8' ? 'int8_t' : 'uint8_t'} *)(${at})`

  /** Of a vector: the text of lane `l`. */
  function expr(e: Expr): string {
    const known = e.is === 'get' ? undefined : names.get(e)
    if (known) return isVector(e) ? `${known}[l]` : known
    switch (e.is) {
      case 'const':
        return e.kind === 'i32' ? `${e.value}` : floatText(e.value)
      case 'get':
        return e.kind === 'f32x4' ? `${nameOf(e.local)}[l]` : nameOf(e.local)
      case 'load':
        return loadText(e.cell, pointer(e.space, e.address, e.offset, e.kind === 'f32x4' && !e.splat ? '4 * l' : ''))
      case 'unary':
        return `(${(e.kind === 'i32' ? wholeUnary : floatUnary)[e.op] ?? ''}(${expr(e.of)}))`
      case 'binary':
        return binary(e.op as Binary, e.kind === 'i32', expr(e.a), expr(e.b))
      case 'compare':
        return `(${expr(e.a)} ${relations[e.op]} ${expr(e.b)})`
      case 'select':
        return `(${expr(e.when)} ? ${expr(e.a)} : ${expr(e.b)})`
      case 'splat':
        return expr(e.of)
      case 'convert':
        return {
          float: `(float)${expr(e.of)}`,
          whole: `whole(${expr(e.of)})`,
          asFloat: `as_float(${expr(e.of)})`,
          asWhole: `as_whole(${expr(e.of)})`
        }[e.op]
      case 'exp2':
        return `power_of_two(${expr(e.of)})`
    }
  }

  function binary(op: string, isWhole: boolean, a: string, b: string): string {
    if (op === 'shl') return `(int32_t)((uint32_t)${a} << ${b})`
    if (!isWhole && op === 'min') return `least(${a}, ${b})`
    if (!isWhole && op === 'max') return `greatest(${a}, ${b})`
    return `(${a} ${signs[op]} ${b})`
  }

  /** A statement on vectors runs for each lane. */
  const lanes = (vector: boolean, text: string): void => line(vector ? `for (int l = 0; l < 4; l++) ${text}` : text)

  function statements(all: readonly Stmt[]): void {
    for (const s of all) {
      const shared = sharedIn(rootsOf(s))
      for (const e of shared) {
        // The text comes before the name: an expression is not made of itself.
        const text = expr(e)
        lanes(isVector(e), `${nameOf(e)}${isVector(e) ? '[l]' : ''} = ${text};`)
      }
      one(s)
      for (const e of shared) names.delete(e)
    }
  }

  function one(s: Stmt): void {
    switch (s.is) {
      case 'set': {
        const vector = s.local.kind === 'f32x4'
        lanes(vector, `${nameOf(s.local)}${vector ? '[l]' : ''} = ${expr(s.value)};`)
        return
      }
      case 'store': {
        const vector = isVector(s.value)
        const to = pointer(s.space, s.address, s.offset, vector ? '4 * l' : '')
        const value = expr(s.value)
        if (s.cell === 'f32' || s.cell === 'i32') lanes(vector, `store_${s.cell}(${to}, ${value});`)
        else line(`*(${to}) = (byte)${value};`)
        return
      }
      case 'loop': {
        const i = nameOf(s.local)
        line(
          `for (${i} = ${expr(s.from)}; ${i} < ${expr(s.to)}; ${i} += ${typeof s.step === 'number' ? s.step : expr(s.step)}) {`
        )
        depth++
        statements(s.body)
        depth--
        line('}')
        return
      }
      case 'call':
        line(`${nameOfRoutine(s.routine)}(${s.args.map(expr).join(', ')});`)
        return
      case 'if':
        line(`if (${expr(s.when)}) {`)
        depth++
        statements(s.then)
        depth--
        if (s.otherwise.length > 0) {
          line('} else {')
          depth++
          statements(s.otherwise)
          depth--
        }
        line('}')
    }
  }

  statements(body)
  const given = params.length === 0 ? 'void' : params.map((_, i) => `int32_t p${i}`).join(', ')
  const head = declared.map((d) => `  ${d}`)
  return [`/* ${what.replace(/\*\//g, '* /')} */`, `static void ${name}(${given}) {`, ...head, ...lines, '}', ''].join(
    '\n'
  )
}

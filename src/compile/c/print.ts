/**
 * Loops as C99: one function a routine. Vectors are `float4` of prelude.ts: GCC's own vectors, which stay in registers, or four
 * floats in plain C99, with the same numbers.
 */
import type { Binary, Cell, Expr, Local, Relation, Routine, Space, Stmt } from '../../ir/loops.ts'
import { rootsOf, sharedIn } from '../shared.ts'

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
const types: Readonly<Record<string, string>> = {
  f32x4: 'float4',
  i32x4: 'whole4',
  mask: 'whole4',
  f32: 'float',
  i32: 'int32_t'
}
const shifts: ReadonlySet<string> = new Set(['shl', 'shr'])
const letters: Readonly<Record<string, string>> = { f32x4: 'v', i32x4: 'w', f32: 'f' }
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

/** The least 32-bit number has no text of its own in C. */
const wholeText = (value: number): string => (value === -2147483648 ? 'INT32_MIN' : `${value}`)

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
    const made = `${letters[kind] ?? 'i'}${count++}`
    names.set(l, made)
    declared.push(`${types[kind] ?? 'int32_t'} ${made};`)
    return made
  }
  const isVector = (e: Expr): boolean => e.kind === 'f32x4' || e.kind === 'i32x4' || e.kind === 'mask'

  const pointer = (space: Space, address: Expr, offset: number): string => {
    const parts = [
      address.is === 'const' ? '' : `(${expr(address)})`,
      `${offset + (address.is === 'const' ? address.value : 0)}`
    ]
    return `${memories[space]} + ${parts.filter((p) => p !== '' && p !== '0').join(' + ') || '0'}`
  }
  const loadText = (cell: Cell, at: string): string =>
    cell === 'f32' || cell === 'i32'
      ? `load_${cell}(${at})`
      : `(int32_t)*(const ${cell === 'i8' ? 'int8_t' : 'uint8_t'} *)(${at})`

  function expr(e: Expr): string {
    const known = e.is === 'get' ? undefined : names.get(e)
    if (known) return known
    if (isVector(e)) return vector(e)
    switch (e.is) {
      case 'const':
        return e.kind === 'i32' ? wholeText(e.value) : floatText(e.value)
      case 'get':
        return nameOf(e.local)
      case 'load':
        return loadText(e.cell, pointer(e.space, e.address, e.offset))
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
      case 'packed':
        return vector(e)
    }
  }

  /** Of vectors and of masks: a call for each operation. */
  function vector(e: Expr): string {
    const type = types[e.kind === 'mask' && 'a' in e ? e.a.kind : e.kind] ?? 'float4'
    const call = (name: string, ...all: readonly Expr[]): string => `${type}_${name}(${all.map(expr).join(', ')})`
    switch (e.is) {
      case 'const':
        return `${type}_all(${e.kind === 'i32x4' ? wholeText(e.value) : floatText(e.value)})`
      case 'get':
        return nameOf(e.local)
      case 'load': {
        const from = pointer(e.space, e.address, e.offset)
        return e.splat ? `${type}_all(${loadText(e.cell, from)})` : `${type}_load(${from})`
      }
      case 'unary':
        return call(e.op, e.of)
      case 'binary':
        if (!shifts.has(e.op)) return call(e.op, e.a, e.b)
        return `${type}_${e.op}(${expr(e.a)}, ${(e.b as Expr & { is: 'const' }).value})`
      case 'compare':
        return call(e.op, e.a, e.b)
      case 'select':
        return call('select', e.when, e.a, e.b)
      case 'splat':
        return call('all', e.of)
      case 'convert':
        return call(e.op, e.of)
      case 'packed':
        return call(e.op, ...e.of)
      case 'exp2':
        return call('exp2', e.of)
    }
  }

  function binary(op: string, isWhole: boolean, a: string, b: string): string {
    if (op === 'shl') return `(int32_t)((uint32_t)${a} << ${b})`
    if (!isWhole && op === 'min') return `least(${a}, ${b})`
    if (!isWhole && op === 'max') return `greatest(${a}, ${b})`
    return `(${a} ${signs[op]} ${b})`
  }

  function statements(all: readonly Stmt[]): void {
    for (const s of all) {
      const shared = sharedIn(rootsOf(s))
      for (const e of shared) {
        // The text comes before the name: an expression is not made of itself.
        const text = expr(e)
        line(`${nameOf(e)} = ${text};`)
      }
      one(s)
      for (const e of shared) names.delete(e)
    }
  }

  function one(s: Stmt): void {
    switch (s.is) {
      case 'set':
        line(`${nameOf(s.local)} = ${expr(s.value)};`)
        return
      case 'store': {
        const to = pointer(s.space, s.address, s.offset)
        const value = expr(s.value)
        if (isVector(s.value)) line(`${types[s.value.kind] ?? 'float4'}_store(${to}, ${value});`)
        else if (s.cell === 'f32' || s.cell === 'i32') line(`store_${s.cell}(${to}, ${value});`)
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

/** What an expression of scalar constants comes to, in the very arithmetic of compiled code. */
import { PareError } from '../../base/errors.ts'
import type { Binary, Bits, Expr, Relation, Unary } from '../../ir/loops.ts'

/** The nearest whole number; halves go to the even neighbour. */
export const nearestEven = (x: number): number => {
  const low = Math.floor(x)
  const isUp = x - low > 0.5 || (x - low === 0.5 && low % 2 !== 0)
  return isUp ? low + 1 : low
}

const unary: Readonly<Record<Unary, (x: number) => number>> = {
  neg: (x) => -x,
  abs: Math.abs,
  sqrt: Math.sqrt,
  floor: Math.floor,
  ceil: Math.ceil,
  nearest: nearestEven
}
const second = (is: boolean, a: number, b: number): number => (is ? b : a)
// min and max as the printers have them: the first operand stays where neither is less.
const binary: Readonly<Record<Binary | Bits, (a: number, b: number) => number>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  min: (a, b) => second(b < a, a, b),
  max: (a, b) => second(a < b, a, b),
  rem: (a, b) => a % b,
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  shl: (a, b) => a << b,
  shr: (a, b) => a >> b
}
/** Of whole numbers, where floats would lose bits. */
const wholeBinary: Readonly<Partial<Record<Binary | Bits, (a: number, b: number) => number>>> = { mul: Math.imul }
const relation: Readonly<Record<Relation, (a: number, b: number) => boolean>> = {
  eq: (a, b) => a === b,
  ne: (a, b) => a !== b,
  lt: (a, b) => a < b,
  le: (a, b) => a <= b,
  gt: (a, b) => a > b,
  ge: (a, b) => a >= b
}

const asFloat = (x: number): number => new Float32Array(Int32Array.of(x).buffer)[0] as number
const asWhole = (x: number): number => new Int32Array(Float32Array.of(x).buffer)[0] as number
const whole = (x: number): number => (Number.isNaN(x) ? 0 : Math.max(-2147483648, Math.min(2147483647, Math.trunc(x))))

/** Throws `E_INTERNAL` where it is made of more than scalar constants. */
export function evaluate(e: Expr, known = new Map<Expr, number>()): number {
  const seen = known.get(e)
  if (seen !== undefined) return seen
  const of = (x: Expr): number => evaluate(x, known)
  const raw = ((): number => {
    switch (e.is) {
      case 'const':
        return e.value
      case 'unary':
        return unary[e.op](of(e.of))
      case 'binary': {
        const apply = (e.kind === 'i32' ? wholeBinary[e.op] : undefined) ?? binary[e.op]
        return apply(of(e.a), of(e.b))
      }
      case 'compare':
        return relation[e.op](of(e.a), of(e.b)) ? 1 : 0
      case 'select':
        return of(e.when) ? of(e.a) : of(e.b)
      case 'convert':
        return { float: (x: number) => x, whole, asFloat, asWhole }[e.op](of(e.of))
      case 'exp2':
        return 2 ** of(e.of)
      default:
        throw new PareError('E_INTERNAL', `an expression with ${e.is} has no value of its own`)
    }
  })()
  const value = e.kind === 'i32' ? raw | 0 : Math.fround(raw)
  known.set(e, value)
  return value
}

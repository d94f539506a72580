/**
 * Functions of floats from arithmetic alone, lane by lane, for code that is compiled. Polynomials: S. Moshier, Cephes Math
 * Library 2.2 (exp, log, tanh, sin); of erf: the rational approximation on [−4, 4] that Eigen and XLA use. Relative error
 * below 2⁻²¹, of erf 4·10⁻⁷ absolute.
 */
import {
  abs,
  add,
  asFloat,
  asWhole,
  bits as bitsOf,
  compare,
  div,
  type Expr,
  exp2,
  float,
  floor,
  max,
  min,
  mul,
  nearest,
  neg,
  select,
  sub
} from '../ir/loops.ts'

/** c[0]·xⁿ + c[1]·xⁿ⁻¹ + … */
const horner = (x: Expr, [a = 0, b = 0, ...rest]: readonly number[]): Expr =>
  rest.reduce<Expr>((sum, c) => add(mul(sum, x), c), add(mul(x, a), b))

export function exp(x: Expr): Expr {
  const bounded = min(max(x, -87.3), 88.7)
  const n = nearest(mul(bounded, Math.LOG2E))
  const r = sub(sub(bounded, mul(n, 0.693359375)), mul(n, -2.1219444e-4))
  const p = horner(
    r,
    [1.98756915e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1]
  )
  const y = add(add(mul(mul(p, r), r), r), 1)
  // 2ⁿ in two steps: n can be 128.
  const half = floor(mul(n, 0.5))
  return mul(mul(y, exp2(half)), exp2(sub(n, half)))
}

export const sigmoid = (x: Expr): Expr => div(1, add(exp(neg(x)), 1))

export function tanh(x: Expr): Expr {
  const z = mul(x, x)
  const near = horner(z, [-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1])
  const a = abs(x)
  const far = sub(1, div(2, add(exp(mul(min(a, 10), 2)), 1)))
  return select(compare('lt', a, 0.625), add(mul(mul(near, z), x), x), select(compare('lt', x, 0), neg(far), far))
}

export function erf(x: Expr): Expr {
  const b = min(max(x, -4), 4)
  const z = mul(b, b)
  const over = horner(
    z,
    [
      -2.72614225801306e-10, 2.77068142495902e-8, -2.10102402082508e-6, -5.69250639462346e-5, -7.34990630326855e-4,
      -2.95459980854025e-3, -1.60960333262415e-2
    ]
  )
  const under = horner(
    z,
    [-1.45660718464996e-5, -2.13374055278905e-4, -1.68282697438203e-3, -7.37332916720468e-3, -1.42647390514189e-2]
  )
  return div(mul(b, over), under)
}

/** Natural logarithm; of 0 −∞, of negative numbers NaN. Scalars alone: it looks at the bits. */
export function log(x: Expr): Expr {
  const bits = asWhole(x)
  const e = sub(bitsOf('and', bitsOf('shr', bits, 23), 255), 126)
  const m = asFloat(bitsOf('or', bitsOf('and', bits, 0x7fffff), 0x3f000000))
  const small = compare('lt', m, Math.SQRT1_2)
  const f = sub(select(small, add(m, m), m), 1)
  const n = float(select(small, sub(e, 1), e))
  const z = mul(f, f)
  const p = horner(
    f,
    [
      7.0376836292e-2, -1.151461031e-1, 1.167699874e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
      2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1
    ]
  )
  const y = add(sub(add(mul(mul(p, f), z), mul(n, -2.1219444e-4)), mul(z, 0.5)), add(f, mul(n, 0.693359375)))
  const positive = select(compare('gt', x, 3.0e38), x, y)
  return select(compare('gt', x, 0), positive, select(compare('eq', x, 0), Number.NEGATIVE_INFINITY, Number.NaN))
}

/** e^x − 1 without loss near 0: the half-angle form e^x − 1 = tanh(x/2)·(e^x + 1). */
export const expm1 = (x: Expr): Expr => mul(tanh(mul(x, 0.5)), add(exp(x), 1))

/**
 * Activations that exporters spell out:
 *   Gelu       ½·x·(1 + erf(x/√2))                              (Hendrycks and Gimpel 2016)
 *   with tanh  ½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))
 *   QuickGelu  x·σ(α·x); with α = 1 it is SiLU
 */
import { float } from '../../ir/attrs.ts'
import { numberOf, pattern } from './pattern.ts'
import { spelling } from './spelling.ts'

/** `½·x·(1 + e)` in every order. */
const halved = (e: string): string[] => [
  `Mul(Mul(x, Add(${e}, 1)), 0.5)`,
  `Mul(Mul(x, 0.5), Add(${e}, 1))`,
  `Mul(x, Mul(Add(${e}, 1), 0.5))`
]
const cubes = ['Pow(x, 3)', 'Mul(x, Mul(x, x))']
const inner = [
  ...cubes.map((c) => `Mul(Add(x, Mul(${c}, 0.044715)), 0.7978845608)`),
  'Mul(Mul(x, 0.7978845608), Add(Mul(Mul(x, 0.044715), x), 1))',
  'Mul(Mul(x, 0.7978845608), Add(Mul(Mul(x, x), 0.044715), 1))',
  'Mul(x, Add(Mul(Mul(x, x), 0.0356774081), 0.7978845608))'
]

/** Gelu by the error function. */
export const erfGelu = pattern(...['Erf(Div(x, 1.41421356))', 'Erf(Mul(x, 0.70710678))'].flatMap(halved))
/** Gelu by tanh. */
export const tanhGelu = pattern(...inner.flatMap((u) => halved(`Tanh(${u})`)))

export const gelu = spelling({
  name: 'gelu',
  makes: 'Gelu',
  pattern: erfGelu,
  write: ({ values }) => ({ inputs: [values['x'] ?? null] })
})

export const geluByTanh = spelling({
  name: 'gelu-by-tanh',
  makes: 'Gelu',
  pattern: tanhGelu,
  write: ({ values }) => ({ inputs: [values['x'] ?? null], attrs: { approximate: 'tanh' } })
})

export const quickGelu = spelling({
  name: 'quick-gelu',
  makes: 'com.microsoft:QuickGelu',
  pattern: pattern('Mul(x, Sigmoid(Mul(x, $a)))', 'Mul(x, Sigmoid(x))'),
  write: ({ values }, _root, site) => {
    const alpha = values['a'] === undefined ? 1 : numberOf(values['a'], site)
    return alpha === undefined ? undefined : { inputs: [values['x'] ?? null], attrs: { alpha: float(alpha) } }
  }
})

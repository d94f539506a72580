/**
 * Normalizations that exporters spell out, over the last axis:
 *   LayerNorm  γ·(x − μ)/√(σ² + ε) + β        μ = mean(x), σ² = mean((x − μ)²)     (Ba et al. 2016)
 *   RMSNorm    γ·x/√(mean(x²) + ε)                                                 (Zhang and Sennrich 2019)
 */
import { attrInt, attrInts, float } from '../../ir/attrs.ts'
import { codeOfDtype } from '../../ir/dtype-code.ts'
import { elementCount, ints, tensor } from '../../ir/tensor.ts'
import type { Node, Tensor } from '../../types.ts'
import { type Bound, numberOf, pattern } from './pattern.ts'
import type { Site } from './rule.ts'
import { spelling, type Written } from './spelling.ts'

/** `a / √v`, as exporters write it. */
const overRoot = (a: string, v: string): string[] => [
  `Div(${a}, Sqrt(${v}))`,
  `Mul(${a}, Reciprocal(Sqrt(${v})))`,
  `Mul(${a}, Div(1, Sqrt(${v})))`,
  `Mul(${a}, Pow(${v}, -0.5))`
]
const squared = (a: string): string[] => [`Pow(${a}, 2)`, `Mul(${a}, ${a})`]

const centred = 'Sub(x, ReduceMean(x))'
const normal = squared(centred).flatMap((s) => overRoot(centred, `Add(ReduceMean(${s}), $e)`))
const rms = squared('x').flatMap((s) => overRoot('x', `Add(ReduceMean(${s}), $e)`))
/** As TensorFlow does: x·a + (β − μ·a), a = γ/√(σ² + ε). */
const scaled = squared(centred)
  .map((s) => `Mul(Reciprocal(Sqrt(Add(ReduceMean(${s}), $e))), #g)`)
  .map((a) => `Add(Mul(x, ${a}), Sub(#b, Mul(ReduceMean(x), ${a})))`)

/** LayerNorm with γ and β. */
export const wholeLayerNorm = pattern(...normal.map((n) => `Add(Mul(${n}, #g), #b)`), ...scaled)
/** LayerNorm with γ. */
export const scaledLayerNorm = pattern(...normal.map((n) => `Mul(${n}, #g)`))
export const rmsNorm = pattern(...rms.map((n) => `Mul(${n}, #g)`))

/** RMSNorm of a float16 model: in float32 between two Casts, times γ in float16. */
const low = squared('up=Cast(x)').flatMap((s) => overRoot('up=Cast(x)', `Add(ReduceMean(${s}), $e)`))
const lowRmsNorm = pattern(...low.map((n) => `Mul(down=Cast(${n}), #g)`))

export const layerNorm = spelling({
  name: 'layer-norm',
  makes: 'LayerNormalization',
  pattern: wholeLayerNorm,
  write: (found, _root, site) => written(found, site, {})
})

/** Without a shift; the rule before takes those with one. */
export const layerNormScaled = spelling({
  name: 'layer-norm-scaled',
  makes: 'LayerNormalization',
  pattern: scaledLayerNorm,
  write: (found, _root, site) => written(found, site, {})
})

export const layerNormPlain = spelling({
  name: 'layer-norm-plain',
  makes: 'LayerNormalization',
  pattern: pattern(...normal),
  write: (found, _root, site) => written(found, site, {})
})

export const rootMeanSquare = spelling({
  name: 'rms-norm',
  makes: 'SimplifiedLayerNormalization',
  pattern: rmsNorm,
  write: (found, _root, site) => written(found, site, { stash_type: 1 })
})

/** The kernel computes in float32 by itself. */
export const rootMeanSquareLow = spelling({
  name: 'rms-norm-low',
  makes: 'SimplifiedLayerNormalization',
  pattern: lowRmsNorm,
  write: (found, _root, site) => {
    const own = site.value(found.values['x'] ?? '')?.dtype
    const to = (name: string): number => attrInt(found.named[name] as Node, 'to', 0)
    if (own === undefined || to('up') !== codeOfDtype('float32') || to('down') !== codeOfDtype(own)) return undefined
    return written(found, site, { stash_type: 1 })
  }
})

function written(found: Bound, site: Site, more: Readonly<Record<string, number>>): Written | string | undefined {
  const { x = '', e, g, b } = found.values
  const epsilon = numberOf(e, site)
  const value = site.value(x)
  const rank = value?.shape?.length
  const size = value?.shape?.at(-1)
  if (epsilon === undefined || !value?.dtype) return undefined
  if (rank === undefined || typeof size !== 'number') return 'the size of the axis that it normalizes is not known'
  const reduced = [...found.nodes].find((n) => n.op === 'ReduceMean' && !isOverLast(n, rank, site))
  if (reduced) return `${reduced.name || reduced.op} is over other axes than the last`
  const [scale, shift] = [g, b].map((id) => rowOf(site.constant(id), size))
  if (g !== undefined && !scale) return `its scale is not one number for each of ${size} elements`
  if (b !== undefined && !shift) return `its shift is not one number for each of ${size} elements`
  const ones = (): Tensor => tensor(value.dtype ?? 'float32', [size], Array(size).fill(1))
  if (scale && scale.dtype !== value.dtype) return `its scale is ${scale.dtype} and its data ${value.dtype}`
  return {
    inputs: [x, named(g, scale) ?? ones(), ...(b === undefined ? [] : [named(b, shift) ?? null])],
    attrs: { axis: -1, epsilon: float(epsilon), ...more }
  }

  /** The constant itself where its shape is right already. */
  function named(id: string | undefined, row: Tensor | undefined): string | Tensor | undefined {
    return id !== undefined && row === site.constant(id) ? id : row
  }
}

/** Does the node reduce the last axis alone, and keep it as 1? */
function isOverLast(node: Node, rank: number, site: Site): boolean {
  const data = node.inputs[1] == null ? undefined : site.constant(node.inputs[1])
  const axes = data ? ints(data) : attrInts(node, 'axes')
  return attrInt(node, 'keepdims', 1) !== 0 && axes?.length === 1 && (axes[0] === -1 || axes[0] === rank - 1)
}

/** A constant as one number for each element of the last axis; `undefined` where it is something else. */
function rowOf(data: Tensor | undefined, size: number): Tensor | undefined {
  if (!data || data.shape.at(-1) !== size || elementCount(data.shape) !== size) return undefined
  return data.shape.length === 1 ? data : { ...data, shape: [size] }
}

/** What the ladder tries: forms that the target can run, and mixtures of them for when one does not suit every layer. */
import { elementCount, tensorBytes } from '../../ir/tensor.ts'
import { inferShapes } from '../../ops/infer.ts'
import { canFuse } from '../../passes/fuse/fuse-transformer.ts'
import { weightUses } from '../../passes/quantize/common/uses.ts'
import type { Recipe } from '../../passes/types.ts'
import type { CostName } from '../../report/types.ts'
import type { Target } from '../../targets/types.ts'
import type { Model } from '../../types.ts'
import type { Objective } from '../choose.ts'
import type { Problem } from '../strategy.ts'
import { madeOf } from './made-of.ts'
import { tableForms } from './tables.ts'

export interface Variant {
  readonly name: string
  /** Passes after those that all variants begin with. */
  readonly tail: Recipe
  /** Of variants that compute in float: bits that a weight takes at least. They are no faster than the original. */
  readonly floatBits?: number
}

const weights: Variant = {
  name: 'int8 weights',
  tail: [['quantize-weights', { form: 'foldable' }]],
  floatBits: 8
}
/** On runtimes that read codes as they are, and round the data of such layers while they run. */
const readCodes: Variant = { name: 'int8 weights', tail: [['quantize-weights', { form: 'qdq' }]] }
const half: Variant = { name: '16-bit weights', tail: [['cast-float', {}]], floatBits: 16 }
/** Activations and weights of 8 bits, with ranges from calibration. */
export const integer: Variant = {
  name: 'int8',
  tail: [
    ['quantize-static', {}],
    ['quantize-weights', { form: 'foldable' }]
  ]
}

/** What comes after all others, where it has something to write: they know the operators better that it replaces. */
export function lastPasses({ model, target }: Problem): Recipe {
  return canFuse(inferShapes(model), target) ? [['fuse-transformer', {}]] : []
}

/** Integer kernels over weights that the file holds in few bits, rounded by what each layer gives on data. */
export const fewBitInteger: Variant = {
  name: 'int8, weights of 4 bits',
  tail: [
    ['quantize-static', { bits: 4 }],
    ['round', {}],
    ['quantize-weights', { form: 'foldable' }]
  ]
}

/** The same with the bits that each layer needs. */
export const mixedBitInteger = (maxDrop: number | undefined): Variant => ({
  name: 'int8, weights of mixed bits',
  tail: [
    ['mix-precision', { objective: 'codes', ...bound(maxDrop) }],
    ['quantize-weights', { form: 'foldable' }]
  ]
})

/** Bytes that 4 bits instead of 8 save in a model's weights, about: what expands them takes some itself. */
export const savedByFewBits = (model: Model): number =>
  [...weightUses(model).values()].reduce((n, { data }) => n + Math.max(0, elementCount(data.shape) / 2 - 400), 0)

/** Activations quantized at run time; what has no such form keeps float arithmetic over weights of 8 bits. */
const dynamic = (include: readonly string[], microsoft: boolean): Variant => ({
  name: 'dynamic int8',
  tail: [
    ['quantize-dynamic', { include, ...(microsoft ? { microsoft } : {}) }],
    ['quantize-weights', { form: 'foldable' }]
  ]
})

/** Dynamic int8 with outlying channels of its inputs moved into the weights first, where data tells them. */
export function smoothed({ model, target, isCalibrated }: Problem): Variant | undefined {
  const { dynamic: ops, share, isRecurrent } = madeOf(model, target)
  if (!isCalibrated || isRecurrent || share <= leastShare) return undefined
  return { name: 'dynamic int8, smoothed', tail: [['smooth', {}], ...dynamic(ops, false).tail] }
}

/** In float: ONNX Runtime's kernels over blocks take 1.0 times the float ones' time with 4 bits, 1.6 to 3.6 times with 8. */
const blocks = (bits: 4 | 8): Variant => ({
  name: `${bits}-bit blocks`,
  tail: [['quantize-weights', { form: 'nbits', bits }]],
  // Each block has a scale.
  floatBits: bits + 0.5
})

/** Part of the file's bytes that a variant which computes in float leaves, about. */
export function bytesLeft(model: Model, bytes: number, floatBits: number): number {
  const held = [...weightUses(model).values()].reduce((n, { data }) => n + tensorBytes(data), 0)
  return 1 - (Math.min(held, bytes) / bytes) * (1 - floatBits / 32)
}

/**
 * Candidates for a model on a target, by what holds its weights, the most promising first. Without real data nothing can be
 * calibrated.
 */
export function variants(problem: Problem): readonly Variant[] {
  const { model, target, isCalibrated } = problem
  const canFold = target.forms.includes('foldable')
  const canRead = !canFold && target.forms.includes('qdq')
  const { dynamic: ops, share, isRecurrent } = madeOf(model, target)
  const isMadeOfProducts = share > leastShare
  const halves = target.elements === 'all' || target.elements.includes('float16') ? [half] : []
  return [
    ...(isMadeOfProducts ? [dynamic(ops, isRecurrent), ...tableForms(problem, dynamic(ops, isRecurrent))] : []),
    ...(canFold ? [weights, ...halves] : canRead ? [readCodes, ...halves] : []),
    ...(isMadeOfProducts && target.forms.includes('nbits') && !isRecurrent ? [blocks(8), blocks(4)] : []),
    ...(isCalibrated && target.integer.length > 0
      ? [canRead ? { ...integer, tail: inCodes(integer.tail) } : integer]
      : [])
  ]
}

/** What stays in float stores its weights as codes that the runtime reads. */
const inCodes = (tail: Recipe): Recipe =>
  tail.map(([pass, o]) => [pass, o['form'] === 'foldable' ? { ...o, form: 'qdq' } : o] as const)

/** Below this share of the weights, products cannot change much: convolutional classifiers with a large last layer hold 30 %. */
export const leastShare = 0.4

/** int8 where it is faster and harmless, with ranges from calibration or taken at run time; float elsewhere. */
export const partlyInteger = (problem: Problem): Variant => ({
  name: 'int8 but for layers that it slows or harms',
  tail: [
    ...(smoothed(problem) ? [['smooth', {}] as const] : []),
    ['mix-precision', { objective: 'latency', ...bound(problem.maxDrop) }]
  ]
})

/** Weights of 8 bits but for those that need 16. */
export const partlyCoded = (maxDrop: number | undefined): Variant => ({
  name: 'int8 weights but for some of 16 bits',
  tail: [['mix-precision', { types: ['float16', 'int8'], leastBytes: true, ...bound(maxDrop) }]]
})

/** As few bits for every weight as the bound allows. */
export function fewestBits(target: Target, maxDrop: number | undefined): Variant | undefined {
  if (maxDrop === undefined || !target.forms.includes('palette')) return undefined
  return { name: 'weights of mixed bits', tail: [['mix-precision', { maxDrop, leastBytes: true }]] }
}

/** What a search within a drop makes least for an objective; `undefined` where it finds nothing that other forms lack: kernels are what makes models fast. */
export const searchedCost = (objective: Objective): CostName | undefined =>
  objective === 'latency' ? undefined : objective === 'macs' ? 'macs' : 'bytes'

const bound = (maxDrop: number | undefined): { readonly maxDrop?: number } => (maxDrop === undefined ? {} : { maxDrop })

/** Does a candidate compute in integers? */
export const isInteger = (made: { readonly recipe: Recipe }): boolean =>
  made.recipe.some(([pass]) => pass === 'quantize-static')

/** Does a candidate store weights as codes? */
export const isCoded = (made: { readonly recipe: Recipe }): boolean =>
  made.recipe.some(([pass, o]) => pass === 'quantize-weights' && o?.['form'] === 'foldable') && !isDynamic(made)

/** Does a candidate quantize inputs at run time? */
export const isDynamic = (made: { readonly recipe: Recipe }): boolean =>
  made.recipe.some(([pass]) => pass === 'quantize-dynamic')

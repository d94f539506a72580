/**
 * Bits of the weights that integer kernels read. What a weight of so many bits does to the output is measured on the float model,
 * as for other types: the rounding of activations comes to every assignment alike. What is found is made with `quantize-static`.
 */
import type { Model } from '../../../types.ts'
import { parseOptions } from '../../pass.ts'
import type { Context, Recipe } from '../../types.ts'
import { round } from '../round/round.ts'
import { quantizeStatic } from '../static/quantize-static.ts'
import type { Assignment } from './apply.ts'
import { type MixOptions, type Part, partsOf } from './types.ts'

/** Bits by the type that stands for them. */
const bits = { int8: 8, int6: 6, int5: 5, int4: 4, int3: 3 } as const

export const codeTypes = Object.keys(bits) as readonly (keyof typeof bits)[]

/** Weights, each in one of the types. */
export const codeParts = (model: Model, o: MixOptions, ctx: Pick<Context, 'target'>): Part[] =>
  partsOf(model, o, ctx).flatMap((part) => {
    const ways = part.ways.filter((w) => w.type !== 'float')
    return ways.length > 0 ? [{ ...part, ways }] : []
  })

/** The passes that make an assignment. */
export function codesRecipe(assignment: Assignment, { exclude }: Pick<MixOptions, 'exclude'>): Recipe {
  const named = codeTypes.flatMap((type) => {
    const nodes = bits[type] === 8 ? [] : (assignment[type] ?? [])
    return nodes.length > 0 ? [[bits[type], nodes] as const] : []
  })
  return [
    ['quantize-static', { exclude, bitsOf: Object.fromEntries(named) }],
    ['round', {}]
  ]
}

/** Quantizes activations, and weights in the bits that were assigned. */
export async function applyCodes(
  model: Model,
  assignment: Assignment,
  o: Pick<MixOptions, 'exclude'>,
  ctx: Context
): Promise<Model> {
  const quiet = { ...ctx, reference: model, refuse: () => {}, note: () => {}, plan: () => {} }
  const [[, options] = []] = codesRecipe(assignment, o)
  const made = await quantizeStatic.run(model, parseOptions(quantizeStatic, options), quiet)
  return round.run(made, parseOptions(round, {}), quiet)
}

/** Candidates whose layers are split into smaller ones by low rank: without training where products hold the weights. */
import { layerInput } from '../../observe/gram.ts'
import { inferShapes } from '../../ops/infer.ts'
import { isDepthwise } from '../../ops/linear.ts'
import type { Model } from '../../types.ts'
import type { Problem } from '../strategy.ts'
import type { Trial } from '../trial.ts'
import { madeOf } from './made-of.ts'
import { bestForm, half, stepped } from './steps.ts'
import { leastShare, type Variant } from './variants.ts'

/** Fewer inputs or outputs of a product are computed no faster in two. */
const leastSide = 128

/** Has the model a layer of at least so many inputs and outputs, which can be split? */
export function hasLargeLayer(model: Model, side: number): boolean {
  const typed = inferShapes(model)
  return typed.graph.nodes.some((node) => {
    const layer = layerInput(typed, node)
    if (typeof layer === 'string' || isDepthwise(layer.linear)) return false
    return Math.min(layer.outputs / layer.groups, layer.k) >= side
  })
}

/** Can products be split? Convolutions lose too much that way without training. */
export const isSplit = ({ model, target, isCalibrated }: Problem): boolean =>
  isCalibrated && madeOf(model, target).share > leastShare && hasLargeLayer(model, leastSide)

/** The next candidate of low rank. `forms`: those of the whole model, of which the best is taken. */
export function lowRankForm(
  problem: Problem,
  forms: readonly Variant[],
  history: readonly Trial[],
  asked: ReadonlySet<string>
): Variant | undefined {
  const split =
    (form: Variant) =>
    (share: number): Variant => ({
      name: `${100 * share} % fewer weights by low rank, ${form.name}`,
      tail: [['factorize', { ratio: Number((1 - share).toFixed(1)) }], ...form.tail]
    })
  const form = bestForm(problem, forms, (f) => split(f)(half).name, history, asked)
  return stepped(problem, split(form), history, asked)
}

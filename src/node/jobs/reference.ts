/** The float model beside a quantized one, for passes that compare the two. */
import { PareError } from '../../base/errors.ts'
import type { AnyFormat } from '../../formats/types.ts'
import { isRounded } from '../../ops/quantized.ts'
import { likeness } from '../../passes/quantize/round/reference.ts'
import { applyRecipe, type Surroundings } from '../../passes/recipe.ts'
import type { Model } from '../../types.ts'
import { loadRunnable } from './runnable.ts'

/**
 * The largest ‖ŵ − w‖ / ‖w‖ of a layer at which its weight ŵ still counts as w rounded. Rounding to two bits gives about
 * 0.5; another model, or one whose channels were scaled, gives more than this bound.
 */
const most = 0.7

/**
 * Opens the float model that a quantized model was made from: as the file holds it, or after `simplify` and `fuse`,
 * whichever has weights nearer to the quantized ones. Throws `E_USAGE` where the two models do not belong together.
 */
export async function openReference(
  path: string,
  rounded: Model,
  ctx: Surroundings,
  formats: readonly AnyFormat[]
): Promise<Model> {
  if (!isRounded(rounded))
    throw new PareError('E_USAGE', 'the model is not quantized: there is nothing to compare with --reference', {
      hint: 'without --reference, a recipe quantizes and compares in one go'
    })
  const given = await loadRunnable(path, formats)
  if (isRounded(given))
    throw new PareError('E_USAGE', '--reference is quantized itself', { where: path, hint: 'name the float model' })
  const prepared = (
    await applyRecipe(
      given,
      [
        ['simplify', {}],
        ['fuse', {}]
      ],
      ctx
    )
  ).model
  const [best] = [prepared, given]
    .map((model) => ({ model, ...likeness(rounded, model) }))
    .filter((l) => l.layers > 0)
    .sort((a, b) => a.error - b.error)
  if (best && best.error <= most && isAlike(rounded, best.model)) return best.model
  throw new PareError('E_USAGE', '--reference is not the model that this one was made from', {
    where: path,
    facts: {
      ...(best?.where === undefined ? {} : { 'weights differ most in': best.where }),
      'layers in common': String(best?.layers ?? 0)
    },
    hint: 'behind passes that change weights (equalize, smooth, prune), put quantizing and comparing into one recipe'
  })
}

/** Do both take and give values of the same names? */
function isAlike(a: Model, b: Model): boolean {
  const names = ({ graph }: Model): string => JSON.stringify([[...graph.inputs].sort(), [...graph.outputs].sort()])
  return names(a) === names(b)
}

/** Settings that quietly spoil a quantized model: each is refused, or told of with what to do instead. */
import { PareError } from '../../../base/errors.ts'
import { allGraphs, consumers } from '../../../ir/graph.ts'
import type { Method } from '../../../observe/ranges.ts'
import { opFor } from '../../../ops/index.ts'
import type { Dataset, Model, Node } from '../../../types.ts'
import type { Context } from '../../types.ts'

/** Below so many samples, ranges are those of the samples rather than those of the data. */
export const fewSamples = 32

/** Notes a calibration set that is too small to know ranges by. */
export function noteFewSamples(calibration: Dataset, ctx: Pick<Context, 'note'>): void {
  const { size } = calibration
  if (size > 0 && size < fewSamples)
    ctx.note(
      `calibrated on ${size} sample${size === 1 ? '' : 's'}: what lies outside of their ranges is cut off; give 100 or more`
    )
}

/** Fewer bins than this cannot tell the 128 groups of the entropy method apart. */
const entropyBins = 1024

/** Throws `E_OPTION` for a histogram that is too coarse for the method. */
export function needBins(method: Method, bins: number): void {
  if ((method === 'entropy' || method === 'best') && bins < entropyBins)
    throw new PareError(
      'E_OPTION',
      `${method} with ${bins} bins: every clipping looks alike, and the range is arbitrary`,
      {
        where: 'bins',
        hint: `leave bins at 2048, take ${entropyBins} or more, or choose calibrator mse`
      }
    )
}

/** Does a node move rows of a weight as they are? */
const isTable = (node: Node, id: string): boolean => {
  const op = opFor(node)
  return op?.quant?.output === 'same' && (op.weights ?? []).some((p) => node.inputs[p.input] === id)
}

/** Notes tables of embeddings that get one scale for all rows. */
export function noteWholeTables(
  model: Model,
  weights: readonly { readonly id: string; readonly axis?: number; readonly block?: number; readonly form?: string }[],
  ctx: Pick<Context, 'note'>
): void {
  for (const { id, axis, block, form } of weights) {
    if (axis !== undefined || block !== undefined || form === 'palette') continue
    if (allGraphs(model).some((g) => consumers(g, id).some((n) => isTable(n, id))))
      ctx.note(
        `table ${id} has one scale for all its rows, and rows of small values round to nothing: leave perChannel on`
      )
  }
}

/** Samples that a model takes, for messages: `x: float32 [N, 3, H, W]`. */
export function inputsText(model: Model): string {
  return model.graph.inputs
    .flatMap((id) => {
      const v = model.graph.values.get(id)
      return v && !v.data ? [`${id}: ${v.dtype ?? '?'} [${v.shape?.join(', ') ?? '?'}]`] : []
    })
    .join('; ')
}

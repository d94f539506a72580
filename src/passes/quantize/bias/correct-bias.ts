/**
 * Bias correction against the float model: b ← b − (E[ŷ] − E[y]) per output channel, where y is the layer's own output
 * in the float model and ŷ the one in the rounded model, over samples and positions (Nagel et al., Data-Free
 * Quantization, 2019, section 4.2, with measured means). Layers are corrected in order, each with all corrections
 * before it in place, so that the means hold for the model that results.
 */

import { z } from 'zod'
import { PareError, stopIfAborted } from '../../../base/errors.ts'
import { edit } from '../../../ir/edit.ts'
import { observeChannels } from '../../../observe/channels.ts'
import { heldSamples } from '../../../observe/held.ts'
import { inferShapes } from '../../../ops/infer.ts'
import type { Dataset, Model } from '../../../types.ts'
import { type BiasPlace, biasPlace, shiftBias } from '../../biases.ts'
import { definePass } from '../../pass.ts'
import { withTypes } from '../../typed.ts'
import type { Context } from '../../types.ts'
import { matcher } from '../common/select.ts'
import { isRoundedLayer, referenceOf, type Twin, twinsOf } from '../common/twins.ts'

/** Takes back, layer by layer, what rounding added to the mean of each output channel. */
export const correctBias = definePass({
  name: 'correct-bias',
  summary: 'take back in the biases of a quantized model what rounding added to the mean of each channel',
  group: 'accuracy',
  needs: ['calibration'],
  compares: true,
  options: {
    samples: z.int().min(1).default(256).describe('calibration samples to use, at most'),
    include: z.array(z.string()).default([]).describe('only these nodes: operator types or name patterns with *'),
    exclude: z.array(z.string()).default([]).describe('not these nodes: operator types or name patterns with *')
  },
  run: (given, options, ctx) =>
    withTypes(given, async (model) => {
      const reference = referenceOf(model, 'correct-bias', ctx)
      const layers = reference ? findLayers(model, reference, options, ctx) : []
      if (!reference || layers.length === 0) return model
      const { calibration } = ctx.data
      if (!calibration) throw new PareError('E_DATA', 'correct-bias needs calibration data')
      const data = await heldSamples(calibration, options.samples)
      return correct(model, inferShapes(reference), layers, data, ctx)
    })
})

interface Layer extends Twin {
  readonly place: BiasPlace
  readonly rank: number
  readonly axis: number
}

/** What was done to a layer, as plain data. */
export interface Correction {
  readonly node: string
  readonly output: string
  /** Root mean squares over the channels: of the shift that was taken off, and of the mean in the float model. */
  readonly shift: number
  readonly mean: number
}

function findLayers(
  model: Model,
  reference: Model,
  o: { readonly include: readonly string[]; readonly exclude: readonly string[] },
  ctx: Context
): Layer[] {
  const isIncluded = o.include.length > 0 ? matcher(o.include) : () => true
  const isExcluded = matcher(o.exclude)
  return twinsOf(model, reference).flatMap((t) => {
    if (isExcluded(t.made) || !isIncluded(t.made) || !isRoundedLayer(model.graph, t)) return []
    const layer = layerOf(model, t)
    if (typeof layer !== 'string') return [layer]
    ctx.refuse(t.made, layer)
    return []
  })
}

function layerOf(model: Model, t: Twin): Layer | string {
  const shape = model.graph.values.get(t.made.outputs[0] as string)?.shape
  if (!shape || shape.length < 2) return 'the shape of its output is not known'
  const place = biasPlace(model.graph, t.made)
  if (typeof place === 'string') return place
  return { ...t, place, rank: shape.length, axis: shape.length + place.linear.axes.out }
}

async function correct(
  model: Model,
  reference: Model,
  layers: readonly Layer[],
  data: Dataset,
  ctx: Context
): Promise<Model> {
  const originals = layers.map((l) => ({ id: l.original.outputs[0] as string, axis: l.axis }))
  const quiet = { ...ctx, progress: () => {} }
  const wanted = await observeChannels(reference, originals, ['mean'], data, quiet)
  const plan: Correction[] = []
  let now = model
  for (const [i, l] of layers.entries()) {
    stopIfAborted(ctx.signal)
    const output = l.made.outputs[0] as string
    const seen = await observeChannels(now, [{ id: output, axis: l.axis }], ['mean'], data, quiet)
    const [is, should] = [seen.get(output)?.mean, wanted.get(originals[i]?.id as string)?.mean]
    if (!is || !should) continue
    const shift = is.map((m, c) => m - (should[c] as number))
    if (shift.every(Number.isFinite)) {
      now = edit(now, (d) => void shiftBias(d, now.graph, d.producer(output) ?? l.made, l.place, shift))
      plan.push({ node: l.made.name, output, shift: rootMeanSquare(shift), mean: rootMeanSquare(should) })
    } else ctx.refuse(l.made, 'its output is not finite on the calibration data')
    ctx.progress('correcting biases', i + 1, layers.length)
  }
  ctx.plan({ layers: plan })
  return now
}

const rootMeanSquare = (v: Float64Array): number =>
  Number(Math.sqrt(v.reduce((s, x) => s + x * x, 0) / v.length).toPrecision(4))

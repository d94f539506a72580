/**
 * Learned rounding: codes of a quantized model are chosen again, layer by layer, so that each layer's output is as near
 * as it gets to the float model's on calibration data (the aim of AdaRound, Nagel et al., 2020, and of GPTQ). The error is
 * a quadratic form in the second moments of the layer's inputs (gram.ts), so codes are searched without running the
 * model (lattice.ts). Inputs are those of the rounded model with all layers before as they have become; what a bias can
 * take up, a shift of the mean, is left to it.
 *
 * In a recipe, `round` follows the pass that quantizes. Behind quantize-weights, of any bits, blocks and method, scales are
 * fitted too. Behind quantize-static scales stay, and the inputs of layers include the rounding of activations. Codes keep
 * their type, zero points and form. correct-bias behind `round` finds nothing left to correct.
 */
import { z } from 'zod'
import { PareError, stopIfAborted } from '../../../base/errors.ts'
import { edit } from '../../../ir/edit.ts'
import { grams } from '../../../observe/gram.ts'
import { heldSamples } from '../../../observe/held.ts'
import { inferShapes } from '../../../ops/infer.ts'
import { isRounded } from '../../../ops/quantized.ts'
import type { Dataset, Model } from '../../../types.ts'
import { shiftBias } from '../../biases.ts'
import { definePass } from '../../pass.ts'
import { withTypes } from '../../typed.ts'
import type { Context } from '../../types.ts'
import { referenceOf } from '../common/twins.ts'
import { findRoundLayers, type Rounded, type RoundLayer, type RoundOptions, roundLayer } from './layer.ts'
import { replaceCodes } from './weight.ts'

/** Chooses the codes of quantized weights by what each layer gives on data, instead of the nearest ones. */
export const round = definePass({
  name: 'round',
  summary: 'choose the codes of quantized weights again, by the output of each layer on data instead of to nearest',
  group: 'accuracy',
  needs: ['calibration'],
  compares: true,
  options: {
    samples: z.int().min(1).default(512).describe('calibration samples to use, at most'),
    scales: z.boolean().default(true).describe('also fit the scales where the data between layers stays float'),
    correctBias: z.boolean().default(true).describe('leave a shift of the mean to the bias, and correct it'),
    followInputs: z
      .boolean()
      .default(true)
      .describe('aim at what the layer gave on its float inputs, though its inputs have changed'),
    sweeps: z.int().min(1).max(1000).default(50).describe('times that all weights of a row are tried, at most'),
    damp: z
      .number()
      .min(0)
      .max(1)
      .default(0.1)
      .describe('trust in the weights beside the data, as a share of its power'),
    seconds: z.number().min(0).default(0).describe('time after which the layers that are left stay; 0: no bound'),
    include: z.array(z.string()).default([]).describe('only these nodes: operator types or name patterns with *'),
    exclude: z.array(z.string()).default([]).describe('not these nodes: operator types or name patterns with *')
  },
  run: (given, options, ctx) =>
    withTypes(given, async (model) => {
      if (!isRounded(model)) ctx.note('round: nothing is quantized yet; it goes behind the pass that quantizes')
      const reference = referenceOf(model, 'round', ctx)
      if (!reference) return model
      const typed = inferShapes(reference)
      const layers = findRoundLayers(model, typed, options, ctx)
      const { calibration } = ctx.data
      if (!calibration) throw new PareError('E_DATA', 'round needs calibration data')
      if (layers.length === 0) return model
      return roundAll(model, typed, layers, await heldSamples(calibration, options.samples), options, ctx)
    })
})

async function roundAll(
  model: Model,
  reference: Model,
  layers: readonly RoundLayer[],
  data: Dataset,
  o: RoundOptions,
  ctx: Context
): Promise<Model> {
  const end = o.seconds > 0 ? performance.now() + 1000 * o.seconds : Number.POSITIVE_INFINITY
  const plan: object[] = []
  const quiet = { ...ctx, progress: () => {} }
  let now = model
  for (const same of withSameInput(layers)) {
    if (performance.now() > end) {
      const left = layers.length - plan.length
      ctx.note(`round: ${left} of ${layers.length} layers were left as they are after ${o.seconds} s`)
      break
    }
    const stage = new Map(same.map((l) => [l.input, l]))
    const made: [RoundLayer, Rounded][] = []
    const view = o.followInputs ? withInputs(reference, [...stage.values()]) : undefined
    for await (const [input, gram] of grams(now, [...stage.keys()], data, quiet, view)) {
      stopIfAborted(ctx.signal)
      const layer = stage.get(input) as RoundLayer
      const rounded = roundLayer(now, reference, layer, gram, o, ctx)
      made.push([layer, rounded])
      plan.push(rounded.report)
      ctx.progress('rounding', plan.length, layers.length)
    }
    now = edit(now, (d) => {
      for (const [layer, { coded, codes, shift }] of made) {
        replaceCodes(d, coded, codes)
        const node = d.producer(layer.made.outputs[0] as string)
        if (shift && node && typeof layer.place !== 'string') shiftBias(d, now.graph, node, layer.place, shift)
      }
    })
  }
  ctx.plan({ layers: plan })
  return now
}

/** Layers in order, those in a row that read the same value together. Others have to see the ones before them changed. */
function withSameInput(layers: readonly RoundLayer[]): RoundLayer[][] {
  const out: RoundLayer[][] = []
  for (const l of layers) {
    const last = out.at(-1)
    if (last?.[0]?.input.x === l.input.x) last.push(l)
    else out.push([l])
  }
  return out
}

/** The reference with its layers' inputs also under the names that they have in the rounded model. */
function withInputs(reference: Model, layers: readonly RoundLayer[]): Model {
  return edit(reference, (d) => {
    for (const { input, original } of layers) {
      const x = original.inputs[0] as string
      if (x !== input.x && !d.producer(input.x)) d.add('Identity', [x], { outputs: [input.x] })
    }
  })
}

/**
 * Weights in few bits, computed as before: W → DequantizeLinear(codes, scales) under W's own name, or a W of which few
 * values differ, so that nothing that reads it changes. In the forms `foldable` and `palette` the runtime expands it once,
 * when it loads the model, and runs the float kernel.
 */
import { z } from 'zod'
import { PareError } from '../../../base/errors.ts'
import { edit } from '../../../ir/edit.ts'
import { heldSamples } from '../../../observe/held.ts'
import type { Dataset, Model, Tensor } from '../../../types.ts'
import { shiftBiases } from '../../biases.ts'
import { definePass } from '../../pass.ts'
import type { Context } from '../../types.ts'
import { noteWholeTables } from '../common/advice.ts'
import { noteUnmatched } from '../common/select.ts'
import { applyWeights, type Stored, storeAlone } from './apply.ts'
import { scaleChannels } from './awq.ts'
import { correctBiases } from './correct.ts'
import { storeByMoments } from './gptq-store.ts'
import { type LayerStore, storeLayerwise } from './layerwise.ts'
import { planWeights, type WeightOptions, type WeightPlan } from './plan.ts'

export type { WeightPlan } from './plan.ts'

const bits = z.union([z.literal(8), z.literal(6), z.literal(5), z.literal(4), z.literal(3), z.literal(2)])
const blockSizes = z.union([0, 16, 32, 64, 128, 256].map((n) => z.literal(n)))

/** Stores weights in 8 bits or fewer; activations stay float. */
export const quantizeWeights = definePass({
  name: 'quantize-weights',
  summary: 'store weights in 8 bits or fewer; they run as float, at float speed',
  group: 'storage',
  narrows: true,
  uses: ['calibration'],
  options: {
    bits: bits.default(8).describe('bits of a stored weight; 3, 5 and 6 in a palette only'),
    form: z
      .enum(['foldable', 'palette', 'nbits', 'qdq', 'auto'])
      .default('foldable')
      .describe(
        'foldable: expanded once on loading, or qdq for targets that do not do that; palette: the same, by a codebook; nbits: MatMulNBits, small in memory too; qdq: DequantizeLinear, which runtimes may run at every call'
      ),
    method: z
      .enum(['rtn', 'hqq', 'gptq', 'awq'])
      .default('rtn')
      .describe('rtn: nearest; hqq: robust, without data; gptq and awq: least change of a layer’s output on the data'),
    blockSize: blockSizes
      .default(0)
      .describe('elements that share a scale; 0: an output channel (nbits: up to 64, 128 for 8 bits)'),
    perChannel: z.boolean().default(true).describe('scales or codebooks per output channel instead of one per tensor'),
    symmetric: z
      .boolean()
      .optional()
      .describe('without zero points; by default blocks of 4 bits and all of 2 bits have them'),
    balance: z
      .boolean()
      .default(true)
      .describe('rtn, hqq, awq: round so that errors cancel under a kernel and over an output; needs no data'),
    include: z
      .array(z.string())
      .default([])
      .describe('only weights of these nodes: operator types or name patterns with *'),
    exclude: z
      .array(z.string())
      .default([])
      .describe('not weights of these nodes: operator types or name patterns with *'),
    minElements: z.int().min(1).default(128).describe('smaller weights stay as they are'),
    correctBias: z
      .boolean()
      .default(true)
      .describe('with data: take back in the bias what rounded weights add to the mean')
  },
  run: async (model, given, ctx) => {
    const options = { ...given, form: formOn(ctx.target, given.form) }
    noteUnmatched(model, 'include', options.include, ctx)
    noteUnmatched(model, 'exclude', options.exclude, ctx)
    const plan = planWeights(model, options, ctx)
    noteWholeTables(model, plan, ctx)
    if (options.method !== 'awq') ctx.plan({ form: options.form, weights: plan })
    return storeWeights(model, plan, options, ctx)
  }
})

/** Codes are read as they are by runtimes that do not expand them on loading, such as LiteRT. */
const formOn = ({ forms }: Context['target'], form: WeightOptions['form']): WeightOptions['form'] =>
  form === 'foldable' && !forms.includes('foldable') && forms.includes('qdq') ? 'qdq' : form

/** Stores planned weights, of whatever bits and forms, by one method. Throws `E_DATA` where that needs data and has none. */
export async function storeWeights(
  model: Model,
  plan: readonly WeightPlan[],
  options: Options,
  ctx: Context
): Promise<Model> {
  if (options.method === 'gptq' || options.method === 'awq') return byData(model, plan, options, ctx)
  const made = applyWeights(model, plan, (w, data, v) =>
    storeAlone(w, data, { hqq: options.method === 'hqq', isSparse: v.sparse !== undefined })
  )
  if (made === model || !options.correctBias) return made
  if (ctx.data.calibration) return correctBiases(model, made, ctx.data.calibration, ctx)
  ctx.note('quantize-weights: no calibration data, so biases were not corrected')
  return made
}

/** Samples that gptq and awq look at. */
const mostSamples = 512

type Options = WeightOptions & { readonly correctBias: boolean }

const isSparse = (model: Model, w: WeightPlan): boolean => model.graph.values.get(w.id)?.sparse !== undefined

/** By data: layer after layer so that each answers as before (gptq), or with channels scaled beforehand (awq). */
async function byData(model: Model, plan: readonly WeightPlan[], o: Options, ctx: Context): Promise<Model> {
  if (!ctx.data.calibration)
    throw new PareError('E_DATA', `method ${o.method} needs calibration data`, {
      where: 'quantize-weights',
      hint: 'give --data, or choose method rtn or hqq, which need none'
    })
  if (plan.length === 0) return model
  const data = await heldSamples(ctx.data.calibration, mostSamples)
  return o.method === 'gptq' ? byMoments(model, plan, data, o, ctx) : byScaling(model, plan, data, o, ctx)
}

type Weights = readonly WeightPlan[]

async function byMoments(model: Model, plan: Weights, data: Dataset, o: Options, ctx: Context): Promise<Model> {
  const alone = (w: WeightPlan, t: Tensor): Stored => storeAlone(w, t, { hqq: false, isSparse: isSparse(model, w) })
  const store: LayerStore = (w, t, layer, gram) => storeByMoments(w, t, layer, gram, isSparse(model, w))
  const { stored, shifts } = await storeLayerwise(model, plan, data, { correctBias: o.correctBias, alone, store }, ctx)
  const made = applyWeights(model, plan, (w, t) => stored.get(w.id) ?? alone(w, t))
  return edit(made, (d) => shiftBiases(d, model.graph, shifts))
}

async function byScaling(model: Model, plan: Weights, data: Dataset, o: Options, ctx: Context): Promise<Model> {
  const { model: scaled, scales } = await scaleChannels(model, plan, data, ctx)
  ctx.plan({ form: o.form, weights: plan, scales })
  const made = applyWeights(scaled, plan, (w, t) => storeAlone(w, t, { hqq: false, isSparse: isSparse(model, w) }))
  return o.correctBias ? correctBiases(scaled, made, data, ctx) : made
}

/** Dynamic int8: weights are stored as integers, activations quantized at run time by what they are; no data is needed. */
import { z } from 'zod'
import { definePass } from '../../pass.ts'
import { withTypes } from '../../typed.ts'
import { noteWholeTables } from '../common/advice.ts'
import { noteUnmatched } from '../common/select.ts'
import { noteTwice } from '../common/twice.ts'
import { applyDynamic } from './apply.ts'
import { planDynamic } from './plan.ts'
import { encodeWeights, meanShifts } from './weights.ts'

const byDefault = ['MatMul', 'Gemm', 'Gather']

/** Stores weights as 8-bit integers and multiplies them with activations that are quantized at run time. */
export const quantizeDynamic = definePass({
  name: 'quantize-dynamic',
  summary: 'store weights in 8 bits and quantize activations at run time; needs no data, but is better with some',
  group: 'integers',
  narrows: true,
  uses: ['calibration'],
  options: {
    include: z
      .array(z.string())
      .default(byDefault)
      .describe('operator types or name patterns with *; possible are MatMul, Gemm, Gather, Conv and LSTM'),
    exclude: z.array(z.string()).default([]).describe('nodes that stay float: operator types or name patterns with *'),
    type: z
      .enum(['auto', 'int8', 'uint8'])
      .default('auto')
      .describe('type of weights; auto: int8, but uint8 for Conv and where pair sums of int8 can saturate'),
    perChannel: z.boolean().default(true).describe('a scale per output channel of a weight instead of one'),
    microsoft: z
      .boolean()
      .default(false)
      .describe('write operators of com.microsoft, which only ONNX Runtime has; LSTM needs it'),
    correctBias: z
      .boolean()
      .default(true)
      .describe('with data: take back what rounded weights add to the mean of each output channel'),
    minElements: z.int().min(1).default(128).describe('smaller weights stay as they are')
  },
  run: (given, options, ctx) =>
    withTypes(given, async (model) => {
      // The types named by default need not be there.
      const named = options.include.filter((p) => !byDefault.includes(p))
      noteUnmatched(model, 'include', named, ctx)
      noteUnmatched(model, 'exclude', options.exclude, ctx)
      const plan = planDynamic(model, options, ctx)
      if (ctx.target.dynamic.length === 0 && ctx.target.forms.includes('qdq'))
        ctx.note(
          `layers with int8 weights round their data at run time on ${ctx.target.name}: quantize-weights stores such`
        )
      noteWholeTables(model, plan.weights, ctx)
      if (plan.nodes.length === 0) return model
      ctx.plan(plan)
      const weights = encodeWeights(model, plan)
      const { calibration } = ctx.data
      if (options.correctBias && !calibration)
        ctx.note('quantize-dynamic: no calibration data, so biases were not corrected')
      const shifts =
        options.correctBias && calibration ? await meanShifts(model, plan, weights, calibration, ctx) : new Map()
      const made = applyDynamic(model, plan, weights, shifts)
      noteTwice(
        made,
        plan.weights.map((w) => w.id),
        ctx
      )
      return made
    })
})

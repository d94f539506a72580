import { describe, expect, it } from 'vitest'
import { rng } from '../base/random.ts'
import { toNumbers } from '../ir/tensor.ts'
import { model } from '../ir/text.ts'
import { passFor } from '../passes/index.ts'
import { parseOptions } from '../passes/pass.ts'
import { askedInputs, preparedInputs } from './made-inputs.ts'
import { dtypes, dtypesFor, isOriginal, recipeFor } from './presets.ts'

const linear = model`
  input x: f32[N,64]
  y: f32[N,8] = MatMul(x, W: f32[64,8])
  output y
`
const picture = model`
  input x: f32[N,3,8,8]
  c: f32[N,4,6,6] = Conv(x, W: f32[4,3,3,3])
  output c
`

describe('recipes for transformers.js', () => {
  it('have options that their passes take', () => {
    for (const m of [linear, picture])
      for (const d of dtypes) for (const [pass, options] of recipeFor(d, m, true)) parseOptions(passFor(pass), options)
  })

  it('have unsigned weights for q8 where signed ones would not load', () => {
    expect(recipeFor('q8', linear, false)[1]).toMatchObject(['quantize-dynamic', { include: ['MatMul'], type: 'int8' }])
    expect(recipeFor('q8', picture, false)[1]).toMatchObject(['quantize-dynamic', { include: ['Conv'], type: 'uint8' }])
    expect(recipeFor('int8', picture, false)[1]).toMatchObject([
      'quantize-dynamic',
      { include: ['Conv'], type: 'int8' }
    ])
  })

  it('are chosen by name, and names that are none are told', () => {
    expect(dtypesFor(['q4', 'fp16', 'q4'])).toEqual(['fp16', 'q4'])
    expect(() => dtypesFor(['q4f61'])).toThrow(expect.objectContaining({ code: 'E_USAGE', hint: '--only q4f16' }))
  })

  it('are not applied to what they made', () => {
    const names = ['model', 'model_q4', 'model_quantized', 'lone_q4', 'encoder_model']
    expect(names.filter((n) => isOriginal(n, names))).toEqual(['model', 'lone_q4', 'encoder_model'])
  })
})

describe('made-up inputs', () => {
  const decoder = model`
    input input_ids: i64[batch_size,1]
    input attention_mask: i64[batch_size,past_sequence_length+1]
    input position_ids: i64[batch_size,1]
    input past_key_values.0.key: f32[batch_size,2,past_sequence_length,4]
    input use_cache_branch: bool[1]
    e = Gather(E: f32[5,8], input_ids)
    output e
  `
  const made = preparedInputs(decoder, askedInputs(decoder), { facts: { vocabulary: 9 }, rng: rng(0), count: 8 })

  it('go together: a mask covers the past and the tokens', () => {
    for (const x of made) {
      const past = x['past_key_values.0.key']?.shape[2] as number
      expect(x['attention_mask']?.shape).toEqual([1, past + 1])
      expect([...toNumbers(x['position_ids'] as never)]).toEqual([past])
      expect([...toNumbers(x['use_cache_branch'] as never)]).toEqual([past > 0 ? 1 : 0])
    }
    expect(made.some((x) => x['past_key_values.0.key']?.shape[2] === 0)).toBe(true)
  })

  it('look up rows that the table has, and are the same for the same seed', () => {
    const ids = made.flatMap((x) => [...toNumbers(x['input_ids'] as never)])
    expect(Math.max(...ids)).toBeLessThan(5)
    expect(new Set(ids).size).toBeGreaterThan(1)
    const again = preparedInputs(decoder, askedInputs(decoder), { facts: { vocabulary: 9 }, rng: rng(0), count: 8 })
    expect(again).toEqual(made)
  })
})

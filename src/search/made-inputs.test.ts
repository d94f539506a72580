import { expect, it } from 'vitest'
import { model } from '../ir/text.ts'
import { askedInputs, madeShapes } from './made-inputs.ts'

it('takes the second axis of [batch, batch] for one of its own', () => {
  const reader = model`
    input input_ids: i64[batch,batch]
    input attention_mask: i64[batch,batch]
    e = Gather(T: f32[100,8], input_ids)
    output e`
  expect(madeShapes(askedInputs(reader))).toEqual({ input_ids: [1, 8], attention_mask: [1, 8] })
})

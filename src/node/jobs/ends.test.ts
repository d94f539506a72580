import { expect, it } from 'vitest'
import { tensor, toNumbers } from '../../ir/tensor.ts'
import { model } from '../../ir/text.ts'
import { nodeRunner } from '../runner.ts'
import { areAlike, endsOf, inNumbers, ownFeeds, seenAs } from './ends.ts'

const plain = model`
input image: f32[N,2,2,3]
y: f32[N,2,2,3] = Relu(image)
output y`

/** The same with channels last, in codes of step 0.5, and other names. */
const coded = model`
const s: f32[] = 0.5
const z: i8[] = -8
input pixels: i8[1,2,3,2]
t: i8[1,2,2,3] = Transpose(pixels, perm=[0,3,1,2])
x: f32[1,2,2,3] = DequantizeLinear(t, s, z)
r: f32[1,2,2,3] = Relu(x)
q: i8[1,2,2,3] = QuantizeLinear(r, s, z)
out: i8[1,2,3,2] = Transpose(q, perm=[0,2,3,1])
output out`

const sample = tensor('float32', [1, 2, 2, 3], [-4, 0, 1, 1.5, 2, 2.6, 3, -0.5, 5, 60, 7, 8])

it('codes are those that a model dequantizes at once and quantizes at last, behind what only moves them', () => {
  const codes = { scale: 0.5, zero: -8 }
  expect(endsOf(coded)).toMatchObject({
    inputs: [{ name: 'pixels', dtype: 'int8', codes }],
    outputs: [{ name: 'out', codes }]
  })
  expect(inNumbers(endsOf(coded)).inputs).toEqual([{ name: 'pixels', dtype: 'float32', shape: [1, 2, 3, 2] }])
  expect(endsOf(plain).inputs[0]?.codes).toBeUndefined()
  expect(areAlike(endsOf(plain), endsOf(plain))).toBe(true)
  expect(areAlike(endsOf(coded), inNumbers(endsOf(coded)))).toBe(false)
})

it('a session is run in the numbers, names and order of another model', async () => {
  const session = await nodeRunner().open(coded)
  const seen = seenAs(session, endsOf(coded), endsOf(plain))
  expect(seen.inputs).toEqual([{ name: 'image', dtype: 'float32', shape: [1, 2, 2, 3] }])
  const { y } = await seen.run({ image: sample })
  // Steps of 0.5, halves to even, and no code above 127.
  expect(y && Array.from(toNumbers(y))).toEqual([0, 0, 1, 1.5, 2, 2.5, 3, 0, 5, 60, 7, 8])
  expect(y?.shape).toEqual([1, 2, 2, 3])
  const { pixels } = ownFeeds({ image: sample }, endsOf(coded), endsOf(plain))
  expect(pixels).toMatchObject({ dtype: 'int8', shape: [1, 2, 3, 2] })
  expect(pixels && Array.from(toNumbers(pixels)).slice(0, 4)).toEqual([-16, -2, -8, -9])
  await session.close()
})

it('axes of size 1 may stand elsewhere; other sizes are told', async () => {
  const flat = model`
input x: f32[N,4,1]
y: f32[N,4,1] = Relu(x)
output y`
  const wide = model`
input x: f32[N,1,4]
y: f32[N,1,4] = Relu(x)
output y`
  const session = await nodeRunner().open(flat)
  const { y } = await seenAs(session, endsOf(flat), endsOf(wide)).run({
    x: tensor('float32', [1, 1, 4], [1, -1, 2, 3])
  })
  expect(y).toMatchObject({ shape: [1, 1, 4] })
  expect(() => seenAs(session, endsOf(flat), endsOf(plain))).toThrow(
    expect.objectContaining({ code: 'E_DATA_SHAPE', facts: { original: 'image [N, 2, 2, 3]', other: 'x [N, 4, 1]' } })
  )
  await session.close()
})

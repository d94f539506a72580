import { expect, it } from 'vitest'
import { parse } from '../ir/text.ts'
import { ops } from './index.ts'
import { hasRoundedValues, isRounded } from './quantized.ts'

const ms = 'domain com.microsoft 1; '
const ends = '; output y'
const scale = 's: f32[]{0.5}, z: u8[]{0}'

const onValues: readonly string[] = [
  `input x: f32[2,4]; y = QuantizeLinear(x, ${scale})`,
  'input x: f32[2,4]; y, s, z = DynamicQuantizeLinear(x)',
  'input x: u8[2,4]; y = MatMulInteger(x, w: u8[4,3])',
  'input x: u8[1,3,5,5]; y = ConvInteger(x, w: u8[4,3,3,3])',
  `input x: u8[2,4]; y = QLinearMatMul(x, ${scale}, w: u8[4,3], s, z, s, z)`,
  `input x: u8[1,3,5,5]; y = QLinearConv(x, ${scale}, w: u8[4,3,3,3], s, z, s, z)`,
  `${ms}input x: u8[2,4]; y = com.microsoft:QLinearAdd(x, ${scale}, x, s, z, s, z)`,
  `${ms}input x: u8[2,4]; y = com.microsoft:QLinearSigmoid(x, ${scale}, s, z)`,
  `${ms}input x: f32[2,4]; y = com.microsoft:DynamicQuantizeMatMul(x, w: u8[4,3], ${scale})`
]
const onWeights: readonly string[] = [
  `input x: f32[2,4]; w = DequantizeLinear(c: u8[4,3], ${scale}); y = MatMul(x, w)`,
  `${ms}input x: f32[2,32]; y = com.microsoft:MatMulNBits(x, w: u8[8,1,16], s: f32[8], K=32, N=8, bits=4, block_size=32)`,
  `${ms}input x: f32[2,32]; y = com.microsoft:MatMulBnb4(x, w: u8[128], s: f32[8], K=32, N=8, block_size=32, quant_type=1)`,
  `${ms}input x: i64[3]; y = com.microsoft:GatherBlockQuantized(w: u8[8,16], x, s: f32[8,1], block_size=32, bits=4)`,
  'domain other 1; input x: f32[2,4]; y = other:Unheard(x, w: i8[4,3])'
]
const inFloat: readonly string[] = [
  'input x: f32[2,4]; y = MatMul(x, w: f32[4,3])',
  'domain other 1; input x: f32[2,4]; y = other:Unheard(x, w: f32[4,3])'
]

it.each([
  ...onValues.map((text) => [text, true, true] as const),
  ...onWeights.map((text) => [text, false, true] as const),
  ...inFloat.map((text) => [text, false, false] as const)
])('%s', (text, ofValues, atAll) => {
  const model = parse(text + ends)
  expect([hasRoundedValues(model), isRounded(model)]).toEqual([ofValues, atAll])
})

it('every operator named after quantizing or integers says which codes it computes with', () => {
  const named = ops.filter((op) => /quantize|^QLinear|Integer|^QGemm|^QAttention|NBits|Bnb4/i.test(op.name))
  expect(named.filter((op) => !op.codes).map((op) => op.name)).toEqual([])
  expect(named.length).toBeGreaterThanOrEqual(27)
})

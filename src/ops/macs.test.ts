/** MACs of single operators against numbers worked out by hand. */
import { expect, it } from 'vitest'
import { parse } from '../ir/text.ts'
import { costOf } from './cost.ts'

const macsOf = (text: string): number | undefined => costOf(parse(text.replaceAll('; ', '\n'))).total

it.each<[string, number | undefined, string]>([
  // 4·8·8 outputs, 3·3·3 products each
  ['a convolution', 256 * 27, 'input x: f32[N,3,8,8]; y = Conv(x, W: f32[4,3,3,3], pads=[1,1,1,1]); output y'],
  // 6·3·3 outputs, one channel of 3·3 each
  ['by depth', 54 * 9, 'input x: f32[N,6,8,8]; y = Conv(x, W: f32[6,1,3,3], group=6, strides=[2,2]); output y'],
  // each of 3·5·5 inputs meets 4 outputs of 2·2
  ['transposed', 75 * 16, 'input x: f32[N,3,5,5]; y = ConvTranspose(x, W: f32[3,4,2,2], strides=[2,2]); output y'],
  ['a matrix product', 5 * 4 * 3, 'input x: f32[N,5,3]; y = MatMul(x, W: f32[3,4]); output y'],
  ['two vectors', 3, 'input x: f32[3]; y = MatMul(x, x); output y'],
  ['Gemm', 4 * 3, 'input x: f32[N,3]; y = Gemm(x, W: f32[4,3], transB=1); output y'],
  // b·h·i·j·k over one sample
  [
    'Einsum',
    2 * 5 * 5 * 4,
    'input q: f32[N,2,5,4]; input k: f32[N,2,5,4]; y = Einsum(q, k, equation="bhik,bhjk->bhij"); output y'
  ],
  ['Einsum of one operand', 0, 'input x: f32[N,3]; y = Einsum(x, equation="ab->ba"); output y'],
  // 7 steps, 4 gates of 2 units, reading 3 + 2
  ['LSTM', 7 * 4 * 2 * 5, 'input x: f32[7,1,3]; y = LSTM(x, w: f32[1,8,3], r: f32[1,8,2], hidden_size=2); output y'],
  [
    'GRU both ways',
    2 * 7 * 3 * 2 * 5,
    'input x: f32[7,1,3]; y = GRU(x, w: f32[2,6,3], r: f32[2,6,2], direction="bidirectional", hidden_size=2); output y'
  ],
  // 4 heads, 5 queries × 6 keys, 2 + 3 products
  [
    'attention',
    4 * 5 * 6 * 5,
    'opset 23; input q: f32[N,4,5,2]; input k: f32[N,2,6,2]; input v: f32[N,2,6,3]; y = Attention(q, k, v); output y'
  ],
  // projection 5·4 × 12, then 2 heads · 5 · 5 · (2 + 2)
  [
    'attention with its projection',
    5 * 4 * 12 + 2 * 5 * 5 * 4,
    'domain com.microsoft 1; input x: f32[N,5,4]; y = com.microsoft:Attention(x, w: f32[4,12], b: f32[12], num_heads=2); output y'
  ],
  [
    'packed weights',
    5 * 32 * 8,
    'domain com.microsoft 1; input x: f32[N,5,32]; y = com.microsoft:MatMulNBits(x, b: u8[8,1,16], s: f32[8], K=32, N=8, bits=4, block_size=32); output y'
  ],
  [
    'an integer convolution',
    256 * 27,
    'input x: u8[N,3,8,8]; y = QLinearConv(x, s: f32[], z: u8[], W: i8[4,3,3,3], t: f32[], o: i8[], u: f32[], p: u8[], pads=[1,1,1,1]); output y'
  ],
  [
    'pools and norms',
    0,
    'input x: f32[N,3,8,8]; a = MaxPool(x, kernel_shape=[2,2]); y = InstanceNormalization(a, s: f32[3], b: f32[3]); output y'
  ],
  ['an open size', undefined, 'input x: f32[N,3,H,8]; y = Conv(x, W: f32[4,3,3,3]); output y'],
  ['a transform', undefined, 'opset 17; input x: f32[N,8,1]; y = DFT(x); output y']
])('%s', (_, macs, text) => {
  expect(macsOf(text)).toBe(macs)
})

/** Small transformers as exporters spell them out, with symbolic sizes. */
import { rng } from '../src/base/random.ts'
import { tensor } from '../src/ir/tensor.ts'
import { parse } from '../src/ir/text.ts'
import type { Model, Tensor } from '../src/types.ts'

const hidden = 32
const heads = 4
const side = hidden / heads
const words = 50

const dense = (x: string, y: string, out = hidden, from = hidden): string => `
  ${y}_p = MatMul(${x}, W_${y}: f32[${from},${out}])
  ${y} = Add(${y}_p, B_${y}: f32[${out}])`

/** LayerNorm as torch exports it up to opset 16. */
const layerNorm = (x: string, y: string): string => `
  ${y}_m = ReduceMean(${x}, last)
  ${y}_c = Sub(${x}, ${y}_m)
  ${y}_s = Pow(${y}_c, two)
  ${y}_v = ReduceMean(${y}_s, last)
  ${y}_w = Add(${y}_v, tiny)
  ${y}_r = Sqrt(${y}_w)
  ${y}_n = Div(${y}_c, ${y}_r)
  ${y}_g = Mul(${y}_n, G_${y}: f32[${hidden}])
  ${y} = Add(${y}_g, C_${y}: f32[${hidden}])`

/** `[batch, length, hidden]` to `[batch, heads, length, side]`, its shape computed as torch does. */
const split = (x: string, y: string, perm: string): string => `
  ${y}_shape = Shape(${x})
  ${y}_b0 = Gather(${y}_shape, i0)
  ${y}_l0 = Gather(${y}_shape, i1)
  ${y}_b = Unsqueeze(${y}_b0, zero)
  ${y}_l = Unsqueeze(${y}_l0, zero)
  ${y}_to = Concat(${y}_b, ${y}_l, nh, hd, axis=0)
  ${y}_r = Reshape(${x}, ${y}_to)
  ${y} = Transpose(${y}_r, perm=[${perm}])`

const merge = (x: string, y: string): string => `
  ${y}_t = Transpose(${x}, perm=[0,2,1,3])
  ${y}_shape = Shape(${y}_t)
  ${y}_b0 = Gather(${y}_shape, i0)
  ${y}_l0 = Gather(${y}_shape, i1)
  ${y}_b = Unsqueeze(${y}_b0, zero)
  ${y}_l = Unsqueeze(${y}_l0, zero)
  ${y}_to = Concat(${y}_b, ${y}_l, hs, axis=0)
  ${y} = Reshape(${y}_t, ${y}_to)`

const constants = `
  const last: i64[1] = -1
  const zero: i64[1] = 0
  const i0: i64[] = 0
  const i1: i64[] = 1
  const nh: i64[1] = ${heads}
  const hd: i64[1] = ${side}
  const hs: i64[1] = ${hidden}
  const two: f32[] = 2.0
  const three: f32[] = 3.0
  const one: f32[] = 1.0
  const half: f32[] = 0.5
  const tiny: f32[] = 1e-12
  const root2: f32[] = 1.4142135
  const k: f32[] = 0.044715
  const t: f32[] = 0.7978845
  const rootd: f32[] = ${Math.sqrt(side)}
  const low: f32[] = -10000.0
  const lowest: f32[] = -3.4028234e38`

/** How a mask of the tokens reaches the scores: added to them, or by Where. */
export type MaskBy = 'adding' | 'where'

/** BERT: `layers` of attention under a mask and a feed-forward network with Gelu by erf; norms after the sums. */
export function smallBert({ layers = 2, by = 'adding' as MaskBy } = {}): Model {
  let text = `
  input input_ids: i64[batch,sequence]
  input attention_mask: i64[batch,sequence]
  input token_type_ids: i64[batch,sequence]
  ${constants}
  const axes: i64[2] = 1, 2
  const P: f32[64,${hidden}]
  const far: i64[] = 64
  const step: i64[] = 1
  we = Gather(E: f32[${words},${hidden}], input_ids)
  te = Gather(T: f32[2,${hidden}], token_type_ids)
  e1 = Add(we, te)
  ids_shape = Shape(input_ids)
  length = Gather(ids_shape, i1)
  positions = Range(i0, length, step)
  pe = Gather(P, positions)
  e2 = Add(e1, pe)
  ${layerNorm('e2', 'x0')}
  wide = Unsqueeze(attention_mask, axes)
  ${
    by === 'adding'
      ? 'kept = Cast(wide, to=1)\nhid = Sub(one, kept)\nmask = Mul(hid, low)'
      : 'zero64: i64[] = Identity(i0)\nseen = Greater(wide, zero64)'
  }`
  for (let i = 0; i < layers; i++) {
    const [x, p] = [`x${i}`, `l${i}`]
    text += `
  ${dense(x, `${p}q`)}${dense(x, `${p}k`)}${dense(x, `${p}v`)}
  ${split(`${p}q`, `${p}qh`, '0,2,1,3')}${split(`${p}k`, `${p}kh`, '0,2,3,1')}${split(`${p}v`, `${p}vh`, '0,2,1,3')}
  ${p}s = MatMul(${p}qh, ${p}kh)
  ${p}d = Div(${p}s, rootd)
  ${p}m = ${by === 'adding' ? `Add(${p}d, mask)` : `Where(seen, ${p}d, lowest)`}
  ${p}p = Softmax(${p}m, axis=-1)
  ${p}c = MatMul(${p}p, ${p}vh)
  ${merge(`${p}c`, `${p}y`)}${dense(`${p}y`, `${p}o`)}
  ${p}a = Add(${p}o, ${x})
  ${layerNorm(`${p}a`, `${p}n`)}${dense(`${p}n`, `${p}f`, 2 * hidden)}
  ${p}g1 = Div(${p}f, root2)
  ${p}g2 = Erf(${p}g1)
  ${p}g3 = Add(${p}g2, one)
  ${p}g4 = Mul(${p}f, ${p}g3)
  ${p}g = Mul(${p}g4, half)
  ${dense(`${p}g`, `${p}h`, hidden, 2 * hidden)}
  ${p}b = Add(${p}h, ${p}n)
  ${layerNorm(`${p}b`, `x${i + 1}`)}`
  }
  return parse(`${text}\nlast_hidden_state = Identity(x${layers})\noutput last_hidden_state`)
}

/** GPT-2: norms before the layers, causal attention behind keys and values of the past, Gelu by tanh. */
export function smallGpt({ layers = 2 } = {}): Model {
  const past = (p: string, i: number): string => `past_${i}_${p}`
  const present = (p: string, i: number): string => `present_${i}_${p}`
  const all = Array.from({ length: layers }, (_, i) => i)
  let text = `
  input input_ids: i64[batch,sequence]
  input position_ids: i64[batch,sequence]
  input attention_mask: i64[batch,total]
  ${all.flatMap((i) => ['k', 'v'].map((p) => `input ${past(p, i)}: f32[batch,${heads},past,${side}]`)).join('\n')}
  ${constants}
  const axes: i64[2] = 1, 2
  const causal: bool[1,1,64,64] = ${Array.from({ length: 64 * 64 }, (_, i) => (i % 64 <= Math.floor(i / 64) ? 1 : 0)).join(', ')}
  const ax2: i64[1] = 2
  const ax3: i64[1] = 3
  const i2: i64[] = 2
  we = Gather(E: f32[${words},${hidden}], input_ids)
  pe = Gather(P: f32[64,${hidden}], position_ids)
  x0 = Add(we, pe)
  wide = Unsqueeze(attention_mask, axes)
  kept = Cast(wide, to=1)
  hid = Sub(one, kept)
  mask = Mul(hid, lowest)
  ids_shape = Shape(input_ids)
  new0 = Gather(ids_shape, i1)
  past_shape = Shape(${past('k', 0)})
  old0 = Gather(past_shape, i2)
  end0 = Add(new0, old0)
  old = Unsqueeze(old0, zero)
  end = Unsqueeze(end0, zero)
  rows = Slice(causal, old, end, ax2)
  seen = Slice(rows, zero, end, ax3)`
  for (const i of all) {
    const [x, p] = [`x${i}`, `l${i}`]
    text += `
  ${layerNorm(x, `${p}n`)}${dense(`${p}n`, `${p}qkv`, 3 * hidden)}
  ${p}q, ${p}k, ${p}v = Split(${p}qkv, axis=2, num_outputs=3)
  ${split(`${p}q`, `${p}qh`, '0,2,1,3')}${split(`${p}k`, `${p}kh`, '0,2,1,3')}${split(`${p}v`, `${p}vh`, '0,2,1,3')}
  ${present('k', i)}: f32[batch,${heads},total,${side}] = Concat(${past('k', i)}, ${p}kh, axis=-2)
  ${present('v', i)}: f32[batch,${heads},total,${side}] = Concat(${past('v', i)}, ${p}vh, axis=-2)
  ${p}kt = Transpose(${present('k', i)}, perm=[0,1,3,2])
  ${p}s = MatMul(${p}qh, ${p}kt)
  ${p}d = Div(${p}s, rootd)
  ${p}w = Where(seen, ${p}d, lowest)
  ${p}m = Add(${p}w, mask)
  ${p}p = Softmax(${p}m, axis=-1)
  ${p}c = MatMul(${p}p, ${present('v', i)})
  ${merge(`${p}c`, `${p}y`)}${dense(`${p}y`, `${p}o`)}
  ${p}a = Add(${p}o, ${x})
  ${layerNorm(`${p}a`, `${p}z`)}${dense(`${p}z`, `${p}f`, 2 * hidden)}
  ${p}g1 = Pow(${p}f, three)
  ${p}g2 = Mul(${p}g1, k)
  ${p}g3 = Add(${p}f, ${p}g2)
  ${p}g4 = Mul(${p}g3, t)
  ${p}g5 = Tanh(${p}g4)
  ${p}g6 = Add(${p}g5, one)
  ${p}g7 = Mul(${p}f, half)
  ${p}g = Mul(${p}g7, ${p}g6)
  ${dense(`${p}g`, `${p}h`, hidden, 2 * hidden)}
  x${i + 1} = Add(${p}h, ${p}a)`
  }
  const presents = all.flatMap((i) => [present('k', i), present('v', i)])
  return parse(`${text}
  ${layerNorm(`x${layers}`, 'final')}
  logits = MatMul(final, H: f32[${hidden},${words}])
  output logits, ${presents.join(', ')}`)
}

/** Three texts of 3 tokens, the last two padded. */
export const bertFeeds = (): Record<string, Tensor> => ({
  input_ids: tensor('int64', [3, 3], [4, 9, 2, 8, 1, 0, 7, 0, 0]),
  attention_mask: tensor('int64', [3, 3], [1, 1, 1, 1, 1, 0, 1, 0, 0]),
  token_type_ids: tensor('int64', [3, 3], [0, 0, 1, 0, 0, 0, 1, 0, 0])
})

/** Two texts of 3 tokens behind 4 that were, the second padded in front. */
function pastFeeds({ layers = 2, of = heads } = {}): Record<string, Tensor> {
  const random = rng('past')
  const past = (): Tensor =>
    tensor(
      'float32',
      [2, of, 4, side],
      Array.from({ length: 2 * of * 4 * side }, () => random.normal())
    )
  return {
    input_ids: tensor('int64', [2, 3], [4, 9, 2, 8, 1, 3]),
    position_ids: tensor('int64', [2, 3], [4, 5, 6, 3, 4, 5]),
    attention_mask: tensor('int64', [2, 7], [1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1]),
    ...Object.fromEntries(
      Array.from({ length: layers }, (_, i) => ['k', 'v'].map((p) => [`past_${i}_${p}`, past()] as const)).flat()
    )
  }
}

const keyHeads = 2

/** Llama: RMSNorm, rotary positions, groups of heads that share keys and values, SwiGLU, with a past. */
export function smallLlama({ layers = 2 } = {}): Model {
  const all = Array.from({ length: layers }, (_, i) => i)
  const rms = (x: string, y: string): string => `
  ${y}_s = Pow(${x}, two)
  ${y}_v = ReduceMean(${y}_s, last)
  ${y}_w = Add(${y}_v, tiny)
  ${y}_r = Sqrt(${y}_w)
  ${y}_i = Div(one, ${y}_r)
  ${y}_n = Mul(${x}, ${y}_i)
  ${y} = Mul(G_${y}: f32[${hidden}], ${y}_n)`
  const turn = (x: string, y: string): string => `
  ${y}_c = Mul(${x}, cos)
  ${y}_lo = Slice(${x}, zero, mid, ax3)
  ${y}_hi = Slice(${x}, mid, end, ax3)
  ${y}_ng = Neg(${y}_hi)
  ${y}_t = Concat(${y}_ng, ${y}_lo, axis=-1)
  ${y}_q = Mul(${y}_t, sin)
  ${y} = Add(${y}_c, ${y}_q)`
  const repeat = (x: string, y: string): string => `
  ${y}_u = Unsqueeze(${x}, ax2)
  ${y}_e = Tile(${y}_u, times)
  ${y} = Reshape(${y}_e, flat)`
  let text = `
  input input_ids: i64[batch,sequence]
  input position_ids: i64[batch,sequence]
  input attention_mask: i64[batch,total]
  ${all.flatMap((i) => ['k', 'v'].map((p) => `input past_${i}_${p}: f32[batch,${keyHeads},past,${side}]`)).join('\n')}
  ${constants}
  const axes: i64[2] = 1, 2
  const ax2: i64[1] = 2
  const ax3: i64[1] = 3
  const one1: i64[1] = 1
  const mid: i64[1] = ${side / 2}
  const end: i64[1] = 9223372036854775807
  const times: i64[5] = 1, 1, ${heads / keyHeads}, 1, 1
  const flat: i64[4] = 0, ${heads}, -1, ${side}
  const splitQ: i64[4] = 0, 0, ${heads}, ${side}
  const splitK: i64[4] = 0, 0, ${keyHeads}, ${side}
  const join: i64[3] = 0, 0, ${hidden}
  const frequencies: f32[${side / 2}] = ${Array.from({ length: side / 2 }, (_, i) => (10000 ** ((-2 * i) / side)).toFixed(6)).join(', ')}
  x0 = Gather(E: f32[${words},${hidden}], input_ids)
  wide = Unsqueeze(attention_mask, axes)
  kept = Cast(wide, to=1)
  hid = Sub(one, kept)
  mask = Mul(hid, lowest)
  at = Cast(position_ids, to=1)
  at1 = Unsqueeze(at, ax2)
  angle = Mul(at1, frequencies)
  angles = Concat(angle, angle, axis=-1)
  cos0 = Cos(angles)
  sin0 = Sin(angles)
  cos = Unsqueeze(cos0, one1)
  sin = Unsqueeze(sin0, one1)`
  for (const i of all) {
    const [x, p] = [`x${i}`, `l${i}`]
    text += `
  ${rms(x, `${p}n`)}
  ${['q', 'k', 'v']
    .map((h) => {
      const n = h === 'q' ? heads : keyHeads
      return `${p}${h}p = MatMul(${p}n, W_${p}${h}: f32[${hidden},${n * side}])
  ${p}${h}r = Reshape(${p}${h}p, ${h === 'q' ? 'splitQ' : 'splitK'})
  ${p}${h}t = Transpose(${p}${h}r, perm=[0,2,1,3])`
    })
    .join('\n')}
  ${turn(`${p}qt`, `${p}qe`)}${turn(`${p}kt`, `${p}ke`)}
  present_${i}_k: f32[batch,${keyHeads},total,${side}] = Concat(past_${i}_k, ${p}ke, axis=-2)
  present_${i}_v: f32[batch,${keyHeads},total,${side}] = Concat(past_${i}_v, ${p}vt, axis=-2)
  ${repeat(`present_${i}_k`, `${p}ka`)}${repeat(`present_${i}_v`, `${p}va`)}
  ${p}kx = Transpose(${p}ka, perm=[0,1,3,2])
  ${p}s = MatMul(${p}qe, ${p}kx)
  ${p}d = Div(${p}s, rootd)
  ${p}m = Add(${p}d, mask)
  ${p}p = Softmax(${p}m, axis=-1)
  ${p}c = MatMul(${p}p, ${p}va)
  ${p}y1 = Transpose(${p}c, perm=[0,2,1,3])
  ${p}y = Reshape(${p}y1, join)
  ${p}o = MatMul(${p}y, W_${p}o: f32[${hidden},${hidden}])
  ${p}a = Add(${x}, ${p}o)
  ${rms(`${p}a`, `${p}z`)}
  ${p}g = MatMul(${p}z, W_${p}g: f32[${hidden},${2 * hidden}])
  ${p}u = MatMul(${p}z, W_${p}u: f32[${hidden},${2 * hidden}])
  ${p}e = Sigmoid(${p}g)
  ${p}h = Mul(${p}g, ${p}e)
  ${p}i = Mul(${p}h, ${p}u)
  ${p}b = MatMul(${p}i, W_${p}b: f32[${2 * hidden},${hidden}])
  x${i + 1} = Add(${p}a, ${p}b)`
  }
  return parse(`${text}
  ${rms(`x${layers}`, 'final')}
  logits = MatMul(final, H: f32[${hidden},${words}])
  output logits, ${all.flatMap((i) => [`present_${i}_k`, `present_${i}_v`]).join(', ')}`)
}

export const gptFeeds = (): Record<string, Tensor> => pastFeeds()
export const llamaFeeds = (): Record<string, Tensor> => pastFeeds({ of: keyHeads })

/** Small transformers as exporters spell them out, with symbolic sizes. */
import { rng } from '../src/base/random.ts'
import { elementCount, tensor } from '../src/ir/tensor.ts'
import { parse } from '../src/ir/text.ts'
import type { Model, Tensor } from '../src/types.ts'

export const hidden = 32
export const heads = 4
export const side = hidden / heads
export const words = 50

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

export const constants = `
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

/** How keys and values of the past are kept. */
export type Past = 'heads first' | 'keys turned' | 'before heads'

interface Gpt {
  readonly layers?: number
  readonly past?: Past
  /** Each layer cuts the causal mask by the sizes of its own queries and keys. */
  readonly ownSizes?: boolean
}

/** GPT-2: norms before the layers, causal attention behind keys and values of the past, Gelu by tanh. */
export function smallGpt({ layers = 2, past: kept = 'heads first', ownSizes = false }: Gpt = {}): Model {
  const shapes = { k: pastShape(kept, 'k', heads, 'past'), v: pastShape(kept, 'v', heads, 'past') }
  const whole = { k: pastShape(kept, 'k', heads, 'total'), v: pastShape(kept, 'v', heads, 'total') }
  const along = { k: kept === 'before heads' ? 1 : kept === 'keys turned' ? 3 : 2, v: kept === 'before heads' ? 1 : 2 }
  const past = (p: string, i: number): string => `past_${i}_${p}`
  const present = (p: string, i: number): string => `present_${i}_${p}`
  const all = Array.from({ length: layers }, (_, i) => i)
  let text = `
  input input_ids: i64[batch,sequence]
  input position_ids: i64[batch,sequence]
  input attention_mask: i64[batch,total]
  ${all.flatMap((i) => (['k', 'v'] as const).map((p) => `input ${past(p, i)}: f32[${shapes[p]}]`)).join('\n')}
  ${constants}
  const axes: i64[2] = 1, 2
  const causal: bool[1,1,64,64] = ${Array.from({ length: 64 * 64 }, (_, i) => (i % 64 <= Math.floor(i / 64) ? 1 : 0)).join(', ')}
  const ax2: i64[1] = 2
  const ax3: i64[1] = 3
  const three1: i64[1] = 3
  const four1: i64[1] = 4
  const i2: i64[] = ${along.k}
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
  ${split(`${p}q`, `${p}qh`, '0,2,1,3')}
  ${split(`${p}k`, `${p}kh`, kept === 'keys turned' ? '0,2,3,1' : '0,2,1,3')}${split(`${p}v`, `${p}vh`, '0,2,1,3')}
  ${present('k', i)}: f32[${whole.k}] = Concat(${past('k', i)}, ${p}kh${kept === 'before heads' ? '_r' : ''}, axis=${along.k})
  ${present('v', i)}: f32[${whole.v}] = Concat(${past('v', i)}, ${p}vh${kept === 'before heads' ? '_r' : ''}, axis=${along.v})
  ${
    {
      'heads first': `${p}kt = Transpose(${present('k', i)}, perm=[0,1,3,2])\n${p}va = Identity(${present('v', i)})`,
      'keys turned': `${p}kt = Identity(${present('k', i)})\n${p}va = Identity(${present('v', i)})`,
      'before heads': `${p}kt = Transpose(${present('k', i)}, perm=[0,2,3,1])\n${p}va = Transpose(${present('v', i)}, perm=[0,2,1,3])`
    }[kept]
  }
  ${
    ownSizes
      ? `${p}ks = Shape(${p}kt)
  ${p}kn = Slice(${p}ks, three1, four1)
  ${p}qs = Shape(${p}qh)
  ${p}qn = Slice(${p}qs, ax2, three1)
  ${p}from = Sub(${p}kn, ${p}qn)
  ${p}rows = Slice(causal, ${p}from, ${p}kn, ax2)
  ${p}seen = Slice(${p}rows, zero, ${p}kn, ax3)`
      : `${p}seen = Identity(seen)`
  }
  ${p}s = MatMul(${p}qh, ${p}kt)
  ${p}d = Div(${p}s, rootd)
  ${p}w = Where(${p}seen, ${p}d, lowest)
  ${p}m = Add(${p}w, mask)
  ${p}p = Softmax(${p}m, axis=-1)
  ${p}c = MatMul(${p}p, ${p}va)
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

/** The shape of what is kept of `length` tokens. */
function pastShape(kept: Past, of: 'k' | 'v', n: number, length: string): string {
  if (kept === 'before heads') return `batch,${length},${n},${side}`
  return of === 'k' && kept === 'keys turned' ? `batch,${n},${side},${length}` : `batch,${n},${length},${side}`
}

/** Three texts of 3 tokens, the last two padded. */
export const bertFeeds = (): Record<string, Tensor> => ({
  input_ids: tensor('int64', [3, 3], [4, 9, 2, 8, 1, 0, 7, 0, 0]),
  attention_mask: tensor('int64', [3, 3], [1, 1, 1, 1, 1, 0, 1, 0, 0]),
  token_type_ids: tensor('int64', [3, 3], [0, 0, 1, 0, 0, 0, 1, 0, 0])
})

/** Two texts of 3 tokens behind 4 that were, the second padded in front. */
export function pastFeeds({ layers = 2, of = heads, kept = 'heads first' as Past } = {}): Record<string, Tensor> {
  const random = rng('past')
  const past = (p: 'k' | 'v'): Tensor => {
    const shape = pastShape(kept, p, of, '4').replace('batch', '2').split(',').map(Number)
    return tensor(
      'float32',
      shape,
      Array.from({ length: elementCount(shape) }, () => random.normal())
    )
  }
  return {
    input_ids: tensor('int64', [2, 3], [4, 9, 2, 8, 1, 3]),
    position_ids: tensor('int64', [2, 3], [4, 5, 6, 3, 4, 5]),
    attention_mask: tensor('int64', [2, 7], [1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1]),
    ...Object.fromEntries(
      Array.from({ length: layers }, (_, i) =>
        (['k', 'v'] as const).map((p) => [`past_${i}_${p}`, past(p)] as const)
      ).flat()
    )
  }
}

export const gptFeeds = (kept?: Past): Record<string, Tensor> => pastFeeds(kept ? { kept } : {})

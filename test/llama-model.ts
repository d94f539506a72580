/** A small Llama as exporters spell it out, with symbolic sizes. */
import { parse } from '../src/ir/text.ts'
import type { Model, Tensor } from '../src/types.ts'
import { constants, heads, hidden, pastFeeds, side, words } from './transformer-models.ts'

/** What else a mask hides from Llama: positions counted in the graph, or a triangle. */
const laterMask: Readonly<Record<NonNullable<Llama['mask']>, string>> = {
  given: '',
  counted: `
  old_s = Shape(past_0_k)
  old = Gather(old_s, i2)
  new_s = Shape(input_ids)
  new = Gather(new_s, i1)
  last_q = Add(old, new)
  all_s = Shape(attention_mask)
  all_n = Gather(all_s, i1)
  at_q = Range(old, last_q, i1)
  at_k = Range(i0, all_n, i1)
  at_q1 = Unsqueeze(at_q, one1)
  at_k1 = Unsqueeze(at_k, zero)
  later = Greater(at_k1, at_q1)
  later_f = Cast(later, to=1)
  later_m = Mul(later_f, lowest)
  later_4 = Unsqueeze(later_m, front)
  masks = Add(later_4, mask)`,
  triangle: `
  old_s = Shape(past_0_k)
  old = Gather(old_s, i2)
  new_s = Shape(input_ids)
  new = Slice(new_s, one1, ax2)
  all_s = Shape(attention_mask)
  all_n = Slice(all_s, one1, ax2)
  plane = Concat(new, all_n, axis=0)
  full = Expand(lowest, plane)
  behind = Add(old, i1)
  later = Trilu(full, behind, upper=1)
  later_4 = Unsqueeze(later, front)
  masks = Add(later_4, mask)`
}

interface Llama {
  readonly layers?: number
  /** Heads of keys and values. */
  readonly keyHeads?: number
  readonly repeat?: 'Tile' | 'Expand'
  /** Of the tokens that are not there alone, or also of later ones: by counted positions, by Trilu; both cut to the keys. */
  readonly mask?: 'given' | 'counted' | 'triangle'
}

/** Llama: RMSNorm, rotary positions, groups of heads that share keys and values, SwiGLU, with a past. */
export function smallLlama({ layers = 2, keyHeads = 2, repeat: by = 'Tile', mask = 'given' }: Llama = {}): Model {
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
  const repeat = (x: string, y: string): string =>
    keyHeads === heads
      ? `\n  ${y} = Identity(${x})`
      : by === 'Tile'
        ? `
  ${y}_u = Unsqueeze(${x}, ax2)
  ${y}_e = Tile(${y}_u, times)
  ${y} = Reshape(${y}_e, flat)`
        : `
  ${y}_s = Shape(${x})
  ${y}_b = Slice(${y}_s, zero, one1)
  ${y}_n = Slice(${y}_s, ax2, ax3)
  ${y}_to = Concat(${y}_b, kvh, share, ${y}_n, hd, axis=0)
  ${y}_u = Unsqueeze(${x}, ax2)
  ${y}_e = Expand(${y}_u, ${y}_to)
  ${y}_all = Concat(${y}_b, nh, ${y}_n, hd, axis=0)
  ${y} = Reshape(${y}_e, ${y}_all)`
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
  const kvh: i64[1] = ${keyHeads}
  const share: i64[1] = ${heads / keyHeads}
  const i2: i64[] = 2
  const front: i64[2] = 0, 1
  const splitQ: i64[4] = 0, 0, ${heads}, ${side}
  const splitK: i64[4] = 0, 0, ${keyHeads}, ${side}
  const join: i64[3] = 0, 0, ${hidden}
  const frequencies: f32[${side / 2}] = ${Array.from({ length: side / 2 }, (_, i) => (10000 ** ((-2 * i) / side)).toFixed(6)).join(', ')}
  x0 = Gather(E: f32[${words},${hidden}], input_ids)
  wide = Unsqueeze(attention_mask, axes)
  kept = Cast(wide, to=1)
  hid = Sub(one, kept)
  mask = Mul(hid, lowest)
  ${laterMask[mask]}
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
  ${
    mask === 'given'
      ? `${p}mask = Identity(mask)`
      : `${p}ks = Shape(${p}ka)
  ${p}kn = Slice(${p}ks, ax2, ax3)
  ${p}mask = Slice(masks, zero, ${p}kn, ax3)`
  }
  ${p}m = Add(${p}d, ${p}mask)
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

export const llamaFeeds = (keyHeads = 2): Record<string, Tensor> => pastFeeds({ of: keyHeads })

/** Orders of axes, as Transpose's `perm`: new axis i is the old axis order[i]. And constants in another order. */
import { toArray } from '../base/bytes.ts'
import type { Order } from '../ops/types.ts'
import type { Dim, DType, Tensor } from '../types.ts'
import { bitsOf, bytesOf, codes, elementCount, pack, tensorOf, typedValues } from './tensor.ts'

/** Does an order leave every axis where it is? */
export const isIdentity = (order: Order): boolean => order.every((a, i) => a === i)

/** The order that takes it back. */
export const inverse = (order: Order): Order => order.map((_, i) => order.indexOf(i))

/** First one, then the other. */
export const followedBy = (first: Order, second: Order): Order => second.map((a) => first[a] as number)

export const sameOrder = (a: Order | undefined, b: Order | undefined): boolean =>
  a?.length === b?.length && (a ?? []).every((x, i) => x === b?.[i])

/** The order of what is left without some axes. */
export function without(order: Order, axes: readonly number[]): Order {
  const left = order.filter((a) => !axes.includes(a))
  const sorted = [...left].sort((a, b) => a - b)
  return left.map((a) => sorted.indexOf(a))
}

/** Are elements in the same places in memory, as only axes of size 1 pass others? */
export function movesOnlyOnes(order: Order, shape: readonly Dim[]): boolean {
  const long = order.filter((a) => shape[a] !== 1)
  return long.every((a, i) => i === 0 || a > (long[i - 1] as number))
}

/** A constant with its axes in another order; an order longer than its rank puts axes of size 1 before its own. */
export function permuteTensor(t: Tensor, order: Order): Tensor {
  const shape = [...Array<number>(Math.max(0, order.length - t.shape.length)).fill(1), ...t.shape]
  const to = order.map((a) => shape[a] as number)
  if (movesOnlyOnes(order, shape)) return { ...t, shape: to }
  const strides = shape.map((_, i) => elementCount(shape.slice(i + 1)))
  const steps = order.map((a) => strides[a] as number)
  const places = new Uint32Array(elementCount(shape))
  const at = to.map(() => 0)
  let from = 0
  for (let i = 0; i < places.length; i++) {
    places[i] = from
    for (let a = to.length - 1; a >= 0; a--) {
      at[a] = (at[a] as number) + 1
      from += steps[a] as number
      if ((at[a] as number) < (to[a] as number)) break
      from -= (steps[a] as number) * (to[a] as number)
      at[a] = 0
    }
  }
  return gathered(t, to, places)
}

/** A constant with the positions along one axis picked anew: new position i is the old position `places[i]`. */
export function pickAlong(t: Tensor, axis: number, places: ArrayLike<number>): Tensor {
  const inner = elementCount(t.shape.slice(axis + 1))
  const outer = elementCount(t.shape.slice(0, axis))
  const size = t.shape[axis] as number
  const all = new Uint32Array(outer * places.length * inner)
  let n = 0
  for (let o = 0; o < outer; o++)
    for (let p = 0; p < places.length; p++)
      for (let i = 0; i < inner; i++) all[n++] = (o * size + (places[p] as number)) * inner + i
  return gathered(t, t.shape.with(axis, places.length), all)
}

function gathered(t: Tensor, shape: readonly number[], places: Uint32Array): Tensor {
  if (t.strings)
    return { ...t, shape, strings: Array.from(places, (p) => (t.strings as readonly string[])[p] as string) }
  return tensorOf(t.dtype, shape, gatheredBytes(t, places))
}

function gatheredBytes(t: Tensor, places: Uint32Array): Uint8Array {
  const bits = bitsOf(t.dtype as DType)
  if (bits < 8) {
    const all = codes(t)
    return pack(
      Uint8Array.from(places, (p) => all[p] as number),
      bits
    )
  }
  if (bits > 64) {
    const [from, size] = [toArray(t.bytes), bits / 8]
    const out = new Uint8Array(places.length * size)
    for (const [i, p] of places.entries()) out.set(from.subarray(p * size, (p + 1) * size), i * size)
    return out
  }
  const from = typedValues(t) as Float32Array
  const out = new (from.constructor as Float32ArrayConstructor)(places.length)
  for (let i = 0; i < places.length; i++) out[i] = from[places[i] as number] as number
  return bytesOf(out)
}

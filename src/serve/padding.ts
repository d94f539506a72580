/**
 * Requests of different lengths in one run: where a mask says which positions count, inputs are filled up with zeros to a length that
 * many share, and what comes out for the added positions is cut off again.
 */
import { PareError } from '../base/errors.ts'
import { byteLength, elementCount, tensor } from '../ir/tensor.ts'
import type { Tensor } from '../types.ts'
import type { Inputs } from './batching.ts'
import type { Port, Signature } from './types.ts'

/** The symbol of the length that a mask [N, length] has. Throws `E_USAGE` for inputs that are no such mask. */
export function lengthSymbol({ inputs }: Signature, mask: string): string {
  const symbol = inputs.find((p) => p.name === mask)?.shape?.[1]
  if (typeof symbol === 'string' && /^[A-Za-z_]\w*$/.test(symbol)) return symbol
  throw new PareError(
    'E_USAGE',
    `${mask} is no mask of the model: an input [samples, length] whose length is free and named`,
    {
      facts: { inputs: inputs.map((p) => `${p.name} [${(p.shape ?? ['?']).join(', ')}]`).join(', ') }
    }
  )
}

/** 8, 12, 16, 24, 32, 48 …: at most half as long again. */
export function bucket(length: number): number {
  let size = 8
  while (size < length) size = Number.isInteger(Math.log2(size)) ? size * 1.5 : (size / 3) * 4
  return size
}

const axisOf = (ports: readonly Port[], name: string, symbol: string): number =>
  ports.find((p) => p.name === name)?.shape?.indexOf(symbol) ?? -1

/** Inputs filled up to the next shared length, and the length that they had. Throws `E_REQUEST` where they disagree on it. */
export function padded(
  all: Inputs,
  { inputs }: Signature,
  symbol: string
): { readonly inputs: Inputs; readonly length: number } {
  const lengths = new Set([...all].flatMap(([name, t]) => t.shape[axisOf(inputs, name, symbol)] ?? []))
  const [length = 0] = lengths
  if (lengths.size > 1)
    throw new PareError('E_REQUEST', `inputs of lengths ${[...lengths].join(' and ')} do not go together`)
  const to = bucket(length)
  const filled = [...all].map(([name, t]): [string, Tensor] => [name, resized(t, axisOf(inputs, name, symbol), to)])
  return { inputs: new Map(filled), length }
}

/** Outputs without what was added. */
export const cut = (all: Inputs, { outputs }: Signature, symbol: string, length: number): Inputs =>
  new Map([...all].map(([name, t]) => [name, resized(t, axisOf(outputs, name, symbol), length)]))

/** A tensor with `to` positions along an axis: zeros (or empty texts) behind those that there are, or the first of them. */
function resized(t: Tensor, axis: number, to: number): Tensor {
  const from = axis < 0 ? to : (t.shape[axis] as number)
  if (from === to) return t
  const shape = t.shape.map((d, i) => (i === axis ? to : d))
  const outer = elementCount(t.shape.slice(0, axis))
  const inner = elementCount(t.shape.slice(axis + 1))
  const kept = Math.min(from, to)
  if (t.strings) {
    const { strings } = t
    const all = Array<string>(elementCount(shape)).fill('')
    for (let o = 0; o < outer; o++)
      for (let i = 0; i < kept * inner; i++) all[o * to * inner + i] = strings[o * from * inner + i] as string
    return tensor('string', shape, all)
  }
  const row = byteLength(t.dtype, inner)
  const [source, bytes] = [t.bytes as Uint8Array, new Uint8Array(byteLength(t.dtype, elementCount(shape)))]
  for (let o = 0; o < outer; o++) bytes.set(source.subarray(o * from * row, (o * from + kept) * row), o * to * row)
  return { dtype: t.dtype, shape, bytes }
}

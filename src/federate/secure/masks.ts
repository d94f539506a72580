/** Masks: streams of words that two clients have in common and that cancel in the sum, and one of a client's own. */

import { fields, label } from './fields.ts'
import type { SecureCrypto } from './types.ts'

/** Bytes of the key stream at once; a multiple of 16. */
const chunk = 1 << 20

/** sum ← sum ± the words of the key's stream, mod 2^bits. Words of up to 16 bits take two bytes of it, others four. */
export async function addMask(
  crypto: SecureCrypto,
  sum: Uint32Array,
  bits: number,
  key: Uint8Array,
  sign: 1 | -1
): Promise<void> {
  const width = bits <= 16 ? 2 : 4
  const most = 2 ** bits - 1
  const perChunk = chunk / width
  for (let from = 0; from < sum.length; from += perChunk) {
    const count = Math.min(perChunk, sum.length - from)
    const stream = await crypto.keyStream(key, (from * width) / 16, count * width)
    const words = width === 2 ? new Uint16Array(stream.buffer, 0, count) : new Uint32Array(stream.buffer, 0, count)
    for (let i = 0; i < count; i++) {
      const word = words[i] as number
      sum[from + i] = ((sum[from + i] as number) + (sign === 1 ? word : -word)) & most
    }
    stream.fill(0)
  }
}

/** Key of the mask that two clients have in common; the same from either side. */
export async function pairKey(
  crypto: SecureCrypto,
  context: Uint8Array,
  secret: Uint8Array,
  theirs: Uint8Array
): Promise<Uint8Array> {
  const shared = await crypto.agree(secret, theirs)
  const key = await crypto.derive(shared, context, label('mask'), 32)
  shared.fill(0)
  return key
}

/** Key of a client's own mask. */
export const ownKey = (crypto: SecureCrypto, context: Uint8Array, seed: Uint8Array): Promise<Uint8Array> =>
  crypto.derive(seed, context, label('own mask'), 32)

/** By this the server knows that it put a seed together rightly. */
export const seedHash = (crypto: SecureCrypto, context: Uint8Array, seed: Uint8Array): Promise<Uint8Array> =>
  crypto.derive(seed, context, label('hash of the seed'), 32)

/** Key that seals what one client tells another; each direction has its own. */
export async function sealKey(
  crypto: SecureCrypto,
  context: Uint8Array,
  secret: Uint8Array,
  theirs: Uint8Array,
  direction: { readonly from: number; readonly to: number }
): Promise<Uint8Array> {
  const shared = await crypto.agree(secret, theirs)
  const info = fields(label('seal'), [direction.from, 2], [direction.to, 2])
  const key = await crypto.derive(shared, context, info, 32)
  shared.fill(0)
  return key
}

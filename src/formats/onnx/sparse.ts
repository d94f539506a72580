/** What the forms of tensors with zeros share: a mask in bytes, and values stored in their own right. */
import { elementCount, tensor } from '../../ir/tensor.ts'
import type { DType, Tensor } from '../../types.ts'
import { digitTable, oldest } from './digits.ts'
import { type Bits, elementsOf } from './elements.ts'
import { type Builder, type Encoding, type Find, indices, reshape, type Stored } from './expand.ts'
import { palette, storePerTensor } from './palette.ts'

/** How many elements are not +0. */
export function countNonzero(bits: Bits): number {
  let n = 0
  for (let i = 0; i < bits.length; i++) if (bits[i] !== 0) n++
  return n
}

export const zero = (b: Builder, dtype: DType, shape: readonly number[]): string =>
  b.constant(tensor(dtype, shape, Array<number>(elementCount(shape)).fill(0)))

/** A tensor stored as it is. */
export const asIs = (t: Tensor): Stored => ({
  bytes: t.bytes.length,
  nodes: 0,
  opset: oldest,
  build: (b) => b.payload(t)
})

/** Ways to store values that an expansion goes on with: as they are, or by a codebook. */
export function storeValues(t: Tensor): Stored[] {
  const plain = asIs(t)
  const bits = elementsOf(t)
  return typeof bits === 'string' ? [plain] : [plain, ...storePerTensor(t, bits)]
}

export function readValues(find: Find, id: string | undefined): ReturnType<Encoding['read']> {
  if (id === undefined) return undefined
  const data = find.constant(id)
  if (data) return { data, stored: asIs(data) }
  return palette.read(find, id)
}

/** Bits to bytes, the first lowest. */
export function packBits(count: number, isSet: (at: number) => boolean): Uint8Array {
  const out = new Uint8Array(Math.ceil(count / 8))
  for (let i = 0; i < count; i++) if (isSet(i)) out[i >> 3] = (out[i >> 3] as number) | (1 << (i & 7))
  return out
}

/** Where a bit is set, which set bit it is, counted from 1; 0 elsewhere: CumSum(bits)·bits. */
export function ranks(b: Builder, mask: Uint8Array): string {
  const rows = b.node('Gather', [digitTable(b, 2), indices(b, b.payload(tensor('uint8', [mask.length], mask)))])
  const bits = reshape(b, rows, [-1])
  return b.node('Mul', [cumulated(b, bits), bits])
}

/** Where `ranks` has its mask. */
export const maskPath = 'Mul.1/Reshape.0/Gather.1/Cast.0'

export const cumulated = (b: Builder, id: string): string =>
  b.node('CumSum', [id, b.constant(tensor('int32', [], [0]))])

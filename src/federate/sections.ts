/**
 * The numbers of one tensor as bytes, by codec: the body of a message is one section a tensor. A quantized number is
 * code · scale with |code| ≤ L = 2^(bits − 1) − 1 and the scale of its group, at least max |x| / L. At random x / scale becomes
 * ⌊x / scale + u⌋ with u uniform in [0, 1): unbiased, with a variance of at most scale² / 4.
 */
import { concat } from '../base/bytes.ts'
import { PareError } from '../base/errors.ts'
import type { Rng } from '../base/random.ts'
import { bitReader, bitWriter, damaged } from './bits.ts'
import { bits16, from16 } from './scales.ts'
import { countOf, largest, mostRice, readPositions, riceFor, writePositions } from './sparse.ts'
import type { Codec } from './types.ts'

/** Codecs by their byte on the wire. */
const codes = ['float', 'quantize', 'top-k', 'stc'] as const

/** Numbers that share a scale, where nothing else is said. */
const groupOf = (codec: Codec & { readonly codec: 'quantize' }): number => codec.group ?? (codec.bits <= 4 ? 64 : 256)

const valueBits = 8

/** A section. `random`: draws the rounding; absent: to the nearest. Throws `E_DATA` for a number that is not finite. */
export function writeSection(values: Float32Array, codec: Codec, random: Rng | undefined): Uint8Array {
  if (values.length === 0) return new Uint8Array(0)
  if (!values.every(Number.isFinite))
    throw new PareError('E_DATA', 'a number that is not finite cannot be sent', { hint: 'try a lower learning rate' })
  const head = Uint8Array.of(codes.indexOf(codec.codec))
  if (codec.codec === 'float') return concat([head, littleEndian(values)])
  if (codec.codec === 'quantize')
    return concat([head, quantized(values, codec, codec.random === false ? undefined : random)])
  const at = largest(values, countOf(codec.share, values.length))
  return concat([head, codec.codec === 'stc' ? ternary(values, at) : scaled(values, at, random)])
}

/** Reads the section of `size` numbers that begins at `from`. Throws `E_FORMAT` for whatever a writer would not write. */
export function readSection(
  bytes: Uint8Array,
  from: number,
  size: number
): { readonly values: Float32Array; readonly end: number } {
  if (size === 0) return { values: new Float32Array(0), end: from }
  const codec = codes[byteAt(bytes, from)]
  if (codec === undefined) throw damaged('an unknown codec')
  if (codec === 'float') return readFloats(bytes, from + 1, size)
  return codec === 'quantize' ? readQuantized(bytes, from + 1, size) : readSparse(bytes, from + 1, size, codec)
}

/** Bytes that a section of so many numbers can take at most. */
export const mostBytes = (size: number): number => 16 + 8 * size

// ---------------------------------------------------------------- dense

function littleEndian(values: Float32Array): Uint8Array {
  const out = new Uint8Array(4 * values.length)
  const view = new DataView(out.buffer)
  values.forEach((x, i) => void view.setFloat32(4 * i, x, true))
  return out
}

function readFloats(bytes: Uint8Array, from: number, size: number): { values: Float32Array; end: number } {
  const end = from + 4 * size
  if (end > bytes.length) throw damaged('the numbers end too soon')
  const values = new Float32Array(size)
  const view = new DataView(bytes.buffer, bytes.byteOffset + from, 4 * size)
  for (let i = 0; i < size; i++) values[i] = view.getFloat32(4 * i, true)
  if (!values.every(Number.isFinite)) throw damaged('a number is not finite')
  return { values, end }
}

const levelsOf = (bits: number): number => 2 ** (bits - 1) - 1

function quantized(
  values: Float32Array,
  codec: Codec & { readonly codec: 'quantize' },
  random: Rng | undefined
): Uint8Array {
  const { bits } = codec
  const [group, level] = [groupOf(codec), levelsOf(bits)]
  const scales = bitWriter()
  const out = bitWriter()
  for (let from = 0; from < values.length; from += group) {
    const part = values.subarray(from, from + group)
    const scale = scaleFor(part, level)
    scales.write(bits16(scale), 16)
    for (const x of part) out.write(codeOf(x, scale, level, random) + level, bits)
  }
  return concat([Uint8Array.of(bits), varint(group), scales.bytes(), out.bytes()])
}

/** A scale that 16 bits hold and under which the largest number is within the codes. */
function scaleFor(values: Float32Array, level: number): number {
  let most = 0
  for (const x of values) most = Math.max(most, Math.abs(x))
  return from16(bits16(most / level))
}

function codeOf(x: number, scale: number, level: number, random: Rng | undefined): number {
  if (scale === 0) return 0
  const code = random ? Math.floor(x / scale + random.next()) : Math.round(x / scale)
  return Math.max(-level, Math.min(level, code))
}

function readQuantized(bytes: Uint8Array, from: number, size: number): { values: Float32Array; end: number } {
  const bits = byteAt(bytes, from)
  if (bits < 2 || bits > 8) throw damaged(`codes of ${bits} bits`)
  const { value: group, end: start } = readVarint(bytes, from + 1, 2 ** 24)
  if (group === 0) throw damaged('groups of no numbers')
  const count = Math.ceil(size / group)
  const read = bitReader(bytes, start)
  if (start + 2 * count + Math.ceil((bits * size) / 8) > bytes.length) throw damaged('the codes end too soon')
  const scales = Float32Array.from({ length: count }, () => from16(read.read(16)))
  const level = levelsOf(bits)
  const values = new Float32Array(size)
  for (let i = 0; i < size; i++) {
    const code = read.read(bits) - level
    if (code > level) throw damaged('a code that stands for nothing')
    values[i] = code * (scales[Math.floor(i / group)] as number)
  }
  return { values, end: read.end() }
}

// ---------------------------------------------------------------- sparse

/** Signs of the numbers at these positions, and their mean size. */
function ternary(values: Float32Array, at: Uint32Array): Uint8Array {
  let sum = 0
  for (const i of at) sum += Math.abs(values[i] as number)
  const b = riceFor(at, values.length)
  const out = bitWriter()
  writePositions(out, at, b, (n) => out.write((values[at[n] as number] as number) < 0 ? 1 : 0, 1))
  return concat([varint(at.length), two(bits16(sum / at.length)), Uint8Array.of(b), out.bytes()])
}

function scaled(values: Float32Array, at: Uint32Array, random: Rng | undefined): Uint8Array {
  const level = levelsOf(valueBits)
  const scale = scaleFor(
    Float32Array.from(at, (i) => values[i] as number),
    level
  )
  const b = riceFor(at, values.length)
  const out = bitWriter()
  writePositions(out, at, b, (n) =>
    out.write(codeOf(values[at[n] as number] as number, scale, level, random) + level, valueBits)
  )
  return concat([varint(at.length), two(bits16(scale)), Uint8Array.of(b), out.bytes()])
}

function readSparse(
  bytes: Uint8Array,
  from: number,
  size: number,
  codec: 'top-k' | 'stc'
): { values: Float32Array; end: number } {
  const { value: count, end: start } = readVarint(bytes, from, size)
  const scale = from16(byteAt(bytes, start) | (byteAt(bytes, start + 1) << 8))
  const b = byteAt(bytes, start + 2)
  if (b > mostRice) throw damaged(`a Rice parameter of ${b}`)
  const bits = bitReader(bytes, start + 3)
  const values = new Float32Array(size)
  const level = levelsOf(valueBits)
  readPositions(bits, { count, size, b }, (i) => {
    const code = codec === 'stc' ? 1 - 2 * bits.read(1) : bits.read(valueBits) - level
    if (code > level) throw damaged('a code that stands for nothing')
    values[i] = code * scale
  })
  return { values, end: bits.end() }
}

// ---------------------------------------------------------------- bytes

const two = (x: number): Uint8Array => Uint8Array.of(x & 255, x >>> 8)

/** Seven bits a byte, the lowest first; the highest bit says that more follow. */
export function varint(value: number): Uint8Array {
  const out: number[] = []
  let rest = value
  while (rest >= 128) {
    out.push((rest % 128) + 128)
    rest = Math.floor(rest / 128)
  }
  return Uint8Array.from([...out, rest])
}

export function readVarint(
  bytes: Uint8Array,
  from: number,
  most: number
): { readonly value: number; readonly end: number } {
  let [value, at, factor] = [0, from, 1]
  for (;;) {
    const byte = byteAt(bytes, at++)
    value += (byte & 127) * factor
    if (byte < 128) break
    factor *= 128
    if (at - from > 6) throw damaged('a count of too many bytes')
  }
  if (value > most) throw damaged(`a count of ${value}, at most ${most} are possible`)
  return { value, end: at }
}

function byteAt(bytes: Uint8Array, at: number): number {
  const byte = bytes[at]
  if (byte === undefined) throw damaged('the message ends too soon')
  return byte
}

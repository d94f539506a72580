/** Messages: header, one section a tensor, eight bytes of a hash. docs/federated.md has them byte by byte. */
import { deflateSync } from 'fflate'
import { concat, equalBytes } from '../base/bytes.ts'
import { assert, PareError } from '../base/errors.ts'
import { inflate } from '../base/inflate.ts'
import type { Rng } from '../base/random.ts'
import { damaged } from './bits.ts'
import { sha256 } from './manifest.ts'
import { mostBytes, readSection, readVarint, varint, writeSection } from './sections.ts'
import type { Codec, Header, Manifest, Message, Part } from './types.ts'

const magic = Uint8Array.of(0x50, 0x46, 0x45, 0x44)
const version = 1
const kinds = ['model', 'update', 'scores'] as const
const flags = { deflated: 1, support: 2, mask: 4, difference: 8 } as const

/** Bytes before the body, and behind it. */
export const headerBytes = 72
export const trailerBytes = 8

/** What is to be sent. */
export interface Outgoing {
  readonly header: Header
  readonly manifest: Manifest
  readonly values: Float32Array
  readonly codec: Codec
  /** Draws the rounding of codes; absent: to the nearest. */
  readonly random?: Rng | undefined
  /** Of a model: 1 where it may differ from zero. */
  readonly support?: Uint8Array | undefined
  /** Of a model: the numbers are the difference to the model of the last message. */
  readonly isDifference?: boolean
  /** Of a model: where updates are to hold numbers. Of an update: what the model message said, mask or else support. */
  readonly mask?: Uint8Array | undefined
}

/** What is known before a message is read. */
export interface Expected {
  readonly manifest: Manifest
  readonly kind: Header['kind']
  /** Of an update: the mask, or else the support, of the model message that it answers. */
  readonly mask?: Uint8Array | undefined
  readonly run?: Uint8Array
  readonly round?: number
  readonly base?: Uint8Array
}

/** A message as bytes. Throws `E_DATA` for numbers that are not finite. */
export async function encodeMessage(o: Outgoing): Promise<Uint8Array> {
  const { header, manifest, support, mask } = o
  const isModel = header.kind === 'model'
  const where = isModel ? support : mask
  const sections = manifest.parts.map((p) =>
    writeSection(taken(o.values, p, where), p.role === 'statistic' ? { codec: 'float' } : o.codec, o.random)
  )
  const bitmaps = isModel ? [support, mask].flatMap((m) => (m ? [packed(m)] : [])) : []
  const plain = concat([...bitmaps, ...sections])
  const small = concat([varint(plain.length), deflateSync(plain, { level: 6 })])
  const isSmaller = small.length < plain.length
  const set =
    (isSmaller ? flags.deflated : 0) +
    (isModel && support ? flags.support : 0) +
    (isModel && mask ? flags.mask : 0) +
    (isModel && o.isDifference ? flags.difference : 0)
  const all = concat([headOf(header, set), isSmaller ? small : plain])
  return concat([all, (await sha256(all)).subarray(0, trailerBytes)])
}

function headOf(h: Header, set: number): Uint8Array {
  assert(h.run.length === 16 && h.base.length === 32 && h.nonce.length === 8, 'lengths of run, base and nonce')
  const out = new Uint8Array(headerBytes)
  const view = new DataView(out.buffer)
  out.set(magic)
  out.set([version, kinds.indexOf(h.kind)], 4)
  view.setUint16(6, set, true)
  out.set(h.run, 8)
  view.setUint32(24, h.round, true)
  out.set(h.base, 28)
  out.set(h.nonce, 60)
  view.setUint32(68, h.weight, true)
  return out
}

/** The header alone, of bytes that nobody vouches for. Throws `E_FORMAT`. */
export function readHeader(bytes: Uint8Array): Header & { readonly flags: number } {
  if (bytes.length < headerBytes + trailerBytes || !equalBytes(bytes.subarray(0, 4), magic))
    throw damaged('not a message of a federation')
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes[4] !== version)
    throw new PareError('E_UNSUPPORTED', `a message of version ${bytes[4]}, this is for version ${version}`)
  const kind = kinds[bytes[5] as number]
  if (!kind) throw damaged('a message of an unknown kind')
  const set = view.getUint16(6, true)
  if (set > (kind === 'model' ? 15 : 1)) throw damaged('unknown flags are set')
  const weight = view.getUint32(68, true)
  if (kind === 'model' ? weight !== 0 : weight < 1 || weight > mostWeight) throw damaged(`a weight of ${weight}`)
  return {
    ...{ kind, flags: set, weight },
    run: bytes.slice(8, 24),
    round: view.getUint32(24, true),
    base: bytes.slice(28, 60),
    nonce: bytes.slice(60, 68)
  }
}

/** Samples that one update may stand for. */
export const mostWeight = 65_535

/** Reads a message. Throws `E_FORMAT` for whatever `encodeMessage` would not write, and for one of another run, round or base. */
export async function decodeMessage(bytes: Uint8Array, expected: Expected): Promise<Message> {
  const { manifest, kind } = expected
  const { flags: set, ...header } = readHeader(bytes)
  if (header.kind !== kind) throw damaged(`a message of kind ${header.kind} in place of ${kind}`)
  refuseOther(header, expected)
  const end = bytes.length - trailerBytes
  const hash = (await sha256(bytes.subarray(0, end))).subarray(0, trailerBytes)
  if (!equalBytes(bytes.subarray(end), hash)) throw damaged('the hash at the end does not fit')
  const body = bodyOf(bytes.subarray(headerBytes, end), (set & flags.deflated) > 0, manifest)
  const bitmap = Math.ceil(manifest.size / 8)
  let at = 0
  const next = (flag: number): Uint8Array | undefined => {
    if ((set & flag) === 0) return undefined
    at += bitmap
    return unpacked(body.subarray(at - bitmap, at), manifest.size)
  }
  const [support, mask] = [next(flags.support), next(flags.mask)]
  const where = kind === 'model' ? support : expected.mask
  const values = new Float32Array(manifest.size)
  for (const p of manifest.parts) {
    const section = readSection(body, at, countIn(p, where))
    put(values, p, where, section.values)
    at = section.end
  }
  if (at !== body.length) throw damaged('bytes behind the last tensor')
  const isDifference = (set & flags.difference) > 0
  return {
    ...{ header, values },
    ...(isDifference ? { isDifference } : {}),
    ...(support ? { support } : {}),
    ...(mask ? { mask } : {})
  }
}

function refuseOther(h: Header, { run, round, base }: Expected): void {
  if (run && !equalBytes(run, h.run)) throw damaged('a message of another run')
  if (round !== undefined && round !== h.round) throw damaged(`a message of round ${h.round} in round ${round}`)
  if (base && !equalBytes(base, h.base)) throw damaged('a message on another model')
}

function bodyOf(bytes: Uint8Array, isDeflated: boolean, { parts, size }: Manifest): Uint8Array {
  if (!isDeflated) return bytes
  const most = parts.reduce((n, p) => n + mostBytes(p.size), 2 * Math.ceil(size / 8))
  const { value, end } = readVarint(bytes, 0, most)
  try {
    return inflate(bytes.subarray(end), { size: value, where: 'a message of a federation' })
  } catch (cause) {
    throw new PareError('E_FORMAT', 'the deflated body is damaged', { where: 'a message of a federation', cause })
  }
}

// ---------------------------------------------------------------- parts of a vector

const countIn = (p: Part, where: Uint8Array | undefined): number => {
  if (!where || p.role === 'statistic') return p.size
  let n = 0
  for (let i = p.offset; i < p.offset + p.size; i++) n += where[i] as number
  return n
}

/** The numbers of a part that are sent. */
function taken(values: Float32Array, p: Part, where: Uint8Array | undefined): Float32Array {
  const all = values.subarray(p.offset, p.offset + p.size)
  return where && p.role === 'weight' ? all.filter((_, i) => where[p.offset + i] === 1) : all
}

function put(values: Float32Array, p: Part, where: Uint8Array | undefined, numbers: Float32Array): void {
  if (!where || p.role === 'statistic') {
    values.set(numbers, p.offset)
    return
  }
  let n = 0
  for (let i = p.offset; i < p.offset + p.size; i++) if (where[i] === 1) values[i] = numbers[n++] as number
}

function packed(bits: Uint8Array): Uint8Array {
  const out = new Uint8Array(Math.ceil(bits.length / 8))
  bits.forEach((bit, i) => {
    if (bit === 1) out[i >>> 3] = (out[i >>> 3] as number) | (1 << (i & 7))
  })
  return out
}

function unpacked(bytes: Uint8Array, size: number): Uint8Array {
  if (bytes.length < Math.ceil(size / 8)) throw damaged('the message ends too soon')
  if ((size & 7) !== 0 && (bytes[size >>> 3] as number) >>> (size & 7) !== 0)
    throw damaged('bits behind the last one are set')
  return Uint8Array.from({ length: size }, (_, i) => ((bytes[i >>> 3] as number) >>> (i & 7)) & 1)
}

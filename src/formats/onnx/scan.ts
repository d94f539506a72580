/**
 * A look over a model's protobuf bytes before they are decoded. It checks every length, depth and count against what
 * is there, leaves out what Pare does not carry, and cuts out large weights: what remains (the skeleton) is small,
 * and the weights stay where they are, in memory or on disk. A cut tensor names its place in `segment`, a field that
 * no producer uses. Field numbers: onnx.proto of ONNX 1.20.
 */
import { concat } from '../../base/bytes.ts'
import { PareError } from '../../base/errors.ts'
import type { Bytes } from '../../types.ts'

/** Weights above this many bytes are left where they are. */
const cutBytes = 64 * 1024

/** Bounds on what a hostile file can make the decoder allocate; far above what real models hold. */
const limits = { depth: 100, messages: 2_000_000, fields: 16_000_000, wideBytes: 32e6, narrowBytes: 256e6 }

type Kind = keyof typeof layouts

/** Which fields of a message are messages themselves; `drop`: not carried, with a word for them. Other fields are copied as they are. */
interface Layout {
  readonly children: Readonly<Record<number, string>>
  readonly drop?: Readonly<Record<number, string>>
}

const notes = 'documentation of attributes and tensors'
const [facts, devices] = ['metadata of tensors', 'device configurations']

const layouts = {
  model: {
    children: { 7: 'graph', 8: 'leaf', 14: 'leaf', 25: 'function' },
    drop: { 20: 'training information', 26: devices }
  },
  graph: {
    children: { 1: 'node', 5: 'tensor', 11: 'value', 12: 'value', 13: 'value', 15: 'sparse', 16: 'leaf' },
    drop: { 14: 'quantization annotations' }
  },
  function: { children: { 7: 'node', 9: 'leaf', 11: 'attribute', 12: 'value', 14: 'leaf' } },
  node: { children: { 5: 'attribute', 9: 'leaf' }, drop: { 10: devices } },
  attribute: {
    children: {
      5: 'tensor',
      6: 'graph',
      10: 'tensor',
      11: 'graph',
      14: 'type',
      15: 'type',
      22: 'sparse',
      23: 'sparse'
    },
    drop: { 13: notes }
  },
  sparse: { children: { 1: 'tensor', 2: 'tensor' } },
  tensor: { children: { 13: 'leaf' }, drop: { 12: notes, 16: facts } },
  value: { children: { 2: 'type', 4: 'leaf' } },
  type: { children: { 1: 'tensorType', 4: 'elementType', 5: 'mapType', 8: 'tensorType', 9: 'elementType' } },
  elementType: { children: { 1: 'type' } },
  mapType: { children: { 2: 'type' } },
  tensorType: { children: { 2: 'shape' } },
  shape: { children: { 1: 'leaf' } },
  leaf: { children: {} }
} satisfies Record<string, Layout>

const tensorField = { segment: 3, float: 4, int32: 5, int64: 7, raw: 9, double: 10, uint64: 11 } as const

/** What is left of a model's bytes. */
export interface Skeleton {
  readonly skeleton: Uint8Array
  /** How often what was left out stood there. */
  readonly dropped: ReadonlyMap<string, number>
}

/** The bytes of a model with large weights cut out. Throws `E_FORMAT` or `E_LIMIT`. */
export function skeletonOf(bytes: Bytes): Skeleton {
  const scanner = new Scanner(bytes)
  const made = scanner.message('model', 0, bytes.length, 0)
  return { skeleton: made ? concat(made) : scanner.copy(0, bytes.length), dropped: scanner.dropped }
}

/** Could these first bytes of a file be a model? Walks the fields as far as the bytes reach. */
export function looksLikeModel(head: Uint8Array): boolean {
  const varints = [1, 5]
  const delimited = [2, 3, 4, 6, 7, 8, 14, 20, 25, 26]
  let at = 0
  for (let seen = 0; at < head.length; seen++) {
    const tag = head[at] as number
    const next = head[at + 1]
    const field = tag < 128 ? tag >> 3 : ((tag & 127) >> 3) | ((next ?? 0) << 4)
    at += tag < 128 ? 1 : 2
    if (varints.includes(field) && (tag & 7) === 0) {
      while ((head[at] ?? 0) >= 128) at++
      at++
    } else if (delimited.includes(field) && (tag & 7) === 2) {
      let length = 0
      let scale = 1
      while ((head[at] ?? 0) >= 128 && scale < 2 ** 35) {
        length += ((head[at++] as number) & 127) * scale
        scale *= 128
      }
      length += (head[at++] ?? 0) * scale
      at += length
      if (field === 7) return true
    } else return false
    if (seen > 200) return true
  }
  return at > 0
}

const windowBytes = 64 * 1024

class Scanner {
  readonly dropped = new Map<string, number>()
  private readonly bytes: Bytes
  private window: Uint8Array
  private start = 0
  private at = 0
  private messages = 0
  private fields = 0
  private wide = 0
  private narrow = 0

  constructor(bytes: Bytes) {
    this.bytes = bytes
    this.window = bytes instanceof Uint8Array ? bytes : new Uint8Array(0)
  }

  copy(from: number, to: number): Uint8Array {
    return this.bytes instanceof Uint8Array ? this.bytes.subarray(from, to) : this.bytes.slice(from, to)
  }

  /** Walks one message. Returns its new bytes in order; `undefined` when it can stay as it is. */
  message(kind: Kind, from: number, to: number, depth: number): readonly Uint8Array[] | undefined {
    if (depth > limits.depth) throw limit(`messages nested more than ${limits.depth} deep`)
    if (++this.messages > limits.messages) throw limit(`more than ${limits.messages} messages`)
    const out: Uint8Array[] = []
    let kept = from
    this.at = from
    while (this.at < to) {
      const begin = this.at
      const made = this.field(kind, to, depth)
      if (!made) continue
      const end = this.at
      if (begin > kept) out.push(this.copy(kept, begin))
      for (const part of made) out.push(part)
      kept = end
    }
    if (kept === from) return undefined
    if (to > kept) out.push(this.copy(kept, to))
    return out
  }

  /** Walks one field and stands behind it. Returns what takes its place, `undefined` when it can stay. */
  private field(kind: Kind, limitAt: number, depth: number): readonly Uint8Array[] | undefined {
    if (++this.fields > limits.fields) throw limit(`more than ${limits.fields} fields`)
    const tag = this.varint(limitAt)
    const [field, wire] = [Math.floor(tag / 8), tag % 8]
    if (field === 0) throw malformed('a field of number 0')
    const layout: Layout = layouts[kind]
    if (kind === 'tensor' && field === tensorField.segment)
      throw new PareError('E_UNSUPPORTED', 'a tensor stored in segments')
    let made: readonly Uint8Array[] | undefined
    if (wire === 2) {
      const size = this.varint(limitAt)
      const [from, to] = [this.at, this.at + size]
      if (to > limitAt) throw malformed(`a field of ${size} bytes where ${limitAt - from} are left`)
      const child = layout.children[field]
      const what = layout.drop?.[field]
      if (what !== undefined) {
        if (size > 0) this.dropped.set(what, (this.dropped.get(what) ?? 0) + 1)
        made = []
      } else if (child) {
        const parts = this.message(child as Kind, from, to, depth + 1)
        made = parts && [prefix(field, total(parts)), ...parts]
      } else made = this.data(kind, field, from, to)
      this.at = to
    } else if (wire === 0) this.skipVarint(limitAt)
    else if (wire === 5 || wire === 1) this.at += wire === 5 ? 4 : 8
    else throw malformed(`a field of wire type ${wire}`)
    if (this.at > limitAt) throw malformed('a field that is cut off')
    return made
  }

  /** Packed data of a tensor or attribute: of large weights only the place stays. */
  private data(kind: Kind, field: number, from: number, to: number): readonly Uint8Array[] | undefined {
    const size = to - from
    if (kind === 'attribute' && field === 8) this.wide += size
    if (kind === 'tensor' && (field === tensorField.int64 || field === tensorField.uint64)) this.wide += size
    if (kind === 'tensor' && field === tensorField.int32) this.narrow += size
    if (this.wide > limits.wideBytes || this.narrow > limits.narrowBytes)
      throw limit('more integers spelled one by one than Pare reads')
    if (kind !== 'tensor') return undefined
    const canCut = field === tensorField.raw || field === tensorField.float || field === tensorField.double
    if (!canCut || size <= cutBytes) return undefined
    const place = [0x08, ...varintBytes(from), 0x10, ...varintBytes(to)]
    return [prefix(tensorField.segment, place.length), Uint8Array.from(place)]
  }

  private byte(): number {
    const i = this.at++ - this.start
    if (i >= 0 && i < this.window.length) return this.window[i] as number
    this.start = this.at - 1
    this.window = this.bytes.slice(this.start, Math.min(this.bytes.length, this.start + windowBytes))
    if (this.window.length === 0) throw malformed('a field that is cut off')
    return this.window[0] as number
  }

  /** A tag or length: at most 2^53. */
  private varint(limitAt: number): number {
    let value = 0
    let scale = 1
    for (let i = 0; i < 7; i++) {
      if (this.at >= limitAt) throw malformed('a field that is cut off')
      const b = this.byte()
      value += (b & 127) * scale
      if (b < 128) return value
      scale *= 128
    }
    throw malformed('a length that no file has')
  }

  private skipVarint(limitAt: number): void {
    for (let i = 0; i < 10; i++) {
      if (this.at >= limitAt) throw malformed('a field that is cut off')
      if (this.byte() < 128) return
    }
    throw malformed('a number of more than 64 bits')
  }
}

/** Protobuf's variable-length spelling of a whole number up to 2^53. */
function varintBytes(value: number): number[] {
  const out: number[] = []
  let rest = value
  for (; rest >= 128; rest = Math.floor(rest / 128)) out.push((rest % 128) + 128)
  return [...out, rest]
}

/** Tag and length before a length-delimited field. */
export function prefix(field: number, length: number): Uint8Array {
  return Uint8Array.from([...varintBytes(field * 8 + 2), ...varintBytes(length)])
}

/** Length of parts together. */
export const total = (parts: readonly Bytes[]): number => parts.reduce((n, p) => n + p.length, 0)

const malformed = (what: string): PareError =>
  new PareError('E_FORMAT', `not a whole ONNX model: ${what}`, { hint: 'is the file cut off, or of another kind?' })

const limit = (what: string): PareError =>
  new PareError('E_LIMIT', `this ONNX model is beyond what Pare reads: ${what}`)

/**
 * A flatbuffer → plain objects, by the table of the schema. No byte is trusted: every offset, length and count is checked against
 * the file. Tables and vectors that are pointed at twice are decoded once, and no more elements are decoded than the file has
 * bytes, so that memory and time are bounded by its length. Format: https://flatbuffers.dev/internals/
 */
import { part, toArray } from '../../base/bytes.ts'
import { PareError } from '../../base/errors.ts'
import type { Bytes } from '../../types.ts'
import type { FlatModel } from './model.ts'
import { type Field, fieldsOf, type Kind, type Scalar, sizes } from './schema.ts'

type Fields = Record<string, unknown>

/** Offsets of a flatbuffer have 31 bits; what lies behind is reached by `Buffer.offset`. */
const maxFlatbuffer = 2 ** 31 - 1

const identifier = 'TFL3'

/** Do these first bytes say that they are a TensorFlow Lite file? */
export const looksLikeFlatModel = (head: Uint8Array): boolean =>
  Array.from(identifier).every((c, i) => head[4 + i] === c.charCodeAt(0))

/** Reads a file. Byte vectors, weights among them, stay where they are. Throws `E_FORMAT` for a file that contradicts itself. */
export function decode(file: Bytes): FlatModel {
  const bytes = toArray(file.length <= maxFlatbuffer ? file : part(file, 0, maxFlatbuffer))
  if (bytes.length < 8 || !looksLikeFlatModel(bytes)) throw wrong(`its first bytes do not say ${identifier}`)
  const model = new Decoder(bytes, file).table(new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true), 'Model')
  const version = model['version']
  if (version !== 3)
    throw new PareError('E_UNSUPPORTED', `a TensorFlow Lite file of schema version ${version}`, {
      hint: 'version 3 is read'
    })
  return model as FlatModel
}

const wrong = (what: string): PareError =>
  new PareError('E_FORMAT', `not a whole TensorFlow Lite file: ${what}`, {
    hint: 'fetch or convert the file again'
  })

class Decoder {
  private readonly view: DataView
  private readonly length: number
  private readonly file: Bytes
  private readonly seen = new Map<string, unknown>()
  private left: number

  constructor(bytes: Uint8Array, file: Bytes) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.length = bytes.length
    this.left = bytes.length
    this.file = file
  }

  table(at: number, name: string): Fields {
    return this.once(`${name} ${at}`, 1, () => {
      const slots = this.vtable(at, name)
      const out: Fields = {}
      for (const field of fieldsOf(name)) {
        const value = this.field(field, at, slots, name)
        if (value !== undefined) out[field.name] = value
      }
      return name === 'Buffer' ? this.outside(out) : name === 'Operator' ? this.largeOptions(out) : out
    })
  }

  /** Byte offsets of a table's fields from its start, by slot; 0 or absent where it does not have the field. */
  private vtable(at: number, name: string): (slot: number) => number {
    this.inside(at, 4, name)
    const start = at - this.view.getInt32(at, true)
    this.inside(start, 4, name)
    const bytes = this.view.getUint16(start, true)
    if (bytes < 4 || bytes % 2 !== 0) throw wrong(`the field list of a ${name} at byte ${at} has ${bytes} bytes`)
    this.inside(start, bytes, name)
    return (slot) => (4 + 2 * slot < bytes ? this.view.getUint16(start + 4 + 2 * slot, true) : 0)
  }

  private field(field: Field, at: number, slots: (slot: number) => number, table: string): unknown {
    const { kind, slot, vector, absent } = field
    const where = `${table}.${field.name}`
    const offset = slots(slot)
    if (kind.is === 'scalar' && !vector) return this.scalar(kind, offset === 0 ? undefined : at + offset, absent, where)
    if (kind.is === 'union') {
      const value = slots(slot + 1)
      return offset === 0 || value === 0 ? undefined : this.union(kind.tables, at + offset, at + value, where)
    }
    if (offset === 0) return undefined
    const to = this.follow(at + offset, where)
    if (vector) return this.vector(kind, to, where)
    return kind.is === 'string' ? this.text(to, where) : kind.is === 'table' ? this.table(to, kind.table) : undefined
  }

  /** A table of the union, or nothing where its code is newer than the schema. */
  private union(tables: readonly string[], code: number, value: number, where: string): Fields | undefined {
    this.inside(code, 1, where)
    const table = tables[this.view.getUint8(code) - 1]
    return table === undefined ? undefined : { table, ...this.table(this.follow(value, where), table) }
  }

  private vector(kind: Kind, at: number, where: string): unknown {
    this.inside(at, 4, where)
    const count = this.view.getUint32(at, true)
    const size = kind.is === 'scalar' ? sizes[kind.scalar] : 4
    this.inside(at + 4, count * size, where)
    if (kind.is === 'scalar' && kind.scalar === 'ubyte') return part(this.file, at + 4, at + 4 + count)
    return this.once(`${where} ${at}`, count, () =>
      Array.from({ length: count }, (_, i) => {
        const from = at + 4 + i * size
        if (kind.is === 'scalar') return this.scalar(kind, from, 0, where)
        const to = this.follow(from, where)
        return kind.is === 'table' ? this.table(to, kind.table) : this.text(to, where)
      })
    )
  }

  private scalar(
    { scalar, names }: { readonly scalar: Scalar; readonly names?: readonly string[] },
    at: number | undefined,
    absent: number,
    where: string
  ): number | string | boolean {
    if (at !== undefined) this.inside(at, sizes[scalar], where)
    const value = at === undefined ? absent : this.number(scalar, at, where)
    return scalar === 'bool' ? value !== 0 : (names?.[value] ?? value)
  }

  private number(scalar: Scalar, at: number, where: string): number {
    const view = this.view
    switch (scalar) {
      case 'byte':
        return view.getInt8(at)
      case 'short':
        return view.getInt16(at, true)
      case 'ushort':
        return view.getUint16(at, true)
      case 'int':
        return view.getInt32(at, true)
      case 'uint':
        return view.getUint32(at, true)
      case 'float':
        return view.getFloat32(at, true)
      case 'long':
      case 'ulong': {
        const value = Number(scalar === 'long' ? view.getBigInt64(at, true) : view.getBigUint64(at, true))
        if (!Number.isSafeInteger(value)) throw wrong(`${where} at byte ${at} is beyond 2^53`)
        return value
      }
      default:
        return view.getUint8(at)
    }
  }

  private text(at: number, where: string): string {
    this.inside(at, 4, where)
    const count = this.view.getUint32(at, true)
    this.inside(at + 4, count, where)
    return this.once(`text ${at}`, count, () =>
      new TextDecoder().decode(new Uint8Array(this.view.buffer, this.view.byteOffset + at + 4, count))
    )
  }

  private follow(at: number, where: string): number {
    this.inside(at, 4, where)
    return at + this.view.getUint32(at, true)
  }

  private inside(at: number, count: number, where: string): void {
    if (at < 0 || at + count > this.length)
      throw wrong(`${where} takes ${count} bytes at byte ${at}, and the file has ${this.length}`)
  }

  private once<T>(key: string, cost: number, make: () => T): T {
    const known = this.seen.get(key)
    if (known !== undefined) return known as T
    this.left -= cost
    if (this.left < 0) throw wrong(`its tables overlap: they would have more elements than the file has bytes`)
    const made = make()
    this.seen.set(key, made)
    return made
  }

  /** Weights of large files lie behind the flatbuffer. */
  private outside({ data, offset, size }: Fields): Fields {
    const far = this.behind(offset as number, size as number, 'Buffer.offset') ?? data
    return far === undefined ? {} : { data: far }
  }

  private largeOptions({ large_custom_options_offset, large_custom_options_size, ...rest }: Fields): Fields {
    const [offset, size] = [large_custom_options_offset as number, large_custom_options_size as number]
    const far = this.behind(offset, size, 'Operator.large_custom_options_offset')
    return far ? { ...rest, custom_options: far } : rest
  }

  private behind(offset: number, size: number, where: string): Bytes | undefined {
    if (offset <= 1) return undefined
    if (offset + size > this.file.length)
      throw wrong(`${where} names ${size} bytes at byte ${offset}, and the file has ${this.file.length}`)
    return part(this.file, offset, offset + size)
  }
}

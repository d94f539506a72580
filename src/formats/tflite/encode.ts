/** Plain objects → a flatbuffer, by the table of the schema; `decode` the other way round. */
import { Builder } from 'flatbuffers'
import { toArray } from '../../base/bytes.ts'
import { assert } from '../../base/errors.ts'
import type { Bytes } from '../../types.ts'
import type { FlatModel } from './model.ts'
import { type Field, fieldsOf, type Kind, type Scalar, sizes, slotsOf } from './schema.ts'

type Fields = Readonly<Record<string, unknown>>

/** Beyond this the weights go behind the flatbuffer, whose offsets have 31 bits. */
const maxInside = 2 ** 31 - 2 ** 24
/** What lies behind the flatbuffer begins at multiples of this. */
const alignment = 16

/**
 * The file's content in order. `outside` puts the content of buffers behind the flatbuffer, without copying it; by default only
 * where the file would be too large otherwise. Objects that are shared are written once. The same model gives the same bytes.
 */
export function encode(model: FlatModel, { outside }: { readonly outside?: boolean } = {}): readonly Bytes[] {
  const weights = (model.buffers ?? []).reduce((n, b) => n + (b.data?.length ?? 0), 0)
  return (outside ?? weights > maxInside) ? behind(model) : [new Encoder().file(model)]
}

/** Offsets are fields of fixed width, so that the flatbuffer's length does not depend on them. */
function behind(model: FlatModel): readonly Bytes[] {
  const placed = (start: number): { readonly buffers: readonly Fields[]; readonly parts: readonly Bytes[] } => {
    let at = start
    const parts: Bytes[] = []
    const buffers = (model.buffers ?? []).map(({ data }) => {
      if (!data || data.length === 0) return {}
      const gap = -at & (alignment - 1)
      if (gap > 0) parts.push(new Uint8Array(gap))
      const buffer = { offset: at + gap, size: data.length }
      parts.push(data)
      at = buffer.offset + data.length
      return buffer
    })
    return { buffers, parts }
  }
  const { length } = new Encoder().file({ ...model, buffers: placed(alignment).buffers })
  const { buffers, parts } = placed(length)
  return [new Encoder().file({ ...model, buffers }), ...parts]
}

class Encoder {
  private readonly b = new Builder(1 << 16)
  private readonly written = new Map<object, number>()

  file(model: FlatModel | Fields): Uint8Array {
    const root = this.table(model as Fields, 'Model')
    this.b.finish(root, 'TFL3')
    return this.b.asUint8Array()
  }

  private table(fields: Fields, name: string): number {
    const known = this.written.get(fields)
    if (known !== undefined) return known
    const specs = fieldsOf(name)
    // What a table points at is written before it, and all of it before the table itself is begun.
    const children = new Map(specs.map((f) => [f.name, this.child(f, fields[f.name])]))
    this.b.startObject(slotsOf(name))
    for (const f of [...specs].sort((a, b) => widthOf(b) - widthOf(a))) {
      const value = fields[f.name]
      if (value === undefined) continue
      const to = children.get(f.name)
      if (to === undefined) this.scalarField(f, value)
      else if (f.kind.is === 'union') {
        this.b.addFieldInt8(f.slot, f.kind.tables.indexOf((value as { table: string }).table) + 1, 0)
        this.b.addFieldOffset(f.slot + 1, to, 0)
      } else this.b.addFieldOffset(f.slot, to, 0)
    }
    const at = this.b.endObject()
    this.written.set(fields, at)
    return at
  }

  private child({ kind, vector, align, name }: Field, value: unknown): number | undefined {
    if (value === undefined) return undefined
    if (vector) return this.vector(kind, value, align)
    if (kind.is === 'string') return this.b.createString(value as string)
    if (kind.is === 'table') return this.table(value as Fields, kind.table)
    if (kind.is !== 'union') return undefined
    const { table } = value as { table: string }
    assert(kind.tables.includes(table), `${name} cannot be a ${table}`)
    return this.table(value as Fields, table)
  }

  private vector(kind: Kind, value: unknown, align: number): number {
    const b = this.b
    if (kind.is === 'scalar' && kind.scalar === 'ubyte' && !Array.isArray(value)) {
      const bytes = toArray(value as Bytes)
      b.prep(align, bytes.length)
      return b.createByteVector(bytes)
    }
    const items = value as readonly unknown[]
    const size = kind.is === 'scalar' ? sizes[kind.scalar] : 4
    const to =
      kind.is === 'table'
        ? items.map((t) => this.table(t as Fields, kind.table))
        : kind.is === 'string'
          ? items.map((s) => b.createString(s as string))
          : undefined
    b.startVector(size, items.length, Math.max(size, align))
    for (let i = items.length - 1; i >= 0; i--)
      if (to) b.addOffset(to[i] as number)
      else this.scalar(kind, items[i])
    return b.endVector()
  }

  private scalar(kind: Kind, value: unknown): void {
    assert(kind.is === 'scalar', 'an element that is no scalar')
    const x = numberOf(kind, value)
    const { scalar } = kind
    if (sizes[scalar] === 8) this.b.addInt64(BigInt(x))
    else if (scalar === 'float') this.b.addFloat32(x)
    else if (sizes[scalar] === 4) this.b.addInt32(x)
    else if (sizes[scalar] === 2) this.b.addInt16(x)
    else this.b.addInt8(x)
  }

  private scalarField({ kind, slot, absent }: Field, value: unknown): void {
    assert(kind.is === 'scalar', 'a field that is no scalar')
    const x = numberOf(kind, value)
    const { scalar } = kind
    if (sizes[scalar] === 8) this.b.addFieldInt64(slot, BigInt(x), BigInt(absent))
    else if (scalar === 'float') this.b.addFieldFloat32(slot, x, absent)
    else if (sizes[scalar] === 4) this.b.addFieldInt32(slot, x, absent)
    else if (sizes[scalar] === 2) this.b.addFieldInt16(slot, x, absent)
    else this.b.addFieldInt8(slot, x, absent)
  }
}

const widthOf = ({ kind, vector }: Field): number => (kind.is === 'scalar' && !vector ? sizes[kind.scalar] : 4)

function numberOf({ names }: { readonly scalar: Scalar; readonly names?: readonly string[] }, value: unknown): number {
  if (typeof value !== 'string') return Number(value)
  const code = names?.indexOf(value) ?? -1
  assert(code >= 0, `${value} is no value of the schema`)
  return code
}

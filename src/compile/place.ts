/**
 * Where all of a program lies: values by a plan for each of its runs, which share one memory, constants each once. Weights that are
 * expanded at the start lie behind the values of the largest plan.
 */
import { PareError } from '../base/errors.ts'
import { greatest } from '../base/extremes.ts'
import { at, load, loop, mul, type Place, type Routine, type Stmt, store } from '../ir/loops.ts'
import { elementCount, toFloats, toNumbers } from '../ir/tensor.ts'
import type { Model, Tensor } from '../types.ts'
import { expandQuad, pairRecordsOf, pairsOf } from './kernels/dots.ts'
import { expandingSparse, recordsOfSparse } from './kernels/sparse.ts'
import { compacted, expanding, packed } from './packing.ts'
import { type Plan, planMemory } from './plan.ts'
import type { Port, Program, Run } from './program.ts'
import { cells, type Places, type Step } from './steps.ts'
import { floatConstant } from './stored.ts'

/** The steps of a model whose sizes are fixed. */
export interface Lowered {
  readonly model: Model
  readonly steps: readonly Step[]
  /** The value that lies where this one does. */
  rootOf(id: string): string
  /** Bytes of values that take others than their elements do. */
  readonly sizes: ReadonlyMap<string, number>
}

/** Addresses are whole numbers of 32 bits with a sign. */
const mostBytes = 2 ** 31 - 2 ** 20
const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`

/** Kernels read and write whole vectors, up to this far behind what they need. */
const slack = 64

export const sizesOf = (model: Model, id: string): readonly number[] | undefined => {
  const shape = model.graph.values.get(id)?.shape
  return shape?.every((d): d is number => typeof d === 'number') ? shape : undefined
}

interface Planned {
  readonly plan: Plan
  readonly ids: readonly string[]
  readonly unshared: number
  constantOf(id: string): Tensor | undefined
}

function planned({ model, steps, rootOf, sizes }: Lowered): Planned {
  const { graph } = model
  const known = new Map<string, Tensor | undefined>()
  const constantOf = (id: string): Tensor | undefined => {
    if (!known.has(id)) known.set(id, floatConstant(graph, id))
    return known.get(id)
  }
  const bytesOf = (id: string): number => {
    const known = sizes.get(id)
    if (known !== undefined) return known
    const cell = cells[graph.values.get(id)?.dtype ?? 'float32'] ?? 'f32'
    return elementCount(sizesOf(model, id) ?? []) * (cell === 'f32' || cell === 'i32' ? 4 : 1) + 16
  }
  const lives = new Map<string, { from: number; to: number; bytes: number }>()
  const touch = (id: string, step: number): void => {
    const r = rootOf(id)
    if (constantOf(r)) return
    const life = lives.get(r)
    if (life) life.to = Math.max(life.to, step)
    else lives.set(r, { from: step, to: step, bytes: bytesOf(r) })
  }
  for (const id of graph.inputs) touch(id, -1)
  steps.forEach((s, i) => {
    for (const id of s.writes) touch(id, i)
    for (const id of s.reads) touch(id, i)
  })
  for (const id of graph.outputs) touch(id, steps.length)
  const ids = [...lives.keys()]
  const scratches = steps.map((s, i) => ({ bytes: s.scratch * 4, from: i, to: i }))
  const buffers = [...ids.map((id) => lives.get(id) as { from: number; to: number; bytes: number }), ...scratches]
  const plan = planMemory(buffers)
  const stored = [...graph.values.values()].reduce((n, v) => n + (v.data ? elementCount(v.data.shape) * 4 : 0), 0)
  if (!(plan.total + stored <= mostBytes))
    throw new PareError('E_LIMIT', 'the values of the model take more memory than a compiled model addresses', {
      facts: { values: megabytes(plan.total), constants: megabytes(stored), most: megabytes(mostBytes) },
      hint: 'smaller sizes of its inputs: --sizes'
    })
  const unshared = buffers.reduce((n, b) => n + b.bytes, 0)
  return { plan, ids, unshared, constantOf }
}

/** A program of the same network for several sizes of its inputs; the first is what runs by default. */
export function placed(all: readonly [Lowered, ...Lowered[]], compact: boolean): Program {
  const plans = all.map(planned)
  const largest = greatest(
    plans.map((p) => p.plan.total),
    0
  )
  const shared = sharedParts(largest + slack, compact)
  const [run, ...others] = all.map((lowered, i) => runOf(lowered, plans[i] as Planned, shared)) as [Run, ...Run[]]
  return {
    ...{ ...run, others, init: shared.init },
    constants: shared.pool.bytes(),
    arena: largest + slack + shared.expanded(),
    unshared: greatest(
      plans.map((p) => p.unshared),
      0
    )
  }
}

/** What all runs of a program have together. */
interface Shared {
  readonly pool: Pool
  readonly init: readonly Routine[]
  /** Bytes of what is expanded at the start. */
  expanded(): number
  readonly forms: Pick<Places, 'weights' | 'sparse' | 'records' | 'quads'>
}

function sharedParts(begin: number, compact: boolean): Shared {
  const pool = constantPool()
  const init: Routine[] = []
  let expanded = 0
  const known = new Map<string, Place>()
  /** Bytes that are filled at the start and stay; the same of the same once. */
  const filled = (of: string, count: number, what: string, body: (to: Place) => Stmt[]): Place => {
    const same = known.get(of)
    if (same) return same
    const to: Place = { space: 'values', offset: begin + expanded }
    expanded += Math.ceil((count + slack) / 16) * 16
    init.push({ name: `expand${init.length}`, what, params: [], body: body(to) })
    known.set(of, to)
    return to
  }
  const forms: Shared['forms'] = {
    weights: (blocks, start, weights) => {
      const coded = compact ? compacted(blocks, start, weights) : undefined
      if (!coded) return pool.add(packed(blocks, start, weights))
      const [codes, floats] = [pool.bytesOf(coded.bytes), pool.add(coded.floats)]
      const shapes = coded.runs.map(({ count, shape: { starts, channels, terms } }) => [
        ...[count, starts.length, channels.length, terms]
      ])
      const of = `weights ${codes.offset} ${floats.offset} ${shapes.join(' ')}`
      return filled(of, coded.count * 4, 'weights of a layer', (to) => expanding(coded, codes, floats, to))
    },
    sparse: (p, rows) => {
      if (!compact) return pool.add(recordsOfSparse(p, rows))
      const given = { bits: pool.add(p.bits), values: pool.add(p.values), table: pool.add(p.table) }
      const of = `sparse ${given.bits.offset} ${given.values.offset} ${given.table.offset} ${rows}`
      return filled(of, p.bytes, 'factors of a layer', (to) => expandingSparse(p, rows, given, to))
    },
    records: (records, wanted) => {
      if (wanted === 'bytes') return pool.add(records)
      if (!compact) return pool.add(pairRecordsOf(records))
      const from = pool.add(records)
      const count = records.length / 20
      return filled(`records ${from.offset}`, count * 36, 'factors of a layer', (to) =>
        loop(0, count, 1, (i) => {
          const [given, made] = [at(from, mul(i, 20)), at(to, mul(i, 36))]
          const offset = store(made, load(given, 'i32'), 'i32')
          return [offset, ...expandQuad(at(given, undefined, 4), at(made, undefined, 4))]
        })
      )
    },
    quads: (quads, wanted) => {
      if (wanted === 'bytes') return pool.bytesOf(quads)
      if (!compact) return pool.bytesOf(pairsOf(quads))
      const from = pool.bytesOf(quads)
      return filled(`quads ${from.offset}`, quads.length * 2, 'factors of a layer', (to) =>
        loop(0, quads.length, 16, (v) => expandQuad(at(from, v), at(to, mul(v, 2))))
      )
    }
  }
  return { pool, init, forms, expanded: () => expanded }
}

function runOf({ model, steps, rootOf }: Lowered, { plan, ids, constantOf }: Planned, { pool, forms }: Shared): Run {
  const { graph } = model
  const offsets = new Map(ids.map((id, i) => [id, plan.offsets[i] as number]))
  const places = (step: number): Places => ({
    of: (id) => {
      const r = rootOf(id)
      const data = constantOf(r)
      if (data) return pool.tensor(data)
      const offset = offsets.get(r)
      if (offset === undefined) throw new PareError('E_INTERNAL', `no place for ${id}`)
      return { space: 'values', offset }
    },
    scratch: { space: 'values', offset: plan.offsets[ids.length + step] as number },
    constant: pool.add,
    ...forms
  })
  const routines = steps.map((s, i): Routine => {
    const body: Stmt[] = s.code(places(i))
    return { name: `step${i}`, what: `${s.nodes.filter((n) => n !== '').join(' + ')}: ${s.what}`, params: [], body }
  })
  const port = (id: string): Port => ({
    name: id,
    dtype: graph.values.get(id)?.dtype ?? 'float32',
    shape: sizesOf(model, id) ?? [],
    offset: offsets.get(rootOf(id)) as number
  })
  return {
    ...{ routines, kernels: steps.map((s) => s.kernel) },
    ...{ inputs: graph.inputs.map(port), outputs: graph.outputs.map(port) }
  }
}

/** Numbers that code reads, the same once. */
interface Pool {
  tensor(t: Tensor): Place
  readonly add: Places['constant']
  bytesOf(bytes: Int8Array | Uint8Array): Place
  bytes(): Uint8Array
}

function constantPool(): Pool {
  const parts: Uint8Array[] = []
  const known = new Map<Tensor, Place>()
  let length = 0
  const byHash = new Map<number, { readonly offset: number; readonly bytes: Uint8Array }[]>()
  const put = (bytes: Uint8Array): Place => {
    const hash = hashOf(bytes)
    const alike = byHash.get(hash) ?? []
    const same = alike.find((o) => o.bytes.length === bytes.length && o.bytes.every((x, i) => x === bytes[i]))
    if (same) return { space: 'constants', offset: same.offset }
    const offset = length
    byHash.set(hash, [...alike, { offset, bytes }])
    const room = new Uint8Array(Math.ceil(bytes.length / 16) * 16)
    room.set(bytes)
    parts.push(room)
    length += room.length
    return { space: 'constants', offset }
  }
  const add: Places['constant'] = (data) => put(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
  return {
    add,
    tensor: (t) => {
      const at = known.get(t)
      if (at) return at
      const cell = cells[t.dtype]
      if (!cell) throw new PareError('E_UNSUPPORTED', `constants of ${t.dtype} cannot be compiled`)
      const numbers = cell === 'f32' ? toFloats(t) : Int32Array.from(toNumbers(t))
      const place = cell === 'u8' || cell === 'i8' ? put(Uint8Array.from(toNumbers(t), (x) => x & 255)) : add(numbers)
      known.set(t, place)
      return place
    },
    bytesOf: (bytes) => put(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length)),
    bytes: () => {
      const out = new Uint8Array(length + slack)
      let to = 0
      for (const p of parts) {
        out.set(p, to)
        to += p.length
      }
      return out
    }
  }
}

/** Of its length and its bytes (FNV-1a). */
function hashOf(bytes: Uint8Array): number {
  let hash = 0x811c9dc5 ^ bytes.length
  for (const b of bytes) hash = Math.imul(hash ^ b, 0x01000193)
  return hash
}

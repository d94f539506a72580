/**
 * A model as a program: routines over one memory, its constants, and where inputs and outputs lie. Sizes are fixed. What has
 * no loops is refused by name, all of it, before any code is made.
 */
import { PareError } from '../base/errors.ts'
import { at, load, loop, mul, type Place, type Routine, type Stmt, store } from '../ir/loops.ts'
import { elementCount, toFloats, toNumbers } from '../ir/tensor.ts'
import { opFor } from '../ops/index.ts'
import { settleShapes, viewOf } from '../ops/infer.ts'
import type { DType, Model, Node, Tensor } from '../types.ts'
import { codedOf, madeBy } from './integer/codes.ts'
import { type DotsUsed, formsOf, quantizeStep } from './integer/context.ts'
import { layerOnCodes } from './integer/layers.ts'
import { otherOnCodes } from './integer/others.ts'
import { expandQuad, pairRecordsOf, pairsOf } from './kernels/dots.ts'
import { type Chosen, chooser } from './kernels/tiles.ts'
import { linearStep, type Made } from './linear.ts'
import { loopsStep, plainCopy } from './moves.ts'
import { compacted, expanding, packed } from './packing.ts'
import { planMemory } from './plan.ts'
import { type Refused, refusal } from './refusals.ts'
import { cells, type Places, type Step } from './steps.ts'
import { floatConstant, isStoredOtherwise } from './stored.ts'

/** An input or output of a program. */
export interface Port {
  readonly name: string
  /** As the model names it; 64-bit whole numbers lie in memory as 32-bit ones. */
  readonly dtype: DType
  readonly shape: readonly number[]
  /** Byte offset among the values. */
  readonly offset: number
}

export interface Program {
  /** What runs once, before the first run. */
  readonly init: readonly Routine[]
  readonly routines: readonly Routine[]
  /** How the work of each routine is cut; absent: there is one way. */
  readonly kernels: readonly (Chosen | undefined)[]
  readonly constants: Uint8Array
  /** Bytes for values while it runs, and what they would take if none shared any. */
  readonly arena: number
  readonly unshared: number
  readonly inputs: readonly Port[]
  readonly outputs: readonly Port[]
}

/** Addresses are whole numbers of 32 bits with a sign. */
const mostBytes = 2 ** 31 - 2 ** 20
const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`

/** Kernels read and write whole vectors, up to this far behind what they need. */
const slack = 64

export interface LowerOptions {
  /**
   * Weights in codes, or that all are float16, stay so and are expanded to floats at the start: fewer bytes, and as much memory.
   * Off, they are floats among the constants.
   */
  readonly compact?: boolean
  /** How codes are multiplied: see `DotsUsed`. */
  readonly dots?: DotsUsed
  /** Ways of kernels that were measured to be fastest, by key. */
  readonly fastest?: Readonly<Record<string, string>>
}

/** Throws `E_UNSUPPORTED` with every node that cannot be compiled and why, `E_LIMIT` where values take more than 2 GB. */
export function lower(given: Model, { compact = true, dots = 'pairs', fastest }: LowerOptions = {}): Program {
  const model = settleShapes(given)
  const { graph } = model
  const refused: Refused[] = []
  const steps: Step[] = []
  const root = new Map<string, string>()
  const made = new Set<string>(graph.inputs)
  const done = new Set<Node>()
  const sizes = new Map<string, number>()
  const choose = chooser(fastest)
  const forms = formsOf(model, dots, choose, { push: (s) => steps.push(s), ready: made, same: root, bytes: sizes })
  const rootOf = (id: string): string => {
    const up = root.get(id)
    return up === undefined ? id : rootOf(up)
  }
  for (const id of [...graph.inputs, ...graph.outputs]) {
    const why = unfit(model, id)
    if (why) refused.push({ of: 'values', name: id, reason: why })
  }
  for (const node of graph.nodes) {
    if (done.has(node)) continue
    if (isStored(node)) {
      for (const id of node.outputs) made.add(id)
      continue
    }
    const why = node.outputs
      .filter((id) => id !== '')
      .map((id) => unfit(model, id))
      .find((w) => w !== undefined)
    const result: Taken = why ? { reason: why } : stepOf(node)
    if ('done' in result) for (const n of result.done) done.add(n)
    else if ('reason' in result)
      refused.push({ of: node.op, name: node.name || node.outputs[0] || node.op, reason: result.reason })
    else if ('same' in result) root.set(node.outputs[0] as string, result.same)
    else {
      steps.push(result.step)
      for (const n of result.with) done.add(n)
      for (const id of result.step.writes) made.add(id)
    }
    for (const id of node.outputs) if (!('step' in result || 'done' in result)) made.add(id)
  }
  for (const id of graph.outputs) forms.settle(id)
  for (const id of graph.outputs)
    if (!made.has(id) || graph.inputs.includes(id))
      refused.push({ of: 'values', name: id, reason: 'an output that no node computes' })
  if (refused.length > 0) throw refusal(refused)
  return placed(model, steps, rootOf, sizes, compact)

  /** Floats that a node makes of constant codes or of narrower floats are constants. */
  function isStored(node: Node): boolean {
    const [to = ''] = node.outputs
    return !graph.outputs.includes(to) && isStoredOtherwise(graph, to)
  }

  /** Kernels of layers compute on float32. */
  function isFloats(node: Node): boolean {
    return [...node.inputs, ...node.outputs].every((id) => !id || graph.values.get(id)?.dtype === 'float32')
  }

  /** On whole numbers, where all that a node reads and gives are codes. */
  function onCodes(node: Node): Taken | undefined {
    if (codedOf(graph, node.outputs[0])) return { done: [] }
    const coded = madeBy(graph, node)
    const [from] = node.inputs
    if (coded && from) {
      forms.settle(from)
      return { with: [], step: quantizeStep(forms, from, coded, node.name) }
    }
    return layerOnCodes(forms, node) ?? otherOnCodes(forms, node)
  }

  function stepOf(node: Node): Taken {
    const coded = onCodes(node)
    if (coded) return coded
    for (const id of node.inputs) if (id) forms.settle(id)
    const op = opFor(node)
    const [from, to] = [node.inputs[0], node.outputs[0]]
    const isGiven = op?.elements === 'inOrder' || (op?.idle && node.inputs.slice(1).every((id) => id === null))
    if (from && to && isGiven && !node.outputs[1]) {
      const isFixed =
        graph.inputs.includes(rootOf(from)) ||
        floatConstant(graph, rootOf(from)) ||
        graph.outputs.includes(rootOf(from))
      if (!graph.outputs.includes(to) || !isFixed) return { same: from }
      const cell = cells[graph.values.get(to)?.dtype ?? 'float32'] ?? 'f32'
      return { with: [], step: plainCopy(from, to, elementCount(sizesOf(model, to) ?? []), cell, node.name) }
    }
    const ready = (id: string): boolean => made.has(id)
    const linear = isFloats(node) ? linearStep(model, node, ready, choose) : undefined
    if (linear) return linear
    const loops = op?.loops?.(viewOf(model, graph, node))
    if (loops && (isFloats(node) || (loops.is !== 'pool' && loops.is !== 'matrices')))
      return loopsStep(model, node, loops, ready)
    return { reason: op?.loops ? 'no loops for these attributes or types' : 'no loops for this operator' }
  }
}

/** What becomes of a node: a step, the same bytes, nothing of its own, or why it cannot be. */
type Taken = Made | { readonly same: string } | { readonly done: readonly Node[] }

const sizesOf = (model: Model, id: string): readonly number[] | undefined => {
  const shape = model.graph.values.get(id)?.shape
  return shape?.every((d): d is number => typeof d === 'number') ? shape : undefined
}

/** Why a value cannot lie in memory. */
function unfit(model: Model, id: string): string | undefined {
  const { dtype } = model.graph.values.get(id) ?? {}
  const shape = sizesOf(model, id)
  if (!shape) return 'sizes that are not numbers'
  if (shape.includes(0)) return 'no elements'
  if (dtype === undefined || !cells[dtype]) return `element type ${dtype ?? 'unknown'}`
  return undefined
}

function placed(
  model: Model,
  steps: readonly Step[],
  rootOf: (id: string) => string,
  sizes: ReadonlyMap<string, number>,
  compact: boolean
): Program {
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

  const pool = constantPool()
  const init: Routine[] = []
  let expanded = 0
  /** Bytes that are filled at the start and stay. */
  const room = (count: number): Place => {
    const to: Place = { space: 'values', offset: plan.total + slack + expanded }
    expanded += Math.ceil((count + slack) / 16) * 16
    return to
  }
  const places = (step: number): Places => ({
    of: (id) => {
      const r = rootOf(id)
      const data = constantOf(r)
      if (data) return pool.tensor(data)
      if (!lives.has(r)) throw new PareError('E_INTERNAL', `no place for ${id}`)
      return { space: 'values', offset: plan.offsets[ids.indexOf(r)] as number }
    },
    scratch: { space: 'values', offset: plan.offsets[ids.length + step] as number },
    constant: pool.add,
    weights: (blocks, start, weights) => {
      const coded = compact ? compacted(blocks, start, weights) : undefined
      if (!coded) return pool.add(packed(blocks, start, weights))
      const to = room(coded.count * 4)
      const [codes, floats] = [pool.bytesOf(coded.bytes), pool.add(coded.floats)]
      init.push({
        name: `expand${init.length}`,
        what: `weights of step ${step}`,
        params: [],
        body: expanding(coded, codes, floats, to)
      })
      return to
    },
    records: (records, wanted) => {
      if (wanted === 'bytes') return pool.add(records)
      if (!compact) return pool.add(pairRecordsOf(records))
      const [from, to] = [pool.add(records), room((records.length / 20) * 36)]
      const body = loop(0, records.length / 20, 1, (i) => {
        const [given, made] = [at(from, mul(i, 20)), at(to, mul(i, 36))]
        return [store(made, load(given, 'i32'), 'i32'), ...expandQuad(at(given, undefined, 4), at(made, undefined, 4))]
      })
      init.push({ name: `expand${init.length}`, what: `factors of step ${step}`, params: [], body })
      return to
    },
    quads: (quads, wanted) => {
      if (wanted === 'bytes') return pool.bytesOf(quads)
      if (!compact) return pool.bytesOf(pairsOf(quads))
      const [from, to] = [pool.bytesOf(quads), room(quads.length * 2)]
      const body = loop(0, quads.length, 16, (v) => expandQuad(at(from, v), at(to, mul(v, 2))))
      init.push({ name: `expand${init.length}`, what: `factors of step ${step}`, params: [], body })
      return to
    }
  })
  const routines = steps.map((s, i): Routine => {
    const body: Stmt[] = s.code(places(i))
    return { name: `step${i}`, what: `${s.nodes.filter((n) => n !== '').join(' + ')}: ${s.what}`, params: [], body }
  })
  const port = (id: string): Port => ({
    name: id,
    dtype: graph.values.get(id)?.dtype ?? 'float32',
    shape: sizesOf(model, id) ?? [],
    offset: plan.offsets[ids.indexOf(rootOf(id))] as number
  })
  return {
    ...{ init, routines, kernels: steps.map((s) => s.kernel) },
    constants: pool.bytes(),
    arena: plan.total + slack + expanded,
    unshared: buffers.reduce((n, b) => n + b.bytes, 0),
    inputs: graph.inputs.map(port),
    outputs: graph.outputs.map(port)
  }
}

/** Numbers that code reads, each array once. */
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
  const put = (bytes: Uint8Array): Place => {
    const offset = length
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

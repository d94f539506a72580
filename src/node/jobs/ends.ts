/**
 * Inputs and outputs of two files that are compared: one may have codes where the other has numbers, other names, and its channels
 * last. Data and metrics see the numbers, under the names and in the order of axes of the first.
 */
import { PareError } from '../../base/errors.ts'
import { constant, consumers, producer } from '../../ir/graph.ts'
import { permuteTensor } from '../../ir/order.ts'
import { isFloat, isInteger, rangeOf, roundHalfEven, tensor, toNumbers } from '../../ir/tensor.ts'
import { opFor } from '../../ops/index.ts'
import { isQdq } from '../../ops/quantized.ts'
import type { Session } from '../../runtime/types.ts'
import type { Dim, Graph, Model, Node, Tensor } from '../../types.ts'

type Io = Session['inputs'][number]

/** An input or output; `codes`: what its integers stand for, (q − zero) · scale. */
export interface End extends Io {
  readonly codes?: { readonly scale: number; readonly zero: number }
}

export interface Ends {
  readonly inputs: readonly End[]
  readonly outputs: readonly End[]
}

/**
 * What a model is given and gives: inputs with a default and outputs that are no tensors are not asked for. Codes are those that it
 * dequantizes at once, or quantizes at last.
 */
export function endsOf({ graph }: Model): Ends {
  const io = (id: string): readonly Io[] => {
    const v = graph.values.get(id)
    if (!v || v.data || (v.type ?? 'tensor') !== 'tensor') return []
    const { dtype, shape } = v
    return [{ name: id, ...(dtype === undefined ? {} : { dtype }), ...(shape === undefined ? {} : { shape }) }]
  }
  return {
    inputs: graph.inputs.flatMap(io).map((i) => withCodes(graph, i, readers(graph, i.name))),
    outputs: graph.outputs.flatMap(io).map((o) => withCodes(graph, o, [maker(graph, o.name)]))
  }
}

/** Nodes that read a value, behind those that only move its elements. */
const readers = (graph: Graph, id: string): readonly Node[] =>
  consumers(graph, id).flatMap((node) => (moves(node) ? readers(graph, node.outputs[0] as string) : [node]))

/** The node that makes a value, before those that only move its elements. */
function maker(graph: Graph, id: string): Node | undefined {
  const node = producer(graph, id)
  return node && moves(node) ? maker(graph, node.inputs[0] as string) : node
}

const moves = (node: Node): boolean => {
  const elements = opFor(node)?.elements
  return elements === 'inOrder' || elements === 'moved'
}

function withCodes(graph: Graph, io: Io, around: readonly (Node | undefined)[]): End {
  if (io.dtype === undefined || !isInteger(io.dtype) || around.length === 0) return io
  const found = around.map((node) => (node && isQdq(node) ? codesOf(graph, node.inputs) : undefined))
  const [first] = found
  return first && found.every((c) => c?.scale === first.scale && c.zero === first.zero) ? { ...io, codes: first } : io
}

function codesOf(graph: Graph, [, scale, zero]: readonly (string | null)[]): End['codes'] {
  const one = (id: string | null | undefined): number | undefined => {
    const data = constant(graph, id)
    const values = data && Array.from(toNumbers(data))
    return values?.length === 1 ? values[0] : undefined
  }
  const s = one(scale)
  const z = zero ? one(zero) : 0
  return s === undefined || z === undefined ? undefined : { scale: s, zero: z }
}

/** The same in numbers. */
export const inNumbers = ({ inputs, outputs }: Ends): Ends => ({
  inputs: inputs.map(numbersOf),
  outputs: outputs.map(numbersOf)
})

const numbersOf = ({ codes, ...io }: End): End => (codes ? { ...io, dtype: 'float32' } : io)

/** Throws `E_UNSUPPORTED` where data is given as numbers to a model that takes or gives codes, and passes are to run it. */
export function refuseCodes({ model, ...seen }: Ends & { readonly model: Model }): void {
  const own = endsOf(model)
  const end = [...own.inputs, ...own.outputs].find(
    (e) => e.codes && ![...seen.inputs, ...seen.outputs].some((s) => s.name === e.name && sameCodes(s, e))
  )
  if (!end) return
  throw new PareError(
    'E_UNSUPPORTED',
    `${end.name} is of codes (${end.dtype}): passes do not run such a model on data yet`,
    {
      where: end.name,
      hint: 'take the float model that it was made of; verify and bench take the file as it is'
    }
  )
}

/** Are two the same, under the same names? */
export const areAlike = (a: Ends, b: Ends): boolean =>
  pairs(a.inputs, b.inputs)
    .concat(pairs(a.outputs, b.outputs))
    .every(([x, y]) => x && y && isAlike(x, y)) && a.inputs.length === b.inputs.length

const isAlike = (a: End, b: End): boolean =>
  a.name === b.name && a.dtype === b.dtype && sameCodes(a, b) && move(a.shape, b.shape) === 'same'

const sameCodes = (a: End, b: End): boolean => a.codes?.scale === b.codes?.scale && a.codes?.zero === b.codes?.zero

// ---------------------------------------------------------------- a session under other ends

/**
 * A session of a model with ends `own`, told and run by the ends `as`. Throws `E_DATA_SHAPE` where the two cannot be matched by name,
 * else by position, or where their sizes are not the same in another order.
 */
export function seenAs(session: Session, own: Ends, as: Ends): Session {
  const inputs = matched('input', own.inputs, as.inputs)
  const outputs = matched('output', own.outputs, as.outputs)
  const asked = new Map(session.inputs.map((i) => [i.name, i]))
  return {
    ...session,
    inputs: inputs.map(([mine, theirs]) => ({
      ...numbersOf(theirs),
      ...(theirs.shape
        ? { shape: [asked.get(mine.name)?.shape?.[0], ...theirs.shape.slice(1)].flatMap((d) => d ?? []) }
        : {})
    })),
    outputs: outputs.map(([, theirs]) => numbersOf(theirs)),
    run: async (feeds) => {
      const results = await session.run(ownFeeds(feeds, own, as))
      return seenOutputs(results, own, as)
    }
  }
}

/** Does a model leave sizes of its inputs open, beside that of the samples? */
export const hasOpenSizes = ({ inputs }: Ends): boolean =>
  inputs.some((i) => i.shape?.slice(1).some((d) => typeof d === 'string'))

/** What a model with ends `own` is fed where one with ends `as` is fed `feeds`. */
export function ownFeeds(
  feeds: Readonly<Record<string, Tensor>>,
  own: Ends,
  as: Ends
): Readonly<Record<string, Tensor>> {
  const given = matched('input', own.inputs, as.inputs).flatMap(([mine, theirs]) => {
    const t = feeds[theirs.name]
    return t ? [[mine.name, converted(t, theirs, mine)] as const] : []
  })
  return Object.fromEntries(given)
}

/** What a model with ends `own` gave, as one with ends `as` gives it; a runtime may call outputs by names of its own. */
export function seenOutputs(
  results: Readonly<Record<string, Tensor>>,
  own: Ends,
  as: Ends
): Readonly<Record<string, Tensor>> {
  const given = Object.values(results)
  const seen = matched('output', own.outputs, as.outputs).flatMap(([mine, theirs]) => {
    const t = results[mine.name] ?? given[own.outputs.indexOf(mine)]
    return t ? [[theirs.name, converted(t, mine, theirs)] as const] : []
  })
  return Object.fromEntries(seen)
}

/** By name, else by position. */
function pairs(own: readonly End[], as: readonly End[]): (readonly [End | undefined, End])[] {
  const isNamed = as.every((a) => own.some((o) => o.name === a.name))
  return as.map((a, i) => [isNamed ? own.find((o) => o.name === a.name) : own[i], a])
}

function matched(kind: string, own: readonly End[], as: readonly End[]): (readonly [mine: End, theirs: End])[] {
  return pairs(own, as).map(([mine, theirs]) => {
    if (mine && move(mine.shape, theirs.shape)) return [mine, theirs]
    const spelled = (all: readonly End[]): string =>
      all.map((e) => `${e.name} [${e.shape?.join(', ') ?? '?'}]`).join('; ')
    throw new PareError('E_DATA_SHAPE', `the models have different ${kind}s: nothing can be compared`, {
      where: theirs.name,
      facts: { original: spelled(as), other: spelled(own) }
    })
  })
}

/** Axes of one in the order of the other, behind the first, which is the samples'; `sizes`: only axes of size 1 move. */
function move(
  from: readonly Dim[] | undefined,
  to: readonly Dim[] | undefined
): 'same' | 'sizes' | readonly number[] | undefined {
  if (!from || !to) return 'same'
  const [a, b] = [from.slice(1), to.slice(1)]
  const same = (x: readonly Dim[], y: readonly Dim[]): boolean =>
    x.length === y.length && x.every((d, i) => d === y[i] || typeof d === 'string' || typeof y[i] === 'string')
  if (same(a, b)) return 'same'
  const long = (all: readonly Dim[]): readonly Dim[] => all.filter((d) => d !== 1)
  if (same(long(a), long(b))) return 'sizes'
  const last = a.length
  if (same([...a.slice(1), ...a.slice(0, 1)], b)) return [0, ...a.map((_, i) => (i === last - 1 ? 1 : i + 2))]
  if (same([...a.slice(-1), ...a.slice(0, -1)], b)) return [0, ...a.map((_, i) => (i === 0 ? last : i))]
  return undefined
}

/** A tensor of one end as one of another. */
function converted(t: Tensor, from: End, to: End): Tensor {
  const axes = move(from.shape, to.shape)
  const dtype = to.codes || !from.codes ? (to.dtype ?? t.dtype) : 'float32'
  const sizes = to.shape?.slice(1).map(Number)
  const placed =
    typeof axes === 'object'
      ? permuteTensor(t, axes)
      : axes === 'sizes' && sizes
        ? { ...t, shape: [t.shape[0] as number, ...sizes] }
        : t
  if (dtype === t.dtype && sameCodes(from, to)) return placed
  const values = Float64Array.from(toNumbers(placed))
  if (!sameCodes(from, to)) recode(values, from, { ...to, dtype })
  return tensor(dtype, placed.shape, values)
}

function recode(values: Float64Array, from: End, to: End): void {
  const range = to.codes && to.dtype && !isFloat(to.dtype) ? rangeOf(to.dtype) : undefined
  for (let i = 0; i < values.length; i++) {
    const real = from.codes ? ((values[i] as number) - from.codes.zero) * from.codes.scale : (values[i] as number)
    const code = to.codes ? roundHalfEven(real / to.codes.scale) + to.codes.zero : real
    values[i] = range ? Math.min(range.max, Math.max(range.min, code)) : code
  }
}

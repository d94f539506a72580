/** Finds the DequantizeLinear that foldable.ts spelled. */
import { attrInt, attrs } from '../../ir/attrs.ts'
import { dtypeOfCode } from '../../ir/dtype-code.ts'
import { producer } from '../../ir/graph.ts'
import { ints, rangeOf, tensor, tensorOf, toNumbers } from '../../ir/tensor.ts'
import type { DType, Graph, Node, Tensor, Value } from '../../types.ts'
import { codeTypes } from './foldable.ts'
import { Variants } from './variants.ts'
import type { Constant, Rewrite, Whole } from './whole.ts'

const floats: readonly DType[] = ['float32', 'float16', 'bfloat16', 'float64']

/** The nodes of a chain Cast → [Reshape] → [Sub] → Mul → [Reshape]. */
interface Links {
  readonly cast: Node
  readonly split: Node | undefined
  readonly sub: Node | undefined
  readonly mul: Node
  readonly join: Node | undefined
}

/** A scale or zero point as DequantizeLinear reads it, and the nodes between. */
interface Operand {
  readonly id: string
  readonly plain: Tensor
  readonly between: readonly Node[]
}

interface Chain extends Links {
  readonly data: Constant
  readonly scale: Operand
  readonly zero: Operand | undefined
  readonly axis: number | undefined
  readonly blockSize: number | undefined
}

/** Casts of integer constants all of whose readers are such chains. */
export function recogniseFoldable(whole: Whole): Rewrite {
  const variants = new Variants(whole)
  const chains = whole.graphs.flatMap((g) => chainsOf(g, whole))
  for (const c of chains) for (const o of [c.scale, c.zero]) if (o) variants.want(o.id, o.plain)
  const replaced = new Map<Node, { nodes: readonly Node[]; values: readonly Value[] }>()
  const changed = new Map<string, Value>()
  const gone = { nodes: [], values: [] }
  for (const c of chains) {
    const scale = variants.take(c.scale.id, c.scale.plain)
    const zero = c.zero && variants.take(c.zero.id, c.zero.plain)
    const last = c.join ?? c.mul
    const node: Node = {
      name: last.name,
      op: 'DequantizeLinear',
      inputs: [c.data.id, scale.id, ...(zero ? [zero.id] : [])],
      outputs: last.outputs,
      attrs: attrs({ axis: c.axis, block_size: c.blockSize })
    }
    for (const n of [c.cast, c.split, c.sub, c.mul, ...c.scale.between, ...(c.zero?.between ?? [])])
      if (n) replaced.set(n, gone)
    replaced.set(last, { nodes: [node], values: [...scale.added, ...(zero?.added ?? [])] })
    changed.set(c.data.id, { ...c.data, form: c.data.form ?? 'foldable' })
  }
  return { replaced, changed: new Map([...changed, ...variants.changed]) }
}

function chainsOf(graph: Graph, whole: Whole): Chain[] {
  const casts = graph.nodes.filter((n) => {
    const data = n.op === 'Cast' && n.domain === undefined ? whole.constant(n.inputs[0]) : undefined
    return data && codeTypes.includes(data.data.dtype) && floats.includes(dtypeOfCode(attrInt(n, 'to', 0)) ?? 'string')
  })
  const readers = new Map<string, Node[]>()
  if (casts.length > 0) for (const n of graph.nodes) note(readers, n)
  const follow = (node: Node): readonly Node[] => {
    const id = node.outputs[0] ?? ''
    const all = readers.get(id) ?? []
    return all.length === whole.readCount(id) ? all : []
  }
  return casts.flatMap((cast) => {
    const all = linksFrom(cast, follow).map((links) => links && chainOf(links, graph, whole))
    return all.includes(undefined) ? [] : (all as Chain[])
  })
}

function note(readers: Map<string, Node[]>, n: Node): void {
  const first = n.inputs[0]
  if (first == null) return
  const list = readers.get(first)
  if (list) list.push(n)
  else readers.set(first, [n])
}

/** Every way from a Cast; `undefined` for one that is no chain. */
function linksFrom(cast: Node, follow: (node: Node) => readonly Node[]): (Links | undefined)[] {
  const next = (node: Node): readonly (Node | undefined)[] => {
    const all = follow(node)
    return all.length > 0 ? all : [undefined]
  }
  const fromMul = (split: Node | undefined, sub: Node | undefined, mul: Node | undefined): Links | undefined => {
    if (mul?.op !== 'Mul' || mul.domain !== undefined) return undefined
    const join = split ? next(mul) : [undefined]
    const isOk = !split || (join.length === 1 && join[0]?.op === 'Reshape')
    return isOk ? { cast, split, sub, mul, join: join[0] } : undefined
  }
  const fromSplit = (split: Node | undefined, node: Node | undefined): (Links | undefined)[] =>
    node?.op === 'Sub' ? next(node).map((mul) => fromMul(split, node, mul)) : [fromMul(split, undefined, node)]
  return next(cast).flatMap((node) =>
    node?.op === 'Reshape' ? next(node).flatMap((n) => fromSplit(node, n)) : fromSplit(undefined, node)
  )
}

function chainOf(links: Links, graph: Graph, whole: Whole): Chain | undefined {
  const { cast, split, sub, mul, join } = links
  const data = whole.constant(cast.inputs[0])
  const to = dtypeOfCode(attrInt(cast, 'to', 0))
  const scale = operandOf(mul.inputs[1], graph, whole)
  if (!data || !scale || !to) return undefined
  const isHalf = scale.cast !== undefined
  const type = isHalf ? castType(scale.cast) : scale.stored.dtype
  if (type !== to || (isHalf && (to !== 'float32' || scale.stored.dtype !== 'float16'))) return undefined
  const dims = data.data.shape
  const place = scale.spread
    ? spreadPlace(dims, scale.stored.shape, scale.spread, whole)
    : split
      ? blockPlace(dims, split, join, scale.stored.shape, whole)
      : axisPlace(dims, scale.stored.shape)
  if (!place || (split && scale.spread)) return undefined
  const zero = sub && zeroOf(sub, data, scale, place.shape, graph, whole)
  if (sub && !zero) return undefined
  const wide = isHalf
    ? tensor('float32', place.shape, toNumbers(scale.stored))
    : { ...scale.stored, shape: place.shape }
  return {
    ...links,
    data,
    scale: { id: scale.id, plain: wide, between: between(scale) },
    zero,
    axis: place.axis,
    blockSize: place.size
  }
}

const castType = (cast: Node | undefined): DType | undefined => cast && dtypeOfCode(attrInt(cast, 'to', 0))

/** A scale or zero point as it is stored, and what was made of it. */
interface Found {
  readonly id: string
  readonly stored: Tensor
  readonly cast: Node | undefined
  readonly spread: Spread | undefined
}

interface Spread {
  readonly expand: Node
  readonly reshape: Node
  readonly slice: Node
}

const between = ({ cast, spread }: Found): Node[] =>
  [cast, spread?.expand, spread?.reshape, spread?.slice].filter((n) => n !== undefined)

/** A constant; or one that was cast, spread, or both, for such chains alone. */
function operandOf(id: string | null | undefined, graph: Graph, whole: Whole): Found | undefined {
  const make = (of: string | null | undefined, op: string): Node | undefined => {
    const node = of == null ? undefined : producer(graph, of)
    return node?.op === op && node.domain === undefined ? node : undefined
  }
  const isAlone = (node: Node): boolean =>
    whole.readers(node.outputs[0] ?? '').every((n) => ['Mul', 'Sub', 'Expand'].includes(n.op))
  const slice = make(id, 'Slice')
  const reshape = make(slice?.inputs[0], 'Reshape')
  const expand = make(reshape?.inputs[0], 'Expand')
  const spread = slice && reshape && expand && { slice, reshape, expand }
  const at = spread ? spread.expand.inputs[0] : id
  const cast = make(at, 'Cast')
  const constant = whole.constant(cast ? cast.inputs[0] : at)
  if (!constant || (cast && !isAlone(cast)) || (spread && !isAlone(spread.slice))) return undefined
  return { id: constant.id, stored: constant.data, cast, spread }
}

const dimsOf = (node: Node | undefined, input: number, whole: Whole): number[] | undefined => {
  const shape = whole.constant(node?.inputs[input])?.data
  return shape?.dtype === 'int64' ? ints(shape) : undefined
}

/** Blocks that do not fill the axis. */
function spreadPlace(
  data: readonly number[],
  scale: readonly number[],
  { expand, reshape, slice }: Spread,
  whole: Whole
): Place | undefined {
  const inner = dimsOf(expand, 1, whole) ?? []
  const at = inner.findIndex((d, i) => d !== scale[i]) - 1
  const [count = 0, size = 0] = inner.slice(at, at + 2)
  const withAxis = (lengths: readonly number[]): string => String(data.flatMap((d, i) => (i === at ? lengths : [d])))
  const isRight =
    at >= 0 &&
    String(inner) === withAxis([count, size]) &&
    String(scale) === withAxis([count, 1]) &&
    String(dimsOf(reshape, 1, whole)) === withAxis([count * size]) &&
    String([1, 2, 3].map((i) => dimsOf(slice, i, whole))) === String([0, data[at], at]) &&
    slice.inputs.length === 4 &&
    Math.ceil((data[at] as number) / size) === count
  return isRight ? { shape: scale.filter((_, i) => i !== at + 1), axis: at, size } : undefined
}

interface Place {
  /** Of scale and zero point, as DequantizeLinear has them. */
  readonly shape: readonly number[]
  readonly axis: number | undefined
  readonly size: number | undefined
}

function axisPlace(data: readonly number[], scale: readonly number[]): Place | undefined {
  const axis = data.length - scale.length
  if (scale.length > 0 && scale[0] === data[axis] && scale.slice(1).every((d) => d === 1))
    return { shape: scale.slice(0, 1), axis, size: undefined }
  const isScalar = scale.length === 0 || (scale.length === 1 && scale[0] === 1)
  return isScalar ? { shape: scale, axis: undefined, size: undefined } : undefined
}

function blockPlace(
  data: readonly number[],
  split: Node,
  join: Node | undefined,
  scale: readonly number[],
  whole: Whole
): Place | undefined {
  const inner = dimsOf(split, 1, whole)
  if (!inner || String(dimsOf(join, 1, whole)) !== String(data) || inner.length !== data.length + 1) return undefined
  const at = inner.findIndex((d, i) => d !== scale[i]) - 1
  const size = inner[at + 1] as number
  const isSplit = at >= 0 && String(data.flatMap((d, i) => (i === at ? [d / size, size] : [d]))) === String(inner)
  const isScale = String(inner.map((d, i) => (i === at + 1 ? 1 : d))) === String(scale)
  return isSplit && isScale ? { shape: scale.filter((_, i) => i !== at + 1), axis: at, size } : undefined
}

/** The zero point as integers of the data's type, where it is one. */
function zeroOf(
  sub: Node,
  data: Constant,
  scale: Found,
  shape: readonly number[],
  graph: Graph,
  whole: Whole
): Operand | undefined {
  const zero = operandOf(sub.inputs[1], graph, whole)
  if (!zero || sub.domain !== undefined || String(zero.stored.shape) !== String(scale.stored.shape)) return undefined
  const isCast = zero.cast !== undefined
  const isSpread = (f: Found): string =>
    String(['expand', 'reshape', 'slice'].map((k) => f.spread?.[k as keyof Spread].inputs.slice(1)))
  if (isSpread(zero) !== isSpread(scale)) return undefined
  if (isCast ? !codeTypes.includes(zero.stored.dtype) : !floats.includes(zero.stored.dtype)) return undefined
  const values = Array.from(toNumbers(zero.stored))
  const { min, max } = rangeOf(data.data.dtype)
  if (!values.every((z) => Number.isInteger(z) && z >= min && z <= max)) return undefined
  const isSame = zero.stored.dtype === data.data.dtype
  const plain = isSame ? tensorOf(data.data.dtype, shape, zero.stored.bytes) : tensor(data.data.dtype, shape, values)
  return { id: zero.id, plain, between: between(zero) }
}

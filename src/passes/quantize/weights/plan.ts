/** Which weights `quantize-weights` stores, and how: by shapes and uses, not by values. */
import { PareError } from '../../../base/errors.ts'
import { attrInt } from '../../../ir/attrs.ts'
import { allGraphs } from '../../../ir/graph.ts'
import { elementCount, isFloat, toFloats } from '../../../ir/tensor.ts'
import type { Model, Node, Tensor } from '../../../types.ts'
import type { Context } from '../../types.ts'
import { type Division, encodedBytes, scaleTypeOf } from '../common/cells.ts'
import { bookCodes, type Codes, codesOf } from '../common/fit.ts'
import { matcher } from '../common/select.ts'
import { smallTable, smallTables } from '../common/tables.ts'
import { isBlockMatrix, type UsedWeight, type WeightUse, weightKind, weightUses } from '../common/uses.ts'

/** `auto`: for weights with many zeros, of the forms that fold the one of the fewest bytes. */
export type StoredForm = 'foldable' | 'palette' | 'qdq' | 'nbits' | 'auto'

export interface WeightOptions {
  readonly bits: 2 | 3 | 4 | 5 | 6 | 8
  /** `auto`: chosen for each weight by its size and by what reads it. */
  readonly form: StoredForm
  readonly method: 'rtn' | 'hqq' | 'gptq' | 'awq'
  /** 0: a scale per output channel. */
  readonly blockSize: number
  readonly perChannel: boolean
  /** Absent: zero points for blocks of fewer than 8 bits and for 2 bits. */
  readonly symmetric?: boolean | undefined
  /** Round so that errors cancel in sums; see balance.ts. */
  readonly balance?: boolean
  readonly include: readonly string[]
  readonly exclude: readonly string[]
  readonly minElements: number
}

/** A weight to be stored in few bits. */
export interface WeightPlan extends Division {
  readonly id: string
  readonly form: StoredForm
  /** Bits of an element: of its code, or of its number in the codebook. */
  readonly bits: number
  /** Axis of scales or codebooks; of blocks, where `block` is given. */
  readonly axis?: number
  readonly block?: number
  /** Absent where the palette holds floats. */
  readonly codes?: Codes
  /** Of all codes only 2^bits are used, those that suit the weight best under a scale per channel. */
  readonly hasCodebook?: true
  /** Elements in line that see the same input channel, where codes are balanced over them. */
  readonly kernel?: number
  readonly elements: number
  /** The nodes that read it. */
  readonly nodes: readonly string[]
}

/** What a stored constant adds to a file beside its codes and scales: a few nodes and their names. */
const nodeBytes = 200
/** Blocks of form `nbits` without a block size, at most, by bits. */
const largestBlocks: Readonly<Record<number, number>> = { 8: 128, 4: 64, 2: 32 }
/** A codebook a channel (of the first or last axis) pays where a channel has so many times its entries. */
const channelPerEntry = 4
/** Channels that differ more in size share a codebook only under scales: its few values would go to the largest ones. */
const mostSpread = 8
/** Matrices from this size on stay small in memory too, with form `auto`. */
const largeElements = 1024 * 1024

/** Which weights are stored. Throws `E_OPTION` where form, bits and blocks do not go together, `E_OPSET` where the model is too old. */
export function planWeights(model: Model, o: WeightOptions, ctx: Pick<Context, 'refuse' | 'target'>): WeightPlan[] {
  checkOptions(o)
  const needed = o.form === 'palette' ? 13 : o.bits < 8 || o.blockSize > 0 ? 21 : 13
  if (model.opset < needed)
    throw new PareError('E_OPSET', `${o.bits}-bit weights need opset ${needed}, the model has ${model.opset}`)
  const isIncluded = o.include.length > 0 ? matcher(o.include) : () => true
  const isExcluded = matcher(o.exclude)
  const plan: WeightPlan[] = []
  const uses = weightUses(model)
  const small = smallTables(model, uses)
  const sparse = ctx.target.forms.includes('auto') ? sparseWeights(model) : new Set<string>()
  for (const [id, used] of uses) {
    const { data, uses: places, readers } = used
    if (elementCount(data.shape) < o.minElements) continue
    if (readers.some(isExcluded) || !places.some((u) => isIncluded(u.node))) continue
    const planned = small.has(id) ? smallTable : planOne(id, used, o, ctx, sparse.has(id))
    const isInside = !model.graph.values.has(id)
    const made = isInside && isLostInside(planned, data) ? lostInside : planned
    if (typeof made === 'string') ctx.refuse((places[0] as WeightUse).node, `a weight stays in float: ${made}`)
    else plan.push(made)
  }
  return plan
}

/** ONNX Runtime makes MatMulNBits of them, and loses the scales of those of float16 in a graph inside a node. */
const isLostInside = (p: WeightPlan | string, { dtype }: Tensor): boolean =>
  typeof p !== 'string' && p.form === 'qdq' && p.block !== undefined && dtype === 'float16'
const lostInside = 'ONNX Runtime gives zeros for blocks of float16 in a graph inside a node, in form qdq'

function checkOptions({ bits, form, method, blockSize, perChannel }: WeightOptions): void {
  const fail = (what: string, hint: string): never => {
    throw new PareError('E_OPTION', what, { where: 'quantize-weights', hint })
  }
  const isOdd = bits === 3 || bits === 5 || bits === 6
  if (isOdd && form !== 'palette' && form !== 'auto')
    fail(`form ${form} has no ${bits} bits`, 'choose 8, 4 or 2, or form palette')
  if (bits === 8 && form === 'palette') fail('a palette has 2 to 6 bits', 'choose form foldable for 8 bits')
  if (bits === 2 && form === 'qdq')
    fail('DequantizeLinear of 2 bits is in no runtime', 'choose form foldable or palette')
  if (form === 'palette' && (method === 'hqq' || method === 'awq'))
    fail(`method ${method} is about scales, and a palette has none`, 'choose method rtn or gptq')
  if (blockSize > 0 && form === 'palette') fail('a palette has no blocks', 'leave blockSize at 0')
  if (blockSize > 0 && !perChannel) fail('one scale for all leaves no blocks', 'leave perChannel on')
}

function planOne(
  id: string,
  { data, uses, readers }: UsedWeight,
  o: WeightOptions,
  ctx: Pick<Context, 'target'>,
  isSparse: boolean
): WeightPlan | string {
  if (data.dtype !== 'float32' && data.dtype !== 'float16')
    return isFloat(data.dtype) ? `${data.dtype} has no form of fewer bits` : `${data.dtype} is no float type`
  const first = uses[0] as WeightUse
  const elements = elementCount(data.shape)
  const asked = o.form === 'auto' ? autoForm(data, uses, readers, o, ctx) : o.form
  const form = isSparse && asked === 'foldable' && suitsCodebook(o) ? 'palette' : asked
  const spelled = isSparse && (form === 'palette' || form === 'foldable') ? 'auto' : form
  const common = { id, form: spelled, bits: o.bits, elements, nodes: [...new Set(readers.map((n) => n.name))] }
  const axis = o.perChannel ? first.axis : undefined
  if (form === 'palette') return planPalette(data, axis, common, isSparse)
  const role = form === 'nbits' ? blockwise(data, uses, readers) : undefined
  if (form === 'nbits' && !role) return 'only a MatMul’s matrix or a Gather’s table has form nbits'
  if (role === 'table' && o.bits === 2) return 'a Gather’s table has 4 or 8 bits'
  const size = o.blockSize || (role ? thriftiestBlock(data.shape[role === 'product' ? 0 : 1] as number, o.bits) : 0)
  const division: Division = size > 0 ? divided(data, first, size, form) : axis === undefined ? {} : { axis }
  const isSymmetric = o.symmetric ?? (o.bits === 8 || (o.bits === 4 && division.block === undefined))
  // ONNX Runtime has no Gather of int8 in blocks.
  const codes = codesOf(o.bits as 2 | 4 | 8, isSymmetric && !(role === 'table' && o.bits === 8))
  const bytes = encodedBytes(data.shape, division, codes, scaleTypeOf(data)) + nodeBytes
  if (bytes >= data.bytes.length) return 'codes with their scales are not smaller'
  const kernel = o.balance && division.axis !== undefined ? kernelOf(data, uses, division) : undefined
  return { ...common, ...division, codes, ...(kernel === undefined ? {} : { kernel }) }
}

/** The block of fewest bytes for `length` elements, of which form `nbits` pads the last block, and a scale of 4 bytes each. */
function thriftiestBlock(length: number, bits: number): number {
  const bytes = (size: number): number => Math.ceil(length / size) * ((size * bits) / 8 + 4)
  let best = largestBlocks[bits] as number
  for (let size = best / 2; size >= 16; size /= 2) if (bytes(size) < bytes(best)) best = size
  return best
}

/** Rows of a table are read one by one: there is no sum in which their errors could cancel. */
function kernelOf({ shape }: Tensor, uses: readonly WeightUse[], { block }: Division): number | undefined {
  if (uses.some((u) => weightKind(u.node) === 'table')) return undefined
  return block === undefined ? elementCount(shape.slice(2)) : 1
}

/** A codebook of few values leaves zeros out better than codes of 4 bits do, which are packed with their zeros. */
const suitsCodebook = ({ bits, blockSize, method }: WeightOptions): boolean =>
  bits < 8 && blockSize === 0 && (method === 'rtn' || method === 'gptq')

/** Constants of which at least half are zeros that are meant. */
function sparseWeights(model: Model): ReadonlySet<string> {
  const values = allGraphs(model).flatMap((g) => [...g.values.values()])
  return new Set(values.filter((v) => v.data && v.sparse && zeroShare(v.data) >= 0.5).map((v) => v.id))
}

function zeroShare(data: Tensor): number {
  const values = toFloats(data)
  return values.reduce((n, x) => n + Number(x === 0), 0) / values.length
}

/** Sparse weights share one codebook: the forms that leave zeros out tell few values apart. */
function planPalette(
  data: Tensor,
  axis: number | undefined,
  common: Omit<WeightPlan, 'axis'>,
  isSparse: boolean
): WeightPlan | string {
  const { elements, bits } = common
  const entries = 2 ** bits
  const channels = axis === undefined ? 1 : (data.shape[axis] as number)
  const isAtEdge = axis === 0 || axis === data.shape.length - 1
  const isOwn = !isSparse && axis !== undefined && isAtEdge && elements / channels >= channelPerEntry * entries
  if (axis !== undefined && !isOwn && (isSparse || spread(data, axis) > mostSpread))
    return planScaled(data, axis, common)
  const made = { ...common, ...(isOwn ? { axis } : {}) }
  const bytes = (elements * bits) / 8 + entries * (isOwn ? 2 * channels : 4) + nodeBytes
  return bytes < data.bytes.length ? made : 'a codebook is not smaller'
}

/** One codebook of integers for all channels, and a scale for each: for channels too short for a codebook of their own. */
function planScaled(data: Tensor, axis: number, common: Omit<WeightPlan, 'axis'>): WeightPlan | string {
  const { elements, bits } = common
  const bytes = encodedBytes(data.shape, { axis }, bookCodes, scaleTypeOf(data)) - (elements * (8 - bits)) / 8
  const whole = bytes + 2 ** bits + nodeBytes
  const made = { ...common, axis, codes: bookCodes, hasCodebook: true } as const
  return whole < data.bytes.length ? made : 'codes with their codebook and scales are not smaller'
}

/** The largest magnitude of the largest channel over that of the smallest one; channels of zeros do not count. */
function spread(data: Tensor, axis: number): number {
  const values = toFloats(data)
  const inner = elementCount(data.shape.slice(axis + 1))
  const most = new Float64Array(data.shape[axis] as number)
  for (const [i, v] of values.entries()) {
    const c = Math.floor(i / inner) % most.length
    most[c] = Math.max(most[c] as number, Math.abs(v))
  }
  const sizes = most.filter((m) => m > 0).sort()
  return sizes.length === 0 ? 1 : (sizes.at(-1) as number) / (sizes[0] as number)
}

/** Blocks run along what a product sums over, also that of a recurrent layer, and along the rows of a table. */
function divided(data: Tensor, use: WeightUse, size: number, form: StoredForm): Division {
  const { shape } = data
  if (shape.length < 2 || use.axis === undefined) return use.axis === undefined ? {} : { axis: use.axis }
  const axis = weightKind(use.node) !== 'layer' ? shape.length - 1 : use.axis === 0 ? 1 : use.axis - 1
  if (axis === use.axis) return { axis }
  return { axis, block: form === 'nbits' ? size : Math.min(size, shape[axis] as number) }
}

/** What reads a matrix or table in blocks: all readers are of it, and read nothing but the constant itself. */
function blockwise(
  data: Tensor,
  uses: readonly WeightUse[],
  readers: readonly Node[]
): 'product' | 'table' | undefined {
  if (data.shape.length !== 2 || uses.length !== readers.length) return undefined
  if (uses.every(isBlockMatrix)) return 'product'
  const isTable = ({ node }: WeightUse): boolean => weightKind(node) === 'table' && attrInt(node, 'axis', 0) === 0
  return uses.every(isTable) ? 'table' : undefined
}

function autoForm(
  data: Tensor,
  uses: readonly WeightUse[],
  readers: readonly Node[],
  o: WeightOptions,
  { target }: Pick<Context, 'target'>
): StoredForm {
  if (o.bits === 3 || o.bits === 5 || o.bits === 6) return 'palette'
  if (o.bits === 8 || o.blockSize > 0) return 'foldable'
  const isLarge = elementCount(data.shape) >= largeElements
  if (isLarge && o.bits === 4 && target.forms.includes('nbits') && blockwise(data, uses, readers)) return 'nbits'
  const hasScales = o.method === 'hqq' || o.method === 'awq'
  return target.forms.includes('palette') && !hasScales ? 'palette' : 'foldable'
}

/**
 * Time of a model as the sum over its kernels, each by the line of its kind:
 *
 *     t = c₀ + c₁ · MACs′ + c₂ · loads + c₃ · bytes        ms; coefficients ≥ 0
 *
 * MACs′ counts channels as whole blocks, loads are the inputs of inner products (MACs′ over blocks of output channels), bytes
 * what is read and given. A kernel near one that was measured has the ratio of that one to its line, by how near it is. What
 * a runtime fuses into the layer before costs nothing of its own. Only ratios of two models on one machine can be trusted.
 */
import { z } from 'zod'
import { PareError } from '../base/errors.ts'
import { consumers, graphView, producer } from '../ir/graph.ts'
import { isClamp, linearOf } from '../ops/ask.ts'
import type { Shapes } from '../ops/cost.ts'
import { operatorsOfModel } from '../ops/facts.ts'
import { opFor } from '../ops/index.ts'
import { isDequantize } from '../ops/quantized.ts'
import type { DeviceRates, FileOperator } from '../targets/types.ts'
import type { Model, Node } from '../types.ts'

const line = z.strictObject({
  /** ms by one kernel, by 10⁶ multiply-adds, by 10⁶ loads, by 10⁶ bytes. */
  coefficients: z.array(z.number().min(0)).length(4),
  /** Kernels that it was fitted on, and the median of its relative errors on those that were left out. */
  samples: z.int().min(0),
  error: z.number().min(0).optional(),
  /** Measured kernels: logarithms of their figures, and of measured over fitted. */
  near: z
    .array(z.strictObject({ at: z.array(z.number()).length(5), ratio: z.number() }))
    .max(1000)
    .default([])
})

export const costModelSchema = z.strictObject({
  pareCostModel: z.literal(1),
  target: z.string().max(100),
  runtime: z.strictObject({ name: z.string().max(100), version: z.string().max(100) }),
  machine: z.strictObject({ cpu: z.string().max(200), cores: z.int().positive(), threads: z.int().positive() }),
  /** Day of the measurement. */
  day: z.string().max(30),
  /** Channels are computed in blocks of so many. */
  block: z.int().positive(),
  /** ms of one run by itself, and by 10⁶ bytes of inputs and outputs. */
  run: z.strictObject({ ms: z.number().min(0), perMegabyte: z.number().min(0) }),
  kinds: z.record(z.string().max(100), line),
  /** Relative error of whole networks that were left out, median and worst; absent where none were. */
  error: z.strictObject({ median: z.number(), worst: z.number(), networks: z.int() }).optional()
})

/** Lines that were fitted to kernels of one runtime on one machine. */
export type CostModel = z.output<typeof costModelSchema>
/** The line of a kind of kernel. */
export type CostLine = CostModel['kinds'][string]

/** Time of one node. `guessed`: nothing of its kind was measured. */
export interface NodeTime {
  readonly node: string
  readonly op: string
  readonly kind: string
  readonly ms: number
  readonly guessed?: true
}

export interface Predicted {
  /** ms of one sample. */
  readonly ms: number
  readonly perNode: readonly NodeTime[]
  /** Share of the time that is of kinds that were not measured. */
  readonly guessed: number
}

/** A cost model from JSON. Throws `E_FORMAT` with what is wrong. */
export function costModelFrom(json: unknown, where: string): CostModel {
  const read = costModelSchema.safeParse(json)
  if (read.success) return read.data
  const [issue] = read.error.issues
  throw new PareError('E_FORMAT', `no cost model: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`.trim(), {
    where,
    hint: 'pare calibrate-target writes one'
  })
}

/**
 * ms of one sample of a model, and of each of its nodes: by lines that were fitted, or by the peaks of a device's record.
 * Pure. `shapes`: sizes of inputs where the model leaves them free. Throws `E_UNSUPPORTED` where work or sizes of a node are
 * not known.
 */
export function predict(model: Model, by: CostModel | DeviceRates, shapes: Shapes = {}): Predicted {
  const kernels = kernelsOf(model, shapes)
  const times = kernels.map(({ node, op, kind, figures }): NodeTime => {
    const known = { node, op, kind }
    if (!('kinds' in by)) return { ...known, ms: peakMs(by, kind, figures) }
    const found = by.kinds[kind]
    if (found) return { ...known, ms: lineMs(found, figures, by.block) }
    return { ...known, ms: lineMs(nearestKind(by, kind), figures, by.block), guessed: true }
  })
  const sum = times.reduce((n, t) => n + t.ms, 0)
  const guessed = times.reduce((n, t) => n + (t.guessed ? t.ms : 0), 0)
  const around = 'kinds' in by ? by.run.ms + by.run.perMegabyte * endBytes(model, kernels) : 0
  return { ms: sum + around, perNode: times, guessed: sum === 0 ? 0 : guessed / sum }
}

// ---------------------------------------------------------------- kernels

/** Figures of a kernel that lines are of. */
export interface Figures {
  readonly macs: number
  readonly channels: number
  readonly outputChannels: number
  readonly bytes: number
  /** Of constants. */
  readonly weights: number
  /** Elements of its result for each output channel: places that a filter is put at. */
  readonly places: number
}

/** A node that costs time of its own. */
export interface KernelNode {
  readonly node: string
  readonly op: string
  readonly kind: string
  readonly figures: Figures
}

/** The nodes that a runtime has kernels of: what is fused into a layer before it is left out. */
export function kernelsOf(model: Model, shapes: Shapes = {}): readonly KernelNode[] {
  const { graph } = model
  const byName = new Map(graph.nodes.map((n) => [n.name, n]))
  const joined = joinedNodes(model)
  return operatorsOfModel(model, shapes).flatMap((op): KernelNode[] => {
    const node = byName.get(op.name)
    if (!node || joined.has(node)) return []
    const figures = figuresOf(op)
    if (!figures)
      throw new PareError('E_UNSUPPORTED', `the work of ${op.op} is not known: no time can be told`, { where: op.name })
    const kernel = { node: op.name, op: op.op, kind: kindOf(op), figures }
    // A kernel in float that reads codes has their conversion before it.
    const type = op.facts('dtype')
    const isConverted = isCode(type) && !computesOnCodes(op) && !isDequantize(node)
    const conversion: KernelNode = {
      ...{ node: op.name, op: 'DequantizeLinear', kind: 'DequantizeLinear codes' },
      figures: { ...figures, macs: 0, bytes: 5 * (op.bytes?.reads ?? 0) }
    }
    return isConverted ? [conversion, kernel] : [kernel]
  })
}

/** Clamps and normalizations right behind a layer of weights, which runtimes make part of it. */
function joinedNodes({ graph }: Model): ReadonlySet<Node> {
  const view = graphView(graph)
  const found = new Set<Node>()
  for (const node of graph.nodes) {
    const [data] = node.inputs
    const made = data ? producer(graph, data) : undefined
    if (!made || !data || consumers(graph, data).length > 1 || graph.outputs.includes(data)) continue
    const joins = isClamp(node) || opFor(node)?.normalizes?.mean !== undefined
    if (joins && (found.has(made) || linearOf(view, made))) found.add(node)
  }
  return found
}

const isCode = (type: unknown): boolean => type === 'uint8' || type === 'int8'
const computesOnCodes = ({ facts }: FileOperator): boolean =>
  isCode(facts('dtype')) && ['none', 'int8', 'uint8', 'int4', 'uint4'].includes(`${facts('weightType')}`)

const fewChannels = 4

/** `Conv small codes`, `Conv depthwise float32`, `Add float32` */
function kindOf(op: FileOperator): string {
  const type = computesOnCodes(op)
    ? 'codes'
    : isCode(op.facts('dtype'))
      ? 'float32'
      : `${op.facts('dtype') ?? 'float32'}`
  const area = op.facts('kernelArea')
  const isLayer = op.facts('weight') !== 'none' && typeof area === 'number'
  if (!isLayer) return `${op.op} ${type}`
  const channels = op.facts('channels')
  // Kernels for pictures and sounds as they come in are others.
  const isShallow = typeof channels === 'number' && channels <= fewChannels
  const size = isShallow ? 'shallow' : area === 1 ? '1×1' : area <= 9 ? 'small' : 'large'
  const form = op.facts('depthwise') === 'yes' ? 'depthwise' : size
  return `${op.op} ${form} ${type}`
}

function figuresOf({ macs, bytes, facts }: FileOperator): Figures | undefined {
  if (macs === undefined || !bytes) return undefined
  const count = (fact: unknown): number => (typeof fact === 'number' && fact > 0 ? fact : 1)
  const [channels, outputChannels] = [count(facts('channels')), count(facts('outputChannels'))]
  const type = facts('dtype')
  const each = isCode(type) ? 1 : 4
  return {
    ...{ macs, channels, outputChannels },
    bytes: bytes.reads + bytes.gives,
    weights: bytes.weights,
    places: bytes.gives / each / outputChannels
  }
}

const endBytes = (model: Model, kernels: readonly KernelNode[]): number => {
  const ends = new Set([...model.graph.inputs, ...model.graph.outputs])
  const elements = [...ends].reduce((n, id) => {
    const shape = model.graph.values.get(id)?.shape ?? []
    return n + shape.reduce<number>((m, d) => m * (typeof d === 'number' ? d : 1), 1)
  }, 0)
  return kernels.length === 0 ? 0 : (4 * elements) / 1e6
}

// ---------------------------------------------------------------- lines

const whole = (n: number, block: number): number => (n <= fewChannels ? n : Math.ceil(n / block) * block)

/** What a line's coefficients are of: 1, 10⁶ MACs′, 10⁶ loads, 10⁶ bytes. */
export function columnsOf(f: Figures, block: number): readonly number[] {
  const padded = (f.macs * whole(f.channels, block) * whole(f.outputChannels, block)) / (f.channels * f.outputChannels)
  const blocks = Math.ceil(f.outputChannels / (4 * block))
  return [1, padded / 1e6, (f.macs / f.outputChannels / 1e6) * blocks, (f.bytes + f.weights) / 1e6]
}

/** Where a kernel lies among those of its kind, in logarithms. */
export const placeOf = (f: Figures): readonly number[] =>
  [f.macs, f.channels, f.outputChannels, f.bytes, f.places].map((x) => Math.log2(1 + x))

/** Kernels half of whose figures differ by a factor of two count for little. */
const reach = 0.5

/** ms of a kernel by the line of its kind. */
export function lineMs({ coefficients, near }: CostLine, f: Figures, block: number): number {
  const columns = columnsOf(f, block)
  const ms = coefficients.reduce((n, c, i) => n + c * (columns[i] as number), 0)
  const at = placeOf(f)
  let [sum, weights] = [0, 1e-3]
  for (const { at: there, ratio } of near) {
    const far = there.reduce((n, x, i) => n + (x - (at[i] as number)) ** 2, 0)
    const weight = Math.exp(-far / (2 * reach ** 2))
    sum += weight * ratio
    weights += weight
  }
  return ms * Math.exp(sum / weights)
}

/** The line of the same operator in another form, else one of bytes alone: the median of all that have one. */
function nearestKind(by: CostModel, kind: string): CostLine {
  const [op, ...rest] = kind.split(' ')
  const type = rest.at(-1)
  const all = Object.entries(by.kinds)
  const same =
    all.find(([k]) => k.startsWith(`${op} `) && k.endsWith(` ${type}`)) ?? all.find(([k]) => k.startsWith(`${op} `))
  if (same) return { ...same[1], near: [] }
  const perByte = all
    .map(([, l]) => l.coefficients[3] as number)
    .filter((c) => c > 0)
    .toSorted((a, b) => a - b)
  const fixed = all.map(([, l]) => l.coefficients[0] as number).toSorted((a, b) => a - b)
  const middle = (list: readonly number[]): number => list[list.length >> 1] ?? 0
  return { coefficients: [middle(fixed), 0, 0, middle(perByte)], samples: 0, near: [] }
}

/** By the peaks of a record: whatever takes longest. */
function peakMs(rates: DeviceRates, kind: string, f: Figures): number {
  const isDepthwise = kind.includes(' depthwise ')
  const rate = kind.endsWith(' codes') ? rates.macsPerSecond : (rates.floatMacsPerSecond ?? rates.macsPerSecond)
  const over = (amount: number, perSecond: number | undefined): number => (perSecond ? amount / perSecond : 0)
  return (
    1000 *
    Math.max(
      f.macs / (rate * (isDepthwise ? (rates.depthwiseShare ?? 1) : 1)),
      over(f.bytes, rates.bytesPerSecond),
      over(f.weights, rates.weightBytesPerSecond)
    )
  )
}

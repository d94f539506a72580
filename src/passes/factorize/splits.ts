/** What can take a layer's place: for every method and rank that costs less, the shapes, the cost and the error. */
import type { LayerInput } from '../../observe/gram.ts'
import type { PatchAxis } from '../../ops/types.ts'
import type { Dim } from '../../types.ts'
import type { Matrix } from './matrices.ts'
import { type Factors, type Family, familyOf, type Method, type Tools } from './methods.ts'
import type { Part } from './moments.ts'

/** One of the layers that take a layer's place; channels of one group. */
export interface Shape {
  readonly outputs: number
  readonly inputs: number
  /** Absent: a matrix. */
  readonly axes?: readonly PatchAxis[]
}

/** Parameters of the weights, and multiply-adds, as shares of the layer's. */
export interface Cost {
  readonly parameters: number
  readonly macs: number
}

/** A way to split a layer. `error`: E‖Wx − W'x‖² / E‖Wx‖². `factors`: of each group, with the channels between evened out. */
export interface Split {
  readonly method: Method
  /** Channels between, of all groups together. */
  readonly ranks: readonly number[]
  readonly shapes: readonly Shape[]
  readonly cost: Cost
  readonly error: number
  factors(): readonly Factors[]
}

export interface SplitOptions {
  readonly methods: readonly Method[]
  /** Ranks are multiples of this. */
  readonly align: number
  /** Shapes of the layer's data and output. */
  readonly data: readonly Dim[] | undefined
  readonly output: readonly Dim[] | undefined
  /** Instead of all ranks that cost less, this one of a group of svd, whatever it costs. */
  readonly rank?: number
}

/** Ranks of a side that tucker tries, at most. */
const mostTried = 8

/** All splits that cost less than the layer, in parameters and in multiply-adds, or that of a given rank; none where its outputs are always 0. */
export async function splitsOf(
  layer: LayerInput,
  parts: readonly Part[],
  o: SplitOptions,
  tools: Tools
): Promise<readonly Split[]> {
  const out: Split[] = []
  for (const method of o.methods) {
    const ranksTried = o.rank === undefined ? ranksOf(method, layer, o) : [[o.rank]]
    const all = ranksTried.flatMap((ranks) => {
      const shapes = shapesOf(method, layer, ranks)
      const cost = costOf(layer, shapes, o)
      return o.rank !== undefined || (cost.parameters < 1 && cost.macs < 1) ? [{ ranks, shapes, cost }] : []
    })
    if (all.length === 0) continue
    const most = Math.max(...all.map(({ ranks }) => ranks[0] as number))
    const families: Family[] = []
    for (const part of parts) families.push(await familyOf(method, part, kernelOf(layer), most, tools))
    const total = families.reduce((n, f) => n + f.total, 0)
    if (!(total > 0)) return []
    for (const { ranks, shapes, cost } of all) {
      const explained = families.reduce((n, f) => n + f.explained(ranks), 0)
      out.push({
        ...{ method, shapes, cost },
        ranks: ranks.map((r) => r * layer.groups),
        error: Math.max(0, 1 - explained / total),
        factors: () => families.map((f) => evened(f.factors(ranks)))
      })
    }
  }
  return out
}

const kernelOf = ({ linear }: LayerInput): readonly number[] => linear.patch?.axes.map((a) => a.kernel) ?? []

const sizeOf = (axes: readonly PatchAxis[] | undefined): number => (axes ?? []).reduce((n, a) => n * a.kernel, 1)

/** Can a method split such a layer at all? */
export function suits(method: Method, layer: LayerInput): boolean {
  if (method === 'svd') return true
  const kernel = kernelOf(layer)
  if (method === 'tucker') return kernel.some((k) => k > 1)
  return kernel.length === 2 && kernel.every((k) => k > 1)
}

/** Ranks to try, of one group. */
function ranksOf(method: Method, layer: LayerInput, { align }: SplitOptions): readonly (readonly number[])[] {
  if (!suits(method, layer)) return []
  const { inputs, outputs, kernel } = layer.linear
  const step = align / gcd(align, layer.groups)
  const upTo = (most: number): number[] => Array.from({ length: Math.floor(most / step) }, (_, i) => (i + 1) * step)
  if (method !== 'tucker') return upTo(Math.min(outputs * kernel, inputs * kernel)).map((r) => [r])
  const few = (all: readonly number[]): readonly number[] =>
    all.filter((_, i) => all.length <= mostTried || (i + 1) % Math.ceil(all.length / mostTried) === 0)
  const last = [...few(upTo(outputs - 1)), outputs]
  return few(upTo(inputs - 1)).flatMap((r) => last.map((s) => [r, s]))
}

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b))

const still: PatchAxis = { kernel: 1, stride: 1, dilation: 1, pads: { before: 0, behind: 0 } }

export function shapesOf(method: Method, { linear }: LayerInput, [r = 0, s = 0]: readonly number[]): readonly Shape[] {
  const { inputs, outputs, patch } = linear
  const axes = patch?.axes
  const none = axes && { axes: axes.map(() => still) }
  const all = axes && { axes }
  if (method === 'svd')
    return [
      { outputs: r, inputs, ...all },
      { outputs, inputs: r, ...none }
    ]
  if (method === 'spatial')
    return [
      { outputs: r, inputs, axes: [axes?.[0] ?? still, still] },
      { outputs, inputs: r, axes: [still, axes?.[1] ?? still] }
    ]
  return [
    { outputs: r, inputs, ...none },
    { outputs: s, inputs: r, ...all },
    ...(s < outputs ? [{ outputs, inputs: s, ...none }] : [])
  ]
}

/** A layer computes as many positions as its output has; along an axis whose stride is still to come, as many as there are. */
function costOf({ linear }: LayerInput, shapes: readonly Shape[], { data, output }: SplitOptions): Cost {
  const axes = linear.patch?.axes ?? []
  const first = linear.axes.in + 1
  const shrink = axes.map(({ stride }, i) => {
    const at = first + i
    const [from, to] = [data?.at(at), output?.at(at)]
    return typeof from === 'number' && typeof to === 'number' && at < 0 ? from / to : stride
  })
  const own = linear.outputs * linear.inputs * linear.kernel
  let [parameters, macs] = [0, 0]
  const isDone = axes.map(() => false)
  for (const s of shapes) {
    for (const [i, a] of (s.axes ?? []).entries()) if (a !== still) isDone[i] = true
    const weights = s.outputs * s.inputs * sizeOf(s.axes)
    parameters += weights
    macs += weights * shrink.reduce((n, x, i) => (isDone[i] ? n : n * x), 1)
  }
  return { parameters: parameters / own, macs: macs / own }
}

/** Channels between get rows before and columns behind of the same norm. */
export function evened({ layers, whole }: Factors): Factors {
  for (const [i, after] of layers.entries()) {
    const before = layers[i - 1]
    if (before) evenOut(before, after)
  }
  return { layers, whole }
}

function evenOut(before: Matrix, after: Matrix): void {
  const each = after.columns / before.rows
  for (let r = 0; r < before.rows; r++) {
    let [a, b] = [0, 0]
    for (let j = 0; j < before.columns; j++) a += (before.data[r * before.columns + j] as number) ** 2
    for (let o = 0; o < after.rows; o++)
      for (let j = r * each; j < (r + 1) * each; j++) b += (after.data[o * after.columns + j] as number) ** 2
    if (a === 0 || b === 0) continue
    const factor = (b / a) ** 0.25
    for (let j = 0; j < before.columns; j++)
      before.data[r * before.columns + j] = (before.data[r * before.columns + j] as number) * factor
    for (let o = 0; o < after.rows; o++)
      for (let j = r * each; j < (r + 1) * each; j++)
        after.data[o * after.columns + j] = (after.data[o * after.columns + j] as number) / factor
  }
}

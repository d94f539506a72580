/**
 * Operators on codes that are no linear layers. Data movement and greatest values keep the codes where scales are the same.
 * Sums are whole numbers, rounded once. What computes each element by itself does so in float32 on the numbers that its codes
 * stand for, (q − z) · s, and rounds (y · float(1 / s_y)) + z_y; of one input that is a table of 256 codes.
 */
import { at, type Expr, f32, float, loop, mul, type Place, type Stmt, splat, i32 as whole } from '../../ir/loops.ts'
import { elementCount, toNumbers } from '../../ir/tensor.ts'
import { opFor } from '../../ops/index.ts'
import { viewOf } from '../../ops/infer.ts'
import type { Copy, Loops } from '../../ops/types.ts'
import type { Node } from '../../types.ts'
import { sameSizes } from '../follow.ts'
import { fill, laneOf, type Slide } from '../kernels/copy.ts'
import { depthLanes, depthSums, mapMeans } from '../kernels/depth.ts'
import { byTable, type Coding, inverse, joinCodes, mapsBytes, roundedTo } from '../kernels/recode.ts'
import type { Made } from '../linear.ts'
import { copyOf, filled } from '../moves.ts'
import type { Places } from '../steps.ts'
import { floatConstant } from '../stored.ts'
import { type Coded, codedOf, type Quantized, quantizedBehind, sameCoding } from './codes.ts'
import { type Form, type IntegerSteps, mapsShape } from './context.ts'
import { evaluate, nearestEven } from './evaluate.ts'

type Of<K extends Loops['is']> = Loops & { readonly is: K }

/** What a node on codes is made of. */
interface Given {
  readonly steps: IntegerSteps
  readonly node: Node
  /** By input; absent: no computed codes. */
  readonly inputs: readonly (Coded | undefined)[]
  readonly behind: Quantized
  readonly to: Coded
}

/** A step on codes; `undefined` where the node has to be computed in floats. */
export function otherOnCodes(steps: IntegerSteps, node: Node): Made | { readonly done: readonly Node[] } | undefined {
  const { graph } = steps.model
  const [output, ...more] = node.outputs
  if (!output || more.some((id) => id !== '')) return undefined
  const inputs = node.inputs.map((id) => codedOf(graph, id))
  const behind = inputs.some((c) => c) ? quantizedBehind(steps.model, output) : undefined
  if (!behind) return undefined
  const given: Given = { steps, node, inputs, behind, to: behind.to }
  const op = opFor(node)
  const [first] = inputs
  const isPlain = behind.bounds.low <= 0 && behind.bounds.high >= 255
  if (first && op?.elements === 'inOrder' && isPlain && sameCoding(first.coding, behind.to.coding)) {
    const from = steps.need(first, 'rows')
    steps.alias(behind.to, 'rows', from)
    return { done: behind.nodes }
  }
  const loops = op?.loops?.(viewOf(steps.model, graph, node))
  switch (loops?.is) {
    case 'lanes':
      return lanes(given, loops)
    case 'copies':
      return isPlain ? copies(given, loops) : undefined
    case 'pool':
      return pool(given, loops)
    case 'body':
      return loops.means ? means(given, loops.means) : undefined
    default:
      return undefined
  }
}

const step = (
  g: Given,
  what: string,
  reads: readonly string[],
  to: string,
  scratch: number,
  code: (p: Places) => Stmt[]
): Made => ({
  with: g.behind.nodes,
  step: {
    nodes: [g.node.name, ...g.behind.nodes.map((n) => n.name)],
    ...{ what: `${what}, on codes`, reads, writes: [to], scratch, code }
  }
})

// ---------------------------------------------------------------- each element by itself

function lanes(g: Given, { value, channels }: Of<'lanes'>): Made | undefined {
  const { steps, inputs, to, node } = g
  const { graph } = steps.model
  const operands = node.inputs.map((id, i): Coded | number | undefined => {
    const coded = inputs[i]
    if (coded) return sameSizes(coded.shape, to.shape) ? coded : undefined
    if (id === null) return 0
    const data = channels?.includes(i) ? undefined : floatConstant(graph, id)
    return data && elementCount(data.shape) === 1 ? (toNumbers(data)[0] as number) : undefined
  })
  if (operands.some((o) => o === undefined)) return undefined
  const coded = operands.filter((o): o is Coded => typeof o === 'object')
  const withValues = (x: readonly Expr[], number: (v: number) => Expr): Expr => {
    let next = 0
    return value(operands.map((o) => (typeof o === 'object' ? (x[next++] as Expr) : number(o as number))))
  }
  const form: Form = coded.every((c) => steps.has(c, 'maps')) ? 'maps' : 'rows'
  const from = coded.map((c) => steps.need(c, form))
  const count = form === 'maps' ? mapsBytes(mapsShape(to.shape)) : elementCount(to.shape)
  const [only] = coded
  const isTable = coded.length === 1
  const table = only && isTable ? tableOf(g, only.coding, (x) => withValues([x], f32)) : undefined
  if (!isTable && (g.behind.bounds.low > 0 || g.behind.bounds.high < 255)) return undefined
  const key = steps.made(to, form, count + 16)
  return step(g, `${coded.length} → 1, ${to.shape.join('×')}`, from, key, 0, (p) =>
    table
      ? byTable(count, p.constant(table), p.of(from[0] as string), p.of(key))
      : joinCodes(
          count,
          coded.map((c, i) => ({ place: p.of(from[i] as string), coding: c.coding })),
          p.of(key),
          to.coding,
          (x) => withValues(x, (v) => splat(f32(v)))
        )
  )
}

function tableOf({ behind }: Given, { scale, zero }: Coding, value: (x: Expr) => Expr): Uint8Array {
  const { coding } = behind.to
  return Uint8Array.from({ length: 256 }, (_, q) => {
    const x = Math.fround((q - zero) * Math.fround(scale))
    const y = Math.fround(evaluate(value(f32(x))) * inverse(coding.scale))
    const code = nearestEven(Math.max(-1e6, Math.min(1e6, y))) + coding.zero
    return Math.max(behind.bounds.low, Math.min(behind.bounds.high, code))
  })
}

// ---------------------------------------------------------------- moved elements

function copies(g: Given, { copies: all, fill: filler }: Of<'copies'>): Made | undefined {
  const { steps, inputs, to } = g
  const moved = new Set(all.map((c) => c.input))
  if ([...moved].some((i) => !inputs[i] || !sameCoding((inputs[i] as Coded).coding, to.coding))) return undefined
  const code = filler === undefined ? undefined : nearestEven(filler / to.coding.scale) + to.coding.zero
  if (code !== undefined && (code < 0 || code > 255)) return undefined
  const inLanes = all.map((c) => lanesOfCopy(c, to.shape, inputs[c.input] as Coded, steps))
  const isLanes = inLanes.every((c) => c !== undefined)
  const from = new Map([...moved].map((i) => [i, steps.need(inputs[i] as Coded, isLanes ? 'maps' : 'rows')]))
  const count = isLanes ? mapsBytes(mapsShape(to.shape)) : elementCount(to.shape)
  const key = steps.made(to, isLanes ? 'maps' : 'rows', count + 16)
  return step(g, `copies ${all.length}, ${to.shape.join('×')}`, [...from.values()], key, 0, (p) => {
    const target = p.of(key)
    const source = (c: Copy): Place => p.of(from.get(c.input) as string)
    if (!isLanes) {
      const before = code === undefined ? [] : filled(target, count, code, 'u8')
      return [...before, ...all.flatMap((c) => copyOf(c, source(c), target, 'u8'))]
    }
    const before = code === undefined ? [] : fill(target, count / 4, laneOf(code))
    return [...before, ...(inLanes as Copy[]).flatMap((c) => copyOf(c, source(c), target, 'i32'))]
  })
}

/** The same copy of lanes, where channels move by fours and stay in order; `undefined` where they do not. */
function lanesOfCopy(
  c: Copy,
  y: readonly number[],
  { shape: x, ...from }: Coded,
  steps: IntegerSteps
): Copy | undefined {
  if (y.length < 3 || x.length !== y.length || c.sizes.length !== y.length) return undefined
  if (!steps.has({ ...from, shape: x }, 'maps')) return undefined
  const ends = [
    { shape: x, strides: c.from, offset: c.fromOffset },
    { shape: y, strides: c.to, offset: c.toOffset }
  ].map(({ shape, strides, offset }) => {
    const plane = elementCount(shape.slice(2))
    const channels = shape[1] as number
    const first = Math.floor(offset / plane)
    if (strides[1] !== plane || strides[0] !== plane * channels || channels % 4 || first % 4 || first >= channels)
      return undefined
    return {
      strides: strides.map((s, axis) => (axis === 0 ? s / 4 : s)),
      offset: (first / 4) * plane + (offset - first * plane)
    }
  })
  const [a, b] = ends
  if (!a || !b || (c.sizes[1] as number) % 4) return undefined
  const sizes = c.sizes.map((d, axis) => (axis === 1 ? d / 4 : d))
  return { input: c.input, sizes, from: a.strides, to: b.strides, fromOffset: a.offset, toOffset: b.offset }
}

// ---------------------------------------------------------------- pools

const mostTaps = 64

function pool(g: Given, { by, axes, divisors }: Of<'pool'>): Made | undefined {
  const { steps, inputs, to, behind } = g
  const from = inputs[0] as Coded
  const taps = axes.reduce((n, a) => n * a.kernel, 1)
  const { samples, channels, positions } = mapsShape(from.shape)
  const isOfMap = axes.every((a, i) => a.before === 0 && a.kernel === from.shape[i + 2] && to.shape[i + 2] === 1)
  if (by === 'sum' && isOfMap && divisors === positions)
    return means(g, { outer: samples * channels, count: positions })
  if (
    axes.length > 2 ||
    taps > mostTaps ||
    (by === 'max' ? !sameCoding(from.coding, to.coding) : typeof divisors !== 'number')
  )
    return undefined
  if (by === 'max' && (behind.bounds.low > 0 || behind.bounds.high < 255)) return undefined
  const [x, y] = [from.shape, to.shape]
  const two = <T>(list: readonly T[], one: T): [T, T] =>
    list.length === 1 ? [one, list[0] as T] : [list[0] as T, list[1] as T]
  const [h, w] = two(x.slice(2), 1)
  const [oh, ow] = two(y.slice(2), 1)
  const [ay, ax] = two(axes, { kernel: 1, stride: 1, dilation: 1, before: 0 })
  const [sy, sx]: [Slide, Slide] = [
    { size: h, out: oh, ...ay },
    { size: w, out: ow, ...ax }
  ]
  const shape = mapsShape(to.shape)
  const blocks = Math.ceil(shape.channels / 4)
  const source = steps.need(from, 'maps')
  const key = steps.made(to, 'maps', mapsBytes(shape) + 16)
  const { scale, zero } = from.coding
  const factor = Math.fround(scale / to.coding.scale / (typeof divisors === 'number' ? divisors : 1))
  const what = `pool ${ay.kernel}×${ax.kernel}, ${shape.channels} × ${h}×${w} → ${oh}×${ow}`
  return step(g, what, [source], key, depthLanes(sy, sx), (p) =>
    loop(0, shape.samples, 1, (s) =>
      depthSums({
        ...{
          blocks,
          y: sy,
          x: sx,
          scratch: p.scratch,
          by: by === 'max' ? { is: 'max' } : { is: 'ones', start: -zero * taps }
        },
        from: at(p.of(source), mul(s, blocks * h * w * 4)),
        to: at(p.of(key), mul(s, blocks * oh * ow * 4)),
        outside: laneOf(by === 'max' ? 0 : zero),
        finish: () => (sums) =>
          roundedTo(mul(float(sums), factor), {
            ...{ zero: to.coding.zero, bounds: behind.bounds, small: true }
          })
      })
    )
  )
}

function means(g: Given, { outer, count }: NonNullable<Of<'body'>['means']>): Made | undefined {
  const { steps, inputs, to, behind } = g
  const from = inputs[0] as Coded
  const shape = mapsShape(from.shape)
  if (from.shape.length < 3 || outer !== shape.samples * shape.channels || count !== shape.positions) return undefined
  const blocks = shape.samples * Math.ceil(shape.channels / 4)
  const source = steps.need(from, 'maps')
  const rest = { samples: shape.samples, channels: shape.channels, positions: 1 }
  if (to.shape.length < 3 && shape.channels % 4 !== 0 && shape.samples > 1) return undefined
  // Means of one position lie four channels to a lane; where there are no positions left, that is in order.
  const key = steps.made(to, to.shape.length < 3 ? 'rows' : 'maps', mapsBytes(rest) + 16)
  const { scale, zero } = from.coding
  const factor = Math.fround(scale / to.coding.scale / count)
  return step(g, `mean of ${count}, ${shape.channels} maps`, [source], key, 0, (p) =>
    mapMeans({
      ...{ blocks, positions: count, from: p.of(source), to: p.of(key), start: splat(whole(-zero * count)) },
      finish: (sums) =>
        roundedTo(mul(float(sums), factor), {
          ...{ zero: to.coding.zero, bounds: behind.bounds, small: true }
        })
    })
  )
}

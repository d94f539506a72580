/**
 * The law of the `linear` facet: what ONNX Runtime returns is the sum that the facet's strides, axes and patch describe,
 * for random attributes, sizes and numbers. Numbers and scales are such that every sum is exact.
 */
import { describe, expect, it } from 'vitest'
import { type Rng, rng } from '../src/base/random.ts'
import { float } from '../src/ir/attrs.ts'
import { builder } from '../src/ir/build.ts'
import { factsOf, graphView, opName } from '../src/ir/graph.ts'
import { elementCount, tensor, toNumbers } from '../src/ir/tensor.ts'
import { ops } from '../src/ops/index.ts'
import { inferShapes } from '../src/ops/infer.ts'
import { channelAt } from '../src/ops/linear.ts'
import type { Linear } from '../src/ops/types.ts'
import type { AttrInput, DType, Model, Node, Tensor } from '../src/types.ts'
import { outputsOf } from './compare.ts'

/** A tensor as the node reads it, and the numbers that it stands for. */
interface Operand {
  readonly data: Tensor
  readonly real: readonly number[]
}

interface Operands {
  readonly x: Operand
  readonly w: Operand
  readonly b: Operand
}

/** How an operator is given its operands: types, scales and zero points of codes, and the order of inputs. */
interface Form {
  readonly op: string
  readonly domain?: string
  readonly shapes: (random: Rng) => Shapes
  readonly x?: Codes
  readonly w?: Codes
  readonly b?: Codes
  readonly y?: Codes
  readonly inputs: (o: Operands) => readonly (Tensor | null)[]
}

interface Codes {
  readonly dtype: DType
  readonly scale: number
  readonly zero: number
}

interface Shapes {
  readonly x: readonly number[]
  readonly w: readonly number[]
  readonly b: readonly number[]
  readonly attrs: Readonly<Record<string, AttrInput | undefined>>
}

// ---------------------------------------------------------------- random nodes

const between = (random: Rng, low: number, high: number): number => low + random.below(high - low + 1)
const pick = <T>(random: Rng, all: readonly T[]): T => all[random.below(all.length)] as T
const list = (n: number, make: (i: number) => number): number[] => Array.from({ length: n }, (_, i) => make(i))

function convShapes(random: Rng, largestRank = 3): Shapes {
  const rank = between(random, 1, largestRank)
  const [groups, outputs, inputs] = list(3, () => between(random, 1, 3)) as [number, number, number]
  const kernel = list(rank, () => between(random, 1, 3))
  const auto = pick(random, [undefined, undefined, 'SAME_UPPER', 'SAME_LOWER', 'VALID'])
  const attrs = {
    group: groups,
    strides: list(rank, () => between(random, 1, 3)),
    // ONNX Runtime takes no dilations with SAME.
    dilations: list(rank, () => (auto?.startsWith('SAME') ? 1 : between(random, 1, 2))),
    ...(auto ? { auto_pad: auto } : { pads: list(2 * rank, () => between(random, 0, 2)) })
  }
  const spatial = list(rank, () => between(random, 5, 8))
  return {
    x: [2, groups * inputs, ...spatial],
    w: [groups * outputs, inputs, ...kernel],
    b: [groups * outputs],
    attrs
  }
}

function transposedShapes(random: Rng): Shapes {
  const rank = between(random, 1, 3)
  const [groups, outputs, inputs] = list(3, () => between(random, 1, 3)) as [number, number, number]
  const kernel = list(rank, () => between(random, 1, 3))
  const strides = list(rank, () => between(random, 1, 3))
  const dilations = list(rank, () => between(random, 1, 2))
  const spatial = list(rank, () => between(random, 3, 5))
  const whole = spatial.map((s, i) => (s - 1) * at(strides, i) + (at(kernel, i) - 1) * at(dilations, i) + 1)
  const auto = pick(random, [undefined, 'SAME_UPPER', 'SAME_LOWER', 'VALID', 'shape', 'SAME_UPPER shape'])
  const pads =
    auto === undefined
      ? { pads: list(2 * rank, () => between(random, 0, 1)), output_padding: strides.map((s) => random.below(s)) }
      : auto.endsWith('shape')
        ? { output_shape: whole.map((s) => Math.max(1, s - random.below(3))) }
        : {}
  const named = auto?.replace(/ ?shape/, '')
  return {
    x: [2, groups * inputs, ...spatial],
    w: [groups * inputs, outputs, ...kernel],
    b: [groups * outputs],
    attrs: { group: groups, strides, dilations, ...(named ? { auto_pad: named } : {}), ...pads }
  }
}

function matrixShapes(
  random: Rng,
  o: { rank?: number; turns?: 'weight' | 'both'; factors?: readonly string[] }
): Shapes {
  const [inputs, outputs] = [between(random, 1, 5), between(random, 1, 5)]
  const turnsData = o.turns === 'both' && random.below(2) === 1
  const turnsWeight = o.turns !== undefined && random.below(2) === 1
  const rank = o.rank ?? between(random, turnsData ? 2 : 1, 4)
  const rows = list(rank - 1, () => between(random, 1, 3))
  return {
    x: turnsData ? [...rows.slice(0, -1), inputs, at(rows, -1)] : [...rows, inputs],
    w: turnsWeight ? [outputs, inputs] : [inputs, outputs],
    b: [outputs],
    attrs: {
      ...(turnsData ? { transA: 1 } : {}),
      ...(turnsWeight ? { transB: 1 } : {}),
      ...Object.fromEntries((o.factors ?? []).map((name) => [name, float(pick(random, [0.5, 1, 2]))]))
    }
  }
}

const at = (v: readonly number[], i: number): number => v.at(i) as number

// ---------------------------------------------------------------- operators

const u8: Codes = { dtype: 'uint8', scale: 0.5, zero: 3 }
const s8: Codes = { dtype: 'int8', scale: 0.25, zero: 0 }
/** Whole numbers as codes of themselves: what is returned is a sum of products of codes. */
const whole = { x: { dtype: 'uint8', scale: 1, zero: 3 }, w: { dtype: 'uint8', scale: 1, zero: 2 } } as const
const product: Codes = { dtype: 'int32', scale: 0.125, zero: 0 }
const rounded: Codes = { dtype: 'uint8', scale: 0.125, zero: 128 }
const scale = (c: Codes): Tensor => tensor('float32', [], [c.scale])
const zero = (c: Codes): Tensor => tensor(c.dtype, [], [c.zero])
const microsoft = 'com.microsoft'

const straight = ({ x, w, b }: Operands): readonly Tensor[] => [x.data, w.data, b.data]
const onCodes = { x: u8, w: s8, b: product, y: rounded }
const qlinear = ({ x, w }: Operands): Tensor[] => [
  ...[x.data, scale(u8), zero(u8)],
  ...[w.data, scale(s8), zero(s8)],
  ...[scale(rounded), zero(rounded)]
]

/** Numbers that are a multiple of a scale apart, from −100 to 155: the codes that ONNX Runtime finds are exact. */
const dynamic: Codes = { dtype: 'float32', scale: 1, zero: 0 }

const forms: readonly Form[] = [
  { op: 'Conv', shapes: convShapes, inputs: straight },
  { op: 'FusedConv', domain: microsoft, shapes: (r) => convShapes(r, 2), inputs: straight },
  { op: 'ConvTranspose', shapes: transposedShapes, inputs: straight },
  {
    op: 'ConvInteger',
    shapes: (r) => convShapes(r, 2),
    ...whole,
    inputs: ({ x, w }) => [x.data, w.data, zero(whole.x), zero(whole.w)]
  },
  {
    op: 'QLinearConv',
    shapes: (r) => convShapes(r, 2),
    ...onCodes,
    inputs: (o) => [...qlinear(o), o.b.data]
  },
  {
    op: 'QLinearConv',
    domain: microsoft,
    shapes: (r) => channelsLast(convShapes(r, 2)),
    ...onCodes,
    inputs: (o) => [...qlinear(o), o.b.data]
  },
  { op: 'MatMul', shapes: (r) => matrixShapes(r, {}), inputs: ({ x, w }) => [x.data, w.data] },
  {
    op: 'Gemm',
    shapes: (r) => matrixShapes(r, { rank: 2, turns: 'both', factors: ['alpha', 'beta'] }),
    inputs: straight
  },
  ...['FusedMatMul', 'TransposeMatMul'].map(
    (op): Form => ({
      op,
      domain: microsoft,
      shapes: (r) => matrixShapes(r, { turns: 'both', factors: ['alpha'] }),
      inputs: ({ x, w }) => [x.data, w.data]
    })
  ),
  {
    op: 'MatMulInteger',
    shapes: (r) => matrixShapes(r, {}),
    ...whole,
    inputs: ({ x, w }) => [x.data, w.data, zero(whole.x), zero(whole.w)]
  },
  { op: 'QLinearMatMul', shapes: (r) => matrixShapes(r, {}), ...onCodes, inputs: qlinear },
  {
    op: 'QGemm',
    domain: microsoft,
    shapes: (r) => matrixShapes(r, { rank: 2, turns: 'both' }),
    ...onCodes,
    inputs: (o) => [...qlinear(o).slice(0, 6), o.b.data, ...qlinear(o).slice(6)]
  },
  {
    op: 'MatMulIntegerToFloat',
    domain: microsoft,
    shapes: (r) => matrixShapes(r, {}),
    x: u8,
    w: s8,
    inputs: ({ x, w, b }) => [x.data, w.data, scale(u8), scale(s8), zero(u8), zero(s8), b.data]
  },
  {
    op: 'DynamicQuantizeMatMul',
    domain: microsoft,
    shapes: (r) => matrixShapes(r, { rank: 2 }),
    x: dynamic,
    w: s8,
    inputs: ({ x, w, b }) => [x.data, w.data, scale(s8), null, b.data]
  }
]

function channelsLast(s: Shapes): Shapes {
  const [batch = 1, channels = 1, ...spatial] = s.x
  return { ...s, x: [batch, ...spatial, channels], attrs: { ...s.attrs, channels_last: 1 } }
}

// ---------------------------------------------------------------- one node

function operand(random: Rng, shape: readonly number[], codes: Codes | undefined): Operand {
  const values = list(elementCount(shape), () => between(random, -3, 3))
  if (codes === dynamic) for (const [i, v] of [-100, 155].entries()) if (i < values.length) values[i] = v
  if (!codes || codes === dynamic) return { data: tensor('float32', shape, values), real: values }
  const least = codes.dtype === 'uint8' ? 0 : -128
  const stored = values.map((v) => Math.max(least, v + codes.zero))
  return { data: tensor(codes.dtype, shape, stored), real: stored.map((q) => (q - codes.zero) * codes.scale) }
}

function nodeOf(form: Form, s: Shapes, operands: Operands): { model: Model; node: Node } {
  const b = builder()
  const inputs = form.inputs(operands).map((t, i) => {
    if (t === null) return null
    return t === operands.x.data ? b.input('x', t.dtype, t.shape) : b.constant(t, `c${i}`)
  })
  const y = b.op(form.op, inputs, s.attrs, form.domain ? { domain: form.domain } : {})
  const made = inferShapes(b.model([y], { domains: { [microsoft]: 1 } }))
  return { model: made, node: made.graph.nodes[0] as Node }
}

// ---------------------------------------------------------------- the sum that the facet describes

/** Every list of numbers below the sizes, the last fastest. */
const places = (sizes: readonly number[]): number[][] =>
  sizes.reduce<number[][]>((all, size) => all.flatMap((p) => list(size, (i) => i).map((i) => [...p, i])), [[]])

/** The element of a tensor whose other axes, in order, are at `rest`. */
function element(shape: readonly number[], axis: number, channel: number, rest: readonly number[]): number {
  const own = axis + shape.length
  const index = [...rest.slice(0, own), channel, ...rest.slice(own)]
  return index.reduce((sum, i, a) => sum * (shape[a] as number) + i, 0)
}

function sumsOf(l: Linear, x: readonly number[], o: Operands, y: readonly number[], hasBias: boolean): Float64Array {
  const out = new Float64Array(elementCount(y))
  const axes = l.patch?.axes ?? []
  const ends = [y, x].map((shape, i) => shape.filter((_, a) => a !== shape.length + (i === 0 ? l.axes.out : l.axes.in)))
  const [restY, restX] = ends as [number[], number[]]
  const lead = restY.length - axes.length
  const from = l.patch?.transposed ? restX : restY
  const limit = (l.patch?.transposed ? restY : restX).slice(lead)
  for (const rest of places(from))
    for (const [k, position] of places(axes.map((a) => a.kernel)).entries()) {
      const other = axes.map((a, i) => {
        expect(a.pads).toBeDefined()
        return (rest[lead + i] as number) * a.stride + (position[i] as number) * a.dilation - (a.pads?.before ?? 0)
      })
      if (other.some((p, i) => p < 0 || p >= (limit[i] as number))) continue
      const there = [...rest.slice(0, lead), ...other]
      const [inY, inX] = l.patch?.transposed ? [there, rest] : [rest, there]
      for (const [g, out_, in_] of places([l.groups, l.outputs, l.inputs]) as [number, number, number][]) {
        const { strides: s } = l
        const w = g * s.group + out_ * s.out + in_ * s.in + k * s.kernel
        const to = element(y, l.axes.out, g * l.outputs + out_, inY)
        const product = (o.w.real[w] as number) * (o.x.real[element(x, l.axes.in, g * l.inputs + in_, inX)] as number)
        out[to] = (out[to] as number) + l.alpha * product
      }
    }
  if (!hasBias || !l.bias) return out
  for (const rest of places(restY))
    for (const c of list(l.groups * l.outputs, (i) => i)) {
      const to = element(y, l.axes.out, c, rest)
      out[to] = (out[to] as number) + l.bias.beta * (o.b.real[c] as number)
    }
  return out
}

const tries = 25

describe('the linear facet', () => {
  it('has a form here for every operator that has it', () => {
    const named = (o: { op: string; domain?: string | undefined }): string =>
      opName({ op: o.op, ...(o.domain === undefined ? {} : { domain: o.domain }) })
    const having = ops.filter((op) => op.linear).map((op) => named({ op: op.name, domain: op.domain }))
    expect(forms.map(named).sort()).toEqual(having.sort())
  })

  it.each(forms.map((form) => [`${form.domain ?? ''}:${form.op}`, form] as const))(
    'tells the sum of %s',
    async (_, form) => {
      for (let i = 0; i < tries; i++) {
        const random = rng(`${form.op} ${i}`)
        const s = form.shapes(random)
        const o = { x: operand(random, s.x, form.x), w: operand(random, s.w, form.w), b: operand(random, s.b, form.b) }
        const { model, node } = nodeOf(form, s, o)
        const linear = ops
          .find((op) => op.name === form.op && op.domain === form.domain)
          ?.linear?.(factsOf(graphView(model.graph), node))
        const where = JSON.stringify({ ...s, linear })
        expect(linear, where).toBeDefined()
        const got = Object.values(await outputsOf(model, { x: o.x.data }))[0] as Tensor
        const hasBias = linear?.bias !== undefined && node.inputs[linear.bias.input] != null
        const sums = sumsOf(linear as Linear, s.x, o, got.shape, hasBias)
        const y = form.y
        const real = Array.from(toNumbers(got), (q) => (y ? (q - y.zero) * y.scale : q))
        const wanted = Array.from(sums, (v) => (y ? Math.min(127, Math.max(-128, v / y.scale)) * y.scale : v))
        expect(real, where).toEqual(wanted.map((v) => v + 0))
      }
    }
  )

  it('tells the channels of an element of the weight', () => {
    const random = rng('channels')
    for (let i = 0; i < tries; i++) {
      const form = pick(random, forms.slice(0, 8))
      const s = form.shapes(random)
      const o = { x: operand(random, s.x, form.x), w: operand(random, s.w, form.w), b: operand(random, s.b, form.b) }
      const { model, node } = nodeOf(form, s, o)
      const l = ops
        .find((op) => op.name === form.op && op.domain === form.domain)
        ?.linear?.(factsOf(graphView(model.graph), node)) as Linear
      const [out, into] = [channelAt(l, 'out'), channelAt(l, 'in')]
      for (const [g, a, b, k] of places([l.groups, l.outputs, l.inputs, l.kernel]) as [
        number,
        number,
        number,
        number
      ][]) {
        const offset = g * l.strides.group + a * l.strides.out + b * l.strides.in + k * l.strides.kernel
        expect([out(offset), into(offset)]).toEqual([g * l.outputs + a, g * l.inputs + b])
      }
    }
  })
})

/**
 * The law of the facet `permute`, held against what ONNX Runtime returns: a node on permuted data gives its outputs permuted,
 * whatever the order, and whichever end the order is given for.
 */
import { describe, expect, it } from 'vitest'
import { rng } from '../src/base/random.ts'
import { attrs as makeAttrs } from '../src/ir/attrs.ts'
import { bind } from '../src/ir/bind.ts'
import { factsOf, graphView, opName } from '../src/ir/graph.ts'
import { permuteTensor } from '../src/ir/order.ts'
import { isFloat, tensor, toNumbers } from '../src/ir/tensor.ts'
import { parse } from '../src/ir/text.ts'
import { opFor, ops } from '../src/ops/index.ts'
import { inferShapes } from '../src/ops/infer.ts'
import { shapeCases } from '../src/ops/shapes.cases.ts'
import type { End, Order, Permuted } from '../src/ops/types.ts'
import type { Dim, Model, Node, Tensor, Value } from '../src/types.ts'
import { outputsOf } from './compare.ts'

const unary =
  'Abs Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Erf Exp Floor Log Neg Reciprocal Round Sign Sin Sinh Sqrt Tan'
const activations =
  'Relu Sigmoid LeakyRelu Celu Elu HardSigmoid HardSwish Mish Selu Shrink Softplus Softsign Tanh ThresholdedRelu'
const binary = 'Add Sub Mul Div Pow Max Min Mean Sum Equal Greater GreaterOrEqual Less LessOrEqual PRelu'
const integers = 'BitwiseAnd BitwiseOr BitwiseXor Mod'
const logical = 'And Or Xor'
const reductions = 'L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare'

const each = (names: string, text: (name: string) => string): Record<string, string> =>
  Object.fromEntries(names.split(' ').map((name) => [text(name).split(' = ')[1] as string, text(name)]))

/** Beside the cases of shape inference: one of each operator, with corners. */
const more: Readonly<Record<string, string>> = {
  ...each(
    `${unary} ${activations} IsNaN IsInf Identity Dropout Gelu`,
    (op) => `input x: f32[2,3,4,5]; y = ${op}(x); output y`
  ),
  ...each(binary, (op) => `input x: f32[2,3,4,5]; y = ${op}(x, c: f32[3,1,1]{1,2,3}); output y`),
  ...each(integers, (op) => `input x: i32[2,3,4,5]; y = ${op}(x, c: i32[3,1,1]{1,2,3}); output y`),
  ...each(logical, (op) => `input x: bool[2,3,4]; input z: bool[2,3,4]; y = ${op}(x, z); output y`),
  ...each(reductions, (op) => `input x: f32[2,3,4,5]; y = Reduce${op}(x, a: i64[2]{1,-1}); output y`),
  'add two': 'input x: f32[2,3,4]; input z: f32[2,1,4]; y = Add(x, z); output y',
  'add scalar': 'input x: f32[2,3,4]; y = Add(x, c: f32[]{3}); output y',
  'add last': 'input x: f32[2,3,4]; y = Add(x, c: f32[4]{1,2,3,4}); output y',
  shift: 'input x: u8[2,3]; input z: u8[2,3]; y = BitShift(x, z, direction="LEFT"); output y',
  'bitwise not': 'input x: i32[2,3]; y = BitwiseNot(x); output y',
  not: 'input x: bool[2,3]; y = Not(x); output y',
  cast: 'input x: f32[2,3]; y = Cast(x, to=6); output y',
  'cast like': 'input x: f32[2,3]; y = CastLike(x, c: i32[1]{1}); output y',
  clip: 'input x: f32[2,3]; y = Clip(x, l: f32[]{-0.5}, h: f32[]{0.5}); output y',
  where: 'input c: bool[2,3,4]; y = Where(c, a: f32[4]{1,2,3,4}, b: f32[]{0}); output y',
  'swish 24': 'opset 24; input x: f32[2,3]; y = Swish(x); output y',
  'reduce away': 'input x: f32[2,3,4,5]; y = ReduceMean(x, a: i64[2]{1,2}, keepdims=0); output y',
  'reduce all': 'input x: f32[2,3,4]; y = ReduceSum(x, keepdims=0); output y',
  'reduce nothing': 'input x: f32[2,3,4]; y = ReduceSum(x, noop_with_empty_axes=1); output y',
  'arg max': 'input x: f32[2,3,4]; y = ArgMax(x, axis=-1); output y',
  'arg min away': 'input x: f32[2,3,4]; y = ArgMin(x, axis=1, keepdims=0); output y',
  softmax: 'input x: f32[2,3,4]; y = Softmax(x, axis=1); output y',
  'log softmax': 'input x: f32[2,3,4]; y = LogSoftmax(x); output y',
  hardmax: 'input x: f32[2,3,4]; y = Hardmax(x); output y',
  concat: 'input x: f32[2,3,4]; y = Concat(x, x, c: f32[2,1,4]{1,2,3,4,5,6,7,8}, axis=-2); output y',
  split: 'input x: f32[2,3,4]; y, z = Split(x, s: i64[2]{1,3}, axis=2); output y, z',
  slice: 'input x: f32[2,3,4]; y = Slice(x, s: i64[2]{0,1}, e: i64[2]{1,3}, a: i64[2]{0,-1}, t: i64[2]{1,2}); output y',
  'slice first': 'input x: f32[2,3,4]; y = Slice(x, s: i64[2]{0,1}, e: i64[2]{1,3}); output y',
  pad: 'input x: f32[2,3,4]; y = Pad(x, p: i64[6]{0,1,2,1,0,1}, v: f32[]{7}); output y',
  'pad axes': 'input x: f32[2,3,4]; y = Pad(x, p: i64[2]{2,1}, v: f32[]{7}, a: i64[1]{-1}); output y',
  tile: 'input x: f32[2,3,4]; y = Tile(x, r: i64[3]{1,2,3}); output y',
  expand: 'input x: f32[2,1,4]; y = Expand(x, s: i64[3]{2,3,1}); output y',
  gather: 'input x: f32[2,3,4]; y = Gather(x, i: i64[2]{1,0}, axis=1); output y',
  'gather one': 'input x: f32[2,3,4]; y = Gather(x, i: i64[]{1}, axis=1); output y',
  squeeze: 'input x: f32[2,1,4,1]; y = Squeeze(x, a: i64[2]{1,-1}); output y',
  unsqueeze: 'input x: f32[2,3]; y = Unsqueeze(x, a: i64[2]{1,3}); output y',
  quantize: 'input x: f32[2,3,4]; y = QuantizeLinear(x, s: f32[3]{0.1,0.2,0.3}, z: i8[3]{1,2,3}, axis=1); output y',
  dequantize: 'input x: i8[2,3,4]; y = DequantizeLinear(x, s: f32[4]{0.1,0.2,0.3,0.4}, axis=-1); output y',
  'dequantize all': 'input x: i8[2,3,4]; y = DequantizeLinear(x, s: f32[]{0.1}); output y',
  'resize sizes': 'input x: f32[1,3,4,5]; y = Resize(x, _, _, s: i64[4]{1,3,8,10}); output y',
  'resize axes': 'input x: f32[1,3,4,5]; y = Resize(x, _, s: f32[2]{2,2}, axes=[2,3]); output y',
  'quick gelu': 'domain com.microsoft 1; input x: f32[2,3]; y = com.microsoft:QuickGelu(x); output y',
  'microsoft gelu': 'domain com.microsoft 1; input x: f32[2,3]; y = com.microsoft:Gelu(x); output y'
}

/** Not in the engine. */
const unrun = new Set(['Swish'])

const symbols = { N: 2, H: 5, W: 6, S: 5, T: 3 }

interface Case {
  readonly model: Model
  readonly node: Node
  readonly feeds: Readonly<Record<string, Tensor>>
}

const cases = Object.entries({ ...shapeCases, ...more }).flatMap(([name, text]) => {
  const model = inferShapes(bind(parse(text.replaceAll('; ', '\n')), symbols))
  const [node, ...others] = model.graph.nodes
  if (!node || others.length > 0 || !opFor(node)?.permute) return []
  const random = rng(name)
  const feeds = Object.fromEntries(
    model.graph.inputs.map((id) => {
      const { dtype = 'float32', shape = [] } = model.graph.values.get(id) as Value
      const count = (shape as readonly number[]).reduce((n, d) => n * d, 1)
      const values = Array.from({ length: count }, () => (isFloat(dtype) ? random.normal() : random.below(2)))
      return [id, tensor(dtype, shape as readonly number[], values)] as const
    })
  )
  return [[name, { model, node, feeds }]] as const
})

/** Some orders of so many axes, each other than as they are. */
function orders(rank: number): readonly Order[] {
  const start = Array.from({ length: rank }, (_, i) => i)
  const turned = [...start.slice(1), 0]
  const back = [rank - 1, ...start.slice(0, -1)]
  const last = rank > 2 ? [0, ...start.slice(2), 1] : turned
  return rank < 2 ? [] : [turned, back, last, start.toReversed()]
}

const to = (shape: readonly Dim[] | undefined, order: Order): readonly Dim[] => {
  const all = [...Array<Dim>(Math.max(0, order.length - (shape?.length ?? 0))).fill(1), ...(shape ?? [])]
  return order.map((a) => all[a] as Dim)
}

/** The case with its node and inputs permuted. */
function permutedCase({ model, node, feeds }: Case, p: Permuted): Case {
  const values = new Map(model.graph.values)
  const fed: Record<string, Tensor> = { ...feeds }
  const inputs = [...node.inputs]
  for (const [i, id] of node.inputs.entries()) {
    const order = p.inputs[i]
    const v = id === null ? undefined : values.get(id)
    if (!v || !order || inputs[i] !== id) continue
    const name = `${v.id}_${i}`
    const data = v.data && permuteTensor(v.data, order)
    values.set(name, { ...v, id: name, shape: to(v.shape, order), ...(data ? { data } : {}) })
    if (feeds[v.id]) fed[name] = permuteTensor(feeds[v.id] as Tensor, order)
    inputs[i] = name
  }
  for (const [i, data] of Object.entries(p.constants ?? {})) {
    while (inputs.length <= Number(i)) inputs.push(null)
    values.set(`new${i}`, { id: `new${i}`, type: 'tensor', dtype: data.dtype, shape: data.shape, data })
    inputs[Number(i)] = `new${i}`
  }
  for (const id of node.outputs) values.set(id, { id, type: 'tensor' })
  const moved = { ...node, inputs, attrs: { ...node.attrs, ...makeAttrs(p.attrs ?? {}) } }
  const read = inputs.filter((id): id is string => id !== null && fed[id] !== undefined)
  const graph = { ...model.graph, inputs: [...new Set(read)], nodes: [moved], values }
  return {
    model: inferShapes({ ...model, graph }),
    node: moved,
    feeds: Object.fromEntries(read.map((id) => [id, fed[id] as Tensor]))
  }
}

describe('permute: a node on permuted data gives its outputs permuted', () => {
  const held = new Set<string>()

  it.each(cases)('%s', async (_, one) => {
    const op = opFor(one.node)
    if (unrun.has(one.node.op)) return
    const facts = factsOf(graphView(one.model.graph), one.node)
    const before = await outputsOf(one.model, one.feeds)
    const ends: readonly End[] = [
      { of: 'input', at: 0 },
      { of: 'output', at: 0 }
    ]
    for (const end of ends) {
      const known = end.of === 'input' ? facts.inputs[0] : facts.outputs[0]
      for (const order of orders(known?.shape?.length ?? 0)) {
        const p = op?.permute?.(facts, order, end)
        if (!p) continue
        const after = permutedCase(one, p)
        const made = await outputsOf(after.model, after.feeds)
        for (const [i, id] of one.node.outputs.entries()) {
          const wanted: Tensor = p.outputs[i]
            ? permuteTensor(before[id] as Tensor, p.outputs[i] as Order)
            : (before[id] as Tensor)
          expect(made[id]?.shape, `${id} of order ${order}`).toEqual(wanted.shape)
          const a: readonly number[] = Array.from(toNumbers(made[id] as Tensor))
          const b: readonly number[] = Array.from(toNumbers(wanted))
          for (const [k, x] of a.entries())
            if (!(Math.abs(x - (b[k] as number)) <= 1e-5 * (1 + Math.abs(x)) || Object.is(x, b[k])))
              expect.fail(`${id}[${k}] of order ${order} given for the ${end.of}: ${x}, not ${b[k]}`)
        }
        held.add(opName(one.node))
      }
    }
  })

  it('was held for every operator with the facet', () => {
    const all = ops.filter((op) => op.permute).map((op) => opName({ op: op.name, domain: op.domain } as Node))
    expect(all.filter((name) => !held.has(name) && !unrun.has(name))).toEqual([])
  })
})

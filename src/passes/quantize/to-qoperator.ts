/**
 * From DequantizeLinear → operator → QuantizeLinear to one operator on integers with scales, for runtimes that do not fuse
 * by themselves. The arithmetic is that of ONNX Runtime's own fusion, number for number. What does not fit stays as it is.
 */

import { z } from 'zod'
import { attrInt } from '../../ir/attrs.ts'
import { type Draft, editGraph, mapGraphs, takenIds } from '../../ir/edit.ts'
import { constant } from '../../ir/graph.ts'
import { elementCount, equalTensors, tensor, toFloats, toNumbers } from '../../ir/tensor.ts'
import { opFor } from '../../ops/index.ts'
import { isDequantize, isQdq, isQuantize } from '../../ops/quantized.ts'
import type { DType, Graph, Model, Node, Tensor } from '../../types.ts'
import { definePass } from '../pass.ts'
import { withTypes } from '../typed.ts'
import type { Context } from '../types.ts'
import { matcher } from './common/select.ts'

/** Turns quantized operators into QLinearConv, QLinearMatMul and data movement on integers. */
export const toQoperator = definePass({
  name: 'to-qoperator',
  summary: 'write quantized operators as QLinearConv, QLinearMatMul and others, without QuantizeLinear around them',
  group: 'integers',
  options: {
    microsoft: z
      .boolean()
      .default(false)
      .describe('also operators of com.microsoft, which only ONNX Runtime has: QLinearAdd, QLinearMul, QGemm, …'),
    exclude: z.array(z.string()).default([]).describe('nodes left alone: operator types or name patterns with *')
  },
  run: (given, options, ctx) =>
    withTypes(given, (model) => {
      const made: Record<string, number> = {}
      const how = { ...options, isExcluded: matcher(options.exclude), made, ctx }
      const out = convert(model, how)
      if (out !== model) ctx.plan({ made })
      return out
    })
})

interface How {
  readonly microsoft: boolean
  readonly isExcluded: (node: Node) => boolean
  /** How many were made, by operator. */
  readonly made: Record<string, number>
  readonly ctx: Context
}

function convert(model: Model, how: How): Model {
  const taken = takenIds(model)
  let isForeign = false
  const out = mapGraphs(model, (graph, around) =>
    editGraph(
      graph,
      (d) => {
        const s: State = { d, known: [graph, ...[...around].reverse()], zeros: new Map() }
        for (const node of graph.nodes) {
          const op = convertNode(s, node, how)
          if (op === undefined) continue
          how.made[op] = (how.made[op] ?? 0) + 1
          isForeign ||= op.startsWith(microsoft)
        }
        if (Object.keys(how.made).length > 0) removeUnread(d, graph)
      },
      taken
    )
  )
  return isForeign ? { ...out, domains: { [microsoft]: 1, ...out.domains } } : out
}

const microsoft = 'com.microsoft'

interface State {
  readonly d: Draft
  /** This graph and those around it. */
  readonly known: readonly Graph[]
  /** Zero points that were left out, by type and shape. */
  readonly zeros: Map<string, string>
}

/** A quantized tensor: its codes, and how they are read. */
interface Quantized {
  readonly code: string
  readonly scale: string
  readonly zero: string | undefined
  readonly scales: Tensor
  readonly dtype: DType
  readonly axis: number
}

// ---------------------------------------------------------------- one node

/** Makes the integer form of a node, if it has one here; returns the operator. Refuses quantized nodes that stay. */
function convertNode(s: State, node: Node, how: How): string | undefined {
  if (isQdq(node) || node.domain !== undefined) return undefined
  const data = node.inputs.map((id) => (id === null ? undefined : dequantized(s, id)))
  if (!data.some((q) => q && !dataOf(s, q.code) && is8Bit(q.dtype))) return undefined
  const after = quantizer(s, node)
  if (!after) return undefined
  if (how.isExcluded(node)) return undefined
  const found = formOf(s, node, data, after, how)
  if (typeof found === 'string') {
    how.ctx.refuse(node, `${found}: stays between DequantizeLinear and QuantizeLinear`)
    return undefined
  }
  s.d.remove(after.node)
  s.d.replace(node, { ...node, ...found, outputs: [after.output] })
  return found.domain === undefined ? found.op : `${found.domain}:${found.op}`
}

type Form = Pick<Node, 'op' | 'inputs' | 'attrs'> & { readonly domain?: string }

interface After {
  readonly node: Node
  readonly output: string
  readonly y: Quantized
}

function formOf(s: State, node: Node, data: readonly (Quantized | undefined)[], after: After, how: How): Form | string {
  const { y } = after
  if (!is8Bit(y.dtype) || elementCount(y.scales.shape) !== 1) return 'its output is not of 8 bits under one scale'
  const standard = standardForms[node.op]
  if (standard) return standard({ s, node, data, y })
  if (opFor(node)?.quant?.output === 'same' || joins(node)) {
    const moved = movement(s, node, data, y)
    if (typeof moved !== 'string' || !joins(node) || !how.microsoft) return moved
  }
  const foreign = microsoftForms[node.op]
  if (!foreign) return `there is no ${node.op} on integers`
  if (!how.microsoft) return `only com.microsoft has ${node.op} on integers, which the option microsoft allows`
  const made = foreign({ s, node, data, y })
  return typeof made === 'string' ? made : { ...made, domain: microsoft }
}

interface Given {
  readonly s: State
  readonly node: Node
  readonly data: readonly (Quantized | undefined)[]
  readonly y: Quantized
}

type Maker = (g: Given) => Form | string

// ---------------------------------------------------------------- operators

const standardForms: Readonly<Record<string, Maker>> = {
  Conv: (g) => {
    const [x, w] = operands(g, 0)
    if (!x || !w) return 'its input or weight is not quantized to 8 bits'
    if (x.dtype === 'int8' && w.dtype === 'uint8') return 'int8 data with a weight of uint8 does not load'
    if (x.dtype !== g.y.dtype) return 'its input and output are of different types'
    const bias = biasCodes(g, x, w)
    if (bias !== undefined && typeof bias !== 'string') return bias.reason
    const inputs = [...three(g.s, x), ...three(g.s, w), ...two(g.s, g.y), ...(bias === undefined ? [] : [bias])]
    return { op: 'QLinearConv', inputs, attrs: g.node.attrs }
  },
  MatMul: (g) => {
    const rank = g.s.d.value(g.data[1]?.code ?? '')?.shape?.length ?? 0
    const [a, b] = operands(g, rank - 1)
    if (!a || !b) return 'not both of its inputs are quantized to 8 bits'
    if (a.dtype !== g.y.dtype) return 'its input and output are of different types'
    return { op: 'QLinearMatMul', inputs: [...three(g.s, a), ...three(g.s, b), ...two(g.s, g.y)], attrs: {} }
  }
}

const unary =
  (op: string, added: Node['attrs'] = {}): Maker =>
  ({ s, node, data: [x], y }) =>
    isWhole(x)
      ? { op, inputs: [...three(s, x), ...two(s, y)], attrs: { ...node.attrs, ...added } }
      : 'its input is not of 8 bits under one scale'

const binary =
  (op: string): Maker =>
  ({ s, node, data: [a, b], y }) =>
    isWhole(a) && isWhole(b) && a.dtype === y.dtype && b.dtype === y.dtype
      ? { op, inputs: [...three(s, a), ...three(s, b), ...two(s, y)], attrs: node.attrs }
      : 'its inputs and output are not of the same 8 bits under one scale each'

const channelsFirst: Node['attrs'] = { channels_last: { kind: 'int', value: 0 } }

const microsoftForms: Readonly<Record<string, Maker>> = {
  Add: binary('QLinearAdd'),
  Mul: binary('QLinearMul'),
  Sigmoid: unary('QLinearSigmoid'),
  LeakyRelu: unary('QLinearLeakyRelu'),
  GlobalAveragePool: unary('QLinearGlobalAveragePool', channelsFirst),
  AveragePool: unary('QLinearAveragePool', channelsFirst),
  Concat: ({ s, node, data, y }) =>
    data.every(isWhole)
      ? { op: 'QLinearConcat', inputs: [...two(s, y), ...data.flatMap((q) => three(s, q))], attrs: node.attrs }
      : 'its inputs are not of 8 bits under one scale each',
  Gemm: (g) => {
    const { node, s } = g
    const [a, b] = operands(g, attrInt(node, 'transB', 0) !== 0 ? 0 : 1)
    if (!a || !b) return 'its input or weight is not quantized to 8 bits'
    const bias = biasCodes(g, a, b)
    if (bias !== undefined && typeof bias !== 'string') return bias.reason
    const { beta: _, ...attrs } = node.attrs
    return { op: 'QGemm', inputs: [...three(s, a), ...three(s, b), bias ?? null, ...two(s, g.y)], attrs }
  }
}

/** Data under one scale at input 0, and at input 1 data under one scale or a weight under one per step of its `axis`. */
function operands({ data: [x, w] }: Given, axis: number): [Quantized | undefined, Quantized | undefined] {
  const isPerAxis = w && is8Bit(w.dtype) && w.axis === axis && w.scales.shape.length === 1
  return [isWhole(x) ? x : undefined, isWhole(w) || isPerAxis ? w : undefined]
}

/** The int32 codes of a bias, which must be under the product of both scales. */
function biasCodes({ node, data, s }: Given, x: Quantized, w: Quantized): string | { reason: string } | undefined {
  if (node.inputs[2] == null) return undefined
  const bias = data[2]
  if (bias?.dtype !== 'int32') return { reason: 'its bias is not quantized to int32' }
  if (bias.zero !== undefined && Array.from(toNumbers(dataOf(s, bias.zero) as Tensor)).some((v) => v !== 0))
    return { reason: 'its bias has a zero point' }
  const [sx, sw, sb] = [toFloats(x.scales)[0] as number, toFloats(w.scales), toFloats(bias.scales)]
  const at = (all: Float32Array, i: number): number => all[all.length === 1 ? 0 : i] as number
  const n = Math.max(sw.length, sb.length)
  for (let i = 0; i < n; i++)
    if (Math.abs(at(sb, i) - sx * at(sw, i)) > scaleTolerance * at(sb, i))
      return { reason: 'the scale of its bias is not the product of those of data and weight' }
  return bias.code
}

/** A few roundings of float32. */
const scaleTolerance = 1e-6

/** Data movement: the codes move instead, where they are read the same before and after. */
function movement(s: State, node: Node, data: readonly (Quantized | undefined)[], y: Quantized): Form | string {
  if (fixedTypes.has(node.op) || node.outputs.length > 1) return `there is no ${node.op} on integers`
  const moved = data.map((q, i) => (joins(node) || i === 0 ? q : undefined))
  if (!moved.some((q) => q)) return 'its data is not quantized'
  for (const [i, q] of moved.entries())
    if ((joins(node) || i === 0) && !(isWhole(q) && isSameQuantization(s, q, y)))
      return 'its input and output are of different scales'
  return { op: node.op, inputs: node.inputs.map((id, i) => moved[i]?.code ?? id), attrs: node.attrs }
}

/** Operators that do more than to move. */
const fixedTypes: ReadonlySet<string> = new Set(['Dropout', 'ReduceMax', 'ReduceMin', 'Resize'])

function isSameQuantization(s: State, a: Quantized, b: Quantized): boolean {
  const zero = (q: Quantized): number =>
    q.zero === undefined ? 0 : (toNumbers(dataOf(s, q.zero) as Tensor)[0] as number)
  return (
    a.dtype === b.dtype && zero(a) === zero(b) && equalTensors({ ...a.scales, shape: [] }, { ...b.scales, shape: [] })
  )
}

// ---------------------------------------------------------------- parts

const is8Bit = (dtype: DType): boolean => dtype === 'int8' || dtype === 'uint8'
const isWhole = (q: Quantized | undefined): q is Quantized =>
  q !== undefined && is8Bit(q.dtype) && elementCount(q.scales.shape) === 1

const dataOf = (s: State, id: string): Tensor | undefined => s.known.flatMap((g) => constant(g, id) ?? [])[0]

/** What makes a value, as a DequantizeLinear with constant parameters of a scale or a vector of scales. */
function dequantized(s: State, id: string): Quantized | undefined {
  const node = s.d.producer(id)
  return node && isDequantize(node) ? parameters(s, node, s.d.value(node.inputs[0] ?? '')?.dtype) : undefined
}

function parameters(s: State, node: Node, dtype: DType | undefined): Quantized | undefined {
  const [code, scale, zero] = node.inputs
  const scales = scale == null ? undefined : dataOf(s, scale)
  if (code == null || scale == null || scales?.dtype !== 'float32' || attrInt(node, 'block_size', 0) !== 0)
    return undefined
  const zeros = zero == null ? undefined : dataOf(s, zero)
  const type = zeros?.dtype ?? dtype
  if ((zero != null && !zeros) || type === undefined || scales.shape.length > 1) return undefined
  return { code, scale, zero: zero ?? undefined, scales, dtype: type, axis: attrInt(node, 'axis', 1) }
}

/** The QuantizeLinear that alone reads a node's result. */
function quantizer(s: State, node: Node): After | undefined {
  const made = node.outputs.filter((id) => id !== '')
  const reader = made.length === 1 ? s.d.soleConsumer(made[0] as string) : undefined
  if (!reader || !isQuantize(reader)) return undefined
  const output = reader.outputs[0] as string
  const y = parameters(s, reader, s.d.value(output)?.dtype)
  return y && { node: reader, output, y: { ...y, code: output } }
}

/** Scale and zero point; the latter is made where it was left out. */
function two(s: State, q: Quantized): string[] {
  if (q.zero !== undefined) return [q.scale, q.zero]
  const key = `${q.dtype} ${q.scales.shape}`
  const n = elementCount(q.scales.shape)
  const zero =
    s.zeros.get(key) ?? s.d.addConstant(tensor(q.dtype, q.scales.shape, new Array<number>(n).fill(0)), 'zero_point')
  s.zeros.set(key, zero)
  return [q.scale, zero]
}

const three = (s: State, q: Quantized): string[] => [q.code, ...two(s, q)]

/** Takes away DequantizeLinear that nothing reads any more. */
function removeUnread(d: Draft, graph: Graph): void {
  for (const node of graph.nodes) {
    const id = node.outputs[0] as string
    if (isDequantize(node) && d.consumers(id).length === 0 && !d.isOutput(id)) d.remove(node)
  }
}

/** All inputs have the scale of the output. */
function joins(node: Node): boolean {
  return node.op === 'Concat'
}

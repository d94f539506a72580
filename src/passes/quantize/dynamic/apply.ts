/**
 * Writes a dynamic plan into the model, in the shape that ONNX Runtime fuses to DynamicQuantizeMatMul or
 * MatMulIntegerToFloat:
 *
 *   x̂, s_x, z_x = DynamicQuantizeLinear(x)      y = Cast(MatMulInteger(x̂, ŵ, z_x, z_w)) · (s_x · s_w)
 *
 * A weight has one integer copy, in the graph where it was. What else reads it gets ŵ·s_w in the foldable form, and
 * reorderings of it are done on the codes.
 */

import { assert } from '../../../base/errors.ts'
import { attrFloat, attrInt, attrs as makeAttrs } from '../../../ir/attrs.ts'
import { type Draft, editGraph, mapGraphs, takenIds } from '../../../ir/edit.ts'
import { allGraphs, producer } from '../../../ir/graph.ts'
import { tensor, toFloats, toNumbers } from '../../../ir/tensor.ts'
import { isAdd } from '../../../ops/ask.ts'
import type { AttrInput, Attrs, Graph, Model, Node, Tensor } from '../../../types.ts'
import { biasPlace, shiftBias, shiftedBias } from '../../biases.ts'
import { scaleTensor } from '../common/codes.ts'
import { once } from '../common/once.ts'
import { type DynamicNode, type DynamicPlan, isMove } from './plan.ts'
import type { Encoded } from './weights.ts'

/**
 * The model of a plan. The very same model where the plan is empty. `shifts`: what is taken away from the mean of each
 * output channel, by a node's first output.
 */
export function applyDynamic(
  model: Model,
  plan: DynamicPlan,
  weights: ReadonlyMap<string, Encoded>,
  shifts: ReadonlyMap<string, Float64Array>
): Model {
  if (plan.nodes.length === 0) return model
  const taken = takenIds(model)
  for (const w of weights.values()) for (const id of [w.codesId, w.scaleId, w.zeroId]) taken.add(id)
  const nodes = new Map(plan.nodes.map((n) => [n.output, n]))
  const makers = new Map(
    allGraphs(model).flatMap((g) => g.nodes.flatMap((n) => n.outputs.map((id) => [id, n] as const)))
  )
  const made = mapGraphs(model, (graph) => {
    const here = graph.nodes.flatMap((node) => {
      const n = nodes.get(node.outputs.find((id) => id !== '') ?? '')
      return n ? [{ node, plan: n }] : []
    })
    const own = [...weights.values()].filter((w) => graph.values.get(w.id)?.data)
    if (here.length === 0 && own.length === 0) return graph
    const change = (d: Draft): void => {
      const s: State = { d, graph, weights, shifts, makers, isMicrosoft: plan.microsoft, made: new Map() }
      for (const { node, plan } of here) makeDynamic(s, node, plan)
      removeMoves(s, graph)
      for (const w of own) storeCodes(s, w)
    }
    return editGraph(graph, change, taken)
  })
  return plan.microsoft ? { ...made, domains: { 'com.microsoft': 1, ...made.domains } } : made
}

const microsoft = 'com.microsoft'

interface State {
  readonly d: Draft
  /** As it was when the draft was opened. */
  readonly graph: Graph
  readonly weights: ReadonlyMap<string, Encoded>
  readonly shifts: ReadonlyMap<string, Float64Array>
  /** In all graphs. */
  readonly makers: ReadonlyMap<string, Node>
  readonly isMicrosoft: boolean
  /** Ids made in this graph so far, by what they are. */
  readonly made: Map<string, string>
}

/** The zero point of uint8 codes: a uint8 code is the int8 code plus 128. */
const middle = 128

const zeroTensor = (w: Encoded, shape: readonly number[]): Tensor => {
  const n = shape.reduce((a, b) => a * b, 1)
  return tensor(w.type, shape, new Array<number>(n).fill(w.type === 'int8' ? 0 : middle))
}

// ---------------------------------------------------------------- nodes

function makeDynamic(s: State, node: Node, plan: DynamicNode): void {
  s.d.remove(node)
  builders[plan.op]?.(s, node, plan)
}

const builders: Readonly<Record<string, (s: State, node: Node, plan: DynamicNode) => void>> = {
  MatMul: makeMatMul,
  Gemm: makeMatMul,
  Conv: makeConv,
  Gather: makeGather,
  LSTM: makeLstm
}

/** Names the node at the heart as the original, by which runtimes name what they fuse. */
function heart(s: State, node: Node, op: string, inputs: readonly (string | null)[], attrs: Attrs = {}): string {
  const output = s.d.fresh(`${node.outputs[0]}_i32`)
  s.d.addNode({ name: node.name, op, inputs, outputs: [output], attrs })
  return output
}

function makeMatMul(s: State, node: Node, plan: DynamicNode): void {
  const { d } = s
  const w = weightOf(s, plan, 1)
  const straight = codesOf(s, node.inputs[1] as string)
  const codes =
    attrInt(node, 'transB', 0) !== 0
      ? once(s.made, `transposed ${straight}`, () => d.add('Transpose', [straight], { attrs: { perm: [1, 0] } }))
      : straight
  const scale = scaleOf(s, w, attrFloat(node, 'alpha', 1))
  const bias = biasOf(s, node)
  const out = node.outputs[0] as string
  if (w.codes.shape.length > 2) keepApart(s, out)
  if (s.isMicrosoft) {
    const inputs = [node.inputs[0] as string, codes, scale, zeroOf(s, w)]
    const isVector = bias !== undefined && d.constant(bias)?.shape.length === 1
    const made = bias === undefined || isVector ? out : d.fresh(`${out}_product`)
    d.addNode({
      name: node.name,
      op: 'DynamicQuantizeMatMul',
      domain: microsoft,
      inputs: isVector ? [...inputs, bias] : inputs,
      outputs: [made],
      attrs: {}
    })
    if (made !== out) d.add('Add', [made, bias as string], { outputs: [out] })
    return
  }
  const x = quantized(s, node.inputs[0] as string)
  const product = heart(s, node, 'MatMulInteger', [x.code, codes, x.zero, ...(w.type === 'int8' ? [] : [zeroOf(s, w)])])
  scaled(s, product, x.scale, scale, bias, out)
}

/**
 * ONNX Runtime fuses an Add into the product and then computes wrong numbers where matrices are stacked. It leaves
 * x − (−b) alone, which is the same to the last bit.
 */
function keepApart(s: State, product: string): void {
  const { d } = s
  for (const node of d.consumers(product)) {
    const bias = node.inputs.find((id) => id !== product)
    if (!isAdd(node) || bias == null) continue
    const data = d.constant(bias)
    const negative = once(s.made, `minus ${bias}`, () =>
      data
        ? d.addConstant(
            tensor(
              data.dtype,
              data.shape,
              Array.from(toNumbers(data), (v) => -v)
            ),
            `${bias}_minus`
          )
        : d.add('Neg', [bias])
    )
    d.replace(node, { ...node, op: 'Sub', inputs: [product, negative] })
  }
}

function makeConv(s: State, node: Node, plan: DynamicNode): void {
  const w = weightOf(s, plan, 1)
  const x = quantized(s, node.inputs[0] as string)
  const zero = s.d.addConstant(zeroTensor(w, []), w.zeroId)
  const product = heart(
    s,
    node,
    'ConvInteger',
    [x.code, codesOf(s, node.inputs[1] as string), x.zero, zero],
    node.attrs
  )
  const trailing = new Array<number>(w.codes.shape.length - 2).fill(1)
  const scale =
    w.axis === undefined
      ? scaleOf(s, w, 1)
      : s.d.addConstant(tensor('float32', [w.scales.length, ...trailing], w.scales), w.scaleId)
  const bias = biasOf(s, node)
  const wide = bias === undefined ? undefined : reshaped(s, bias, [-1, ...trailing])
  scaled(s, product, x.scale, scale, wide, node.outputs[0] as string)
}

/** Rows of codes and the scales of those rows; what is not gathered stays as it is. */
function makeGather(s: State, node: Node, plan: DynamicNode): void {
  const { d } = s
  const w = weightOf(s, plan, 0)
  const indices = node.inputs[1] as string
  const rows = heart(s, node, 'Gather', [codesOf(s, node.inputs[0] as string), indices], node.attrs)
  const real = d.add('Cast', [rows], { attrs: { to: 1 } })
  const centred = w.type === 'int8' ? real : d.add('Sub', [real, d.addConstant(tensor('float32', [], [middle]), 'z')])
  const column = (): string => {
    const shape = [w.scales.length, ...new Array<number>(w.codes.shape.length - 1).fill(1)]
    const all = d.addConstant(tensor(w.scaleType, shape, w.scales), w.scaleId)
    const own = d.add('Gather', [all, indices], { attrs: { axis: 0 } })
    return w.scaleType === 'float32' ? own : d.add('Cast', [own], { attrs: { to: 1 } })
  }
  const scale = w.axis === undefined ? scaleOf(s, w, 1) : column()
  d.add('Mul', [centred, scale], { outputs: [node.outputs[0] as string] })
}

function makeLstm(s: State, node: Node, plan: DynamicNode): void {
  const { d } = s
  const parameters = [1, 2].map((input) => {
    const w = weightOf(s, plan, input)
    const directions = w.codes.shape[0] as number
    const straight = codesOf(s, node.inputs[input] as string)
    const codes = once(s.made, `transposed ${straight}`, () =>
      d.add('Transpose', [straight], { attrs: { perm: [0, 2, 1] } })
    )
    const shape = w.axis === undefined ? [directions] : [directions, w.scales.length]
    const all = Array.from({ length: directions }, () => Array.from(w.scales)).flat()
    const scale = d.addConstant(tensor('float32', shape, all), w.scaleId)
    return { codes, scale, zero: d.addConstant(zeroTensor(w, shape), w.zeroId) }
  })
  const [w, r] = parameters as [(typeof parameters)[0], (typeof parameters)[0]]
  const rest = Array.from({ length: 5 }, (_, i) => node.inputs[i + 3] ?? null)
  const inputs = [node.inputs[0] ?? null, w.codes, r.codes, ...rest, w.scale, w.zero, r.scale, r.zero]
  const { layout: _, ...attrs } = node.attrs
  d.addNode({ ...node, op: 'DynamicQuantizeLSTM', domain: microsoft, inputs, attrs })
}

// ---------------------------------------------------------------- parts

function weightOf(s: State, plan: DynamicNode, input: number): Encoded {
  const w = s.weights.get(plan.weights[input] ?? '')
  assert(w, `no weight at input ${input} of ${plan.node}`)
  return w
}

interface Quantized {
  readonly code: string
  readonly scale: string
  readonly zero: string
}

/** A value quantized at run time, once in a graph. */
function quantized(s: State, x: string): Quantized {
  const code = once(s.made, `quantized ${x}`, () => {
    const outputs = ['q', 's', 'z'].map((what) => s.d.fresh(`${x}_${what}`))
    return s.d.add('DynamicQuantizeLinear', [x], { outputs })
  })
  const [, scale, zero] = s.d.producer(code)?.outputs ?? []
  assert(scale && zero, `${code} is not made by DynamicQuantizeLinear`)
  return { code, scale, zero }
}

/** Cast(product) · (s_x · s_w) + bias, under the original name. */
function scaled(s: State, product: string, x: string, w: string, bias: string | undefined, output: string): void {
  const { d } = s
  const real = d.add('Cast', [product], { attrs: { to: 1 } })
  const factor = d.add('Mul', [x, w])
  if (bias === undefined) d.add('Mul', [real, factor], { outputs: [output] })
  else d.add('Add', [d.add('Mul', [real, factor]), bias], { outputs: [output] })
}

/** The scales of a weight, a vector or a scalar, times a factor. */
function scaleOf(s: State, w: Encoded, factor: number): string {
  if (factor === 1) return w.scaleId
  const scales = w.scales.map((v) => v * factor)
  return once(s.made, `scale ${w.id} ${factor}`, () =>
    s.d.addConstant(scaleTensor(scales, w.axis !== undefined, 'float32'), w.scaleId)
  )
}

/** The zero point of a weight: one number beside one scale, and beside stacked matrices, for which engines read no vector. */
const zeroOf = (s: State, w: Encoded): string => {
  const shape = w.axis === undefined || w.codes.shape.length > 2 ? [] : [w.scales.length]
  return once(s.made, `zero ${w.type} ${shape}`, () => s.d.addConstant(zeroTensor(w, shape), w.zeroId))
}

/**
 * The bias of a node less its shift, as a value; `undefined` where there is no bias, or an Add behind the node has
 * taken the shift.
 */
function biasOf(s: State, node: Node): string | undefined {
  const shift = s.shifts.get(node.outputs[0] as string)
  const place = shift && biasPlace(s.graph, node, { behind: true })
  if (!shift || !place || typeof place === 'string') return plainBias(s, node)
  if (place.kind !== 'behind') return shiftedBias(s.d, s.graph, node, place, shift)
  shiftBias(s.d, s.graph, node, place, shift)
  return undefined
}

function plainBias(s: State, node: Node): string | undefined {
  const id = node.inputs[2] ?? undefined
  const beta = attrFloat(node, 'beta', 1)
  if (id === undefined || beta === 0) return undefined
  if (beta === 1) return id
  const data = s.d.constant(id)
  if (data)
    return s.d.addConstant(
      tensor(
        'float32',
        data.shape,
        toFloats(data).map((x) => x * beta)
      ),
      `${id}_beta`
    )
  return s.d.add('Mul', [id, s.d.addConstant(tensor('float32', [], [beta]), 'beta')])
}

function reshaped(s: State, id: string, shape: readonly number[]): string {
  const data = s.d.constant(id)
  const n = data?.shape[0]
  if (data && n !== undefined) return s.d.addConstant({ ...data, shape: shape.map((d) => (d === -1 ? n : d)) }, id)
  return s.d.add('Reshape', [id, s.d.addConstant(tensor('int64', [shape.length], shape), 'shape')])
}

/** The codes behind a weight or a reordered copy of it, reordered in the same way. */
function codesOf(s: State, id: string): string {
  const known = s.weights.get(id)
  if (known) return known.codesId
  return once(s.made, `codes ${id}`, () => {
    const move = s.makers.get(id)
    assert(move, `nothing makes ${id}`)
    const output = s.d.fresh(`${id}_q`)
    const inputs = [codesOf(s, move.inputs[0] as string), ...move.inputs.slice(1)]
    s.d.addNode({ ...move, name: output, inputs, outputs: [output] })
    return output
  })
}

// ---------------------------------------------------------------- what the weights leave

/** Takes away reorderings of weights that nothing reads any more. */
function removeMoves(s: State, graph: Graph): void {
  const isMoved = (id: string | null | undefined): boolean => {
    if (id == null) return false
    if (s.weights.has(id)) return true
    const maker = s.makers.get(id)
    return maker !== undefined && isMove(maker) && isMoved(maker.inputs[0])
  }
  for (const node of [...graph.nodes].reverse()) {
    const id = node.outputs[0] as string
    if (!isMove(node) || !isMoved(node.inputs[0]) || producer(graph, id) !== node) continue
    if (s.d.consumers(id).length === 0 && !s.d.isOutput(id)) s.d.remove(node)
  }
}

/**
 * Puts codes in the place of a float weight. Where other nodes still read the float weight, a DequantizeLinear makes it
 * from the codes.
 */
function storeCodes(s: State, w: Encoded): void {
  const { d } = s
  const v = d.value(w.id)
  assert(v, `no value ${w.id}`)
  const isReadAsFloat = d.consumers(w.id).length > 0
  const form = isReadAsFloat ? { form: 'foldable' as const } : {}
  const zeros = v.sparse ? { sparse: v.sparse } : {}
  d.set({ id: w.codesId, type: 'tensor', dtype: w.type, shape: w.codes.shape, data: w.codes, ...form, ...zeros })
  const scale = scaleTensor(w.scales, w.axis !== undefined, 'float32')
  d.set({ id: w.scaleId, type: 'tensor', dtype: scale.dtype, shape: scale.shape, data: scale })
  if (!isReadAsFloat) return
  const { data: _data, form: _form, sparse: _sparse, ...type } = v
  d.set(type)
  const a: Record<string, AttrInput> = w.axis === undefined ? {} : { axis: w.axis }
  const zero = w.type === 'int8' ? [] : [d.addConstant(zeroTensor(w, scale.shape), w.zeroId)]
  d.addNode({
    name: d.fresh(`DequantizeLinear_${w.id}`),
    op: 'DequantizeLinear',
    inputs: [w.codesId, w.scaleId, ...zero],
    outputs: [w.id],
    attrs: makeAttrs(a)
  })
}

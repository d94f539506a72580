/** One model for two targets of different rows: each gets a graph that keeps to its own. */
import { describe, expect, it } from 'vitest'
import { noise, normalData, testContext } from '../../../../test/compare.ts'
import { constant, consumers, opName, producer, recordName } from '../../../ir/graph.ts'
import { rowFor, rowsOf } from '../../../ir/rows.ts'
import { toNumbers } from '../../../ir/tensor.ts'
import { model } from '../../../ir/text.ts'
import { ops } from '../../../ops/index.ts'
import { viewOf } from '../../../ops/infer.ts'
import { targetFor, targets } from '../../../targets/index.ts'
import type { IntegerRow, Target } from '../../../targets/types.ts'
import type { Model, Node } from '../../../types.ts'
import { parseOptions } from '../../pass.ts'
import type { StaticPlan } from './plan.ts'
import { quantizeStatic } from './quantize-static.ts'

const codes: IntegerRow['types'] = [{ values: 'int8' }]
const weights: IntegerRow['types'] = [{ values: 'int8', weights: 'int8' }]

/** A phone's runtime: int8 only, one scale for matrices, one scale around Concat and pools, a fixed one behind Softmax. */
const strict: Target = {
  ...targetFor('ort-cpu'),
  name: 'strict',
  summary: 'int8 only, shared and fixed scales',
  runtime: 'none that tells its kernels',
  fusesLike: [],
  integer: [
    {
      op: 'Conv',
      when: [['groups', '==', 1]],
      types: weights,
      scales: ['channel'],
      bias: 'int32',
      fusesWith: ['Relu']
    },
    { op: 'Conv', types: weights, scales: ['tensor'], bias: 'int32', fusesWith: ['Relu'] },
    { op: 'Gemm', types: weights, scales: ['tensor'], bias: 'int32' },
    { op: 'Concat', types: codes, sameScale: true },
    { op: 'MaxPool', types: codes },
    { op: 'GlobalAveragePool', types: codes },
    { op: 'Flatten', types: codes },
    { op: 'Relu', types: codes },
    { op: 'Softmax', types: codes, fixedOutput: true }
  ],
  dynamic: [],
  takesOver: [],
  cannotMove: []
}

const network = model`
  input x: f32[N,3,16,16]
  a = Conv(x, W1: f32[8,3,3,3], B1: f32[8], pads=[1,1,1,1])
  b = Relu(a)
  c = Conv(b, W2: f32[8,1,3,3], B2: f32[8], pads=[1,1,1,1], group=8)
  d = Relu(c)
  e = Conv(b, W3: f32[8,8,1,1], B3: f32[8])
  f = Conv(b, W4: f32[4,8,1,1])
  g = Concat(d, e, f, axis=1)
  h = MaxPool(g, kernel_shape=[2,2], strides=[2,2])
  i = GlobalAveragePool(h)
  j = Flatten(i)
  k = Gemm(j, W5: f32[10,20], B5: f32[10], transB=1)
  y = Softmax(k)
  output y`

interface Made {
  readonly model: Model
  readonly plan: StaticPlan
  readonly ctx: ReturnType<typeof testContext>
}

async function quantized(target: Target, o: object = {}): Promise<Made> {
  const plans: unknown[] = []
  const ctx = {
    ...testContext(),
    data: { calibration: normalData(network, 48) },
    target,
    plan: (p: unknown) => plans.push(p)
  }
  const made = await quantizeStatic.run(network, parseOptions(quantizeStatic, o), ctx)
  return { model: made, plan: plans[0] as StaticPlan, ctx }
}

interface Codes {
  readonly scale: readonly number[]
  readonly zero: readonly number[]
  readonly dtype: string | undefined
}

function codesOf({ graph }: Model, node: Node | undefined): Codes {
  if (!node || !/^(De)?[qQ]uantizeLinear$/.test(node.op)) throw new Error(`${node?.op} ${node?.name} is not of codes`)
  const numbers = (id: string | null | undefined): number[] => {
    const data = constant(graph, id)
    return data ? Array.from(toNumbers(data), Number) : []
  }
  const type = constant(graph, node.inputs[2]) ?? constant(graph, node.inputs[0])
  return { scale: numbers(node.inputs[1]), zero: numbers(node.inputs[2]), dtype: type?.dtype }
}

const readFrom = (m: Model, node: Node, input: number): Codes => codesOf(m, producer(m.graph, node.inputs[input] ?? ''))
const behind = (m: Model, node: Node): Codes => codesOf(m, consumers(m.graph, node.outputs[0] ?? '')[0])
const isQdq = (node: Node): boolean => node.op === 'QuantizeLinear' || node.op === 'DequantizeLinear'
const named = (m: Model, op: string): Node[] => m.graph.nodes.filter((n) => opName(n) === op)

/** Nodes whose data come from codes. */
const integerNodes = (m: Model): Node[] =>
  m.graph.nodes.filter((n) => !isQdq(n) && producer(m.graph, n.inputs[0] ?? '')?.op === 'DequantizeLinear')

const sqnr = async (a: Model, b: Model): Promise<number> => -10 * Math.log10(await noise(a, b, normalData(network, 48)))

describe('quantize-static by the rows of a target', () => {
  it('keeps to the types and scales of each of two targets', async () => {
    for (const target of [targetFor('ort-cpu'), strict]) {
      const { model: m } = await quantized(target)
      const nodes = integerNodes(m)
      expect(nodes.length).toBeGreaterThan(7)
      for (const node of nodes) {
        const rows = rowsOf(target, node)
        expect(rows.flatMap((r) => r.types.map((t) => t.values))).toContain(readFrom(m, node, 0).dtype)
        if (!rows[0]?.scales) continue
        const scales = readFrom(m, node, 1).scale.length === 1 ? 'tensor' : 'channel'
        const row = rowFor(target, viewOf(m, m.graph, node)) as IntegerRow
        expect([node.name, row.scales?.includes(scales)]).toEqual([node.name, true])
      }
      expect(await sqnr(network, m)).toBeGreaterThan(25)
    }
  })

  it('gives the strict target int8, one scale for matrices and depthwise filters, a scale per channel elsewhere', async () => {
    const { model: m, plan } = await quantized(strict)
    expect(new Set(plan.values.map((v) => v.dtype))).toEqual(new Set(['int8']))
    expect(plan.weights.map((w) => [w.id, w.scales.length])).toEqual([
      ['W1', 8],
      ['W2', 1],
      ['W3', 8],
      ['W4', 4],
      ['W5', 1]
    ])
    expect(await quantized(strict, { perChannel: false }).then((p) => p.plan.weights[0]?.scales.length)).toBe(8)
    expect(named(m, 'Gemm').map((n) => consumers(m.graph, n.outputs[0] ?? '')[0]?.op)).toEqual(['QuantizeLinear'])
  })

  it('puts what Concat reads and gives under one scale, also what a Relu bounds', async () => {
    const { model: m, plan } = await quantized(strict)
    const [concat] = named(m, 'Concat') as [Node]
    const out = behind(m, concat)
    for (const i of [0, 1, 2]) expect(readFrom(m, concat, i)).toMatchObject({ scale: out.scale, zero: out.zero })
    expect(behind(m, named(m, 'MaxPool')[0] as Node)).toEqual(out)
    // e and f join the group; d, which saturation keeps above 0, has codes of its own and is given those of the Concat.
    expect(plan.values.find((v) => v.ids.includes('g'))?.ids.toSorted()).toEqual(['e', 'f', 'g', 'h'])
    expect(plan.values.find((v) => v.ids.includes('d'))).toMatchObject({ low: 0, zeroPoint: -128 })
    expect(plan.nodes.find((n) => n.op === 'Concat')?.requantized).toEqual([0])
    const other = (await quantized(targetFor('ort-cpu'))).model
    const [free] = named(other, 'Concat') as [Node]
    expect(new Set([0, 1, 2].map((i) => readFrom(other, free, i).scale[0])).size).toBe(3)
  })

  it('fixes the scale of Softmax to 1/256 from −128, where ort-cpu leaves it in float', async () => {
    const { model: m, plan } = await quantized(strict)
    expect(behind(m, named(m, 'Softmax')[0] as Node)).toMatchObject({ scale: [1 / 256], zero: [-128] })
    expect(plan.values.find((v) => v.ids.includes('y'))).toMatchObject({ method: 'fixed', low: 0, high: 1 })
    const { model: other, ctx } = await quantized(targetFor('ort-cpu'))
    expect(other.graph.outputs.map((id) => producer(other.graph, id)?.op)).toEqual(['Softmax'])
    expect(ctx.refusals.map((r) => r.op)).toEqual(['Softmax'])
  })

  it('leaves a clamp where the row before it does not fuse with it, and quantizes it by its own row', async () => {
    const unfused = { ...strict, integer: strict.integer.map(({ fusesWith: _, ...row }) => row) }
    const { model: m, plan } = await quantized(unfused)
    expect(plan.clamps).toEqual([])
    expect(named(m, 'Relu')).toHaveLength(2)
    for (const relu of named(m, 'Relu'))
      expect([readFrom(m, relu, 0).dtype, behind(m, relu).dtype]).toEqual(['int8', 'int8'])
    expect(await sqnr(network, m)).toBeGreaterThan(25)
  })

  it('names what no row allows', async () => {
    const { model: m, ctx } = await quantized(strict, { activations: 'uint8' })
    expect(m).toBe(network)
    expect(ctx.refusals[0]?.reason).toBe('strict does not compute it on uint8 with weights of int8')
    const few = {
      ...strict,
      integer: strict.integer.flatMap((r) =>
        r.op === 'Conv' ? [] : [{ ...r, scales: ['tensor'] as const, types: weights }]
      )
    }
    expect((await quantized(few)).ctx.refusals.map((r) => r.op)).toContain('Conv')
    const onlyOne = { ...strict, integer: strict.integer.slice(0, 1) }
    expect((await quantized(onlyOne)).ctx.refusals.map((r) => r.reason)).toContain(
      'its groups is 8, and must be == 1 for strict to compute it on integers'
    )
  })
})

it('a node named like the result that it made keeps its name to itself', async () => {
  const [last] = network.graph.nodes.slice(-1)
  const named = { ...(last as Node), name: 'y' }
  const graph = { ...network.graph, nodes: [...network.graph.nodes.slice(0, -1), named] }
  const ctx = { ...testContext(), data: { calibration: normalData(network, 16) }, target: strict }
  const made = await quantizeStatic.run({ ...network, graph }, parseOptions(quantizeStatic, {}), ctx)
  const names = made.graph.nodes.map((n) => n.name)
  expect(new Set(names).size).toBe(names.length)
})

it('every row is of an operator that says what quantizing it means', () => {
  const names = new Map(ops.map((op) => [recordName(op), op]))
  for (const target of [...targets, strict])
    for (const row of target.integer) {
      const rule = names.get(row.op)?.quant
      expect(rule, `${target.name}: ${row.op}`).toBeDefined()
      if (row.fixedOutput) expect(rule?.output, row.op).toEqual({ low: expect.any(Number), high: expect.any(Number) })
      expect(row.types.length).toBeGreaterThan(0)
      expect(row.scales !== undefined, `${target.name}: ${row.op}`).toBe(rule?.weights !== undefined)
      for (const clamp of row.fusesWith ?? []) expect(names.get(clamp)?.quant?.clamp, clamp).toBeDefined()
    }
})

/** Data movement that ONNX Runtime leaves in float between DequantizeLinear and QuantizeLinear, and takes on codes. */
import { describe, expect, it } from 'vitest'
import { noise, normalData, testContext } from '../../../../test/compare.ts'
import { constant, consumers, opName, producer } from '../../../ir/graph.ts'
import { toNumbers } from '../../../ir/tensor.ts'
import { model } from '../../../ir/text.ts'
import { targetFor } from '../../../targets/index.ts'
import type { Target } from '../../../targets/types.ts'
import type { Model, Node } from '../../../types.ts'
import { parseOptions } from '../../pass.ts'
import { quantizeStatic } from './quantize-static.ts'

interface Made {
  readonly model: Model
  readonly ctx: ReturnType<typeof testContext>
}

async function quantized(net: Model, o: object = {}, target: Target = targetFor('ort-cpu')): Promise<Made> {
  const ctx = { ...testContext(), data: { calibration: normalData(net, 48) }, target }
  return { model: await quantizeStatic.run(net, parseOptions(quantizeStatic, o), ctx), ctx }
}

/** Nodes of an operator, with whether they read codes and give codes. */
const onCodes = ({ graph }: Model, op: string): boolean[] =>
  graph.nodes
    .filter((n) => opName(n) === op)
    .map(
      (n) =>
        producer(graph, n.inputs[0] ?? '')?.op !== 'DequantizeLinear' &&
        consumers(graph, n.outputs[0] ?? '').every((c) => c.op !== 'QuantizeLinear')
    )

const only = ({ graph }: Model, op: string): Node => graph.nodes.find((n) => n.op === op) as Node
const relative = async (net: Model, made: Model): Promise<number> => noise(net, made, normalData(net, 48))

/** A residual block that halves its picture and doubles its channels, with a shortcut without weights. */
const shortcut = model`
  input x: f32[N,4,8,8]
  const starts: i64[2] = 0, 0
  const ends: i64[2] = 8, 8
  const axes: i64[2] = 2, 3
  const steps: i64[2] = 2, 2
  const pads: i64[8] = 0, 4, 0, 0, 0, 4, 0, 0
  a = Conv(x, W1: f32[8,4,3,3], B1: f32[8], pads=[1,1,1,1])
  b = Relu(a)
  c = Conv(b, W2: f32[16,8,3,3], B2: f32[16], strides=[2,2], pads=[1,1,1,1])
  d = Slice(b, starts, ends, axes, steps)
  e = Pad(d, pads)
  f = Add(c, e)
  g = Relu(f)
  y = Conv(g, W3: f32[4,16,1,1], B3: f32[4])
  output y`

/** Nothing tells its kernels, so that int8 activations stay, which onnxruntime-node does not fuse on x86. */
const untold: Target = { ...targetFor('ort-cpu'), runtime: 'none', fusesLike: [] }

describe('data movement on codes', () => {
  it('pads codes with the zero point, and leaves no float between the kernels', async () => {
    for (const activations of ['uint8', 'int8']) {
      const { model: made, ctx } = await quantized(
        shortcut,
        { activations },
        activations === 'int8' ? untold : undefined
      )
      expect(onCodes(made, 'Pad')).toEqual([true])
      const { inputs, outputs } = only(made, 'Pad')
      const decoder = consumers(made.graph, outputs[0] ?? '')[0]
      const [fill, zero] = [inputs[2], decoder?.inputs[2]].map((id) => constant(made.graph, id))
      expect(fill?.dtype).toBe(activations)
      expect(fill && toNumbers(fill)).toEqual(zero && toNumbers(zero))
      expect(decoder?.outputs).toEqual(['e'])
      expect(await relative(shortcut, made)).toBeLessThan(1e-3)
      if (activations === 'uint8') {
        expect(ctx.refusals).toEqual([])
        expect(ctx.notes).toContain('integer kernels: 3 QLinearConv, 1 QLinearAdd')
      }
    }
  })

  it('moves, reduces and picks codes, also where they are an output of the model', async () => {
    const net = model`
      input x: f32[N,4,8,8]
      const axes: i64[2] = 2, 3
      const axes2: i64[2] = 2, 3
      a = Conv(x, W1: f32[4,4,3,3], B1: f32[4], pads=[1,1,1,1])
      b = SpaceToDepth(a, blocksize=2)
      c = Conv(b, W2: f32[4,16,1,1])
      low = ReduceMin(c, axes, keepdims=1)
      d = Conv(low, W3: f32[4,4,1,1])
      y = ReduceMax(c, axes2, keepdims=1)
      output y, d`
    const { model: made } = await quantized(net)
    for (const op of ['SpaceToDepth', 'ReduceMin', 'ReduceMax']) expect([op, ...onCodes(made, op)]).toEqual([op, true])
    expect(producer(made.graph, 'y')?.op).toBe('DequantizeLinear')
    expect(await relative(net, made)).toBeLessThan(1e-3)
  })

  it('leaves padding in float whose fill is not 0, or not known before', async () => {
    const net = model`
      input x: f32[N,4,8,8]
      input fill: f32[]
      const pads: i64[8] = 0, 0, 1, 1, 0, 0, 1, 1
      const low: f32[] = -1
      const pads2: i64[8] = 0, 0, 1, 1, 0, 0, 1, 1
      a = Conv(x, W1: f32[4,4,3,3], B1: f32[4], pads=[1,1,1,1])
      b = Relu(a)
      c = Pad(b, pads, low)
      d = Pad(b, pads2, fill)
      e = Conv(c, W2: f32[4,4,3,3])
      f = Conv(d, W3: f32[4,4,3,3])
      y = Add(e, f)
      output y`
    const { model: made, ctx } = await quantized(net)
    expect(onCodes(made, 'Pad')).toEqual([false, false])
    expect(ctx.refusals.map((r) => r.reason)).toEqual([
      'input 2 puts constants other than 0 among the values of input 0',
      'input 2 is put among the values of input 0, and is not a constant'
    ])
  })
})

/** What inference promises beyond single shapes: equal sizes spelled alike, contradictions found, no file trusted. */
import { describe, expect, it } from 'vitest'
import { PareError } from '../base/errors.ts'
import { rng } from '../base/random.ts'
import { attrs } from '../ir/attrs.ts'
import { sizesIn } from '../ir/bind.ts'
import { printType } from '../ir/print.ts'
import { model, parse } from '../ir/text.ts'
import type { AttrInput, Dim, DType, Model } from '../types.ts'
import { opFor, ops } from './index.ts'
import { inferShapes } from './infer.ts'
import { withGrads, withLoops } from './op.ts'
import type { Known } from './types.ts'

describe('sizes on the command line', () => {
  it('are whole numbers from 1 to 2^53 - 1, and written by name', () => {
    expect(sizesIn('T=64, N=9007199254740991')).toEqual({ T: 64, N: 9007199254740991 })
    for (const size of ['0', '-1', '9007199254740993'])
      expect(() => sizesIn(`N=${size}`)).toThrow(`a size is a whole number from 1 to 2^53 - 1; this says N=${size}`)
    for (const wrong of ['N', 'N=x', '=3', 'N=1.5'])
      expect(() => sizesIn(wrong)).toThrow('sizes are written as T=64,N=1')
  })
})

describe('spellings of symbolic sizes', () => {
  const typeOf = (m: Model, id: string): string => printType(inferShapes(m).graph.values.get(id))
  it('agree between equal sizes', () => {
    const m = model`
      input x: f32[N,3,H,W]
      a = Conv(x, K: f32[4,3,3,3], pads=[1,1,1,1], strides=[2,2])
      b = MaxPool(x, kernel_shape=[1,1], strides=[2,2])
      c = AveragePool(x, kernel_shape=[5,5], pads=[2,2,2,2], strides=[2,2])
      d = MaxPool(x, kernel_shape=[3,3], strides=[2,2], auto_pad="SAME_UPPER")
      output a, b, c, d`
    const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((id) => inferShapes(m).graph.values.get(id)?.shape?.slice(2))
    expect(a).toEqual(['floor(H+1/2)', 'floor(W+1/2)'])
    expect([b, c, d]).toEqual([a, a, a])
  })
  it('survive going down and up again by even steps', () => {
    const m = model`
      input x: f32[N,3,H,W]
      y = ConvTranspose(x, K: f32[3,4,2,2], strides=[2,2])
      z = MaxPool(y, kernel_shape=[2,2], strides=[2,2])
      output z`
    expect(typeOf(m, 'z')).toBe('f32[N,4,H,W]')
  })
})

describe('layouts only the engine makes', () => {
  it('put channels last, or in blocks', () => {
    const m = model`
      domain com.ms.internal.nhwc 1
      domain com.microsoft.nchwc 1
      input x: f32[N,8,6,16]
      a = com.ms.internal.nhwc:Conv(x, W: f32[4,16,3,3], strides=[2,1])
      b = com.ms.internal.nhwc:GlobalAveragePool(a)
      c = com.microsoft.nchwc:ReorderInput(x, channels_last=1)
      d = com.microsoft.nchwc:Conv(c, V: f32[16,16,3,3])
      e = com.microsoft.nchwc:Upsample(d, scales=[1,1,2,3])
      f = com.microsoft.nchwc:ReorderOutput(e, channels=10)
      g = com.microsoft.nchwc:ReorderOutput(e, channels=10, channels_last=1)
      output a, b, c, d, e, f, g`
    expect(m.graph.outputs.map((id) => printType(inferShapes(m).graph.values.get(id)))).toEqual([
      'f32[N,3,4,4]',
      'f32[N,1,1,4]',
      'f32[N,16,8,6]',
      'f32[N,16,6,4]',
      'f32[N,16,12,12]',
      'f32[N,10,12,12]',
      'f32[N,12,12,10]'
    ])
  })
})

describe('contradictions', () => {
  it.each([
    ['channels', 'input x: f32[1,3,8,8]\ny = Conv(x, W: f32[4,2,3,3])\noutput y'],
    ['ranks', 'input x: f32[1,3,8]\ny = Conv(x, W: f32[4,3,3,3])\noutput y'],
    ['pads', 'input x: f32[1,3,8,8]\ny = Conv(x, W: f32[4,3,3,3], pads=[1,1])\noutput y'],
    ['a window larger than its input', 'input x: f32[1,3,2,2]\ny = MaxPool(x, kernel_shape=[5,5])\noutput y'],
    ['inner sizes', 'input x: f32[2,3]\ny = MatMul(x, W: f32[4,3])\noutput y'],
    ['einsum labels', 'input x: f32[2,3]\ny = Einsum(x, W: f32[4,3], equation="ij,jk->ik")\noutput y'],
    [
      'scales of a batch normalization',
      'input x: f32[1,3,2]\ny = BatchNormalization(x, s: f32[4], b: f32[4], m: f32[4], v: f32[4])\noutput y'
    ]
  ])('%s', (_, text) => {
    expect(() => inferShapes(parse(text))).toThrow(expect.objectContaining({ code: 'E_SHAPE' }))
  })
})

describe('whatever a file claims', () => {
  const random = rng('claims')
  const shapeOf = (): Dim[] | undefined =>
    random.below(6) === 0
      ? undefined
      : Array.from({ length: random.below(6) }, () => pick([0, 1, 2, 3, 8, 2 ** 31, 'N', '?']))
  const pick = <T>(all: readonly T[]): T => all[random.below(all.length)] as T
  const known = (): Known | undefined => {
    const [shape, dtype] = [shapeOf(), pick<DType>(['float32', 'int64', 'uint8', 'string'])]
    if (random.below(5) === 0) return undefined
    const content = shape?.length === 1 && random.below(2) ? [pick<Dim>([0, -1, 4, 'N', '?'])] : undefined
    return { type: 'tensor', dtype, ...(shape ? { shape } : {}), ...(content ? { content } : {}) }
  }
  const names = ['kernel_shape', 'strides', 'pads', 'axes', 'output_shape', 'dilations', 'scales', 'qkv_hidden_sizes']
  const numbers = ['axis', 'group', 'num_heads', 'kv_num_heads', 'q_num_heads', 'ceil_mode', 'layout', 'K', 'N']
  const attributes = (): Record<string, AttrInput> => ({
    [pick(names)]: Array.from({ length: random.below(5) }, () => pick([-1, 0, 1, 2, 3, 2 ** 40])),
    [pick(numbers)]: pick([-2, 0, 1, 2, 7]),
    equation: pick(['', 'ij,jk', '...i,i...->...', 'ii->i', '->']),
    auto_pad: pick(['NOTSET', 'SAME_UPPER', 'VALID', 'x'])
  })

  it.each(ops.map((op) => [`${op.domain ?? ''}:${op.name}`, op] as const))(
    '%s gives types or a coded error',
    (_, op) => {
      for (let i = 0; i < 100; i++) {
        const inputs = Array.from({ length: random.below(8) }, known)
        const node = {
          name: 'n',
          op: op.name,
          ...(op.domain ? { domain: op.domain } : {}),
          inputs: inputs.map((k, at) => (k ? `i${at}` : null)),
          outputs: ['y', 'z', 'u'].slice(0, 1 + random.below(3)),
          attrs: attrs(attributes())
        }
        const view = { node, opset: pick([7, 11, 18, 21, 24]), inputs, outputs: [], inferGraph: () => [] }
        try {
          const outputs = op.infer(view)
          op.cost?.({ ...view, outputs })
          expect(Array.isArray(outputs)).toBe(true)
        } catch (e) {
          expect(e).toBeInstanceOf(PareError)
          expect(['E_SHAPE', 'E_MODEL']).toContain((e as PareError).code)
        }
      }
    }
  )
})

describe('records', () => {
  it('are unique by domain and name', () => {
    const names = ops.map((op) => `${op.domain ?? ''}:${op.name}`)
    expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([])
  })
  it('take gradients and loops only by names that are theirs', () => {
    const refused = 'of operators that are not in the list:'
    expect(() => withGrads({ Rleu: {} as never }, ops)).toThrow(`grad ${refused} Rleu`)
    expect(() => withGrads({ toString: {} as never }, ops)).toThrow(`grad ${refused} toString`)
    expect(() => withLoops({ 'com.microsoft:Relu': {} as never }, ops)).toThrow(`loops ${refused} com.microsoft:Relu`)
  })
  it('name the channel axis of weights', () => {
    const axis = (text: string): number | undefined => {
      const node = parse(text).graph.nodes[0]
      return node && opFor(node)?.quant?.weights?.axis(node)
    }
    expect(axis('y = Conv(x, W: f32[4,3,3,3])\noutput y')).toBe(0)
    expect(axis('y = Gemm(x, W: f32[4,3])\noutput y')).toBe(1)
    expect(axis('y = Gemm(x, W: f32[4,3], transB=1)\noutput y')).toBe(0)
    expect(axis('y = MatMul(x, W: f32[4,3])\noutput y')).toBe(-1)
  })
})

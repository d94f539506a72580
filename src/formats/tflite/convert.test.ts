import flex from 'flatbuffers/js/flexbuffers.js'
import { describe, expect, it } from 'vitest'
import { both, distance, drawn, inOnnxRuntime, readFlatFile } from '../../../test/flat.ts'
import { flatFile, flatOperator, type Made, type MadeOp } from '../../../test/flat-file.ts'
import { tensor, toNumbers } from '../../ir/tensor.ts'
import type { Tensor } from '../../types.ts'
import { decode } from './decode.ts'
import { encode } from './encode.ts'
import { readFlat } from './read.ts'

const f = (...shape: number[]): Made => ({ shape })
const add = (a: Made, b: Made, y: Made): MadeOp => ({
  op: 'ADD',
  inputs: [a, b],
  outputs: [y],
  options: { table: 'AddOptions' }
})
const ops = (bytes: Uint8Array): string[] => readFlatFile(bytes).graph.nodes.map((n) => n.op)

describe('subgraphs', () => {
  const [a, b, then, other] = [f(3), f(3), f(3), f(3)]
  const branch = (op: string): { ops: MadeOp[]; inputs: Made[]; outputs: Made[] } => {
    const [x, y] = [f(3), f(3)]
    return { ops: [{ op, inputs: [x], outputs: [y] }], inputs: [x], outputs: [y] }
  }

  it('of IF become branches', async () => {
    const isTrue: Made = { shape: [1], dtype: 'bool' }
    const choose: MadeOp = {
      op: 'IF',
      inputs: [isTrue, a],
      outputs: [then],
      options: { table: 'IfOptions', then_subgraph_index: 1, else_subgraph_index: 2 }
    }
    const bytes = flatFile([{ ops: [choose], inputs: [isTrue, a], outputs: [then] }, branch('EXP'), branch('NEG')])
    for (const value of [0, 1]) {
      const { inONNX, inFile } = await both(bytes, [tensor('bool', [1], [value]), tensor('float32', [3], [1, -2, 0.5])])
      expect(distance(inONNX[0] as Tensor, inFile[0] as Tensor)).toBeLessThan(1e-6)
    }
  })

  it('of WHILE become a loop, whose condition is asked before every turn', async () => {
    const int = (): Made => ({ shape: [1], dtype: 'int32' })
    const [count, x, counted, grown] = [int(), f(3), int(), f(3)]
    const [c1, x1, goes] = [int(), f(3), { shape: [1], dtype: 'bool' } as Made]
    const limit: Made = { shape: [1], dtype: 'int32', data: [4] }
    const [c2, x2, c3, x3] = [int(), f(3), int(), f(3)]
    const step: Made = { shape: [1], dtype: 'int32', data: [1] }
    const bytes = flatFile([
      {
        ops: [
          {
            op: 'WHILE',
            inputs: [count, x],
            outputs: [counted, grown],
            options: { table: 'WhileOptions', cond_subgraph_index: 1, body_subgraph_index: 2 }
          }
        ],
        inputs: [count, x],
        outputs: [counted, grown]
      },
      { ops: [{ op: 'LESS', inputs: [c1, limit], outputs: [goes] }], inputs: [c1, x1], outputs: [goes] },
      { ops: [add(c2, step, c3), add(x2, x2, x3)], inputs: [c2, x2], outputs: [c3, x3] }
    ])
    const feeds = [tensor('int32', [1], [1]), tensor('float32', [3], [1, -2, 0.5])]
    const { inONNX, inFile } = await both(bytes, feeds)
    expect(inONNX.map((t) => Array.from(toNumbers(t)))).toEqual([[4], [8, -16, 4]])
    expect(inFile.map((t) => Array.from(toNumbers(t)))).toEqual([[4], [8, -16, 4]])
  })

  it('of CALL are put in place', async () => {
    const call = { op: 'CALL', inputs: [a], outputs: [other], options: { table: 'CallOptions', subgraph: 1 } }
    const bytes = flatFile([{ ops: [call, add(other, other, b)], inputs: [a], outputs: [b] }, branch('ABS')])
    expect(ops(bytes)).toEqual(['Abs', 'Add'])
    const [y] = await inOnnxRuntime(readFlatFile(bytes), [tensor('float32', [3], [1, -2, 0.5])])
    expect(Array.from(toNumbers(y as Tensor))).toEqual([2, 4, 1])
  })

  it('that call themselves are refused', () => {
    const call = { op: 'CALL', inputs: [a], outputs: [other], options: { table: 'CallOptions', subgraph: 0 } }
    expect(() => readFlatFile(flatFile([{ ops: [call], inputs: [a], outputs: [other] }]))).toThrow(
      /nested more than 16/
    )
  })
})

describe('what is kept', () => {
  it('operators without a counterpart, with their options, and a note', () => {
    const rfft: MadeOp = {
      op: 'RFFT2D',
      inputs: [f(1, 8, 8), { shape: [2], dtype: 'int32', data: [8, 8] }],
      outputs: [{ shape: [1, 8, 5], dtype: 'complex64' }],
      options: { table: 'Rfft2dOptions' }
    }
    const { model, notes } = readFlat(flatOperator(rfft))
    expect(model.graph.nodes).toMatchObject([{ op: 'RFFT2D', domain: 'tflite', outputs: ['t0_2'] }])
    expect(model.domains).toEqual({ tflite: 1 })
    expect(notes).toEqual(['RFFT2D stays as it is in the file: it has no counterpart (t0_2)'])
  })

  it('operators of the file’s maker, by their own names', () => {
    const file = decode(flatOperator({ op: 'CUSTOM', inputs: [f(2)], outputs: [f(2)] }))
    const [code] = file.operator_codes ?? []
    const [graph] = file.subgraphs ?? []
    const operators = [{ ...graph?.operators?.[0], custom_options: Uint8Array.of(1, 2, 3) }]
    const own = {
      ...file,
      operator_codes: [{ ...code, custom_code: 'TheirOwn' }],
      subgraphs: [{ ...graph, operators }]
    }
    const { model, notes } = readFlat(encode(own)[0] as Uint8Array)
    const [node] = model.graph.nodes
    expect(node).toMatchObject({ op: 'TheirOwn', domain: 'tflite.custom' })
    expect(node?.attrs['custom_options']).toMatchObject({ value: { dtype: 'uint8', shape: [3] } })
    expect(notes).toEqual(['TheirOwn stays as it is in the file: it is the maker’s own (t0_1)'])
  })

  it('signatures, metadata and the description', () => {
    const file = decode(flatOperator({ op: 'EXP', inputs: [f(2)], outputs: [f(2)] }))
    const more = {
      description: 'a test',
      buffers: [...(file.buffers ?? []), { data: Uint8Array.of(49, 46, 53) }],
      metadata: [{ name: 'min_runtime_version', buffer: file.buffers?.length ?? 0 }],
      signature_defs: [
        {
          signature_key: 'serving_default',
          inputs: [{ name: 'x', tensor_index: 0 }],
          outputs: [{ name: 'y', tensor_index: 1 }],
          subgraph_index: 0
        }
      ]
    }
    expect(readFlat(encode({ ...file, ...more })[0] as Uint8Array).model.origin).toEqual({
      format: 'tflite',
      version: 3,
      header: { description: 'a test' },
      signatures: [{ name: 'serving_default', inputs: { x: 't0_0' }, outputs: { y: 't0_1' } }],
      attachments: { min_runtime_version: Uint8Array.of(49, 46, 53) }
    })
  })

  it('inputs and constants that are outputs too, and sizes that are free', async () => {
    const x: Made = { shape: [1, 3], more: { shape_signature: [-1, 3] } }
    const model = readFlatFile(flatFile([{ ops: [], inputs: [x], outputs: [x] }]))
    expect(model.graph.values.get('t0_0')?.shape).toEqual(['N', 3])
    const [y] = await inOnnxRuntime(model, [tensor('float32', [2, 3], [1, 2, 3, 4, 5, 6])])
    expect(y?.shape).toEqual([2, 3])
  })
})

describe('operators of others that are known', () => {
  const [n, classes] = [20, 3]
  const anchors = Array.from({ length: n }, (_, i) => [
    0.1 + 0.04 * ((i * 7) % n),
    0.1 + 0.04 * ((i * 3) % n),
    0.3,
    0.25
  ])
  const options = {
    max_detections: 5,
    max_classes_per_detection: 1,
    detections_per_class: 5,
    use_regular_nms: false,
    nms_score_threshold: 0.3,
    nms_iou_threshold: 0.4,
    num_classes: classes,
    y_scale: 10.1,
    x_scale: 10.1,
    h_scale: 5.1,
    w_scale: 5.1
  }
  const detector = (given: object): Uint8Array => {
    const op: MadeOp = {
      op: 'CUSTOM',
      inputs: [f(1, n, 4), f(1, n, classes + 1), { shape: [n, 4], data: anchors.flat() }],
      outputs: [f(1, 5, 4), f(1, 5), f(1, 5), f(1)]
    }
    const file = decode(flatOperator(op))
    const [graph] = file.subgraphs ?? []
    const operators = [{ ...graph?.operators?.[0], custom_options: flex.encode(given) }]
    const operator_codes = [{ ...file.operator_codes?.[0], custom_code: 'TFLite_Detection_PostProcess' }]
    return encode({ ...file, operator_codes, subgraphs: [{ ...graph, operators }] })[0] as Uint8Array
  }
  const scores = (factor: number): Tensor => {
    const shape = [1, n, classes + 1]
    return tensor(
      'float32',
      shape,
      Array.from(toNumbers(drawn('float32', shape, 2)), (x) => (factor * (x + 1)) / 2)
    )
  }

  it.each([
    ['more', 1],
    ['fewer', 0.35]
  ])('find the boxes that LiteRT finds, where there are %s than asked for', { timeout: 30_000 }, async (_, factor) => {
    const { inONNX, inFile } = await both(detector(options), [drawn('float32', [1, n, 4], 1), scores(factor)])
    for (const [i, x] of inONNX.entries()) expect(distance(x, inFile[i] as Tensor)).toBeLessThan(1e-5)
    expect(Array.from(toNumbers(inONNX[3] as Tensor))[0]).toBeGreaterThan(0)
  })

  it('stay as they are where they are used otherwise, or their options are broken', () => {
    const kept = (given: object): readonly string[] => readFlat(detector(given)).notes
    expect(kept({ ...options, use_regular_nms: true })).toMatchObject([
      expect.stringMatching(/suppresses class by class/)
    ])
    expect(kept({ max_detections: 5 })).toMatchObject([expect.stringMatching(/do not say num_classes/)])
    expect(kept([1, 2])).toMatchObject([expect.stringMatching(/cannot be read/)])
  })
})

describe('constants', () => {
  const [x, y] = [f(1, 2), f(1, 3)]
  const dense = (weights: Made): MadeOp => ({
    op: 'FULLY_CONNECTED',
    inputs: [x, weights, null],
    outputs: [y],
    options: { table: 'FullyConnectedOptions' }
  })

  it('that are sparse are spread out, and marked', async () => {
    const level = (dense_size: number) => ({ format: 'DENSE', dense_size })
    const list = (values: number[]) => ({ table: 'Int32Vector', values })
    const sparse: Made = {
      shape: [3, 2],
      more: {
        sparsity: {
          traversal_order: [0, 1],
          dim_metadata: [
            level(3),
            { format: 'SPARSE_CSR', array_segments: list([0, 1, 1, 3]), array_indices: list([1, 0, 1]) }
          ]
        }
      }
    }
    const spread = f(3, 2)
    const file = decode(
      flatFile([
        { ops: [{ op: 'DENSIFY', inputs: [sparse], outputs: [spread] }, dense(spread)], inputs: [x], outputs: [y] }
      ])
    )
    const [graph] = file.subgraphs ?? []
    const data = new Uint8Array(Float32Array.of(2, 3, 4).buffer)
    const tensors = (graph?.tensors ?? []).map((t) => (t.sparsity ? { ...t, buffer: 1 } : t))
    const whole = { ...file, buffers: [{}, { data }], subgraphs: [{ ...graph, tensors }] }
    const bytes = encode(whole)[0] as Uint8Array
    const model = readFlatFile(bytes)
    const weights = [...model.graph.values.values()].find((v) => v.sparse === 'any')
    expect(Array.from(toNumbers(weights?.data as Tensor))).toEqual([0, 2, 0, 0, 3, 4])
    expect(model.graph.nodes.map((n) => n.op)).toEqual(['Gemm'])
    const { inONNX, inFile } = await both(bytes, [tensor('float32', [1, 2], [10, 1])])
    expect(inONNX[0]).toEqual(inFile[0])
    const cut = { ...whole, buffers: [{}, { data: data.slice(0, 8) }] }
    expect(() => readFlatFile(encode(cut)[0] as Uint8Array)).toThrow(/sparse constant float32\[3,2\] does not have/)
  })

  it('of float16 are cast where they are used', () => {
    const half: Made = { shape: [3, 2], dtype: 'float16', data: [1, 2, 3, 4, 5, 6] }
    const weights = f(3, 2)
    const unpack: MadeOp = { op: 'DEQUANTIZE', inputs: [half], outputs: [weights] }
    const model = readFlatFile(flatFile([{ ops: [unpack, dense(weights)], inputs: [x], outputs: [y] }]))
    expect(model.graph.nodes.map((n) => n.op)).toEqual(['Cast', 'Gemm'])
  })

  it('whose bytes do not fit their shape are refused, and tensors that nothing makes', () => {
    const weights: Made = { shape: [3, 2], data: [1, 2, 3, 4, 5, 6], more: { shape: [3, 3] } }
    expect(() => readFlatFile(flatFile([{ ops: [dense(weights)], inputs: [x], outputs: [y] }]))).toThrow(
      'a constant float32[3,3] takes 36 bytes, and the file has 24'
    )
    expect(() => readFlatFile(flatFile([{ ops: [dense(f(3, 2))], inputs: [x], outputs: [y] }]))).toThrow(
      /which nothing makes before it/
    )
  })
})

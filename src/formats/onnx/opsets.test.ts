import { TensorProto_DataType as Type } from 'onnx-buf'
import { describe, expect, it } from 'vitest'
import { file, float, floats, graph, int, ints, node, tensorType, text, value, weights } from '../../../test/corpus.ts'
import { check } from '../../ir/check.ts'
import { print } from '../../ir/print.ts'
import { tensor, toNumbers } from '../../ir/tensor.ts'
import { nodeRunner } from '../../node/runner.ts'
import type { Tensor } from '../../types.ts'
import { formats, readModel, writeModel } from '../index.ts'

type Nodes = ReturnType<typeof node>[]

const wave = (...shape: number[]): Tensor =>
  tensor(
    'float32',
    shape,
    Array.from({ length: shape.reduce((n, d) => n * d, 1) }, (_, i) => Math.sin(i * 1.7) * 3)
  )

async function run(bytes: Uint8Array, feeds: Record<string, Tensor>): Promise<Record<string, number[]>> {
  const session = await nodeRunner().open(bytes)
  try {
    const made = await session.run(feeds)
    return Object.fromEntries(Object.entries(made).map(([name, t]) => [name, Array.from(toNumbers(t))]))
  } finally {
    await session.close()
  }
}

const x = floats('x', 'N', 4, 6, 6)
const feeds = { x: wave(2, 4, 6, 6) }

/** Old forms by opset; the engine runs the untouched file and the raised one. */
const cases: Record<
  string,
  { opset: number; nodes: Nodes; initializer?: ReturnType<typeof weights>[]; ops?: string[] }
> = {
  'Clip, Pad, Slice with attributes': {
    opset: 9,
    nodes: [
      node('Clip', ['x'], ['a'], [float('min', -1), float('max', 2)]),
      node('Clip', ['a'], ['k'], [float('max', 1.5)]),
      node('Pad', ['k'], ['p'], [ints('pads', 0, 0, 1, 1, 0, 0, 1, 2), float('value', 0.5)]),
      node('Pad', ['p'], ['r'], [ints('pads', 0, 0, 2, 0, 0, 0, 0, 1), text('mode', 'reflect')]),
      node('Slice', ['r'], ['y'], [ints('starts', 1, -3), ints('ends', 7, 2 ** 31), ints('axes', 2, 3)])
    ]
  },
  'reductions, Squeeze, Unsqueeze': {
    opset: 11,
    nodes: [
      node('ReduceMean', ['x'], ['m'], [ints('axes', 2, 3)]),
      node('ReduceSum', ['m'], ['s'], [ints('axes', -1), int('keepdims', 0)]),
      node('ReduceMax', ['s'], ['q']),
      node('Unsqueeze', ['s'], ['u'], [ints('axes', 0)]),
      node('Squeeze', ['u'], ['w'], [ints('axes', 0, 3)]),
      node('Add', ['w', 'q'], ['y'])
    ]
  },
  'Softmax over several axes': {
    opset: 11,
    nodes: [node('Softmax', ['x'], ['y'])],
    ops: ['Shape', 'Flatten', 'Softmax', 'Reshape']
  },
  'LogSoftmax from an axis counted from behind': {
    opset: 11,
    nodes: [node('LogSoftmax', ['x'], ['y'], [int('axis', -2)])]
  },
  'Hardmax over the last axis': {
    opset: 11,
    nodes: [node('Hardmax', ['x'], ['y'], [int('axis', 3)])],
    ops: ['Hardmax']
  },
  'Softmax whose shape is only known by inference': {
    opset: 11,
    nodes: [node('GlobalAveragePool', ['x'], ['g']), node('Flatten', ['g'], ['f']), node('Softmax', ['f'], ['y'])],
    ops: ['GlobalAveragePool', 'Flatten', 'Softmax']
  },
  'Split by sizes and into equal parts': {
    opset: 11,
    nodes: [
      node('Split', ['x'], ['a', 'b'], [int('axis', 1), ints('split', 1, 3)]),
      node('Split', ['b'], ['c', 'd'], [int('axis', 2)]),
      node('Concat', ['c', 'd'], ['e'], [int('axis', 1)]),
      node('ReduceSum', ['e'], ['s'], [ints('axes', 2), int('keepdims', 1)]),
      node('Mul', ['a', 's'], ['y'])
    ],
    ops: ['Split', 'Split', 'Concat', 'ReduceSum', 'Mul']
  },
  'Upsample with scales as attribute': {
    opset: 7,
    nodes: [
      node('Upsample', ['x'], ['y'], [{ name: 'scales', type: 6, floats: [1, 1, 2, 1.5] }, text('mode', 'linear')])
    ]
  },
  'Upsample with scales as input': {
    opset: 9,
    initializer: [weights('scales', [4], 1, 1, 2, 1.6)],
    nodes: [node('Upsample', ['x', 'scales'], ['y'])]
  },
  'Resize that enlarges': {
    opset: 10,
    initializer: [weights('scales', [4], 1, 1, 1.7, 2)],
    nodes: [node('Resize', ['x', 'scales'], ['y'])]
  },
  'Resize that shrinks': {
    opset: 10,
    initializer: [weights('scales', [4], 1, 1, 0.6, 0.5)],
    nodes: [node('Resize', ['x', 'scales'], ['y'])]
  },
  'Resize by sizes with empty inputs': {
    opset: 11,
    initializer: [
      weights('none', [0]),
      { name: 'sizes', dims: [4n], dataType: Type.INT64, int64Data: [2n, 4n, 9n, 3n] }
    ],
    nodes: [node('Resize', ['x', 'none', 'none', 'sizes'], ['y'], [text('mode', 'linear')])]
  },
  'TopK with k as attribute': { opset: 9, nodes: [node('TopK', ['x'], ['y', 'i'], [int('k', 3)])] },
  'Dropout and BatchNormalization': {
    opset: 8,
    initializer: [weights('s', [4], 1, 2, 3, 4), weights('b', [4], 0, 1, 0, 1), weights('v', [4], 1, 2, 1, 2)],
    nodes: [
      node('Dropout', ['x'], ['d'], [float('ratio', 0.3)]),
      node('BatchNormalization', ['d', 's', 'b', 'b', 'v'], ['y'], [int('spatial', 1), float('epsilon', 0.01)])
    ],
    ops: ['Dropout', 'BatchNormalization']
  },
  'GroupNormalization with numbers per group': {
    opset: 18,
    initializer: [weights('s', [2], 2, 3), weights('b', [2], 0.5, -1)],
    nodes: [node('GroupNormalization', ['x', 's', 'b'], ['y'], [int('num_groups', 2)])],
    ops: ['GroupNormalization']
  },
  'DFT with axis as attribute': {
    opset: 17,
    nodes: [
      node('Constant', [], ['last'], [ints('value_ints', -1)]),
      node('Unsqueeze', ['x', 'last'], ['c']),
      node('DFT', ['c'], ['y'], [int('axis', 3)])
    ]
  }
}

describe('old forms give the same numbers when raised', () => {
  for (const [name, { opset, nodes, initializer = [], ops }] of Object.entries(cases))
    it(name, async () => {
      const old = file({ input: [x], output: [value('y')], node: nodes, initializer }, { opset, irVersion: 8n })
      const m = check(readModel(old, { formats }))
      expect(m.opset).toBe(21)
      if (ops) expect(m.graph.nodes.map((n) => n.op)).toEqual(ops)
      const [before, after] = [await run(old, feeds), await run(writeModel(m).bytes, feeds)]
      expect(after['y']?.length).toBe(before['y']?.length)
      const worst = Math.max(...(before['y'] ?? []).map((v, i) => Math.abs(v - (after['y']?.[i] ?? Number.NaN))))
      // Both run the same kernels; only their fusion may differ.
      expect(worst).toBeLessThan(1e-5)
    })
})

describe('forms that the engine no longer runs', () => {
  const raised = (nodes: Nodes, opset = 6, initializer = [weights('b', [4], 1, 2, 3, 4)], input = [x]) =>
    check(readModel(file({ input, output: [value('y')], node: nodes, initializer }, { opset, irVersion: 3n })))

  it('align an operand at an axis', async () => {
    const m = raised([node('Add', ['x', 'b'], ['y'], [int('broadcast', 1), int('axis', 1)])])
    expect(print(m)).toContain('y = Add(x, y_aligned)')
    const made = await run(writeModel(m).bytes, feeds)
    const wanted = Array.from(toNumbers(feeds.x), (v, i) => Math.fround(v + 1 + (Math.floor(i / 36) % 4)))
    expect(made['y']).toEqual(wanted)
  })
  it('align an operand of unknown rank while running', async () => {
    const nodes = [node('Relu', ['x'], ['r']), node('Mul', ['r', 'b'], ['y'], [int('broadcast', 1), int('axis', 1)])]
    const m = raised(nodes)
    const made = await run(writeModel(m).bytes, feeds)
    const wanted = Array.from(toNumbers(feeds.x), (v, i) =>
      Math.fround(Math.max(v, 0) * (1 + (Math.floor(i / 36) % 4)))
    )
    expect(made['y']).toEqual(wanted)
  })
  it('PRelu with a slope per channel', async () => {
    const m = raised([node('PRelu', ['x', 'b'], ['y'])])
    const made = await run(writeModel(m).bytes, feeds)
    const wanted = Array.from(toNumbers(feeds.x), (v, i) => Math.fround(v < 0 ? v * (1 + (Math.floor(i / 36) % 4)) : v))
    expect(made['y']).toEqual(wanted)
  })
  it('BatchNormalization per element', async () => {
    const b = weights('b', [1, 1, 6], 1, 2, 3, 4, 5, 6)
    const m = raised([node('BatchNormalization', ['x', 'b', 'b', 'b', 'b'], ['y'], [int('spatial', 0)])], 8, [b])
    const made = await run(writeModel(m).bytes, feeds)
    const wanted = Array.from(
      toNumbers(feeds.x),
      (v, i) => ((v - (1 + (i % 6))) / Math.sqrt(1 + (i % 6) + 1e-5)) * (1 + (i % 6)) + 1 + (i % 6)
    )
    // float32 against float64
    expect(Math.max(...wanted.map((v, i) => Math.abs(v - (made['y']?.[i] ?? Number.NaN))))).toBeLessThan(1e-5)
  })
  it('casts by name, Reshape by attribute, Concat by default', () => {
    const m = raised(
      [
        node('Reshape', ['x'], ['r'], [ints('shape', 0, -1)]),
        node('Concat', ['r', 'r'], ['c']),
        node('Cast', ['c'], ['y'], [text('to', 'INT32')])
      ],
      3
    )
    expect(print(m)).toContain('y = Cast(c, to=6)')
    expect(print(m)).toContain('c = Concat(r, r, axis=1)')
    expect(print(m)).toContain('const r_shape: i64[2] = 0, -1')
  })
  it('a batch of scans', async () => {
    const body = {
      name: 'body',
      input: [floats('s', 6), floats('e', 6)],
      output: [floats('t', 6), floats('o', 6)],
      node: [node('Add', ['s', 'e'], ['t']), node('Identity', ['t'], ['o'])]
    }
    const nodes = [node('Scan', ['', 's0', 'x0'], ['last', 'y'], [graph('body', body), int('num_scan_inputs', 1)])]
    const input = [floats('s0', 2, 6), floats('x0', 2, 4, 6)]
    const old = file({ input, output: [value('y')], node: nodes }, { opset: 8, irVersion: 3n })
    const data = { s0: wave(2, 6), x0: wave(2, 4, 6) }
    expect(await run(writeModel(check(readModel(old))).bytes, data)).toEqual(await run(old, data))
  })
})

describe('forms that cannot be raised', () => {
  const code = (nodes: Nodes, opset: number) => () =>
    readModel(file({ input: [x, value('k', tensorType(Type.FLOAT, 4))], output: [value('y')], node: nodes }, { opset }))
  it('are named', () => {
    expect(code([node('Resize', ['x', 'k'], ['y'])], 10)).toThrow('Resize in an old form that cannot be raised')
    expect(code([node('BatchNormalization', ['x', 'k', 'k', 'k', 'k'], ['y', 'm', 'v'])], 9)).toThrow('training mode')
    expect(code([node('Tile', ['x', 'k', 'k'], ['y'])], 1)).toThrow('Tile')
  })
  it('do no harm where they are not used', () => {
    expect(
      readModel(file({ input: [x], output: [value('y')], node: [node('Relu', ['x'], ['y'])] }, { opset: 1 })).opset
    ).toBe(21)
  })
})

it('keeps newer opsets and other domains as they are', () => {
  const m = readModel(
    file(
      { input: [x], output: [value('y')], node: [node('Gelu', ['x'], ['y'], [], { domain: 'com.microsoft' })] },
      {
        opset: 23,
        opsetImport: [
          { domain: '', version: 23n },
          { domain: 'com.microsoft', version: 1n }
        ]
      }
    )
  )
  expect([m.opset, m.domains]).toEqual([23, { 'com.microsoft': 1 }])
})

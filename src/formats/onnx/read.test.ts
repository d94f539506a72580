import { TensorProto_DataType as Type } from 'onnx-buf'
import { describe, expect, it } from 'vitest'
import {
  file,
  float,
  floatBytes,
  floats,
  graph,
  int,
  node,
  tensorType,
  value,
  weights,
  withExternal,
  withFunctions,
  withOddities,
  withSparse,
  withSubgraphs
} from '../../../test/corpus.ts'
import { check } from '../../ir/check.ts'
import { allGraphs, constant } from '../../ir/graph.ts'
import { print } from '../../ir/print.ts'
import { codes, toNumbers } from '../../ir/tensor.ts'
import type { Bytes, Model } from '../../types.ts'
import { readModel, writeModel } from '../index.ts'

const code = (run: () => unknown): string => {
  try {
    run()
    return 'none'
  } catch (error) {
    return (error as { code?: string }).code ?? String(error)
  }
}
const numbers = (m: Model, id: string): number[] => {
  const t = constant(m.graph, id)
  return t ? Array.from(toNumbers(t)) : []
}

describe('functions', () => {
  const m = check(readModel(withFunctions()))
  it('are inlined, nested, with attributes given or by default', () => {
    expect(m.graph.nodes.map((n) => n.op)).toEqual(['Mul', 'Relu', 'Mul', 'Relu'])
    const factors = m.graph.nodes.filter((n) => n.op === 'Mul').map((n) => numbers(m, n.inputs[1] ?? '')[0])
    expect(factors).toEqual([3, 2])
    expect(m.domains).toEqual({})
  })
  it('that call themselves are refused', () => {
    const loop = (body: string) => ({
      name: 'f',
      domain: 'own',
      input: ['a'],
      output: ['b'],
      node: [node(body, ['a'], ['b'], [], { domain: 'own' })]
    })
    const g = {
      input: [floats('x', 1)],
      output: [floats('y', 1)],
      node: [node('f', ['x'], ['y'], [], { domain: 'own' })]
    }
    expect(code(() => readModel(file(g, { functions: [loop('f')] })))).toBe('E_LIMIT')
  })
  it('that grow without end are refused quickly', () => {
    const functions = Array.from({ length: 30 }, (_, i) => ({
      name: `f${i}`,
      domain: 'own',
      input: ['a'],
      output: ['c'],
      node: [
        node(`f${i + 1}`, ['a'], ['b'], [], { domain: 'own' }),
        node(`f${i + 1}`, ['b'], ['c'], [], { domain: 'own' })
      ]
    }))
    const g = {
      input: [floats('x', 1)],
      output: [floats('y', 1)],
      node: [node('f0', ['x'], ['y'], [], { domain: 'own' })]
    }
    expect(code(() => readModel(file(g, { functions })))).toBe('E_LIMIT')
  })
})

describe('subgraphs', () => {
  it('keep captured values, and every id is there once', () => {
    const m = check(readModel(withSubgraphs()))
    const made = allGraphs(m).flatMap((g) => [...g.values.keys()])
    expect(new Set(made).size).toBe(made.length)
    expect(m.graph.outputs).toEqual(['y', 'z'])
    expect(print(m)).toContain('s: f32[2] = Add(x_1, w)')
    expect(print(m)).toContain('r_1: f32[2] = Mul(x, w2')
  })
  it('nested beyond reason are refused', () => {
    let g: Parameters<typeof graph>[1] = { node: [node('Relu', ['x'], ['y'])], output: [value('y')] }
    for (let i = 0; i < 60; i++)
      g = { node: [node('If', ['c'], ['y'], [graph('then_branch', g)])], output: [value('y')] }
    expect(code(() => readModel(file({ ...g, input: [value('c'), value('x')] })))).toBe('E_LIMIT')
  })
})

describe('weights', () => {
  it('spelled sparse become dense', () => {
    const m = check(readModel(withSparse()))
    expect(numbers(m, 's')).toEqual([0, 7, 0, 0, 0, 9])
    expect(numbers(m, 'k')).toEqual([0, 0, 0, 4, 0, 0])
  })
  it('in sparse attributes of other operators than Constant are carried, and refused where they are large', () => {
    const withAttribute = (elements: number) => {
      const values = { dims: [BigInt(elements)], dataType: Type.FLOAT, rawData: new Uint8Array(4 * elements).fill(1) }
      const indices = { dims: [0n], dataType: Type.INT64 }
      const made = node('Mystery', ['x'], ['y'])
      const attribute = [{ name: 's', type: 11, sparseTensor: { values, indices, dims: [BigInt(elements)] } }]
      return file({ node: [{ ...made, attribute } as typeof made], input: [value('x')], output: [value('y')] })
    }
    expect(readModel(withAttribute(4)).graph.nodes[0]?.attrs.s?.kind).toBe('raw')
    expect(code(() => readModel(withAttribute(20_000)))).toBe('E_UNSUPPORTED')
  })
  it('of a huge sparse tensor are refused', () => {
    const sparse = (dims: bigint[]) => ({
      values: weights('s', [0]),
      indices: { dims: [0n], dataType: Type.INT64 },
      dims
    })
    const g = (dims: bigint[]) => file({ output: [value('s')], sparseInitializer: [sparse(dims)] })
    expect(code(() => readModel(g([2n ** 20n, 2n ** 20n])))).toBe('E_LIMIT')
    expect(code(() => readModel(g([2n ** 62n, 4n])))).toBe('E_FORMAT')
    expect(code(() => readModel(g([-1n, 4n])))).toBe('E_FORMAT')
  })
  it('beside the file are read when they are asked for', () => {
    let reads = 0
    const bytes = Uint8Array.from([...new Uint8Array(8), ...floatBytes(3, 4)])
    const beside: Bytes = {
      length: 16,
      slice: (a = 0, b = 16) => {
        reads++
        return bytes.slice(a, b)
      }
    }
    const m = readModel(withExternal(), { external: () => beside })
    expect(reads).toBe(0)
    expect(numbers(m, 'w')).toEqual([3, 4])
    expect(code(() => readModel(withExternal(), { external: () => new Uint8Array(12) }))).toBe('E_FORMAT')
    expect(code(() => readModel(withExternal()))).toBe('E_FILE')
  })
  it('outside the folder are refused before any file is opened', () => {
    for (const location of ['../w', '/etc/passwd', 'C:\\w', 'a/../../w', 'a\\..\\w', '']) {
      const t = {
        name: 'w',
        dims: [1n],
        dataType: Type.FLOAT,
        dataLocation: 1,
        externalData: [{ key: 'location', value: location }]
      }
      const open = (): never => {
        throw new Error(`opened ${location}`)
      }
      expect(code(() => readModel(file({ output: [value('w')], initializer: [t] }), { external: open }))).toBe(
        'E_FORMAT'
      )
    }
  })
  it('whose length is not what the shape needs are refused', () => {
    expect(code(() => readModel(file({ output: [value('w')], initializer: [weights('w', [3], 1, 2)] })))).toBe(
      'E_FORMAT'
    )
    expect(
      code(() => readModel(file({ output: [value('w')], initializer: [weights('w', [2 ** 30, 2 ** 30], 1)] })))
    ).toBe('E_LIMIT')
  })
  it('of all spellings and widths', () => {
    const m = readModel(withOddities())
    expect(constant(m.graph, 'st')?.strings).toEqual(['a', 'ü'])
    expect(numbers(m, 'i4')).toEqual([1, 2, -1])
    expect(numbers(m, 'h')).toEqual([1, -2])
    const i4 = constant(m.graph, 'i4')
    expect(i4 && [...codes(i4)]).toEqual([1, 2, 15])
  })
  it('above 64 kB stay in the file until they are read', () => {
    const ones = { name: 'w', dims: [65536n], dataType: Type.FLOAT, rawData: new Uint8Array(262144).fill(1) }
    const big = file({ output: [value('w')], initializer: [ones] })
    let most = 0
    const lazy: Bytes = {
      length: big.length,
      slice: (a = 0, b = big.length) => {
        most = Math.max(most, b - a)
        return big.slice(a, b)
      }
    }
    const whole = readModel(big)
    const m = readModel(lazy)
    const opened = most
    most = 0
    expect(numbers(m, 'w')).toEqual(numbers(whole, 'w'))
    expect(opened).toBeLessThan(262144)
    expect(most).toBe(262144)
  })
})

describe('inputs with initializers', () => {
  const g = {
    input: [floats('x', 2), floats('w', 2)],
    output: [floats('y', 2)],
    initializer: [weights('w', [2], 1, 2)],
    node: [node('Add', ['x', 'w'], ['y'])]
  }
  it('are constants up to IR version 3', () => {
    const m = check(readModel(file(g, { irVersion: 3n, opset: 8 })))
    expect(m.graph.inputs).toEqual(['x'])
    expect(numbers(m, 'w')).toEqual([1, 2])
  })
  it('are defaults from IR version 4 on, and written as such', () => {
    const m = check(readModel(file(g)))
    expect(m.graph.inputs).toEqual(['x', 'w'])
    expect(constant(m.graph, 'w')).toBeUndefined()
    expect(print(readModel(writeModel(m).bytes))).toBe(print(m))
  })
})

describe('what Pare does not know', () => {
  it('is carried: types, attributes, domains, metadata', () => {
    const m = check(readModel(withOddities()))
    const again = readModel(writeModel(m).bytes)
    const facts = ({ origin, ...rest }: Model) => ({ ...rest, header: origin?.header })
    expect(facts(again)).toEqual(facts(m))
    const odd = m.graph.nodes.find((n) => n.op === 'Odd')
    expect(odd?.domain).toBe('com.example')
    expect(odd?.inputs[1]).toBeNull()
    expect(odd?.attrs['to_end']).toEqual({ kind: 'int', value: 2 ** 31 })
    expect(odd?.attrs['big']?.kind).toBe('raw')
    expect(odd?.attrs['ss']?.kind).toBe('raw')
    expect(Object.hasOwn(odd?.attrs ?? {}, '__proto__')).toBe(true)
    expect(Object.hasOwn(m.meta, '__proto__')).toBe(true)
    expect(m.meta['labels']).toBe('a,b')
    expect(m.graph.values.get('m')?.type).toBe('opaque')
    expect(m.graph.values.get('q')?.of).toEqual({ type: 'tensor', dtype: 'float32', shape: ['a+1', 2] })
    expect(m.domains).toEqual({ 'com.example': 1 })
  })
})

describe('hostile files', () => {
  it('give one clear error', () => {
    expect(code(() => readModel(new Uint8Array(0)))).toBe('E_FORMAT')
    expect(code(() => readModel(new TextEncoder().encode('hello, this is no model')))).toBe('E_FORMAT')
    expect(code(() => readModel(withFunctions().subarray(0, 60)))).toBe('E_FORMAT')
    expect(code(() => readModel(file({ output: [value('y')] })))).toBe('E_MODEL')
    expect(code(() => readModel(file({ output: [value('x')], input: [value('x'), value('x')] })))).toBe('E_MODEL')
    expect(code(() => readModel(file({}, { opset: 26 })))).toBe('E_OPSET')
  })
  it('full of empty messages are refused, not unpacked', () => {
    const flood = new Uint8Array(2 * 2_100_000)
    for (let i = 0; i < flood.length; i += 2) flood[i] = 0x0a
    const head = [
      0x08,
      10,
      0x3a,
      ...[...Array(3)].map((_, i) => ((flood.length >> (7 * i)) & 127) | 128),
      flood.length >> 21
    ]
    expect(code(() => readModel(Uint8Array.from([...head, ...flood])))).toBe('E_LIMIT')
  })
  it('with a hundred thousand equal names are read in good time', () => {
    const nodes = Array.from({ length: 100_000 }, (_, i) => node('Relu', ['x'], [`y${i}`], [], { name: 'same' }))
    const m = readModel(file({ input: [floats('x', 1)], output: [floats('y7', 1)], node: nodes }))
    expect(new Set(m.graph.nodes.map((n) => n.name)).size).toBe(100_000)
  })
  it('with symbols that arithmetic cannot hold keep the rest', () => {
    const g = { input: [value('x', tensorType(Type.FLOAT, 'past + 1', '7', 'floor(', -3, 4))], output: [value('x')] }
    expect(readModel(file(g)).graph.values.get('x')?.shape).toEqual(['past+1', '?', '?', '?', 4])
  })
})

it('names nodes that have none, by what they make', () => {
  const m = readModel(file({ input: [floats('x', 1)], output: [floats('y', 1)], node: [node('Relu', ['x'], ['y'])] }))
  expect(m.graph.nodes[0]?.name).toBe('Relu_y')
})

it('sorts nodes that come in the wrong order', () => {
  const nodes = [node('Relu', ['h'], ['y']), node('LeakyRelu', ['x'], ['h'], [float('alpha', 0.5)])]
  const m = check(readModel(file({ input: [floats('x', 1)], output: [floats('y', 1)], node: nodes })))
  expect(m.graph.nodes.map((n) => n.op)).toEqual(['LeakyRelu', 'Relu'])
})

it('leaves training information behind', () => {
  const g = { input: [floats('x', 1)], output: [floats('y', 1)], node: [node('Cast', ['x'], ['y'], [int('to', 1)])] }
  const m = readModel(file(g, { trainingInfo: [{ algorithm: { node: [node('Junk', ['nothing'], ['z'])] } }] }))
  expect(m.graph.nodes).toHaveLength(1)
})

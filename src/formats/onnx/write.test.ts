import { fromBinary, isFieldSet } from '@bufbuild/protobuf'
import { GraphProtoSchema, TensorProto_DataLocation as Location, ModelProtoSchema, NodeProtoSchema } from 'onnx-buf'
import { describe, expect, it } from 'vitest'
import { testContext } from '../../../test/compare.ts'
import { concat } from '../../base/bytes.ts'
import { tensor, toNumbers } from '../../ir/tensor.ts'
import { parse } from '../../ir/text.ts'
import { inferShapes } from '../../ops/infer.ts'
import { passFor } from '../../passes/index.ts'
import { parseOptions } from '../../passes/pass.ts'
import type { DType, Model } from '../../types.ts'
import { readModel, writeModel } from '../index.ts'

const source = `
  input x: f32[N,64]
  h = MatMul(x, a: f32[64,32])
  g = MatMul(h, b: f32[32,8])
  y = Add(g, c: f32[8])
  output y`
const m = parse(source)

const decoded = (bytes: Uint8Array) => fromBinary(ModelProtoSchema, bytes)

describe('writing', () => {
  it('gives the same bytes for the same model', () => {
    expect(writeModel(m).bytes).toEqual(writeModel(parse(source)).bytes)
  })
  it('spends no bytes on documentation that there is not', () => {
    const { graph } = decoded(writeModel(m).bytes)
    expect(graph && isFieldSet(graph, GraphProtoSchema.field.docString)).toBe(false)
    for (const node of graph?.node ?? []) expect(isFieldSet(node, NodeProtoSchema.field.docString)).toBe(false)
  })
  it('asks for no newer IR version than the content needs', () => {
    const irOf = (x: Model): number => Number(decoded(writeModel(x).bytes).irVersion)
    const holding = (dtype: DType): Model => parse(`input x: ${dtype}[2]\ny = Identity(x)\noutput y`)
    expect(irOf(m)).toBe(10)
    expect(irOf({ ...m, opset: 13 })).toBe(7)
    expect(irOf(holding('int4'))).toBe(10)
    expect(irOf(holding('float4e2m1'))).toBe(11)
    expect(irOf(holding('int2'))).toBe(13)
  })
  it('does not repeat types that follow from the operators', () => {
    const typed = parse('input x: f32[N]\nh: f32[N] = Relu(x)\nk: f32[N] = com.example:Odd(h)\ny = Relu(k)\noutput y')
    expect(decoded(writeModel(typed).bytes).graph?.valueInfo.map((v) => v.name)).toEqual(['k'])
  })
  it('says who made a new model and keeps who made an old one', () => {
    expect(decoded(writeModel(m).bytes).producerName).toBe('pare')
    const header = { producerName: 'other', modelVersion: '7', docString: 'd' }
    const of = { ...m, meta: { note: 'n' }, origin: { format: 'onnx', header } }
    const again = readModel(writeModel(of).bytes)
    expect(again.meta).toEqual(of.meta)
    expect(again.origin).toEqual({ format: 'onnx', version: m.opset, header, shapes: { x: ['N', 64] } })
    const elsewhere = { ...of, origin: { ...of.origin, format: 'other' } }
    expect(decoded(writeModel(elsewhere).bytes).producerName).toBe('pare')
  })
})

describe('what others rely on', () => {
  const imports = (x: Model) => decoded(writeModel(x).bytes).opsetImport.map((o) => [o.domain, Number(o.version)])
  const run = (name: string, x: Model, o: object = {}): Promise<Model> => {
    const pass = passFor(name)
    const few = ['simplify', 'fuse'].includes(name) ? {} : { minElements: 1 }
    return pass.run(x, parseOptions(pass, { ...few, ...o }), testContext())
  }
  it('imports every domain that a node is of, also in subgraphs and forms', async () => {
    const own = ['com.microsoft', 1]
    expect(imports(await run('quantize-nf4', m))).toEqual([['', 21], own])
    expect(imports(await run('quantize-weights', m, { bits: 4, form: 'nbits' }))).toEqual([['', 21], own])
    expect(imports(parse('input x: f32[N]\ny = com.example:Odd(x)\noutput y'))).toEqual([
      ['', 21],
      ['com.example', 1]
    ])
    const inner: Model = parse('y = com.example:Odd(x)\noutput y')
    const branch = { kind: 'graph', value: inner.graph } as const
    const outer = parse('input x: f32[N]\ninput c: bool[]\nz = If(c)\noutput z')
    const nodes = outer.graph.nodes.map((n) => ({ ...n, attrs: { then_branch: branch, else_branch: branch } }))
    expect(imports({ ...outer, graph: { ...outer.graph, nodes }, domains: { kept: 3 } })).toEqual([
      ['', 21],
      ['kept', 3],
      ['com.example', 1]
    ])
  })
  it.each(['simplify', 'fuse', 'quantize-weights', 'quantize-dynamic', 'cast-float'])(
    'keeps the symbols of inputs and outputs: %s',
    async (name) => {
      const tied = parse(`
        input x: f32[batch,seq,8]
        const r: i64[2] = -1, 8
        flat = Reshape(x, r)
        y = Gemm(flat, W: f32[32,8], transB=1)
        h = Relu(flat)
        s = Shape(x)
        z: f32[b2,s2,8] = Reshape(h, s)
        output y, z`)
      const values = new Map(tied.graph.values)
      values.set('y', { id: 'y', type: 'tensor', dtype: 'float32', shape: ['n', 32] })
      values.set('z', { id: 'z', type: 'tensor', dtype: 'float32', shape: ['b2', 's2', 8] })
      const opened = readModel(writeModel({ ...tied, graph: { ...tied.graph, values } }).bytes)
      const made = inferShapes(await run(name, inferShapes(opened)))
      const again = readModel(writeModel(made).bytes)
      const shape = (id: string) => again.graph.values.get(id)?.shape
      expect([shape('x'), shape('y'), shape('z')]).toEqual([
        ['batch', 'seq', 8],
        ['n', 32],
        ['b2', 's2', 8]
      ])
    }
  )
})

describe('external weights', () => {
  const { bytes, external } = writeModel(m, { externalName: 'm.weights' })
  const placed = decoded(bytes).graph?.initializer.map((t) =>
    Object.fromEntries(t.externalData.map((e) => [e.key, e.value]))
  )

  it('are the large ones, aligned, and not copied', () => {
    expect(placed).toEqual([{ location: 'm.weights', offset: '0', length: '8192' }, {}, {}])
    expect(external?.parts).toContain(m.graph.values.get('a')?.data?.bytes)
    expect(decoded(bytes).graph?.initializer.map((t) => t.dataLocation)).toEqual([Location.EXTERNAL, 0, 0])
  })
  it('are read again from their places', () => {
    const beside = concat((external?.parts ?? []).map((p) => p.slice()))
    const again = readModel(bytes, { external: () => beside })
    expect(Array.from(toNumbers(again.graph.values.get('a')?.data ?? tensor('int8', [], [0])))).toEqual(
      Array.from(toNumbers(m.graph.values.get('a')?.data ?? tensor('int8', [], [0])))
    )
  })
  it('start at pages where they are large', () => {
    const big = parse(
      'input x: f32[1,300]\nh = MatMul(x, a: f32[300,3])\nk = MatMul(h, b: f32[3,90000])\ny = Relu(k)\noutput y'
    )
    const made = decoded(writeModel(big, { externalName: 'w' }).bytes)
    expect(made.graph?.initializer.map((t) => t.externalData.find((e) => e.key === 'offset')?.value)).toEqual([
      '0',
      '4096'
    ])
  })
})

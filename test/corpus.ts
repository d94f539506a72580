/** Small ONNX files that between them use every part of the format; some no builder of ours would write. */
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import {
  type AttributeProtoSchema,
  type GraphProtoSchema,
  AttributeProto_AttributeType as Kind,
  TensorProto_DataLocation as Location,
  ModelProtoSchema,
  type NodeProtoSchema,
  type TensorProtoSchema,
  TensorProto_DataType as Type,
  type TypeProtoSchema,
  type ValueInfoProtoSchema
} from 'onnx-buf'
import { writeModel } from '../src/formats/index.ts'
import { bytesOf } from '../src/ir/tensor.ts'
import { parse } from '../src/ir/text.ts'

type Init<S extends Parameters<typeof create>[0]> = MessageInitShape<S>

export const floatBytes = (...values: number[]): Uint8Array<ArrayBuffer> => bytesOf(Float32Array.from(values)).slice()

/** A node; attributes by name. */
export const node = (
  opType: string,
  input: string[],
  output: string[],
  attribute: Init<typeof AttributeProtoSchema>[] = [],
  rest: Init<typeof NodeProtoSchema> = {}
): Init<typeof NodeProtoSchema> => ({ opType, input, output, attribute, ...rest }) as Init<typeof NodeProtoSchema>

export const int = (name: string, i: number): Init<typeof AttributeProtoSchema> => ({
  name,
  type: Kind.INT,
  i: BigInt(i)
})
export const ints = (name: string, ...values: number[]): Init<typeof AttributeProtoSchema> => ({
  name,
  type: Kind.INTS,
  ints: values.map(BigInt)
})
export const float = (name: string, f: number): Init<typeof AttributeProtoSchema> => ({ name, type: Kind.FLOAT, f })
export const text = (name: string, s: string): Init<typeof AttributeProtoSchema> => ({
  name,
  type: Kind.STRING,
  s: new TextEncoder().encode(s)
})
export const graph = (name: string, g: Init<typeof GraphProtoSchema>): Init<typeof AttributeProtoSchema> => ({
  name,
  type: Kind.GRAPH,
  g
})
/** An attribute of a function body that takes the caller's. */
const ref = (name: string, refAttrName: string, type: Kind): Init<typeof AttributeProtoSchema> => ({
  name,
  refAttrName,
  type
})

export const tensorType = (elemType: Type, ...dims: (number | string)[]): Init<typeof TypeProtoSchema> => ({
  value: {
    case: 'tensorType',
    value: {
      elemType,
      shape: {
        dim: dims.map((d) => ({
          value: typeof d === 'number' ? { case: 'dimValue', value: BigInt(d) } : { case: 'dimParam', value: d }
        }))
      }
    }
  }
})

export const value = (name: string, type?: Init<typeof TypeProtoSchema>): Init<typeof ValueInfoProtoSchema> =>
  type ? { name, type } : { name }
export const floats = (name: string, ...dims: (number | string)[]): Init<typeof ValueInfoProtoSchema> =>
  value(name, tensorType(Type.FLOAT, ...dims))

export const weights = (name: string, dims: number[], ...values: number[]): Init<typeof TensorProtoSchema> => ({
  name,
  dims: dims.map(BigInt),
  dataType: Type.FLOAT,
  rawData: floatBytes(...values)
})

/** A whole file around a graph. */
export function file(
  g: Init<typeof GraphProtoSchema>,
  o: Init<typeof ModelProtoSchema> & { readonly opset?: number } = {}
): Uint8Array {
  const { opset = 21, ...rest } = o
  const model = create(ModelProtoSchema, {
    irVersion: 10n,
    opsetImport: [{ domain: '', version: BigInt(opset) }],
    graph: { name: 'g', ...g } as Init<typeof GraphProtoSchema>,
    ...rest
  } as Init<typeof ModelProtoSchema>)
  return toBinary(ModelProtoSchema, model)
}

/** A scaled activation as a function with an attribute, a default and a function inside. */
export const withFunctions = (): Uint8Array =>
  file(
    {
      input: [floats('x', 'N', 2)],
      output: [floats('y', 'N', 2)],
      node: [
        node('Scaled', ['x'], ['h'], [float('by', 3)], { domain: 'own', name: 'first' }),
        node('Scaled', ['h'], ['y'], [], { domain: 'own', name: 'second' })
      ]
    },
    {
      opsetImport: [
        { domain: '', version: 21n },
        { domain: 'own', version: 1n }
      ],
      functions: [
        {
          name: 'Scaled',
          domain: 'own',
          input: ['x'],
          output: ['y'],
          attributeProto: [float('by', 2)],
          opsetImport: [{ domain: '', version: 17n }],
          node: [
            node('Constant', [], ['c'], [ref('value_float', 'by', Kind.FLOAT)]),
            node('Mul', ['x', 'c'], ['t']),
            node('Inner', ['t'], ['y'], [], { domain: 'own' })
          ]
        },
        { name: 'Inner', domain: 'own', input: ['a'], output: ['b'], node: [node('Relu', ['a'], ['b'])] }
      ]
    } as Init<typeof ModelProtoSchema>
  )

/** If and Loop that capture values and use the same names inside as outside. */
export const withSubgraphs = (): Uint8Array =>
  file({
    input: [value('c', tensorType(Type.BOOL)), floats('x', 2)],
    output: [floats('y', 2), floats('z', 2)],
    initializer: [
      weights('w', [2], 1, 2),
      { name: 'n', dims: [], dataType: Type.INT64, int64Data: [3n] },
      { name: 'go', dims: [], dataType: Type.BOOL, int32Data: [1] }
    ],
    node: [
      node(
        'If',
        ['c'],
        ['y'],
        [
          graph('then_branch', { name: 'then', node: [node('Add', ['x', 'w'], ['r'])], output: [floats('r', 2)] }),
          graph('else_branch', {
            name: 'else',
            initializer: [weights('w2', [2], 5, 6)],
            node: [node('Mul', ['x', 'w2'], ['r'])],
            output: [floats('r', 2)]
          })
        ]
      ),
      node(
        'Loop',
        ['n', 'go', 'x'],
        ['z'],
        [
          graph('body', {
            name: 'body',
            input: [value('i', tensorType(Type.INT64)), value('on', tensorType(Type.BOOL)), floats('x', 2)],
            output: [value('on2', tensorType(Type.BOOL)), floats('s', 2)],
            node: [node('Identity', ['on'], ['on2']), node('Add', ['x', 'w'], ['s'])]
          })
        ]
      )
    ]
  })

/** Sparse weights: an initializer by linear index and a Constant by coordinates. */
export const withSparse = (): Uint8Array =>
  file({
    input: [floats('x', 2, 3)],
    output: [floats('y', 2, 3)],
    sparseInitializer: [
      {
        values: weights('s', [2], 7, 9),
        indices: { name: 'si', dims: [2n], dataType: Type.INT64, int64Data: [1n, 5n] },
        dims: [2n, 3n]
      }
    ],
    node: [
      node(
        'Constant',
        [],
        ['k'],
        [
          {
            name: 'sparse_value',
            type: Kind.SPARSE_TENSOR,
            sparseTensor: {
              values: weights('', [1], 4),
              indices: { dims: [1n, 2n], dataType: Type.INT64, int64Data: [1n, 0n] },
              dims: [2n, 3n]
            }
          }
        ]
      ),
      node('Add', ['x', 's'], ['t']),
      node('Add', ['t', 'k'], ['y'])
    ]
  })

/** Weights beside the file, at an offset. */
export const withExternal = (): Uint8Array =>
  file({
    input: [floats('x', 2)],
    output: [floats('y', 2)],
    initializer: [
      {
        name: 'w',
        dims: [2n],
        dataType: Type.FLOAT,
        dataLocation: Location.EXTERNAL,
        externalData: [
          { key: 'location', value: 'weights.bin' },
          { key: 'offset', value: '8' },
          { key: 'length', value: '8' }
        ]
      }
    ],
    node: [node('Add', ['x', 'w'], ['y'])]
  })

/** Types other than tensors, strings, other domains and all kinds of attributes. */
export const withOddities = (): Uint8Array =>
  file(
    {
      input: [
        value('m', { value: { case: 'mapType', value: { keyType: Type.STRING, valueType: tensorType(Type.INT64) } } }),
        value('q', { value: { case: 'sequenceType', value: { elemType: tensorType(Type.FLOAT, 'a+1', 2) } } }),
        value('o', { value: { case: 'optionalType', value: { elemType: tensorType(Type.INT8, 2) } } }),
        value('u')
      ],
      output: [value('y'), value('e', tensorType(Type.STRING, 2))],
      initializer: [
        {
          name: 'st',
          dims: [2n],
          dataType: Type.STRING,
          stringData: ['a', 'ü'].map((s) => new TextEncoder().encode(s))
        },
        { name: 'i4', dims: [3n], dataType: Type.INT4, int32Data: [0x21, 0x0f] },
        { name: 'h', dims: [2n], dataType: Type.FLOAT16, int32Data: [0x3c00, 0xc000] }
      ],
      node: [
        node('Identity', ['st'], ['e']),
        node(
          'Odd',
          ['m', '', 'q', 'o', 'u', 'i4', 'h'],
          ['y', ''],
          [
            int('to_end', 2 ** 31),
            ints('axes', 0, -1),
            text('__proto__', 'x'),
            { name: 'fs', type: Kind.FLOATS, floats: [0.5, Number.NaN] },
            { name: 'ss', type: Kind.STRINGS, strings: [new Uint8Array([255])] },
            { name: 'big', type: Kind.INT, i: 2n ** 60n },
            { name: 't', type: Kind.TENSOR, t: weights('', [1], 1) },
            { name: 'tp', type: Kind.TYPE_PROTO, tp: tensorType(Type.FLOAT, 1) }
          ],
          { domain: 'com.example' }
        )
      ]
    },
    {
      producerName: 'test',
      modelVersion: 3n,
      metadataProps: [
        { key: '__proto__', value: 'x' },
        { key: 'labels', value: 'a,b' }
      ]
    }
  )

/** Old forms that are raised. */
const withOldForms = (): Uint8Array =>
  file(
    {
      input: [floats('x', 'N', 3, 8, 8), floats('w', 4, 3, 3, 3)],
      output: [floats('y', 'N', 4)],
      initializer: [
        weights('w', [4, 3, 3, 3], ...Array.from({ length: 108 }, (_, i) => Math.sin(i))),
        weights('b', [4], 1, -1, 0.5, 0)
      ],
      node: [
        node('Conv', ['x', 'w'], ['c'], [ints('kernel_shape', 3, 3)]),
        node('Add', ['c', 'b'], ['a'], [int('broadcast', 1), int('axis', 1)]),
        node('Clip', ['a'], ['k'], [float('min', 0), float('max', 6)]),
        node('Pad', ['k'], ['p'], [ints('pads', 0, 0, 1, 1, 0, 0, 1, 1), float('value', 0.5)]),
        node('Slice', ['p'], ['s'], [ints('starts', 1, 1), ints('ends', 7, 100), ints('axes', 2, 3)]),
        node('ReduceMean', ['s'], ['r'], [ints('axes', 2, 3), int('keepdims', 1)]),
        node('Squeeze', ['r'], ['q'], [ints('axes', 2, 3)]),
        node('Softmax', ['q'], ['y'])
      ]
    },
    { opset: 6, irVersion: 3n }
  )

/** What Pare writes itself, quantized weights in foldable form among it. */
function ownFile(): Uint8Array {
  const m = parse(`
    input x: f32[N,3,8,8]
    const s: f32[4] = 0.1, 0.2, 0.3, 0.4
    w = DequantizeLinear(q: i8[4,3,3,3], s, axis=0)
    c = Conv(x, w, pads=[1,1,1,1])
    y = Relu(c)
    output y`)
  const values = new Map(m.graph.values)
  const q = values.get('q')
  if (q) values.set('q', { ...q, form: 'foldable', sparse: 'any' })
  return writeModel({ ...m, graph: { ...m.graph, values } }).bytes
}

export const corpus = (): Readonly<Record<string, Uint8Array>> => ({
  functions: withFunctions(),
  subgraphs: withSubgraphs(),
  sparse: withSparse(),
  external: withExternal(),
  oddities: withOddities(),
  old: withOldForms(),
  own: ownFile()
})

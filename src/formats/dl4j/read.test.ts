import { unzipSync } from 'fflate'
import * as ort from 'onnxruntime-node'
import { describe, expect, it } from 'vitest'
import { activation, archive, fixture, fixtureNames, layer, zip } from '../../../test/dl4j.ts'
import { PareError } from '../../base/errors.ts'
import { check } from '../../ir/check.ts'
import { print } from '../../ir/print.ts'
import { toFloats } from '../../ir/tensor.ts'
import { inferShapes } from '../../ops/infer.ts'
import type { Model, Tensor } from '../../types.ts'
import { formats, readModel, readNoted, writeModel } from '../index.ts'
import { writeArray } from './arrays.ts'
import { hashOrder } from './order.ts'

const read = (bytes: Uint8Array, choices: Record<string, unknown> = {}): Model =>
  inferShapes(check(readModel(bytes, { formats, choices })))

async function run(model: Model, inputs: (name: string) => Tensor | undefined): Promise<Record<string, ort.Tensor>> {
  const session = await ort.InferenceSession.create(writeModel(model).bytes)
  const feeds = model.graph.inputs.map((id, i) => {
    const x = inputs(`in${i}`) as Tensor
    return [id, new ort.Tensor('float32', toFloats(x), x.shape)] as const
  })
  return session.run(Object.fromEntries(feeds))
}

/** Greatest difference, relative to the greatest value. */
function distance(was: Tensor, is: ort.Tensor): number {
  expect(is.dims).toEqual(was.shape)
  const [a, b] = [toFloats(was), is.data as Float32Array]
  const most = a.reduce((m, x) => Math.max(m, Math.abs(x)), 1e-30)
  return a.reduce((m, x, i) => Math.max(m, Math.abs(x - (b[i] as number))), 0) / most
}

const names = fixtureNames()

describe.skipIf(names.length === 0)('archives of DL4J give its own outputs', () => {
  it.each(names)('%s', async (name) => {
    const f = fixture(name)
    const choices = f.isNormalized ? { normalizer: 'graph' } : {}
    // Sizes that the archive leaves open must do as well as those that are said.
    for (const size of f.imageSize === undefined ? [{}] : [{}, { imageSize: f.imageSize }]) {
      const model = read(f.bytes, { ...choices, ...size })
      const outputs = await run(model, f.arrays)
      for (const [i, id] of model.graph.outputs.entries())
        expect(distance(f.arrays(`out${i}`) as Tensor, outputs[id] as ort.Tensor)).toBeLessThan(f.isHalf ? 1e-2 : 1e-5)
    }
  })
})

const dense = (nin: number, nout: number, name: string): object =>
  layer(nout === 2 ? 'OutputLayer' : 'DenseLayer', { nin, nout, activationFn: activation(name), hasBias: true })

describe('a network of one layer', () => {
  it('is one product, with names of the archive and its weights as they stand there', () => {
    const model = read(
      archive(
        [layer('OutputLayer', { nin: 2, nout: 3, activationFn: activation('Softmax'), layerName: 'out' })],
        [1, 2, 3, 4, 5, 6, 7, 8, 9]
      )
    )
    expect(print(model)).toBe(`opset 21
input input: f32[N,2]
const out.W: f32[3,2] = 1, 2, 3, 4, 5, 6
const out.b: f32[3] = 7, 8, 9
"out/Gemm": f32[N,3] = Gemm(input, out.W, out.b, transB=1)
output: f32[N,3] = Softmax("out/Gemm", axis=1)
output output
`)
  })

  it('tells what only training uses', () => {
    const fields = {
      nin: 1,
      nout: 2,
      activationFn: activation('Identity'),
      iupdater: { '@class': 'x.Adam' },
      lossFn: { '@class': 'x.LossMSE' }
    }
    const bytes = zip({
      ...unzipSync(archive([layer('OutputLayer', fields)], [1, 2, 3, 4])),
      'updaterState.bin': 'x'
    })
    expect(readNoted(bytes, { formats }).notes).toEqual([
      'left behind on reading: updater (1), loss (1), updaterState.bin'
    ])
  })
})

describe('sizes of images', () => {
  const net = (kernel: number): Uint8Array =>
    archive(
      [
        layer('SubsamplingLayer', {
          kernelSize: [kernel, kernel],
          stride: [kernel, kernel],
          padding: [0, 0],
          poolingType: 'MAX'
        }),
        layer('OutputLayer', { nin: 49, nout: 2, activationFn: activation('Identity') })
      ],
      Array(100).fill(0),
      {
        inputPreProcessors: {
          1: {
            '@class': 'org.deeplearning4j.nn.conf.preprocessor.CnnToFeedForwardPreProcessor',
            inputHeight: 7,
            inputWidth: 7,
            numChannels: 1
          }
        }
      }
    )
  const input = (bytes: Uint8Array, choices = {}): unknown => read(bytes, choices).graph.values.get('input')?.shape

  it('follow from what is behind them, as the usual one where several fit', () => {
    expect(input(net(1))).toEqual(['N', 1, 7, 7])
    expect(input(net(4))).toEqual(['N', 1, 28, 28])
    expect(input(net(4), { imageSize: '30x29' })).toEqual(['N', 1, 30, 29])
    expect(readNoted(net(4), { formats }).notes[0]).toBe(
      'the archive does not hold the size of its images: height 28 to 31 and width 28 to 31 fit its layers; 28x28 was taken (--image-size says one)'
    )
  })

  it('stay open where no usual one fits', () => {
    expect(input(net(2))).toEqual(['N', 1, 'height', 'width'])
  })
})

it('numbers in a HashSet come in the order of Java', () => {
  expect(hashOrder([4, 17])).toEqual([17, 4])
  expect(hashOrder([17, 1, 33])).toEqual([17, 1, 33])
  // 14 numbers take 32 buckets.
  const many = [40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 30, 29, 28, 27]
  expect(hashOrder(many)).toEqual([32, 33, 34, 35, 36, 37, 38, 39, 40, 27, 28, 29, 30, 31])
})

describe('what cannot be read', () => {
  const fault = (bytes: Uint8Array, choices = {}): string => {
    try {
      read(bytes, choices)
      return 'read'
    } catch (e) {
      if (!(e instanceof PareError)) throw e
      return `${e.code} ${e.where ?? ''}: ${e.message}`
    }
  }

  it.each([
    [
      'a class that is not known',
      archive([layer('FancyLayer', { layerName: 'f' })], []),
      'E_UNSUPPORTED f: a layer of class FancyLayer, which cannot be read'
    ],
    [
      'a class of somebody else',
      archive([{ '@class': 'com.example.MyLayer', layerName: 'm' }], []),
      "E_UNSUPPORTED m: layer of a class that is not DL4J's own: com.example.MyLayer"
    ],
    [
      'an activation',
      archive([dense(1, 2, 'Fancy')], [1, 2, 3, 4]),
      'E_UNSUPPORTED layer0: the activation fancy is not known'
    ],
    [
      'too few numbers',
      archive([dense(1, 2, 'Identity')], [1, 2, 3]),
      'E_FORMAT layer0.b: coefficients.bin holds 3 numbers, fewer than its layers need'
    ],
    [
      'too many',
      archive([dense(1, 2, 'Identity')], [1, 2, 3, 4, 5]),
      'E_FORMAT : coefficients.bin holds 5 numbers, its layers need 4'
    ],
    [
      'no numbers at all',
      zip({ 'configuration.json': '{"confs":[]}' }),
      'E_FORMAT : the archive holds no coefficients.bin'
    ],
    [
      'another JSON',
      zip({ 'configuration.json': '{"a":1}', 'coefficients.bin': '' }),
      'E_FORMAT : the configuration holds neither confs nor vertices: it is no network of DeepLearning4J'
    ],
    [
      'no JSON',
      zip({ 'configuration.json': '{"a":', 'coefficients.bin': '' }),
      'E_FORMAT configuration.json: the configuration is not whole JSON'
    ],
    [
      'a width that is no number',
      archive([layer('OutputLayer', { nin: 'x', nout: 2, activationFn: activation('Identity') })], [1]),
      'E_FORMAT layer0: nin of OutputLayer is not a whole number'
    ]
  ])('%s', (_, bytes, message) => {
    expect(fault(bytes)).toBe(message)
  })

  const whole = archive([dense(1, 2, 'Identity')], [1, 2, 3, 4])
  /** The size that the directory claims of the last entry, another. */
  const bomb = (size: number): Uint8Array => {
    const bytes = new Uint8Array(whole)
    const at = bytes.findLastIndex((_, i) => bytes[i] === 0x50 && bytes[i + 1] === 0x4b && bytes[i + 2] === 1)
    new DataView(bytes.buffer).setUint32(at + 24, size, true)
    return bytes
  }

  it.each([
    ['cut off', whole.slice(0, whole.length - 10), 'E_FORMAT the archive: not a whole zip archive'],
    [
      'a size that the bytes cannot have',
      bomb(2 ** 31),
      /^E_FORMAT coefficients.bin: \d+ compressed bytes cannot hold 2147483648$/
    ],
    ['a size that is not theirs', bomb(100), /^E_FORMAT coefficients.bin: the compressed data /],
    [
      'an array longer than its bytes',
      zip({ ...unzipSync(whole), 'coefficients.bin': writeArray(new Float32Array(4), 'FLOAT').slice(0, -4) }),
      'E_FORMAT coefficients.bin: an array of 4 elements, of which 12 bytes are there'
    ]
  ])('%s', (_, bytes, message) => {
    expect(fault(bytes)).toMatch(message)
  })

  it('entries outside of the archive are never looked at', () => {
    const bytes = zip({ ...unzipSync(whole), '../../evil': 'x', '/etc/passwd': 'x' })
    expect(readNoted(bytes, { formats }).notes).toEqual(['left behind on reading: ../../evil, /etc/passwd'])
  })

  it('options that the format does not have', () => {
    expect(fault(archive([dense(1, 2, 'Identity')], [1, 2, 3, 4]), { norm: 'graph' })).toBe(
      'E_OPTION norm: dl4j has no option norm'
    )
    expect(fault(archive([dense(1, 2, 'Identity')], [1, 2, 3, 4]), { imageSize: 'large' })).toBe(
      'E_OPTION imageSize: an image size is two numbers such as 28x28, not large'
    )
  })
})

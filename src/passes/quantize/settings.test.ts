/** Settings that users get wrong: each is an error or a note that says what to do instead. */
import { describe, expect, it } from 'vitest'
import { outputsOf, testContext } from '../../../test/compare.ts'
import { PareError } from '../../base/errors.ts'
import { rng } from '../../base/random.ts'
import { arrayDataset } from '../../data/index.ts'
import { elementCount, tensor } from '../../ir/tensor.ts'
import { model } from '../../ir/text.ts'
import type { Dataset, Model } from '../../types.ts'
import { applyRecipe } from '../recipe.ts'
import type { Recipe } from '../types.ts'
import { fewSamples } from './common/advice.ts'

const network = model`
input x: f32[N,8,6,6]
c1 = Conv(x, W1: f32[8,8,3,3], B1: f32[8], pads=[1,1,1,1])
r1 = Relu(c1)
c2 = Conv(r1, W2: f32[8,8,3,3], B2: f32[8], pads=[1,1,1,1])
p = GlobalAveragePool(c2)
f = Flatten(p)
g = Gemm(f, W3: f32[8,4], B3: f32[4])
s = Softmax(g)
output s`

function samples(n: number): Dataset {
  const random = rng('settings')
  const shape = [n, 8, 6, 6]
  const values = Array.from({ length: elementCount(shape) }, () => random.normal())
  return arrayDataset({ inputs: { x: tensor('float32', shape, values) } })
}

const enough = samples(fewSamples)

async function apply(m: Model, recipe: Recipe, calibration: Dataset | undefined = enough) {
  return applyRecipe(m, recipe, { ...testContext(), data: calibration ? { calibration } : {} })
}

async function failure(work: Promise<unknown>): Promise<PareError> {
  const e = await work.then(
    () => undefined,
    (cause: unknown) => cause
  )
  if (!(e instanceof PareError)) throw new Error(`expected an error with a code, not ${String(e)}`)
  return e
}

describe('settings that users get wrong', () => {
  it('per channel below opset 13', async () => {
    const old: Model = { ...network, opset: 12 }
    for (const pass of ['quantize-static', 'quantize-dynamic', 'quantize-weights']) {
      const e = await failure(apply(old, [[pass, {}]]))
      expect(e.code).toBe('E_OPSET')
      expect(e.message).toContain('12')
    }
    expect((await failure(apply(old, [['quantize-static', {}]]))).hint).toMatch(/opset 13 or newer/)
  })

  it('symmetric uint8 activations', async () => {
    const e = await failure(apply(network, [['quantize-static', { symmetric: true }]]))
    expect(e.code).toBe('E_OPTION')
    expect(e.message).toMatch(/symmetric: leave it off: .* half of the codes/)
    await apply(network, [['quantize-static', { symmetric: false }]])
  })

  it('entropy with 128 bins', async () => {
    for (const calibrator of ['entropy', 'best']) {
      const e = await failure(apply(network, [['quantize-static', { calibrator, bins: 128 }]]))
      expect(e.code).toBe('E_OPTION')
      expect(e.hint).toMatch(/leave bins at 2048/)
    }
    const { model: made } = await apply(network, [['quantize-static', { calibrator: 'mse', bins: 128 }]])
    expect(made).not.toBe(network)
  })

  it('calibration on one sample', async () => {
    const told = (notes: readonly string[]): string[] => notes.filter((n) => n.startsWith('calibrated on'))
    expect(told((await apply(network, [['quantize-static', {}]], samples(1))).notes)).toEqual([
      'calibrated on 1 sample: what lies outside of their ranges is cut off; give 100 or more'
    ])
    expect(told((await apply(network, [['quantize-static', {}]])).notes)).toEqual([])
  })

  it('a Softmax whose output would be quantized stays float, and is named', async () => {
    const { model: made, refusals } = await apply(network, [['quantize-static', {}]])
    expect(refusals).toContainEqual({
      node: 'Softmax_6',
      op: 'Softmax',
      reason: 'not among the operators that ort-cpu computes on integers: stays in float'
    })
    const softmax = made.graph.nodes.find((n) => n.op === 'Softmax')
    expect(made.graph.outputs).toEqual(softmax?.outputs)
  })

  it('an int8 embedding', async () => {
    const text = model`
input ids: i64[N,5]
e = Gather(T: f32[40,16], ids)
y = MatMul(e, W: f32[16,16])
output y`
    const ids = tensor(
      'int64',
      [fewSamples, 5],
      Array.from({ length: fewSamples * 5 }, (_, i) => i % 40)
    )
    const data = arrayDataset({ inputs: { ids } })
    const still = await apply(text, [['quantize-static', {}]], data)
    expect(still.refusals).toContainEqual({
      node: 'Gather_0',
      op: 'Gather',
      reason: 'it reads constants only: quantize-weights can store them',
      bytes: 2560
    })
    for (const pass of ['quantize-weights', 'quantize-dynamic']) {
      const { notes } = await apply(text, [[pass, { perChannel: false }]], data)
      expect(notes).toContain(
        'table T has one scale for all its rows, and rows of small values round to nothing: leave perChannel on'
      )
      expect((await apply(text, [[pass, {}]], data)).notes.join()).not.toContain('table T')
    }
  })

  it('NaN in the calibration data', async () => {
    const x = tensor('float32', [1, 8, 6, 6], new Float32Array(288).fill(Number.NaN))
    expect(() => arrayDataset({ inputs: { x } })).toThrowError(expect.objectContaining({ code: 'E_DATA' }))
    // A dataset of a module is not looked through before: its values are, as the samples run.
    const broken: Dataset = {
      ...enough,
      batches: async function* () {
        yield { n: 1, inputs: { x } }
      }
    }
    const e = await failure(apply(network, [['quantize-static', {}]], broken))
    expect(e.code).toBe('E_DATA')
    expect(e.message).toMatch(/not finite \(NaN or infinity\) on the calibration data/)
    expect(e.hint).toMatch(/broken samples/)
  })

  it('open sizes and no data', async () => {
    const open = model`
input x: f32[N,3,H,W]
c = Conv(x, W1: f32[8,3,3,3], B1: f32[8])
output c`
    const e = await failure(applyRecipe(open, [['quantize-static', {}]], testContext()))
    expect(e).toMatchObject({ code: 'E_DATA', hint: 'give --data' })
  })

  it('quantizing a quantized model', async () => {
    const once = await apply(network, [['quantize-static', {}]])
    const twice = await apply(once.model, [['quantize-static', {}]])
    expect(twice.model).toBe(once.model)
    expect(twice.notes).toContain(
      'the model computes on rounded values already: quantize the float model that it came from'
    )
    const stored = await apply(network, [['quantize-weights', { minElements: 1 }]])
    const { refusals } = await apply(stored.model, [['quantize-static', {}]])
    expect(refusals.filter((r) => r.reason.startsWith('its weight is rounded already'))).not.toEqual([])
    await outputsOf(stored.model, { x: tensor('float32', [1, 8, 6, 6], new Float32Array(288)) })
  })

  it('a layer name that fits nothing', async () => {
    for (const pass of ['quantize-static', 'quantize-weights', 'quantize-dynamic']) {
      const { notes } = await apply(network, [[pass, { exclude: ['Cnv_2', 'Conv'] }]])
      expect(notes).toContain('exclude: no node is, or is named, Cnv_2, so it changes nothing: did you mean Conv_2?')
      expect(notes.join()).not.toContain('named, Conv')
    }
    const { notes, model: made } = await apply(network, [['quantize-static', { include: ['/layer9/*'] }]])
    expect(notes).toContain(
      'include: no node is, or is named, /layer9/*, so it changes nothing: pare inspect lists the nodes'
    )
    expect(made).toBe(network)
  })
})

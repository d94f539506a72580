import { describe, expect, it } from 'vitest'
import { testContext } from '../../test/compare.ts'
import { rng } from '../base/random.ts'
import { arrayDataset } from '../data/index.ts'
import { edit } from '../ir/edit.ts'
import { tensor, toFloats } from '../ir/tensor.ts'
import { model } from '../ir/text.ts'
import { nodeRunner } from '../node/runner.ts'
import { webRunner } from '../node/web-runner.ts'
import { parseOptions } from '../passes/pass.ts'
import { quantizeStatic } from '../passes/quantize/static/quantize-static.ts'
import type { Runner } from '../runtime/types.ts'
import type { Model } from '../types.ts'
import { codeTolerance, compareEngines, type Engine, floatTolerance } from './engines.ts'

const node: Engine = { name: 'node', runner: nodeRunner() }
const random = rng('engines')
const x = tensor(
  'float32',
  [40, 8, 6, 6],
  Float32Array.from({ length: 40 * 288 }, () => random.normal())
)
const dataset = arrayDataset({ inputs: { x } })

const network = model`
input x: f32[N,8,6,6]
c1 = Conv(x, W1: f32[8,8,3,3], B1: f32[8], pads=[1,1,1,1])
r1 = Relu(c1)
c2 = Conv(r1, W2: f32[8,8,3,3], pads=[1,1,1,1])
r2 = Relu(c2)
p = GlobalAveragePool(r2)
f = Flatten(p)
g = Gemm(f, W3: f32[8,4], B3: f32[4])
output g`

async function web(): Promise<Engine> {
  const runner = await webRunner()
  if (!runner) throw new Error('onnxruntime-web is a development dependency')
  return { name: 'web', runner }
}

/** An engine that computes one weight by a factor too large. */
function wrongEngine(id: string, factor: number): Engine {
  const right = nodeRunner()
  const spoil = (m: Model): Model =>
    edit(m, (d) => {
      const [v, data] = [d.value(id), d.constant(id)]
      if (v && data)
        d.set({
          ...v,
          data: tensor(
            'float32',
            data.shape,
            toFloats(data).map((w) => w * factor)
          )
        })
    })
  const runner: Runner = { ...right, open: (s, o) => right.open('graph' in s ? spoil(s) : s, o) }
  return { name: 'wrong', runner }
}

describe('engines', () => {
  it('give the same numbers for a float and for a quantized model', async () => {
    const quantized = await quantizeStatic.run(network, parseOptions(quantizeStatic, {}), {
      ...testContext(),
      data: { calibration: dataset }
    })
    const found = await compareEngines(
      [
        { model: 'original', source: network, graph: network },
        { model: 'compressed', source: quantized, graph: quantized }
      ],
      { engines: [node, await web()], dataset, samples: 16 }
    )
    expect(found).toMatchObject({ names: ['node', 'web'], n: 16 })
    expect(found.models.map((m) => [m.model, m.tolerance, m.agrees])).toEqual([
      ['original', floatTolerance, true],
      ['compressed', codeTolerance, true]
    ])
    for (const m of found.models) {
      expect(m.outputs.map((o) => o.name)).toEqual(['g'])
      expect(m.outputs[0]?.agreement).toBe(1)
      expect(m.first).toBeUndefined()
    }
  })

  it('that differ are told of with the first layer that does', async () => {
    const { models } = await compareEngines([{ model: 'compressed', source: network, graph: network }], {
      engines: [node, wrongEngine('W2', 1.01)],
      dataset
    })
    const only = models[0]
    expect(only?.agrees).toBe(false)
    // One percent of everything behind W2, less what the bias of the last layer adds.
    expect(only?.first).toMatchObject({ node: 'Conv_2', op: 'Conv', value: 'c2' })
    expect(only?.first?.difference).toBeCloseTo(0.01, 4)
  })

  it('agree within a tolerance that is given', async () => {
    const { models } = await compareEngines([{ model: 'compressed', source: network, graph: network }], {
      engines: [node, wrongEngine('W2', 1.01)],
      dataset,
      tolerance: 0.02
    })
    expect(models[0]).toMatchObject({ agrees: true, tolerance: 0.02 })
    expect(models[0]?.outputs[0]?.difference).toBeGreaterThan(0)
  })

  it('that cannot run a model are named', async () => {
    const foreign = model`
input x: f32[N,8,6,6]
y: f32[N,8,6,6] = com.example:Foo(x)
output y`
    const { models } = await compareEngines([{ model: 'original', source: foreign, graph: foreign }], {
      engines: [node, await web()],
      dataset
    })
    expect(models[0]).toMatchObject({ agrees: false, outputs: [], failed: { engine: 'node' } })
    expect(models[0]?.failed?.reason).toContain('Foo')
  })
})

import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { outputsOf, testContext } from '../../../test/compare.ts'
import { digits, network } from '../../../test/digits.ts'
import { rng } from '../../base/random.ts'
import { adaptiveOf } from '../../data/adaptive.ts'
import { check } from '../../ir/check.ts'
import { edit } from '../../ir/edit.ts'
import { unfoldStages, withThresholds } from '../../ir/stages.ts'
import { elementCount, tensor, toFloats } from '../../ir/tensor.ts'
import { parse } from '../../ir/text.ts'
import { inferShapes } from '../../ops/infer.ts'
import type { Model, Tensor } from '../../types.ts'
import { parseOptions } from '../pass.ts'
import { finetune } from '../train/finetune.ts'
import { trainingFields } from '../train/options.ts'
import type { Context } from '../types.ts'
import { cutPoints, narrowest } from './cuts.ts'
import { earlyExit } from './early-exit.ts'
import { addPooled, temperatureOf, trainHead } from './heads.ts'

const [train, selection] = [digits(800, 'train'), digits(600, 'selection')]
const context = (): Context & { readonly notes: string[] } => ({ ...testContext(), data: { train, selection } })
const trained = async (): Promise<Model> =>
  inferShapes(
    await finetune.run(
      network('w'),
      parseOptions(finetune, { epochs: 8, holdout: 0, optimizer: { rate: 0.05 } }),
      context()
    )
  )

describe('places to leave at', () => {
  const model = inferShapes(
    parse(`
    input x: f32[N,2,8,8]
    a = Conv(x, A: f32[4,2,3,3], pads=[1,1,1,1])
    b = Relu(a)
    c = Conv(b, B: f32[4,4,3,3], pads=[1,1,1,1])
    d = Add(c, b)
    e = Conv(d, C: f32[8,4,3,3], strides=[2,2], pads=[1,1,1,1])
    f = GlobalAveragePool(e)
    g = Flatten(f)
    y = Gemm(g, D: f32[8,3])
    output y`)
  )

  it('are those that all later work depends on through one value', () => {
    const points = cutPoints(model) ?? []
    // Beside c there is b, which the Add reads too.
    expect(points.map((p) => p.value)).toEqual(['a', 'b', 'd', 'e', 'f', 'g'])
    expect(points.map((p) => p.width)).toEqual([256, 256, 256, 128, 8, 8])
    expect(points.map((p) => p.share)).toEqual([...points.map((p) => p.share)].sort((p, q) => p - q))
  })

  it('are the narrowest of each part of equal work', () => {
    const of = (value: string, width: number, share: number) => ({ value, width, share, shape: [] })
    const all = [of('a', 8, 0.05), of('b', 8, 0.2), of('c', 4, 0.3), of('d', 4, 0.4), of('e', 2, 0.7), of('f', 1, 0.95)]
    expect(narrowest(all, 2, [0.1, 0.9]).map((p) => p.value)).toEqual(['c', 'e'])
  })

  it('are pooled by mean and maximum', async () => {
    for (const [shape, wanted] of [
      [
        ['N', 16, 16, 16],
        [3, 32, 8, 8]
      ],
      [
        ['N', 16, 8, 8],
        [3, 16, 8, 8]
      ],
      [
        ['N', 128, 8, 8],
        [3, 256, 4, 4]
      ],
      [
        ['N', 3, 28, 14],
        [3, 6, 7, 7]
      ],
      [
        ['N', 3, 9, 9],
        [3, 6, 4, 4]
      ],
      [
        ['N', 7, 4],
        [3, 8]
      ],
      [
        ['N', 5],
        [3, 5]
      ]
    ] as const) {
      const m = inferShapes(parse(`input x: f32[${shape.join(',')}]\nh = Relu(x)\ny = Relu(h)\noutput y`))
      const pooled = edit(m, (d) => d.setOutputs([addPooled(d, { value: 'h', shape, width: 0, share: 0 })]))
      const size = [3, ...shape.slice(1)] as number[]
      const x = tensor(
        'float32',
        size,
        Float32Array.from({ length: size.reduce((a, b) => a * b) }, (_, i) => i % 7)
      )
      const [y] = Object.values(await outputsOf(pooled, { x }))
      expect((y as Tensor).shape).toEqual(wanted)
    }
  })

  it('say of features as they are what they said while they were trained', async () => {
    for (const shape of [[3, 5, 6], [7]]) {
      const [n, classes, random] = [60, 4, rng('features')]
      const width = elementCount(shape)
      const features = Float32Array.from({ length: n * width }, (_, i) => 5 + 3 * random.normal() + (i % 2))
      const scores = Float32Array.from({ length: n * classes }, () => random.normal())
      const labels = Int32Array.from({ length: n }, () => random.below(classes))
      const rows = Array.from({ length: n }, (_, i) => i)
      const held = { choose: rows.slice(0, 20), fit: rows.slice(20) }
      const training = parseOptions({ name: 'heads', options: z.object(trainingFields) }, { epochs: 2, batch: 8 })
      const how = { hidden: 6, alpha: 0.5, temperature: 2, training }
      const head = await trainHead({ n, features, shape, scores, classes, labels }, held, how, context())
      const raw = tensor('float32', [20, ...shape], features.subarray(0, 20 * width))
      const said = toFloats((await outputsOf(head.model, { features: raw }))['scores'] as Tensor)
      expect(said.every((v, i) => Math.abs(v - (head.held[i] as number)) < 1e-4)).toBe(true)
      expect(head.held.some((v) => Math.abs(v) > 1e-3)).toBe(true)
    }
  }, 60_000)

  it('gives the temperature at which what is said is as sure as it is right', () => {
    // A sample in five is another class than that of the greater score, whatever these are scaled by.
    const labels = Array.from({ length: 50 }, (_, i) => (i % 5 === 0 ? 1 : 0))
    for (const scale of [1, 4]) {
      const logits = Float32Array.from({ length: 100 }, (_, i) => (i % 2 === 0 ? scale * Math.log(4) : 0))
      expect(temperatureOf(logits, labels, 2)).toBe(scale)
    }
  })
})

describe('early exits', () => {
  it('leave the model as it is, train heads alone, and keep what was promised on other samples', async () => {
    const model = await trained()
    const ctx = context()
    const o = parseOptions(earlyExit, { maxDisagreement: 0.06, epochs: 30, places: 4, hidden: 32, exits: 2 })
    const made = check(await earlyExit.run(model, o, ctx))
    const a = adaptiveOf(made)
    expect(a).toMatchObject({ kind: 'early-exit', form: 'logits', guarantee: { most: 0.06, n: 600 } })
    expect(a?.guarantee.bound).toBeLessThanOrEqual(0.06)
    const left = a?.counts.slice(0, -1).reduce((x, y) => x + y, 0) ?? 0
    expect(left).toBeGreaterThan(60)
    expect(ctx.notes.join('\n')).toMatch(/a head is right on/)
    let inputs: Readonly<Record<string, Tensor>> = {}
    for await (const b of digits(300, 'other').batches({ batch: 300 })) inputs = b.inputs
    const was = toFloats((await outputsOf(model, inputs))[model.graph.outputs[0] as string] as Tensor)
    // With nothing leaving early it is the model.
    const late = withThresholds(made, a?.exits ?? [], [2, 2, 2])
    const same = toFloats((await outputsOf(late, inputs))[model.graph.outputs[0] as string] as Tensor)
    expect(same.every((v, i) => Math.abs(v - (was[i] as number)) < 1e-4)).toBe(true)
    const is = toFloats((await outputsOf(made, inputs))[model.graph.outputs[0] as string] as Tensor)
    const best = (v: Float32Array, i: number): number =>
      v.subarray(10 * i, 10 * i + 10).reduce((b, x, k, row) => (x > (row[b] as number) ? k : b), 0)
    const changed = Array.from({ length: 300 }, (_, i) => i).filter((i) => best(was, i) !== best(is, i)).length
    expect(changed).toBeLessThan(0.1 * 300)
    expect(unfoldStages(made, a?.exits ?? [])?.scores).toHaveLength((a?.exits.length ?? 0) + 1)
  }, 120_000)

  it('gives the same bits again', async () => {
    const model = await trained()
    const o = parseOptions(earlyExit, { maxDisagreement: 0.2, epochs: 2, places: 1, hidden: 8 })
    const [a, b] = [await earlyExit.run(model, o, context()), await earlyExit.run(model, o, context())]
    expect(a.meta).toEqual(b.meta)
    const bytes = (m: Model): number[] =>
      [...m.graph.values.values()].flatMap((v) => (v.data ? [...v.data.bytes.slice()] : []))
    expect(bytes(a)).toEqual(bytes(b))
  }, 120_000)

  it('says why a model has no place for them', async () => {
    const flat = inferShapes(parse('input x: f32[N,1,14,14]\nf = Flatten(x)\ny = Gemm(f, W: f32[196,10])\noutput y'))
    await expect(earlyExit.run(flat, parseOptions(earlyExit, {}), context())).rejects.toMatchObject({
      code: 'E_UNSUPPORTED',
      message: expect.stringMatching(/no place/)
    })
  })
})

import { beforeAll, describe, expect, it } from 'vitest'
import { network } from '../../test/digits.ts'
import { rng } from '../base/random.ts'
import { formatFor, readModel, writeModel } from '../formats/index.ts'
import type { AnyFormat } from '../formats/types.ts'
import { bytesCounter } from '../node/files.ts'
import { nodeRunner } from '../node/runner.ts'
import type { Surroundings } from '../passes/recipe.ts'
import { targetFor } from '../targets/index.ts'
import { modelBuilder } from './build.ts'

let ctx: Surroundings
beforeAll(() => {
  ctx = {
    engine: nodeRunner(),
    data: {},
    target: targetFor('ort-cpu'),
    rng: rng(0),
    signal: new AbortController().signal,
    progress: () => {}
  }
})

const net = readModel(writeModel(network('build')).bytes)
const base = [
  ['simplify', {}],
  ['equalize', {}]
] as const
const codes = [...base, ['quantize-weights', {}]] as const

describe('models from recipes', () => {
  it('go on from a prefix that was made before, with its steps', async () => {
    const { build } = modelBuilder(net, ctx)
    const first = await build(base)
    const second = await build(codes)
    expect(second.steps[1]).toBe(first.steps[1])
    expect(second.steps.map((s) => s.pass)).toEqual(['simplify', 'equalize', 'quantize-weights'])
    expect((await build(base)).model).toBe(first.model)
  })

  it('keep no more than they may, and come to the same without', async () => {
    const kept = modelBuilder(net, ctx)
    await kept.build(base)
    const small = modelBuilder(net, ctx, 100)
    const first = await small.build(base)
    const again = await small.build(base)
    expect(again.model).not.toBe(first.model)
    const [a, b] = [
      writeModel((await kept.build(codes)).model).bytes,
      writeModel((await small.build(codes)).model).bytes
    ]
    expect(Buffer.from(a).equals(Buffer.from(b))).toBe(true)
  })

  it('are written once each to count their bytes', async () => {
    let written = 0
    const onnx = formatFor('onnx')
    const counting: AnyFormat = {
      ...onnx,
      write: (...given) => {
        written++
        return (onnx.write as NonNullable<AnyFormat['write']>)(...given)
      }
    }
    const { build } = modelBuilder(net, { ...ctx, fileBytes: bytesCounter(counting) })
    const { steps, model } = await build(codes)
    await build([...base, ['quantize-weights', { bits: 4 }]])
    // The original, what simplify and equalize made, and two of quantize-weights.
    expect(written).toBe(5)
    expect(steps.at(-1)?.after.bytes).toBe(writeModel(model).bytes.length)
  })

  it('refuse a wrong option before any pass runs', async () => {
    await expect(modelBuilder(net, ctx).build([...base, ['fuse', { much: 1 }]])).rejects.toMatchObject({
      code: 'E_OPTION'
    })
  })
})

import { expect, it } from 'vitest'
import { cpuTarget, testContext } from '../../../test/compare.ts'
import { digits, network } from '../../../test/digits.ts'
import { foldStages } from '../../ir/stages.ts'
import { equalTensors, toFloats } from '../../ir/tensor.ts'
import { webRunner } from '../../node/web-runner.ts'
import { inferShapes } from '../../ops/infer.ts'
import type { Model, Tensor } from '../../types.ts'
import { parseOptions } from '../pass.ts'
import { quantizeStatic } from '../quantize/static/quantize-static.ts'
import type { Context } from '../types.ts'
import { cascaded } from './cascade.ts'

it('an int8 cascade gives the same bits in onnxruntime-node and onnxruntime-web', async () => {
  const web = await webRunner()
  if (!web) throw new Error('onnxruntime-web is not installed')
  const data = digits(64, 'bits')
  const ctx: Context = { ...testContext(cpuTarget), data: { calibration: digits(64, 'calibration'), selection: data } }
  const int8 = async (seed: string): Promise<Model> =>
    inferShapes(await quantizeStatic.run(inferShapes(network(seed)), parseOptions(quantizeStatic, {}), ctx))
  const { model, exits, form } = await cascaded(await int8('small'), await int8('large'), data, ctx)
  let inputs: Readonly<Record<string, Tensor>> = {}
  for await (const b of data.batches({ batch: data.size })) inputs = b.inputs
  // The middle of what the small model is sure by: half of the samples go on.
  const looking = await ctx.engine.open(model, { outputs: exits })
  const scores = toFloats((await looking.run(inputs))[exits[0] as string] as Tensor)
  await looking.close()
  const sure = Array.from({ length: data.size }, (_, i) => {
    const row = [...scores.subarray(10 * i, 10 * i + 10)]
    const top = Math.max(...row)
    return 1 / row.reduce((sum, v) => sum + Math.exp(v - top), 0)
  }).sort((a, b) => a - b)
  const middle = ((sure[31] as number) + (sure[32] as number)) / 2
  for (const threshold of [0, middle, 2]) {
    const { model: folded } = foldStages(model, [{ scores: exits[0] as string, threshold }], form)
    const [node, other] = [await ctx.engine.open(folded), await web.open(folded)]
    const output = folded.graph.outputs[0] as string
    const [a, b] = [(await node.run(inputs))[output], (await other.run(inputs))[output]]
    expect(equalTensors(a as Tensor, b as Tensor), `threshold ${threshold}`).toBe(true)
    await node.close()
    await other.close()
  }
}, 60_000)

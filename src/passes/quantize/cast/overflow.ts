/** Values that go beyond the range of a type on data. */
import { edit } from '../../../ir/edit.ts'
import { toFloats } from '../../../ir/tensor.ts'
import { eachBatch, fixedBatch } from '../../../observe/calibrate.ts'
import type { Context, Dataset, Model, Tensor } from '../../../types.ts'

/** Samples per run where the model leaves it open. */
const batchSize = 8

/**
 * Values of the outermost graph whose largest finite magnitude on the data is above the limit, with it. `constants`
 * stand in for the model's own. The model's types must have been inferred.
 */
export async function valuesBeyond(
  model: Model,
  limit: number,
  dataset: Dataset,
  constants: ReadonlyMap<string, Tensor>,
  ctx: Pick<Context, 'engine' | 'signal' | 'progress'>
): Promise<ReadonlyMap<string, number>> {
  const ids = model.graph.nodes.flatMap((n) => n.outputs.filter((id) => isFloatTensor(model, id)))
  const peaks = new Map<string, string>()
  const watched = edit(model, (d) => {
    for (const [id, data] of constants) {
      const v = d.value(id)
      if (v?.data) d.set({ ...v, data })
    }
    for (const id of ids) peaks.set(id, d.add('ReduceMax', [d.add('Abs', [id])], { attrs: { keepdims: 0 } }))
  })
  const out = new Map<string, number>()
  const session = await ctx.engine.open(watched, { outputs: [...peaks.values()] })
  const fixed = fixedBatch(model)
  try {
    await eachBatch(
      session,
      { dataset, batch: fixed ?? batchSize, isFixed: fixed !== undefined, ctx },
      'looking for overflow',
      (outputs) => {
        for (const [id, peak] of peaks) {
          const x = toFloats(outputs[peak] as Tensor)[0] as number
          if (Number.isFinite(x) && x > Math.max(limit, out.get(id) ?? 0)) out.set(id, x)
        }
      }
    )
  } finally {
    await session.close()
  }
  return out
}

function isFloatTensor(model: Model, id: string): boolean {
  const v = model.graph.values.get(id)
  return v?.type === 'tensor' && v.dtype === 'float32'
}

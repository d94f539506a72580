/** Values that go beyond the range of a type on data, or stay below it. */
import { edit } from '../../../ir/edit.ts'
import { toFloats } from '../../../ir/tensor.ts'
import { watch } from '../../../observe/feed.ts'
import { reduceAll } from '../../../observe/reductions.ts'
import type { Dataset, Model, Tensor } from '../../../types.ts'
import type { Context } from '../../types.ts'

/** Samples per run where the model leaves it open. */
const samplesPerRun = 8

/**
 * Values of the outermost graph whose largest finite magnitude on the data is above `limit`, or below `least` though not 0,
 * with it. `constants` stand in for the model's own. The model's types must have been inferred.
 */
export async function valuesBeyond(
  model: Model,
  { least, limit }: { readonly least: number; readonly limit: number },
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
    for (const id of ids) peaks.set(id, reduceAll(d, id, 'peak'))
  })
  const out = new Map<string, number>()
  const feed = { dataset, batch: samplesPerRun, stage: 'looking for overflow' }
  await watch(watched, { outputs: [...peaks.values()] }, feed, ctx, (outputs) => {
    for (const [id, peak] of peaks) {
      const x = toFloats(outputs[peak] as Tensor)[0] as number
      if (Number.isFinite(x) && x > (out.get(id) ?? 0)) out.set(id, x)
    }
  })
  return new Map([...out].filter(([, peak]) => peak > limit || peak < least))
}

function isFloatTensor(model: Model, id: string): boolean {
  const v = model.graph.values.get(id)
  return v?.type === 'tensor' && v.dtype === 'float32'
}

/** A point as a model, in float numbers that its types can hold, as trials measure it: fast, and near what its recipe makes. */
import { edit } from '../../ir/edit.ts'
import { type Kept, withoutChannels } from '../../passes/prune/remove.ts'
import { repairedBy, type Spreads } from '../../passes/prune/repair.ts'
import type { Context } from '../../passes/types.ts'
import type { Model } from '../../types.ts'
import type { Material } from './material.ts'
import type { Point } from './space.ts'
import type { Maker } from './weights.ts'

/** The model of the same shapes: channels that are gone are zeros in what reads them. */
export function masked({ model, layers }: Material, maker: Maker, point: Point): Model {
  const ids = maker.changed(point)
  if (ids.length === 0) return model
  return edit(model, (d) => {
    for (const id of ids) {
      const made = maker.of(id, point)
      const v = d.value(id)
      if (v) d.set({ ...v, data: made.data })
      const bias = layers.get(id)?.bias
      const b = bias === undefined ? undefined : d.value(bias)
      if (b && made.bias) d.set({ ...b, data: made.bias })
    }
  })
}

/** Channels that stay, of groups that lose some. */
export const keptAt = ({ groups }: Material, point: Point): Kept =>
  new Map(
    groups.flatMap(({ group, kept }, i) =>
      (point[i] as number) < kept.length - 1 ? [[group, kept[point[i] as number] as readonly number[]] as const] : []
    )
  )

/** The narrow model, with means and deviations of layers put right where spreads of the wide one are given. */
export async function built(
  m: Material,
  maker: Maker,
  point: Point,
  spreads: Spreads | undefined,
  ctx: Pick<Context, 'engine' | 'signal' | 'progress'>
): Promise<Model> {
  const kept = keptAt(m, point)
  const narrow = withoutChannels({ ...m.found, model: masked(m, maker, point) }, kept)
  return spreads && kept.size > 0 ? repairedBy(spreads, narrow, kept, ctx) : narrow
}

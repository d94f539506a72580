/** A point as a recipe: what makes its model without a search, with all care. */
import type { Recipe } from '../../passes/types.ts'
import type { Material } from './material.ts'
import { formAt } from './shaped.ts'
import type { Point } from './space.ts'

/** Passes that every point is behind. */
export const baseRecipe: Recipe = [
  ['simplify', {}],
  ['fuse', {}]
]

/** Passes from the original to a point's model. */
export const recipeOf = (...point: Parameters<typeof passesOf>): Recipe => [...baseRecipe, ...passesOf(...point)]

/** Passes from the simplified model to a point's; `between`: what stands after channels went and before weights are stored, such as a fine-tuning. */
export function passesOf(
  m: Material,
  point: Point,
  o: { readonly samples: number; readonly leastKept: number; readonly exclude: readonly string[] },
  between: Recipe = []
): Recipe {
  const kept = Object.fromEntries(
    m.groups.flatMap(({ group, kept }, i) => {
      const own = kept[point[i] as number] as readonly number[]
      return own.length < group.channels ? [[group.name, own.length] as const] : []
    })
  )
  const assignment: Record<string, string[]> = {}
  for (const [i, w] of m.weights.entries()) {
    const type = w.types[point[m.groups.length + i] as number] as string
    if (type === 'float') continue
    const first = w.parts.flatMap((p) => p.ids.flatMap((id) => firstHalf(m, id, point)))
    assignment[type] = [...(assignment[type] ?? []), ...w.parts.flatMap((p) => p.nodes), ...first]
  }
  return [
    ...(Object.keys(kept).length > 0
      ? [['prune-channels', { kept, criterion: m.samples ? 'activation' : 'l2', samples: o.samples }] as Recipe[number]]
      : []),
    ...formPasses(m, point, o.samples),
    ...between,
    ...(Object.keys(assignment).length > 0
      ? [['mix-precision', { assignment, method: m.samples ? 'gptq' : 'rtn', exclude: o.exclude }] as Recipe[number]]
      : [])
  ]
}

/** The layer that stands before one which is split; the other half has its name. */
function firstHalf(m: Material, id: string, point: Point): readonly string[] {
  const given = m.forms.length > 0 ? formAt(m, id, point) : undefined
  return given?.kind === 'rank' ? [given.made.parts[0]?.layer.node.name as string] : []
}

/** Layers are split first, then weights of those that stay whole become zero. */
function formPasses(m: Material, point: Point, samples: number): Recipe {
  const ranks: Record<string, number> = {}
  const zeros = new Map<number, string[]>()
  for (const id of new Set(m.forms.flatMap((f) => f.ids))) {
    const given = formAt(m, id, point)
    const node = m.layers.get(id)?.layer.node.name
    if (!given || node === undefined) continue
    if (given.kind === 'rank') ranks[node] = given.made.rank as number
    else zeros.set(given.value, [...(zeros.get(given.value) ?? []), node])
  }
  return [
    ...(Object.keys(ranks).length > 0 ? [['factorize', { ranks, samples }] as Recipe[number]] : []),
    ...[...zeros].map(([ratio, include]): Recipe[number] => [
      'prune-weights',
      { ratio, criterion: 'sparsegpt', scope: 'layer', include, samples }
    ])
  ]
}

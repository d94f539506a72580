/** A point as a recipe: what makes its model without a search, with all care. */
import type { Recipe } from '../../passes/types.ts'
import type { Material } from './material.ts'
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
    assignment[type] = [...(assignment[type] ?? []), ...w.parts.flatMap((p) => p.nodes)]
  }
  return [
    ...(Object.keys(kept).length > 0
      ? [['prune-channels', { kept, criterion: m.samples ? 'activation' : 'l2', samples: o.samples }] as Recipe[number]]
      : []),
    ...between,
    ...(Object.keys(assignment).length > 0
      ? [['mix-precision', { assignment, method: m.samples ? 'gptq' : 'rtn', exclude: o.exclude }] as Recipe[number]]
      : [])
  ]
}

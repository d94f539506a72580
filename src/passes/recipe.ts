/** Applying recipes: each pass in turn, with its options checked beforehand and its result afterwards. */
import { assert, PareError } from '../base/errors.ts'
import { check } from '../ir/check.ts'
import { allGraphs } from '../ir/graph.ts'
import { tensorBytes } from '../ir/tensor.ts'
import { isRounded } from '../ops/quantized.ts'
import type { Report, Step } from '../report/types.ts'
import type { Bytes, Model } from '../types.ts'
import { widened } from './halves.ts'
import { passFor } from './index.ts'
import { withLeft } from './left.ts'
import { type AnyPass, parseOptions } from './pass.ts'
import type { Context, Pass, Recipe, Refusal } from './types.ts'

/** Groups of passes that look at weights, and take them as float32. */
const ofWeights: readonly Pass['group'][] = ['pruning', 'integers', 'storage', 'accuracy', 'training']

/** A context without the collecting functions, which `applyRecipe` brings itself. */
export interface Surroundings extends Omit<Context, 'refuse' | 'note' | 'plan' | 'replay' | 'apply'> {
  /** Bytes of the file that a model would be; by default steps count the bytes of its constants. */
  fileBytes?(model: Model): number | undefined
}

/** What a recipe may name beside Pare's own passes. */
export interface RecipeOptions {
  /** Passes of your own; one that is called like one of Pare's takes its place. */
  readonly passes?: readonly AnyPass[]
}

export interface Applied {
  /** The very same model where no pass had anything to do. */
  readonly model: Model
  readonly steps: readonly Step[]
  readonly refusals: readonly Refusal[]
  readonly notes: readonly string[]
  /** The recipe to replay: passes that searched are replaced by what they found. */
  readonly recipe: Recipe
}

/**
 * Applies the passes of a recipe in order. All options are checked before the first runs (`E_OPTION`, `E_USAGE`), and
 * so is the data that they need (`E_DATA`). Throws `E_ABORTED` between passes when stopped.
 *
 *     await applyRecipe(model, [['simplify', {}], ['mine', {}]], ctx, { passes: [mine] })
 */
export async function applyRecipe(
  model: Model,
  recipe: Recipe,
  ctx: Surroundings,
  o: RecipeOptions = {}
): Promise<Applied> {
  const todo = checkRecipe(recipe, ctx.data, o)
  const steps: Step[] = []
  const refusals: Refusal[] = []
  const notes: string[] = []
  const replayed: Recipe[number][] = []
  let now = model
  const sized = (m: Model): Step['after'] => {
    const bytes = ctx.fileBytes?.(m)
    return bytes === undefined ? weigh(m) : { ...weigh(m), bytes }
  }
  let before = todo.length === 0 ? weigh(now) : sized(now)
  let reference = isRounded(now) ? ctx.reference : now
  for (const [i, { pass, options }] of todo.entries()) {
    if (ctx.signal.aborted) throw new PareError('E_ABORTED', `stopped before ${pass.name}`)
    const plans: unknown[] = []
    let again: Recipe = [recipe[i] as Recipe[number]]
    const start = performance.now()
    const wide = ofWeights.includes(pass.group) && !pass.asStored ? widened(now) : undefined
    const given = wide?.model ?? now
    const changed = await pass.run(given, options, {
      ...ctx,
      ...(reference ? { reference } : {}),
      refuse: (node, reason) => refusals.push({ node: node.name, op: node.op, reason }),
      note: (fact) => notes.push(fact),
      plan: (data) => plans.push(data),
      replay: (found) => {
        again = found
      },
      apply: async (other, part) => {
        const applied = await applyRecipe(other, part, ctx, o)
        for (const note of applied.notes) notes.push(note)
        return applied.model
      }
    })
    const made = changed === given ? now : (wide?.back(changed) ?? changed)
    replayed.push(...again)
    const ms = performance.now() - start
    if (made !== now) checkResult(made, pass.name)
    const after = made === now ? before : sized(made)
    const plan = plans.length > 1 ? plans : plans[0]
    steps.push({ pass: pass.name, options, ...(plan === undefined ? {} : { plan }), ms, before, after })
    now = made
    if (!isRounded(now)) reference = now
    before = after
  }
  const left = todo.some(({ pass }) => pass.narrows) ? withLeft(now, distinct(refusals), model) : distinct(refusals)
  return { model: now, steps, refusals: left, notes: [...new Set(notes)], recipe: replayed }
}

/** The passes of a recipe with their options. Throws `E_OPTION` and `E_USAGE` for what does not fit, `E_DATA` for data that is missing. */
export function checkRecipe(
  recipe: Recipe,
  data: Context['data'],
  { passes = [] }: RecipeOptions = {}
): readonly { readonly pass: AnyPass; readonly options: unknown }[] {
  return recipe.map(([name, given]) => {
    const pass = passFor(name, passes)
    const missing = pass.needs.find((kind) => data[kind] === undefined)
    if (missing)
      throw new PareError('E_DATA', `${name} needs ${missing} data`, {
        where: name,
        hint: missing === 'train' ? 'give --train-data' : 'give --data'
      })
    return { pass, options: parseOptions(pass, given) }
  })
}

/** What two recipes came to, the second applied to the model of the first. */
export function joined(first: Applied, second: Applied): Applied {
  return {
    model: second.model,
    steps: [...first.steps, ...second.steps],
    refusals: distinct([...first.refusals, ...second.refusals]),
    notes: [...new Set([...first.notes, ...second.notes])],
    recipe: [...first.recipe, ...second.recipe]
  }
}

/** Curves that passes drew in their plans (`plan.curves`), by name. */
export function curvesOf(steps: readonly Step[]): Report['curves'] {
  return Object.fromEntries(
    steps.flatMap(({ plan }) =>
      Object.entries((plan as { readonly curves?: Report['curves'] } | undefined)?.curves ?? {})
    )
  )
}

/** Nodes of all graphs, and bytes of their distinct constants. */
export function weigh(model: Model): { readonly nodes: number; readonly bytes: number } {
  let nodes = 0
  let bytes = 0
  const seen = new Set<Bytes>()
  for (const graph of allGraphs(model)) {
    nodes += graph.nodes.length
    for (const v of graph.values.values()) {
      if (!v.data || seen.has(v.data.bytes)) continue
      if (!v.data.strings) seen.add(v.data.bytes)
      bytes += tensorBytes(v.data)
    }
  }
  return { nodes, bytes }
}

function checkResult(model: Model, pass: string): void {
  try {
    check(model)
  } catch (error) {
    assert(error instanceof PareError, `${pass} broke the model: ${String(error)}`)
    throw new PareError('E_INTERNAL', `${pass} broke the model: ${error.message}`, {
      ...(error.where === undefined ? {} : { where: error.where }),
      cause: error
    })
  }
}

function distinct(all: readonly Refusal[]): Refusal[] {
  const seen = new Map(all.map((r) => [`${r.op}\n${r.node}\n${r.reason}`, r]))
  return [...seen.values()]
}

import { z } from 'zod'
import { editGraph, mapGraphs, takenIds } from '../../ir/edit.ts'
import { allGraphs, opName } from '../../ir/graph.ts'
import { fusedRowFor } from '../../ir/rows.ts'
import type { Runner } from '../../runtime/types.ts'
import type { FusedRow, Target } from '../../targets/types.ts'
import type { Model, Node } from '../../types.ts'
import { definePass } from '../pass.ts'
import { contentsOf } from '../simplify/shapes.ts'
import { withTypes } from '../typed.ts'
import type { Context } from '../types.ts'
import { attention } from './attention.ts'
import { gelu, geluByTanh, quickGelu } from './gelus.ts'
import { groupedAttention } from './grouped-attention.ts'
import { layerNorm, layerNormPlain, layerNormScaled, rootMeanSquare, rootMeanSquareLow } from './norms.ts'
import { rotary } from './rotary.ts'
import { type Rule, rewrite, siteOf } from './rule.ts'
import { biasGelu, fastGelu, skipLayerNorm, skipLayerNormApart, skipRmsNorm } from './skips.ts'
import type { WritingRule } from './spelling.ts'

/** In this order: a stage reads what those before it wrote, and a longer spelling comes before what is a part of it. */
const stages: readonly (readonly WritingRule[])[] = [
  [layerNorm, gelu, geluByTanh, rotary, attention, groupedAttention],
  [layerNormScaled, rootMeanSquare, rootMeanSquareLow, quickGelu],
  [layerNormPlain],
  [biasGelu, fastGelu, skipLayerNorm, skipRmsNorm]
]

/** What keeps the runtime from joining what it would, seen in its optimised graph. */
const preventing: readonly WritingRule[] = [skipLayerNormApart]

const options = {
  all: z
    .boolean()
    .default(false)
    .describe('also write operators that the target has kernels of but that are slower there than what they stand for')
}

/**
 * Writes single operators for what exporters spell out of transformers, as far as the target's runtime has kernels of them
 * that are no slower (`Target.fused`). It goes last: other passes know the standard operators better.
 */
export const fuseTransformer = definePass({
  name: 'fuse-transformer',
  summary: 'write normalizations, Gelu and attention as single operators; the last pass of a recipe',
  group: 'graph',
  options,
  run: (model, { all }, ctx) => {
    if (!ctx.target.fused) {
      ctx.note(
        `fuse-transformer: nothing to write, since ${ctx.target.runtime} has no kernels for several operators in one`
      )
      return model
    }
    return withTypes(model, async (typed) => {
      const made = fused(typed, rulesFor(stages, ctx.target, all), ctx.refuse)
      return all ? made : apart(made, ctx)
    })
  }
})

/** Spells anew what the runtime joins though its kernel is slower. */
async function apart(typed: Model, ctx: Context): Promise<Model> {
  const rules = rulesFor([preventing], ctx.target, false)
  const teller = [ctx.measured, ctx.engine].find((r) => r?.name === ctx.target.runtime && r.can.kernels)
  // Most models have nothing of the kind, and need not be opened.
  if (!teller || fused(typed, rules, () => {}) === typed) return typed
  const joined = await joinedBy(teller, typed)
  const only = preventing.map((rule): WritingRule => {
    const isJoined = (root: Node | undefined): boolean => joined.get(root?.outputs[0] ?? '') === rule.makes
    return { ...rule, match: (chain, site) => (isJoined(chain.at(-1)) ? rule.match(chain, site) : undefined) }
  })
  return fused(typed, rulesFor([only], ctx.target, false), ctx.refuse)
}

/** Operators of the runtime's optimised graph, by first output. */
async function joinedBy(runner: Runner, model: Model): Promise<ReadonlyMap<string, string>> {
  const session = await runner.open(model, { keepOptimized: true, optimization: 'extended' })
  try {
    const optimized = await session.optimized?.()
    const nodes = optimized ? allGraphs(optimized).flatMap((g) => g.nodes) : []
    return new Map(nodes.map((n) => [n.outputs[0] ?? '', opName(n)]))
  } finally {
    await session.close()
  }
}

/** Would the pass write something? */
export const canFuse = (typed: Model, target: Target): boolean =>
  target.fused !== undefined && fused(typed, rulesFor([...stages, preventing], target, false), () => {}) !== typed

function fused(typed: Model, rules: readonly (readonly Rule[])[], refuse: (node: Node, reason: string) => void): Model {
  const taken = takenIds(typed)
  return mapGraphs(typed, (graph, around) =>
    editGraph(
      graph,
      (draft) => {
        const contents = contentsOf(typed, graph, around)
        for (const stage of rules) rewrite(siteOf(draft, [...around, graph], contents), stage, refuse)
      },
      taken
    )
  )
}

/** The stages as a target's rows want them. */
const rulesFor = (
  from: readonly (readonly WritingRule[])[],
  target: Target,
  all: boolean
): readonly (readonly Rule[])[] => from.map((stage) => stage.map((rule) => byRows(rule, target, all) as Rule))

/** The rule where a row of the target asks for it. A row that says why not gives the reason. */
function byRows(rule: WritingRule, target: Target, all: boolean): WritingRule {
  const isKnown = target.fused?.some((row) => row.op === rule.makes)
  const rowOf = (found: Parameters<WritingRule['build']>[0]): FusedRow | undefined => {
    const facts = rule.facts(found)
    return facts && fusedRowFor(target, rule.makes, facts.node, facts.past)
  }
  return {
    ...rule,
    match: (chain, site) => {
      const found = isKnown ? rule.match(chain, site) : undefined
      // What cannot be written anyway is refused with its own reason.
      if (!found || !rule.facts(found)) return found
      const row = rowOf(found)
      if (!row) return undefined
      if (rule.prevents) return row.prevented && !all ? found : undefined
      return row.joined && !all ? undefined : found
    },
    check: (found, site) => {
      const row = rowOf(found)
      if (rule.prevents || all || row?.kept === undefined) return rule.check(found, site)
      return `not written as ${rule.makes.split(':').at(-1)}: ${row.kept} on ${target.name}`
    }
  }
}

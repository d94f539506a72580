import { z } from 'zod'
import { editGraph, mapGraphs, takenIds } from '../../ir/edit.ts'
import { fusedRowFor } from '../../ir/rows.ts'
import type { Model, Node, Target } from '../../types.ts'

import { definePass } from '../pass.ts'
import { withTypes } from '../typed.ts'
import { attention } from './attention.ts'
import { gelu, geluByTanh, quickGelu } from './gelus.ts'
import { layerNorm, layerNormPlain, layerNormScaled, rootMeanSquare } from './norms.ts'
import { type Rule, rewrite, siteOf } from './rule.ts'
import { biasGelu, fastGelu, skipLayerNorm, skipLayerNormApart, skipRmsNorm } from './skips.ts'
import type { WritingRule } from './spelling.ts'

/** In this order: a stage reads what those before it wrote, and a longer spelling comes before what is a part of it. */
const stages: readonly (readonly WritingRule[])[] = [
  [layerNorm, gelu, geluByTanh, attention],
  [layerNormScaled, rootMeanSquare, quickGelu],
  [layerNormPlain],
  [biasGelu, fastGelu, skipLayerNorm, skipRmsNorm, skipLayerNormApart]
]

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
    return withTypes(model, (typed) => fused(typed, rulesFor(ctx.target, all), ctx.refuse))
  }
})

/** Would the pass write something? */
export const canFuse = (typed: Model, target: Target): boolean =>
  target.fused !== undefined && fused(typed, rulesFor(target, false), () => {}) !== typed

function fused(typed: Model, rules: readonly (readonly Rule[])[], refuse: (node: Node, reason: string) => void): Model {
  const taken = takenIds(typed)
  return mapGraphs(typed, (graph, around) =>
    editGraph(
      graph,
      (draft) => {
        for (const stage of rules) rewrite(siteOf(draft, [...around, graph]), stage, refuse)
      },
      taken
    )
  )
}

/** The stages as a target's rows want them. */
const rulesFor = (target: Target, all: boolean): readonly (readonly Rule[])[] =>
  stages.map((stage) => stage.map((rule) => byRows(rule, target, all) as Rule))

/** The rule where a row of the target asks for it. A row that says why not gives the reason. */
function byRows(rule: WritingRule, target: Target, all: boolean): WritingRule {
  const rowOf = (found: Parameters<WritingRule['build']>[0]) => fusedRowFor(target, rule.makes, rule.facts(found))
  return {
    ...rule,
    match: (chain, site) => {
      const found = rule.match(chain, site)
      const row = found && rowOf(found)
      if (!row) return undefined
      if (rule.prevents) return row.prevented && !all ? found : undefined
      return row.joined && !all ? undefined : found
    },
    check: (found, site) => {
      const reason = rule.check(found, site)
      const row = rowOf(found)
      if (reason !== undefined || rule.prevents || all || row?.kept === undefined) return reason
      return `not written as ${rule.makes.split(':').at(-1)}: ${row.kept} on ${target.name}`
    }
  }
}

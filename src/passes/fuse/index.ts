import { editGraph, mapGraphs, takenIds } from '../../ir/edit.ts'
import type { Model } from '../../types.ts'
import { definePass } from '../pass.ts'
import { withTypes } from '../typed.ts'
import { absorbNext, absorbPrevious } from './absorb.ts'
import { clampClamp, clipIsRelu } from './clamp.ts'
import { matMulAdd } from './gemm.ts'
import { sharedHeads } from './groups.ts'
import { reshapeReshape, sliceSlice, transposeTranspose } from './movement.ts'
import { padWindow } from './pad.ts'
import { type Rule, rewrite, siteOf } from './rule.ts'

const rules: readonly Rule[] = [
  absorbNext,
  absorbPrevious,
  matMulAdd,
  padWindow,
  sharedHeads,
  transposeTranspose,
  reshapeReshape,
  sliceSlice,
  clampClamp,
  clipIsRelu
]

/**
 * Joins neighbouring nodes into one that computes the same up to rounding: normalisation, scales and shifts into weights,
 * padding into windows, chains of data movement and of clamps into one;
 * heads that share keys and values read them where they are.
 */
export const fuse = definePass({
  name: 'fuse',
  summary: 'join neighbouring nodes: BatchNormalization, Mul, Add, Pad into Conv and Gemm; Transpose, Reshape, Clip',
  group: 'graph',
  options: {},
  run: (model, _options, ctx) =>
    withTypes(model, (typed: Model) => {
      const taken = takenIds(typed)
      return mapGraphs(typed, (graph, around) =>
        editGraph(
          graph,
          (draft) => {
            rewrite(siteOf(draft, [...around, graph]), rules, ctx.refuse)
          },
          taken
        )
      )
    })
})

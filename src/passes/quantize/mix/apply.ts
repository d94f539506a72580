/** Applies an assignment of types to nodes. All weights are rounded in one pass, in which each layer makes up for the errors of those before it. */
import { PareError } from '../../../base/errors.ts'
import { allGraphs } from '../../../ir/graph.ts'
import type { Model } from '../../../types.ts'
import type { Context } from '../../types.ts'
import { castFloat } from '../cast/cast-float.ts'
import { weightUses } from '../common/uses.ts'
import { storeWeights } from '../weights/quantize-weights.ts'
import { type CodedType, codedTypes, type Method, type MixType, plansFor } from './types.ts'

/** Names of nodes by the type of their weights; all others stay float. */
export type Assignment = Readonly<Partial<Record<MixType, readonly string[]>>>

export interface ApplyOptions {
  readonly method: Method
  readonly exclude: readonly string[]
  readonly minElements: number
}

/** Stores weights as assigned. Throws `E_OPTION` for a name that is no node's. */
export async function applyAssignment(
  model: Model,
  assignment: Assignment,
  o: ApplyOptions,
  ctx: Context
): Promise<Model> {
  checkNames(model, assignment)
  const plan = (Object.keys(codedTypes) as CodedType[]).flatMap((type) => {
    const nodes = new Set(assignment[type] ?? [])
    if (nodes.size === 0) return []
    return plansFor(model, type, o, ctx).filter((w) => w.nodes.some((n) => nodes.has(n)))
  })
  const options = { bits: 8, form: 'foldable', blockSize: 0, perChannel: true, include: [], correctBias: true } as const
  const made = plan.length > 0 ? await storeWeights(model, plan, { ...options, ...o }, ctx) : model
  const half = new Set(assignment.float16 ?? [])
  if (half.size === 0) return made
  const others = [...weightUses(model).values()].flatMap((w) =>
    w.readers.flatMap((n) => (half.has(n.name) ? [] : [n.name]))
  )
  const exclude = [...new Set(others)]
  return castFloat.run(made, { type: 'float16', compute: false, exclude, minElements: o.minElements }, ctx)
}

function checkNames(model: Model, assignment: Assignment): void {
  const known = new Set(allGraphs(model).flatMap((g) => g.nodes.map((n) => n.name)))
  for (const [type, names] of Object.entries(assignment))
    for (const name of names ?? [])
      if (!known.has(name))
        throw new PareError('E_OPTION', `assignment.${type} names a node that is not there: ${name}`, {
          where: 'mix-precision',
          hint: 'an assignment fits the model that it was found for, after the same passes'
        })
}

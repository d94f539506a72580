/**
 * What an automatic search chooses from: units, each with choices in order, and what they cost together.
 *
 *   cost_c(p) = fixed_c + Σ over loads of c: size · Π over factors (base + Σ over terms table[p_unit])
 *
 * A weight that loses channels on two axes and is stored in some type is one load with three factors, so that whatever is
 * coupled is priced as a product. Tables never fall from one choice to the next: a dearer choice costs at least as much.
 */
import { assert } from '../../base/errors.ts'
import type { CostName, CostShares } from '../../report/types.ts'

/** What a unit decides: channels kept of a group, the type that weights are stored in, the budget of a point itself, the share of weights that are zero, or the rank of a layer. */
export const kinds = ['keep', 'type', 'budget', 'sparsity', 'rank'] as const
export type Kind = (typeof kinds)[number]

/** What budgets may bound, and what can be least. */
export const costNames: readonly CostName[] = ['bytes', 'macs', 'latency']

/** One decision. Choices are in order: the cheapest first, the model as it is last. */
export interface Unit {
  /** `keep NAME`, `type NAME`, `sparsity NAME`, `rank NAME`; tells it from all others. */
  readonly id: string
  readonly kind: Kind
  /** What each choice is called, such as `24 of 32` or `int8`. */
  readonly choices: readonly string[]
  /** Change of the output, e², of each choice alone: adds up over units while it is small. The last is 0. */
  readonly harm: readonly number[]
}

/** base + Σ table[choice of unit] */
export interface Factor {
  readonly base: number
  readonly terms: readonly { readonly unit: number; readonly table: readonly number[] }[]
}

/** A part of a cost. */
export interface Load {
  readonly cost: CostName
  readonly size: number
  readonly factors: readonly Factor[]
}

/** All that strategies know of a problem; plain data. Costs are in bytes, multiply-adds and ms. */
export interface Space {
  readonly units: readonly Unit[]
  readonly loads: readonly Load[]
  /** What no choice changes. */
  readonly fixed: Readonly<Record<CostName, number>>
  /** Of the original, which budgets are shares of; a cost that is not known is absent. */
  readonly original: Readonly<Partial<Record<CostName, number>>>
}

/** A choice of every unit, by number. */
export type Point = readonly number[]

/** Shares of the original's costs that may be left. */
export type Budgets = CostShares

/** Costs of points, as shares of the original's. */
export interface Costing {
  readonly names: readonly CostName[]
  /** In the order of `names`; the same array at every call. */
  of(point: ArrayLike<number>): Float64Array
}

/** A function of points for some costs of a space: loads are laid out flat, so that a call takes microseconds. */
export function costing(space: Space, names: readonly CostName[]): Costing {
  const loads = space.loads.filter((l) => names.includes(l.cost))
  const owner = Int32Array.from(loads, (l) => names.indexOf(l.cost))
  const sizes = Float64Array.from(loads, (l) => l.size / originalOf(space, l.cost))
  const factors = loads.flatMap((l) => l.factors)
  const ends = Int32Array.from(running(loads.map((l) => l.factors.length)))
  const bases = Float64Array.from(factors, (f) => f.base)
  const terms = factors.flatMap((f) => f.terms)
  const termEnds = Int32Array.from(running(factors.map((f) => f.terms.length)))
  const units = Int32Array.from(terms, (t) => t.unit)
  const tableEnds = running(terms.map((t) => t.table.length))
  const starts = Int32Array.from(tableEnds, (end, i) => end - (terms[i]?.table.length ?? 0))
  const tables = Float64Array.from(terms.flatMap((t) => t.table))
  const fixed = Float64Array.from(names, (n) => space.fixed[n] / originalOf(space, n))
  const out = new Float64Array(names.length)
  const of = (point: ArrayLike<number>): Float64Array => {
    out.set(fixed)
    let [f, t] = [0, 0]
    for (let l = 0; l < owner.length; l++) {
      let product = sizes[l] as number
      for (; f < (ends[l] as number); f++) {
        let sum = bases[f] as number
        for (; t < (termEnds[f] as number); t++)
          sum += tables[(starts[t] as number) + (point[units[t] as number] as number)] as number
        product *= sum
      }
      out[owner[l] as number] = (out[owner[l] as number] as number) + product
    }
    return out
  }
  return { names, of }
}

function originalOf(space: Space, name: CostName): number {
  const own = space.original[name]
  assert(own !== undefined && own > 0, `the ${name} of the original are not known`)
  return own
}

function running(lengths: readonly number[]): number[] {
  let sum = 0
  return lengths.map((n) => {
    sum += n
    return sum
  })
}

/** The model as it is. */
export const whole = ({ units }: Space): Point => units.map((u) => u.choices.length - 1)

/** The additive guess of what a point changes, e². */
export const harmOf = ({ units }: Space, point: ArrayLike<number>): number =>
  units.reduce((sum, u, i) => sum + (u.harm[point[i] as number] as number), 0)

/** Choices as numbers in [0, 1], equal steps apart; a unit without a choice is 1. */
export const encoded = ({ units }: Space, point: ArrayLike<number>): number[] =>
  units.map((u, i) => (u.choices.length > 1 ? (point[i] as number) / (u.choices.length - 1) : 1))

/** What a point chooses, in words, by unit; the model as it is where it is not named. */
export const described = ({ units }: Space, point: ArrayLike<number>): Readonly<Record<string, string>> =>
  Object.fromEntries(
    units.flatMap((u, i) =>
      point[i] === u.choices.length - 1 ? [] : [[u.id, u.choices[point[i] as number] as string]]
    )
  )

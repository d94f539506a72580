/**
 * Heads of queries that share keys and values (grouped-query attention, Ainslie et al. 2023): exporters repeat the keys and
 * values for every head. Instead the queries of a group become rows of one product, and nothing is copied:
 *
 *   [B, H, S, d] · repeat([B, K, d, T]) = reshape([B, K, H/K·S, d] · [B, K, d, T])
 */
import { attrInts } from '../../ir/attrs.ts'
import { ints, tensor } from '../../ir/tensor.ts'
import type { Dim, Node } from '../../types.ts'
import { type Bound, pattern, readOutside } from './pattern.ts'
import { defineRule, type Site } from './rule.ts'
import { untie } from './sizes.ts'

const repeated = 'repeat=Reshape(wide=Expand|Tile(apart=Unsqueeze(shared, _), _), _)'

const found = pattern(`MatMul(rows, {turned=Transpose(${repeated}); ${repeated}})`)

interface Found {
  readonly bound: Bound
  readonly root: Node
  /** Heads of the rows, and of what they share. */
  readonly heads: number
  readonly groups: number
  readonly why: string | undefined
}

/** [batch, groups, heads of a group, length, size] as [batch, heads, length, size]. */
export const isRepeat = (
  wide: readonly Dim[] | undefined,
  all: readonly Dim[] | undefined,
  heads: number,
  groups: number
): boolean =>
  wide?.length === 5 && wide[1] === groups && wide[2] === heads / groups && all?.length === 4 && all[1] === heads

/** Products of many heads with keys or values that groups of them share. */
export const sharedHeads = defineRule<Found>({
  name: 'shared-heads',
  chain: [found.roots],
  match: ([root], site) => {
    const bound = root && found.find(root, site)
    if (!root || !bound) return undefined
    const of = (id: string | undefined): readonly Dim[] | undefined => site.value(id)?.shape
    const [rows, one] = [of(bound.values['rows']), of(bound.values['shared'])]
    const [wide, all] = ['wide', 'repeat'].map((name) => of(bound.named[name]?.outputs[0]))
    const [heads, groups] = [rows?.[1], one?.[1]]
    if (rows?.length !== 4 || one?.length !== 4) return undefined
    const axes = site.constant(bound.named['apart']?.inputs[1])
    const turn = bound.named['turned']
    if (!axes || ints(axes).join() !== '2' || (turn && attrInts(turn, 'perm')?.join() !== '0,1,3,2')) return undefined
    if (typeof heads !== 'number' || typeof groups !== 'number' || heads % groups !== 0) return undefined
    if (!isRepeat(wide, all, heads, groups)) return undefined
    return { bound, root, heads, groups, why: readOutside(bound, [root], site) }
  },
  check: ({ why }) => why,
  build: ({ bound, root, heads, groups }, site) => {
    const { rows = '', shared = '' } = bound.values
    const out = root.outputs[0] ?? ''
    untie(bound.nodes, root, site)
    for (const node of bound.nodes) if (node !== root) site.draft.remove(node)
    const grouped = reshaped(rows, groups, `${out}_grouped`, site)
    const other = bound.named['turned']
      ? site.draft.add('Transpose', [shared], { name: `${out}_turned`, attrs: { perm: [0, 1, 3, 2] } })
      : shared
    const product = site.draft.add('MatMul', [grouped, other], { name: root.name })
    const shape = site.draft.addConstant(tensor('int64', [4], [0, heads, -1, 0]), `${out}_heads`)
    const { domain: _, ...base } = root
    site.draft.replace(root, { ...base, op: 'Reshape', name: `${out}_apart`, inputs: [product, shape], attrs: {} })
    site.draft.sweep()
  }
})

function reshaped(id: string, groups: number, hint: string, site: Site): string {
  const shape = site.draft.addConstant(tensor('int64', [4], [0, groups, -1, 0]), `${hint}_shape`)
  return site.draft.add('Reshape', [id, shape], { name: hint })
}

/** What is added to the scores of an attention: masks as kernels take them, [batch or 1, heads or 1, queries, keys]. */
import { sameDim } from '../../base/dim.ts'
import { opName } from '../../ir/graph.ts'
import { tensor } from '../../ir/tensor.ts'
import type { FusedRow } from '../../targets/types.ts'
import type { Dim } from '../../types.ts'
import { type Bound, numberOf } from './pattern.ts'
import { existing, shared } from './reuse.ts'
import type { Site } from './rule.ts'
import { type Size, sizesRead, sizeValue } from './sizes.ts'

/** What is known of an attention. */
export interface Attended {
  readonly heads: number
  /** Heads of keys and values. */
  readonly groups: number
  readonly scale: number
  readonly queries: Dim
  readonly keys: Dim
  /** Keys, with those of the past, as what can be read. */
  readonly length: Size
  readonly past: NonNullable<FusedRow['past']> | 'heads first' | undefined
}

/** Lower than any score, and finite. */
const lowest = -3.4028234663852886e38

/** A function that makes what is added; `null` where nothing is; a text: why it cannot be. */
export function biasOf(found: Bound, sizes: Attended, site: Site): (() => string) | string | null {
  const { mask, seen, hidden, low } = found.values
  const floor = numberOf(low, site)
  if (floor !== undefined && floor > -1000) return `what it does not attend to has the score ${floor}`
  if ([mask, seen, hidden].some((id) => dependsOn(id, found, site)))
    return 'its mask is computed from its own queries or keys'
  return (mask ?? seen ?? hidden) ? () => added(found, sizes, site) : null
}

/** Is a value made from one that the pattern makes? Sizes that can be read elsewhere do not count. */
function dependsOn(id: string | undefined, found: Bound, site: Site): boolean {
  const seen = new Set<string>()
  const queue = id === undefined ? [] : [id]
  for (let at = queue.pop(); at !== undefined; at = queue.pop()) {
    const node = site.producer(at)
    if (!node || seen.has(at)) continue
    if (found.nodes.has(node)) return true
    seen.add(at)
    if (sizesRead(node, found.nodes, site)) continue
    for (const input of node.inputs) if (input !== null) queue.push(input)
  }
  return false
}

function added(found: Bound, sizes: Attended, site: Site): string {
  const { mask, seen, hidden } = found.values
  const dtype = site.value(found.values['q'])?.dtype ?? 'float32'
  const chosen = seen ?? hidden
  if (chosen === undefined) return wide(mask as string, found, sizes, site)
  const number = (name: string, value: number): string => shared(tensor(dtype, [], [value]), `${chosen}_${name}`, site)
  const [zero, floor] = [number('zero', 0), number('low', dtype === 'float16' ? -65504 : lowest)]
  const inputs = seen === undefined ? [chosen, floor, zero] : [chosen, zero, floor]
  const shape = site.value(chosen)?.shape
  const picked = existing('Where', inputs, `${chosen}_bias`, { dtype, ...(shape ? { shape } : {}) }, site)
  if (mask === undefined) return wide(picked, found, sizes, site)
  return wide(existing('Add', [picked, mask], `${chosen}_sum`, { dtype }, site), found, sizes, site)
}

/** The value with as many rows and columns as there are queries and keys; layers of the same sizes share it. */
function wide(id: string, found: Bound, { queries, keys, length }: Attended, site: Site): string {
  const shape = site.value(id)?.shape
  const fits = (s: readonly Dim[] | undefined): boolean =>
    s?.length === 4 && sameDim(s[2] ?? '?', queries) && sameDim(s[3] ?? '?', keys)
  if (fits(shape)) return id
  const known = site.consumers(id).find((n) => opName(n) === 'Expand' && fits(site.value(n.outputs[0])?.shape))
  if (known) return known.outputs[0] as string
  const { q = '' } = found.values
  const ones = site.draft.addConstant(tensor('int64', [2], [1, 1]), `${id}_ones`)
  const parts = [ones, sizeValue({ of: q, axis: 1 }, site), sizeValue(length, site)]
  const target = site.draft.add('Concat', parts, { name: `${id}_shape`, attrs: { axis: 0 } })
  const dtype = site.value(id)?.dtype ?? 'float32'
  const all = [shape?.[0] ?? '?', shape?.[1] ?? '?', queries, keys]
  return existing('Expand', [id, target], `${id}_wide`, { dtype, shape: all }, site)
}

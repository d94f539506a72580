/**
 * Attention over heads, as exporters spell it out between the projections and behind them:
 *
 *   y = softmax(scale·Q·Kᵀ + mask)·V
 *
 * Q, K and V are [batch, length, heads·size], split into heads by Reshape and Transpose; K and V may follow those of the
 * past, [batch, heads, length, size]. The projections stay products of their own, so that they can be in integers.
 */
import { addDims, sameDim } from '../../base/dim.ts'
import { attrInt, attrInts, float } from '../../ir/attrs.ts'
import { opName } from '../../ir/graph.ts'
import { tensor } from '../../ir/tensor.ts'
import type { Dim, Node } from '../../types.ts'
import { type Bound, numberOf, pattern } from './pattern.ts'
import type { Site } from './rule.ts'
import { existing, shared, spelling, type Written } from './spelling.ts'

/** A value times a number, or over one, or itself. */
const scaled = (x: string, name: string): string =>
  `{${x}; ${name}_by=Mul(${x}, $${name}); ${name}_over=Div(${x}, $${name})}`
const heads = (x: string): string => `t${x}=Transpose(r${x}=Reshape(${x}, _))`
const withPast = (x: string): string => `{${heads(x)}; c${x}=Concat(past_${x}, ${heads(x)})}`

const query = scaled(heads('q'), 'a')
const keys = scaled(`{turned=Transpose(${withPast('k')}); ${heads('k')}}`, 'b')
const scores = scaled(`product=MatMul(${query}, ${keys})`, 'd')
const masked = [
  scores,
  `Add(${scores}, mask)`,
  `Where(seen, ${scores}, $low)`,
  `Where(hidden, $low, ${scores})`,
  `Add(Where(seen, ${scores}, $low), mask)`
]

export const attention = spelling({
  name: 'attention',
  makes: 'com.microsoft:MultiHeadAttention',
  pattern: pattern(
    `merged=Reshape(ty=Transpose(MatMul(probability=Softmax({${masked.join('; ')}}), ${withPast('v')})), _)`
  ),
  write: (found, root, site) => {
    const sizes = sizesOf(found, root, site)
    return typeof sizes === 'string' || sizes === undefined ? sizes : written(found, root, sizes, site)
  }
})

interface Sizes {
  readonly heads: number
  readonly scale: number
  readonly queries: Dim
  readonly keys: Dim
}

/** Sizes of an attention; why it is none that the kernel computes; `undefined` where it is another thing. */
function sizesOf({ named, values }: Bound, root: Node, site: Site): Sizes | string | undefined {
  const shapeOf = (node: Node | undefined): readonly Dim[] | undefined => site.value(node?.outputs[0])?.shape
  const [q, k, v] = [named['rq'], named['rk'], named['rv']].map(shapeOf)
  const product = shapeOf(named['product'])
  if (q?.length !== 4 || k?.length !== 4 || v?.length !== 4 || product?.length !== 4) return undefined
  for (const [name, perm] of turns(named)) if (attrInts(named[name] as Node, 'perm')?.join() !== perm) return undefined
  const axis = attrInt(named['probability'] as Node, 'axis', -1)
  if (axis !== -1 && axis !== 3) return undefined
  const [n, size] = [q[2], q[3]]
  if (typeof n !== 'number' || typeof size !== 'number') return 'its number of heads is not known'
  if (k[2] !== n || v[2] !== n) return `keys and values have other heads than the ${n} of queries`
  const flat = ['q', 'k', 'v'].every((x) => site.value(values[x])?.shape?.length === 3)
  if (!flat || shapeOf(root)?.length !== 3) return 'its data are not [batch, length, heads·size]'
  const past = named['ck'] !== undefined
  if (past !== (named['cv'] !== undefined)) return 'keys have a past and values have none, or the other way round'
  for (const x of ['ck', 'cv'])
    if (past && ![2, -2].includes(attrInt(named[x] as Node, 'axis', 0)))
      return 'its past is not in front along the length'
  const before = past ? site.value(values['past_k'])?.shape?.[2] : 0
  const scale = ['a', 'b', 'd'].reduce((s, name) => s * factorOf(name, { named, values }, site), 1)
  return { heads: n, scale, queries: q[1] ?? '?', keys: before === undefined ? '?' : addDims(before, k[1] ?? '?') }
}

/** Transposes of the pattern, and how each must turn its axes. */
function turns(named: Bound['named']): (readonly [string, string])[] {
  const plain = '0,2,1,3'
  return [
    ...['tq', 'tv', 'ty'].map((name) => [name, plain] as const),
    ...(named['turned']
      ? ([
          ['tk', plain],
          ['turned', '0,1,3,2']
        ] as const)
      : ([['tk', '0,2,3,1']] as const))
  ]
}

function factorOf(name: string, { named, values }: Pick<Bound, 'named' | 'values'>, site: Site): number {
  const number = numberOf(values[name], site) ?? 1
  return named[`${name}_over`] ? 1 / number : number
}

/** Lower than any score, and finite. */
const lowest = -3.4028234663852886e38

function written(found: Bound, root: Node, sizes: Sizes, site: Site): Written | string {
  const { q = '', k = '', v = '', past_k, past_v, mask, seen, hidden, low } = found.values
  const floor = numberOf(low, site)
  if (floor !== undefined && floor > -1000) return `what it does not attend to has the score ${floor}`
  const given = [found.named['ck'], found.named['cv']].flatMap((n) => n ?? [])
  if ([mask, seen, hidden].some((id) => dependsOn(id, found, site)))
    return 'its mask is computed from its own queries or keys'
  const isMasked = mask !== undefined || seen !== undefined || hidden !== undefined
  const bias = isMasked ? (): string => biasOf(found, sizes, site) : null
  return {
    inputs:
      past_k && past_v
        ? [q, k, v, null, null, bias, past_k, past_v]
        : isMasked
          ? [q, k, v, null, null, bias]
          : [q, k, v],
    attrs: { num_heads: sizes.heads, scale: float(sizes.scale) },
    outputs: [root.outputs[0] ?? '', ...given.map((n) => n.outputs[0] ?? '')],
    given
  }
}

/** Is a value made from one that the pattern makes? */
function dependsOn(id: string | undefined, found: Bound, site: Site): boolean {
  const seen = new Set<string>()
  const queue = id === undefined ? [] : [id]
  for (let at = queue.pop(); at !== undefined; at = queue.pop()) {
    const node = site.producer(at)
    if (!node || seen.has(at)) continue
    if (found.nodes.has(node)) return true
    seen.add(at)
    for (const input of node.inputs) if (input !== null) queue.push(input)
  }
  return false
}

/** What is added to the scores, [batch or 1, heads or 1, queries, keys]. */
function biasOf(found: Bound, sizes: Sizes, site: Site): string {
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
function wide(id: string, found: Bound, { queries, keys }: Sizes, site: Site): string {
  const shape = site.value(id)?.shape
  const fits = (s: readonly Dim[] | undefined): boolean =>
    s?.length === 4 && sameDim(s[2] ?? '?', queries) && sameDim(s[3] ?? '?', keys)
  if (fits(shape)) return id
  const known = site.consumers(id).find((n) => opName(n) === 'Expand' && fits(site.value(n.outputs[0])?.shape))
  if (known) return known.outputs[0] as string
  const axis = (of: string, i: number): string =>
    site.draft.add('Shape', [of], { name: `${id}_axis`, attrs: { start: i, end: i + 1 } })
  const { q = '', k = '', past_k } = found.values
  const length = past_k ? site.draft.add('Add', [axis(past_k, 2), axis(k, 1)], { name: `${id}_length` }) : axis(k, 1)
  const ones = site.draft.addConstant(tensor('int64', [2], [1, 1]), `${id}_ones`)
  const target = site.draft.add('Concat', [ones, axis(q, 1), length], { name: `${id}_shape`, attrs: { axis: 0 } })
  const dtype = site.value(id)?.dtype ?? 'float32'
  const all = [shape?.[0] ?? '?', shape?.[1] ?? '?', queries, keys]
  return existing('Expand', [id, target], `${id}_wide`, { dtype, shape: all }, site)
}

/**
 * Attention over heads, as exporters spell it out between the projections and behind them:
 *
 *   y = softmax(scale·Q·Kᵀ + mask)·V
 *
 * Q, K and V are [batch, length, heads·size], split into heads by Reshape and Transpose, and Q and K may be turned by their
 * positions. K and V may follow those of the past: [batch, heads, length, size], keys also [batch, heads, size, length], or
 * both before heads come first, [batch, length, heads, size]. Groups of heads of Q may share those of K and V, which are
 * repeated for that, or the queries of a group are rows of one product (groups.ts).
 * The projections stay products of their own, so that they can be in integers.
 */
import { addDims } from '../../base/dim.ts'
import { attrInt, attrInts, float } from '../../ir/attrs.ts'
import { opName } from '../../ir/graph.ts'
import { tensor } from '../../ir/tensor.ts'
import type { Dim, Node } from '../../types.ts'
import { type Attended, biasOf } from './attention-bias.ts'
import { isRepeat } from './groups.ts'
import { type Bound, numberOf, pattern } from './pattern.ts'
import { existing, shared } from './reuse.ts'
import type { Site } from './rule.ts'
import type { Size } from './sizes.ts'
import { spelling, type Written } from './spelling.ts'

/** A value times a number, or over one, or itself. */
const scaled = (x: string, name: string): string => `by_${name}=Mul|Div?(${x}, $${name})`
const split = (x: string): string => `r${x}=Reshape(${x}, _)`
const heads = (x: string): string => `t${x}=Transpose({${split(x)}; l${x}=Concat(past_${x}, ${split(x)})})`
const placed = (x: string, own: string): string =>
  `e${x}=com.microsoft:RotaryEmbedding?(${own}, at${x}, cos${x}, sin${x})`
const withPast = (x: string, own: string): string => `{${own}; c${x}=Concat(past_${x}, ${own})}`
const repeated = (x: string, own: string): string =>
  `g${x}=Reshape?(w${x}=Expand|Tile?(u${x}=Unsqueeze?(${withPast(x, own)}, _), _), _)`

const query = scaled(placed('q', `tq=Transpose(${split('q')})`), 'a')
const keys = scaled(`turned=Transpose?(${repeated('k', placed('k', heads('k')))})`, 'b')
const scores = scaled(`product=Reshape?(inner=MatMul(rows=Reshape?(${query}, _), ${keys}), _)`, 'd')
const masked = `Add?({${scores}; Where(seen, ${scores}, $low); Where(hidden, $low, ${scores})}, mask)`
const probability = `probability=Softmax(${masked})`
const weighed = `apart=Reshape?(MatMul(shares=Reshape?(${probability}, _), ${repeated('v', heads('v'))}), _)`

const spelledOut = pattern(`Reshape(ty=Transpose(${weighed}), _)`)

/** What is written for an attention; a text: why not; `undefined`: not a case. */
export type WriteAttention = (found: Bound, sizes: Attended, root: Node, site: Site) => Written | string | undefined

/** A rule for attention. */
export const attentionRule = (name: string, makes: string, write: WriteAttention) =>
  spelling({
    name,
    makes,
    pattern: spelledOut,
    write: (found, root, site) => {
      const sizes = sizesOf(found, root, site)
      return typeof sizes === 'string' || sizes === undefined ? sizes : write(found, sizes, root, site)
    }
  })

/** Every head of queries has keys and values of its own. */
export const attention = attentionRule('attention', 'com.microsoft:MultiHeadAttention', (found, sizes, root, site) => {
  if (sizes.groups !== sizes.heads) return undefined
  const bias = biasOf(found, sizes, site)
  if (typeof bias === 'string') return bias
  const { v = '', past_k = '', past_v = '' } = found.values
  const { named } = found
  const attrs = { num_heads: sizes.heads, scale: float(sizes.scale) }
  const [q, k] = [turnedBy('q', found, site), turnedBy('k', found, site)]
  const out = root.outputs[0] ?? ''
  if (sizes.past === 'heads first') {
    const given = [named['ck'] as Node, named['cv'] as Node]
    const outputs = [out, ...given.map((n) => n.outputs[0] ?? '')]
    return { inputs: [q, k, v, null, null, bias, past_k, past_v], attrs, outputs, given }
  }
  const rest = bias === null ? [] : [null, null, bias]
  if (sizes.past === undefined) return { inputs: [q, k, v, ...rest], attrs }
  const whole = (x: string) => (): string => wholeOf(x, found, site)
  const keeps = ['k', 'v'].flatMap((x) => [`r${x}`, `t${x}`, `l${x}`, `c${x}`]).flatMap((name) => named[name] ?? [])
  return { inputs: [q, whole('k'), whole('v'), ...rest], attrs, past: sizes.past, keeps }
})

/** Queries or keys, [batch, length, heads·size], turned by their positions where the pattern turns them. */
export function turnedBy(x: 'q' | 'k', { named, values }: Bound, site: Site): string | (() => string) {
  const id = values[x] ?? ''
  const turning = named[`e${x}`]
  if (!turning) return id
  const inputs = [id, ...[`at${x}`, `cos${x}`, `sin${x}`].map((name) => values[name] ?? '')]
  const type = site.value(id)
  return () =>
    site.draft.add('RotaryEmbedding', inputs, {
      domain: 'com.microsoft',
      name: `${id}_turned`,
      attrs: turning.attrs,
      type: { type: 'tensor', dtype: type?.dtype ?? 'float32', ...(type?.shape ? { shape: type.shape } : {}) }
    })
}

/** Keys or values with those of the past, where these are not as the kernel keeps them. */
function wholeOf(x: string, { named }: Bound, site: Site): string {
  const joined = named[`l${x}`]?.outputs[0]
  const dtype = site.value(named[`r${x}`]?.outputs[0])?.dtype ?? 'float32'
  if (joined !== undefined) {
    const flat = shared(tensor('int64', [3], [0, 0, -1]), `${joined}_merge`, site)
    return existing('Reshape', [joined, flat], `${joined}_merged`, { dtype }, site)
  }
  const id = named[`c${x}`]?.outputs[0] ?? ''
  return x === 'v' ? id : existing('Transpose', [id], `${id}_upright`, { dtype }, site, { perm: [0, 1, 3, 2] })
}

/** Sizes of an attention; why it is none that a kernel computes; `undefined` where it is another thing. */
function sizesOf(found: Bound, root: Node, site: Site): Attended | string | undefined {
  const { named, values } = found
  const shapeOf = (node: Node | undefined): readonly Dim[] | undefined => site.value(node?.outputs[0])?.shape
  const [q, k, v] = [named['rq'], named['rk'], named['rv']].map(shapeOf)
  const product = shapeOf(named['product'] ?? named['inner'])
  if (q?.length !== 4 || k?.length !== 4 || v?.length !== 4 || product?.length !== 4) return undefined
  for (const [name, perm] of turns(named)) if (attrInts(named[name] as Node, 'perm')?.join() !== perm) return undefined
  const axis = attrInt(named['probability'] as Node, 'axis', -1)
  if (axis !== -1 && axis !== 3) return undefined
  const [n, size, groups] = [q[2], q[3], k[2]]
  if (typeof n !== 'number' || typeof size !== 'number') return 'its number of heads is not known'
  if (v[2] !== groups || typeof groups !== 'number' || n % groups !== 0 || !sharesHeads(found, n, groups, site))
    return `keys and values have other heads than the ${n} of queries`
  const flat = ['q', 'k', 'v'].every((x) => site.value(values[x])?.shape?.length === 3)
  if (!flat || shapeOf(root)?.length !== 3) return 'its data are not [batch, length, heads·size]'
  const past = pastOf(found)
  if (past === 'other') return 'keys have a past and values have none, or it is not in front along the length'
  const along = past === 'before heads' ? 1 : past === 'keys turned' ? 3 : 2
  const before = past === undefined ? 0 : site.value(values['past_k'])?.shape?.[along]
  const own: Size = { of: values['k'] ?? '', axis: 1 }
  const scale = ['a', 'b', 'd'].reduce((s, name) => s * factorOf(name, found, site), 1)
  return {
    heads: n,
    groups,
    scale,
    queries: q[1] ?? '?',
    keys: before === undefined ? '?' : addDims(before, k[1] ?? '?'),
    length: past === undefined ? own : [{ of: values['past_k'] ?? '', axis: along }, own],
    past
  }
}

/** Where the past of keys and values is; `other`: not where a kernel could know of it. */
function pastOf({ named }: Bound): Attended['past'] | 'other' {
  const at = (name: string): number | undefined => {
    const axis = named[name] && attrInt(named[name], 'axis', 0)
    return axis !== undefined && axis < 0 ? axis + 4 : axis
  }
  const [lk, lv, ck, cv] = ['lk', 'lv', 'ck', 'cv'].map(at)
  if ([lk, lv, ck, cv].every((axis) => axis === undefined)) return undefined
  if (lk === 1 && lv === 1 && ck === undefined && cv === undefined) return 'before heads'
  if (lk !== undefined || lv !== undefined || cv !== 2) return 'other'
  if (named['turned']) return ck === 2 ? 'heads first' : 'other'
  return ck === 3 ? 'keys turned' : 'other'
}

/** Does every head of queries meet the keys and values of its group? */
function sharesHeads({ named }: Bound, n: number, groups: number, site: Site): boolean {
  const count = (names: readonly string[]): number => names.filter((name) => named[name]).length
  const shapeOf = (name: string): readonly Dim[] | undefined => site.value(named[name]?.outputs[0])?.shape
  const [repeats, rows] = [count(['gk', 'wk', 'uk', 'gv', 'wv', 'uv']), count(['rows', 'product', 'shares', 'apart'])]
  if (repeats === 0 && rows === 0) return groups === n || groups === 1
  if (repeats === 0)
    return rows === 4 && ['rows', 'shares'].every((r) => shapeOf(r)?.length === 4 && shapeOf(r)?.[1] === groups)
  return rows === 0 && repeats === 6 && ['k', 'v'].every((x) => isRepeat(shapeOf(`w${x}`), shapeOf(`g${x}`), n, groups))
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
  const [node, number] = [named[`by_${name}`], numberOf(values[name], site) ?? 1]
  return node && opName(node) === 'Div' ? 1 / number : number
}

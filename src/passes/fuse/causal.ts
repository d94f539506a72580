/**
 * Does a mask hide from every query the keys behind it, as kernels that are causal do? Query i of S stands behind a past of P
 * keys, and must not see key j > P + i. Positions are counted in the graph (Range), or a triangle of ones is cut (Trilu, or
 * a constant and Slice); what else there is in a mask may only hide more.
 */
import { addDims, sameDim } from '../../base/dim.ts'
import { attrInt } from '../../ir/attrs.ts'
import { opName } from '../../ir/graph.ts'
import { ints, toNumbers } from '../../ir/tensor.ts'
import type { Dim, Node, Tensor } from '../../types.ts'
import type { Bound } from './pattern.ts'
import { numberOf } from './pattern.ts'
import type { Site } from './rule.ts'

/** What a value says of a query and a key: that it sees it, that it does not, or a number that is added to their score. */
type Sense = 'seen' | 'hidden' | 'added'

/** `past`: the keys before the first query. */
export function hidesLater({ values }: Bound, past: Dim, site: Site): boolean {
  const { mask, seen, hidden } = values
  return [
    [mask, 'added'],
    [seen, 'seen'],
    [hidden, 'hidden']
  ].some(([id, sense]) => id !== undefined && isCausal(id, sense as Sense, past, site))
}

/** Operators that hand on what each query says of each key. */
const passing = new Set(['Cast', 'Identity', 'Expand', 'Unsqueeze', 'Reshape'])
const opposite: Readonly<Record<Sense, Sense>> = { seen: 'hidden', hidden: 'seen', added: 'added' }
/** Comparisons of a key's position with a query's, and what they say; with the query's first it is the other one. */
const compared: Readonly<Record<string, readonly [Sense, keyFirst: boolean]>> = {
  LessOrEqual: ['seen', true],
  GreaterOrEqual: ['seen', false],
  Greater: ['hidden', true],
  Less: ['hidden', false]
}
/** Of two such values, one is enough. */
const joining: Readonly<Record<string, Sense>> = { And: 'seen', Or: 'hidden', Add: 'added' }

function isCausal(id: string, sense: Sense, past: Dim, site: Site, depth = 24): boolean {
  const node = site.producer(id)
  if (!node || depth === 0) return false
  const of = (i: number, s: Sense = sense): boolean =>
    node.inputs[i] != null && isCausal(node.inputs[i], s, past, site, depth - 1)
  const op = opName(node)
  if (passing.has(op)) return keepsPlane(node, site) && of(0)
  if (op === 'Not') return of(0, opposite[sense])
  if (op === 'Sub' && sense !== 'added')
    return numberOf(node.inputs[0] ?? undefined, site) === 1 && of(1, opposite[sense])
  if (joining[op] === sense) return of(0) || of(1)
  if (op === 'Trilu') return isTriangle(node, sense, past, site)
  if (op === 'Slice') return (isFromFirst(node, site) && of(0)) || (sense === 'seen' && isCutTriangle(node, past, site))
  if (sense === 'added') {
    if (op === 'Where')
      return (isLow(node.inputs[2], site) && of(0, 'seen')) || (isLow(node.inputs[1], site) && of(0, 'hidden'))
    return (
      op === 'Mul' &&
      ((isLow(node.inputs[1], site) && of(0, 'hidden')) || (isLow(node.inputs[0], site) && of(1, 'hidden')))
    )
  }
  const [says, keyFirst] = compared[op] ?? []
  if (says !== sense) return false
  const [key, query] = keyFirst ? node.inputs : [node.inputs[1], node.inputs[0]]
  return sameAs(firstOf(key, 'keys', site), 0) && sameAs(firstOf(query, 'queries', site), past)
}

const isLow = (id: string | null | undefined, site: Site): boolean => (numberOf(id ?? undefined, site) ?? 0) <= -1000
const sameAs = (a: Dim | undefined, b: Dim): boolean => a !== undefined && sameDim(a, b)

/** Are the last two axes, queries and keys, what they were? */
function keepsPlane(node: Node, site: Site): boolean {
  const [from, to] = [node.inputs[0], node.outputs[0]].map((x) => site.value(x)?.shape?.slice(-2))
  return opName(node) === 'Cast' || opName(node) === 'Identity'
    ? true
    : from?.length === 2 && to?.length === 2 && from.every((d, i) => sameDim(d, to[i] as Dim))
}

/** The first of positions that are counted up by one along the axis of queries or keys. */
function firstOf(id: string | null | undefined, along: 'queries' | 'keys', site: Site): Dim | undefined {
  const shape = site.value(id)?.shape
  if (id == null || !shape) return undefined
  const axis = along === 'keys' ? shape.length - 1 : shape.length - 2
  if (axis < 0 || shape.some((d, i) => i !== axis && d !== 1)) return undefined
  if (along === 'keys' && shape[axis] === 1) return undefined
  let node = site.producer(id)
  while (node && passing.has(opName(node)) && opName(node) !== 'Expand') node = site.producer(node.inputs[0] as string)
  if (!node || opName(node) !== 'Range' || !sameAs(sizeIn(node.inputs[2], site), 1)) return undefined
  return sizeIn(node.inputs[0], site)
}

/** The number in a value of one element, also where it is a size. */
function sizeIn(id: string | null | undefined, site: Site): Dim | undefined {
  const data = site.constant(id)
  if (data) return ints(data)[0]
  return id == null ? undefined : site.content(id)?.[0]
}

/** Trilu of a matrix of one number: the keys up to the diagonal, or those behind it. */
function isTriangle(node: Node, sense: Sense, past: Dim, site: Site): boolean {
  const isUpper = attrInt(node, 'upper', 1) === 1
  const diagonal = node.inputs[1] == null ? 0 : sizeIn(node.inputs[1], site)
  if (sense === 'seen') return !isUpper && sameAs(diagonal, past)
  return isUpper && sameAs(diagonal, addDims(past, 1)) && isFilled(node.inputs[0], sense, site)
}

/** Is a matrix true everywhere, or low? */
function isFilled(id: string | null | undefined, sense: Sense, site: Site): boolean {
  const node = id == null ? undefined : site.producer(id)
  const data: Tensor | undefined =
    site.constant(id) ?? (node && opName(node) === 'Expand' ? site.constant(node.inputs[0]) : undefined)
  if (!data) return false
  return Array.from(toNumbers(data)).every((x) => (sense === 'added' ? x <= -1000 : x !== 0))
}

/** Does a Slice take the first keys, and every query? */
function isFromFirst({ inputs, outputs }: Node, site: Site): boolean {
  const [axes, rank] = [site.constant(inputs[3]), site.value(outputs[0])?.shape?.length ?? 0]
  const isOfKeys = axes !== undefined && ints(axes).every((a) => a === -1 || a === rank - 1)
  return isOfKeys && inputs[4] == null && sameAs(sizeIn(inputs[1], site), 0)
}

/** Rows from the past on, and columns from the first, of a constant triangle of ones. */
function isCutTriangle(node: Node, past: Dim, site: Site): boolean {
  const from: [row: Dim, column: Dim] = [0, 0]
  let at: Node | undefined = node
  let id: string | null | undefined = node.outputs[0]
  for (; at && opName(at) === 'Slice'; id = at.inputs[0], at = id == null ? undefined : site.producer(id)) {
    const rank = site.value(at.outputs[0])?.shape?.length
    const axes = site.constant(at.inputs[3])
    if (!axes || rank === undefined || at.inputs[4] != null) return false
    const [axis, ...more] = ints(axes).map((a) => (a < 0 ? a : a - rank))
    if (more.length > 0 || (axis !== -1 && axis !== -2)) return false
    const start = sizeIn(at.inputs[1], site)
    if (start === undefined || from[axis + 2] !== 0) return false
    from[(axis + 2) as 0 | 1] = start
  }
  const data = site.constant(id)
  const n = data?.shape.at(-1) ?? 0
  if (!data || data.shape.at(-2) !== n || data.shape.slice(0, -2).some((d) => d !== 1)) return false
  const all = Array.from(toNumbers(data))
  return sameAs(from[0], past) && from[1] === 0 && all.every((x, i) => x === 0 || i % n <= Math.floor(i / n))
}

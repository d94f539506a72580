/**
 * Relu and Clip as clamps [low, high]. One after the other is again one:
 *   clamp(clamp(x, l₁, h₁), l₂, h₂) = clamp(x, clamp(l₁, l₂, h₂), clamp(h₁, l₂, h₂))        for l ≤ h
 * A bound that is not given is infinite.
 */
import { elementCount, isFloat, scalar, toNumbers } from '../../ir/tensor.ts'
import type { DType, Node } from '../../types.ts'
import { defineRule, type Site, usedElsewhere } from './rule.ts'

const clampOps = ['Relu', 'Clip'] as const

interface Clamp {
  readonly low: number
  readonly high: number
}

interface Found {
  readonly first: Node
  readonly second: Node
  readonly dtype: DType
  readonly clamp: Clamp
  /** The second changes nothing. */
  readonly isIdle: boolean
  readonly used: string | undefined
}

/** Relu → Clip and its like become one clamp. */
export const clampClamp = defineRule<Found>({
  name: 'clamp-clamp',
  chain: [clampOps, clampOps],
  match: ([first, second], site) => {
    if (!first || !second || second.inputs[0] !== first.outputs[0]) return undefined
    const [a, b, dtype] = [clampOf(first, site), clampOf(second, site), dtypeOf(first, site) ?? dtypeOf(second, site)]
    if (!a || !b || !dtype || !isFloat(dtype)) return undefined
    const into = (v: number): number => Math.min(Math.max(v, b.low), b.high)
    const clamp = { low: into(a.low), high: into(a.high) }
    const isIdle = clamp.low === a.low && clamp.high === a.high
    if (isIdle && site.draft.isOutput(second.outputs[0] ?? '') && site.draft.isOutput(first.outputs[0] ?? ''))
      return undefined
    return { first, second, dtype, clamp, isIdle, used: isIdle ? undefined : usedElsewhere(first, site) }
  },
  check: (found) => found.used,
  build: ({ first, second, dtype, clamp, isIdle }, site) => {
    const out = second.outputs[0] ?? ''
    site.draft.remove(second)
    if (isIdle) site.draft.rewire(out, first.outputs[0] ?? '')
    else site.draft.replace(first, clampNode(first, out, dtype, clamp, site))
  }
})

/** Clip(x, 0, ∞) is Relu. */
export const clipIsRelu = defineRule<Node>({
  name: 'clip-is-relu',
  chain: [['Clip']],
  match: ([node], site) => {
    const clamp = node && clampOf(node, site)
    const dtype = node && dtypeOf(node, site)
    return node && dtype && isFloat(dtype) && clamp?.low === 0 && clamp.high === Number.POSITIVE_INFINITY
      ? node
      : undefined
  },
  check: () => undefined,
  build: (node, site) => {
    site.draft.replace(node, { ...node, op: 'Relu', inputs: node.inputs.slice(0, 1), attrs: {} })
  }
})

/** The bounds of a Relu or Clip; `undefined` where they are computed, or in the wrong order. */
export function clampOf(node: Node, site: Site): Clamp | undefined {
  if (node.op === 'Relu') return { low: 0, high: Number.POSITIVE_INFINITY }
  if (node.op !== 'Clip') return undefined
  const bound = (id: string | null | undefined, open: number): number | undefined => {
    if (id == null) return open
    const data = site.draft.constant(id)
    if (!data || elementCount(data.shape) !== 1) return undefined
    const v = toNumbers(data)[0] as number
    const edge = data.dtype === 'float32' ? 3.4028234663852886e38 : data.dtype === 'float64' ? Number.MAX_VALUE : 65504
    return Math.abs(v) >= edge ? Math.sign(v) * Number.POSITIVE_INFINITY : v
  }
  const low = bound(node.inputs[1], Number.NEGATIVE_INFINITY)
  const high = bound(node.inputs[2], Number.POSITIVE_INFINITY)
  return low === undefined || high === undefined || !(low <= high) ? undefined : { low, high }
}

function dtypeOf(node: Node, site: Site): DType | undefined {
  const given = node.op === 'Clip' ? node.inputs.slice(1).map(site.value) : []
  return [site.value(node.inputs[0]), site.value(node.outputs[0]), ...given].find((v) => v?.dtype)?.dtype
}

function clampNode(first: Node, out: string, dtype: DType, clamp: Clamp, site: Site): Node {
  const base = { ...first, outputs: [out], attrs: {} }
  const isOpen = clamp.high === Number.POSITIVE_INFINITY
  if (clamp.low === 0 && isOpen) return { ...base, op: 'Relu', inputs: first.inputs.slice(0, 1) }
  const bound = (v: number, name: string): string | null =>
    Number.isFinite(v) ? site.draft.addConstant(scalar(dtype, v), name) : null
  const inputs = [first.inputs[0] ?? null, bound(clamp.low, 'min'), bound(clamp.high, 'max')]
  return { ...base, op: 'Clip', inputs: inputs[2] === null ? inputs.slice(0, 2) : inputs }
}

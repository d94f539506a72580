/**
 * Sizes of values that a pattern makes, read off values that stay. Exporters compute masks and shapes from sizes of keys or
 * scores; such a Shape would hold the whole pattern back, though what it reads is known without.
 */
import { sameDim } from '../../base/dim.ts'
import { attrInt, attrInts } from '../../ir/attrs.ts'
import { opName } from '../../ir/graph.ts'
import { ints, tensor } from '../../ir/tensor.ts'
import type { Node } from '../../types.ts'
import { existing, shared } from './reuse.ts'
import type { Site } from './rule.ts'

/** A number, an axis of a value that stays, or the sum of several. */
export type Size = number | { readonly of: string; readonly axis: number } | readonly Size[]

/** The size of an axis of a value that one of the nodes makes; `undefined` where nothing else tells it. */
function sizeOf(id: string, axis: number, gone: ReadonlySet<Node>, site: Site): Size | undefined {
  const shape = site.value(id)?.shape
  const dim = shape?.[axis]
  if (!shape || dim === undefined || typeof dim === 'number') return dim as number | undefined
  const node = site.producer(id)
  if (!node || !gone.has(node)) return { of: id, axis }
  if (opName(node) === 'Transpose') {
    const from = attrInts(node, 'perm')?.[axis] ?? shape.length - 1 - axis
    return sizeOf(node.inputs[0] as string, from, gone, site)
  }
  const joined = attrInt(node, 'axis', 0)
  if (opName(node) === 'Concat' && (joined < 0 ? joined + shape.length : joined) === axis) {
    const parts = node.inputs.map((x) => sizeOf(x as string, axis, gone, site))
    return parts.every((p) => p !== undefined) ? parts : undefined
  }
  if (opName(node) === 'Reshape' && staysAt(node, axis, site)) return sizeOf(node.inputs[0] as string, axis, gone, site)
  // Sizes of one name are equal, whatever the operator.
  for (const input of node.inputs) {
    const at = site.value(input)?.shape?.findIndex((d) => sameDim(d, dim)) ?? -1
    if (input !== null && at >= 0) return sizeOf(input, at, gone, site)
  }
  return undefined
}

/** Does a Reshape leave an axis as it is: by a 0, or by a −1 in front of what the last axis of its data is split into? */
function staysAt({ inputs }: Node, axis: number, site: Site): boolean {
  const [data, target] = [site.value(inputs[0])?.shape, site.constant(inputs[1])]
  if (!data || !target) return false
  const to = ints(target)
  if (to.slice(0, axis).some((d) => d !== 0)) return false
  const last = to.slice(axis + 1).reduce((product, d) => product * d, 1)
  return to[axis] === 0 || (to[axis] === -1 && axis === data.length - 2 && last === data.at(-1))
}

/** What a Shape reads of a value that one of the nodes makes, where it can be read elsewhere. */
export function sizesRead(node: Node, gone: ReadonlySet<Node>, site: Site): readonly Size[] | undefined {
  if (opName(node) !== 'Shape') return undefined
  const id = node.inputs[0] as string
  const axes = [...(site.value(id)?.shape ?? []).keys()]
  const read = axes.slice(attrInt(node, 'start', 0), attrInt(node, 'end', axes.length))
  const sizes = read.map((axis) => sizeOf(id, axis, gone, site))
  return sizes.length > 0 && sizes.every((s) => s !== undefined) ? sizes : undefined
}

/** Shapes of what goes become sizes of what stays. `root`: its output stays. */
export function untie(gone: ReadonlySet<Node>, root: Node, site: Site): void {
  for (const node of gone)
    for (const id of node === root ? [] : node.outputs)
      for (const reader of site.consumers(id)) {
        const sizes = sizesRead(reader, gone, site)
        if (!sizes) continue
        const inputs = sizes.map((s) => sizeValue(s, site))
        const { domain: _, ...base } = reader
        site.draft.replace(reader, { ...base, op: 'Concat', inputs, attrs: { axis: { kind: 'int', value: 0 } } })
      }
}

/** A value that holds a size, int64 [1]; what reads the same shares it. */
export function sizeValue(size: Size, site: Site): string {
  const type = { dtype: 'int64', shape: [1] } as const
  if (typeof size === 'number') return shared(tensor('int64', [1], [size]), `size_${size}`, site)
  if ('of' in size) {
    const attrs = { start: size.axis, end: size.axis + 1 }
    return existing('Shape', [size.of], `${size.of}_size_${size.axis}`, type, site, attrs)
  }
  const [first = '', ...others] = size.map((s) => sizeValue(s, site))
  return others.reduce((sum, part) => existing('Add', [sum, part], `${sum}_sum`, type, site), first)
}

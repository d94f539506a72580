/** What a rule adds to a graph, once for all places that need it. */
import { attrs as makeAttrs } from '../../ir/attrs.ts'
import { opName } from '../../ir/graph.ts'
import { equalTensors } from '../../ir/tensor.ts'
import type { AttrInput, Node, Tensor, ValueType } from '../../types.ts'
import type { Site } from './rule.ts'

/** The first output of a node of these inputs and attributes: one that is there already, or a new one. */
export function existing(
  op: string,
  inputs: readonly string[],
  hint: string,
  type: Omit<ValueType, 'type'>,
  site: Site,
  attrs: Readonly<Record<string, AttrInput>> = {}
): string {
  const same = (n: Node): boolean =>
    opName(n) === op &&
    n.inputs.join() === inputs.join() &&
    JSON.stringify(n.attrs) === JSON.stringify(makeAttrs(attrs))
  const known = site.consumers(inputs[0] as string).find(same)
  if (known) return known.outputs[0] as string
  return site.draft.add(op, inputs, { name: hint, attrs, type: { ...type, type: 'tensor' } })
}

/** A constant under this name, which layers share. */
export function shared(data: Tensor, id: string, site: Site): string {
  const known = site.constant(id)
  return known && equalTensors(known, data) ? id : site.draft.addConstant(data, id)
}

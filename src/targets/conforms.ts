/** Is a model what a target loads? Asked before anything is written. */
import { PareError } from '../base/errors.ts'
import { listed } from '../base/listed.ts'
import { mapGraphs } from '../ir/edit.ts'
import { allGraphs, opName } from '../ir/graph.ts'
import type { Attr, DType, Form, Model, ValueType } from '../types.ts'
import type { Target } from './types.ts'

/** Something in a model that its target does not load, and the nodes or values that have it. */
export interface Misfit {
  readonly kind: 'operator' | 'element type' | 'form'
  readonly name: string
  readonly at: readonly string[]
}

/** Forms that every target has: `auto` is the smallest of those that it has, if need be the constant as it is. */
const anywhere: readonly Form[] = ['plain', 'auto']

/** The model as files of its target hold it: constants to be stored in the fewest bytes as they are, where these have no form for that. */
export function inFormsOf(target: Target, model: Model): { readonly model: Model; readonly notes: readonly string[] } {
  if (target.forms.includes('auto')) return { model, notes: [] }
  const whole: string[] = []
  const made = mapGraphs(model, (graph) => {
    const found = [...graph.values.values()].filter((v) => v.form === 'auto')
    if (found.length === 0) return graph
    for (const v of found) whole.push(v.id)
    const plain = found.map(({ form: _, ...v }) => [v.id, v] as const)
    return { ...graph, values: new Map([...graph.values, ...plain]) }
  })
  if (whole.length === 0) return { model, notes: [] }
  return {
    model: made,
    notes: [`${listed(whole)}: pruned or of few values, stored as files of ${target.name} hold any constant`]
  }
}

/** What of a model its target does not load; nothing where it loads all. */
export function conforms(model: Model, target: Target): readonly Misfit[] {
  const found = new Map<string, { readonly kind: Misfit['kind']; readonly name: string; readonly at: string[] }>()
  const add = (kind: Misfit['kind'], name: string, at: string): void => {
    const key = `${kind} ${name}`
    const known = found.get(key)
    if (known) known.at.push(at)
    else found.set(key, { kind, name, at: [at] })
  }
  const takes = (dtype: DType): boolean => target.elements === 'all' || target.elements.includes(dtype)
  for (const graph of allGraphs(model)) {
    for (const node of graph.nodes) {
      const name = opName(node)
      if (target.operators !== 'all' && !target.operators.includes(name)) add('operator', name, node.name)
      for (const attr of Object.values(node.attrs))
        for (const dtype of typesIn(attr)) if (!takes(dtype)) add('element type', dtype, node.name)
    }
    for (const v of graph.values.values()) {
      const dtype = v.data?.dtype ?? elementOf(v)
      if (dtype !== undefined && !takes(dtype)) add('element type', dtype, v.id)
      if (v.data && v.form !== undefined && !anywhere.includes(v.form) && !target.forms.includes(v.form))
        add('form', v.form, v.id)
    }
  }
  return [...found.values()]
}

const elementOf = (v: ValueType): DType | undefined => v.dtype ?? (v.of && elementOf(v.of))

function typesIn(attr: Attr): readonly DType[] {
  if (attr.kind === 'tensor') return [attr.value.dtype]
  return attr.kind === 'tensors' ? attr.value.map((t) => t.dtype) : []
}

/** `operator Gelu (act, act_2), form foldable (W1)` */
export const misfitText = (misfits: readonly Misfit[]): string =>
  misfits.map((m) => `${m.kind} ${m.name} (${listed(m.at)})`).join(', ')

const plural = { operator: 'operators', 'element type': 'element types', form: 'forms of constants' } as const

/** Throws `E_UNSUPPORTED` that names what the target does not load, and where it is. */
export function refuseMisfits(model: Model, target: Target): void {
  if (model.origin?.compiled)
    throw new PareError('E_UNSUPPORTED', 'a compiled model is not written again, in no format', {
      hint: 'take the model that it was made from'
    })
  const misfits = conforms(model, target)
  const [first] = misfits
  if (!first) return
  const facts = Object.entries(plural).flatMap(([kind, words]) => {
    const of = misfits.filter((m) => m.kind === kind)
    return of.length === 0 ? [] : [[words, of.map((m) => `${m.name}: ${listed(m.at)}`).join('; ')] as const]
  })
  throw new PareError('E_UNSUPPORTED', `target ${target.name} does not load this model: ${misfitText(misfits)}`, {
    where: first.at[0] ?? target.name,
    facts: Object.fromEntries(facts),
    hint: 'choose another target, or other options of what made the model'
  })
}

/**
 * How constants are spelled in a file. In the IR a weight is a constant: of few values, with zeros, or of integers that
 * DequantizeLinear reads; `form` says how the file holds it. Three things are spelled: DequantizeLinear of a folding form
 * (foldable.ts), the constants themselves, each by an entry of the table below (`store`, `read`), and `nbits` (nbits.ts).
 * Each is recognised again, so that reading what was written is the identity.
 */
import { PareError } from '../../base/errors.ts'
import { mapGraphs } from '../../ir/edit.ts'
import { allGraphs, reads } from '../../ir/graph.ts'
import { isInteger } from '../../ir/tensor.ts'
import type { Form, Graph, Model, Node, Tensor, Value } from '../../types.ts'
import { bitmap, blocks } from './bitmap.ts'
import { cheapest, type Encoding, recogniseExpansions, type Stored, spellExpansions } from './expand.ts'
import { spellFoldable } from './foldable.ts'
import { recogniseFoldable } from './foldable-read.ts'
import { gap } from './gap.ts'
import { accuracyKey, recogniseNbits, spellNbits } from './nbits.ts'
import { packed, packedTypes } from './packed.ts'
import { palette } from './palette.ts'
import { asIs as storedPlain } from './sparse.ts'
import { type Constant, type Rewrite, wholeOf } from './whole.ts'

/** Ways to store constants. The first that recognises nodes has them. */
const encodings: readonly Encoding[] = [packed, palette, gap, bitmap, blocks]

/** Forms that a file holds as they are. */
const asIs: readonly Form[] = ['plain', 'qdq']

/** A model as it is written. */
interface Spelled {
  readonly model: Model
  /** Constants of the written model that are gone once the engine has folded it, with the constant they stand for. */
  readonly stored: ReadonlyMap<string, string>
}

/** Expands forms into the nodes that spell them, such as `opset` has. Throws `E_UNSUPPORTED` for a constant that its form cannot hold. */
export const spellForms = (model: Model, opset = model.opset): Model => spell(model, opset).model

function spell(model: Model, opset: number): Spelled {
  const marked = allGraphs(model).flatMap((g) =>
    [...g.values.values()].filter(
      (v): v is Constant => v.data !== undefined && v.form !== undefined && !asIs.includes(v.form)
    )
  )
  if (marked.length === 0) return { model, stored: new Map() }
  const direct = apply(model, spellNbits(model))
  const folding = apply(direct, spellFoldable(wholeOf(direct)))
  const whole = wholeOf(folding)
  for (const v of marked) {
    const reader =
      v.form !== 'nbits' && packedTypes.includes(v.data.dtype) && whole.readers(v.id).find((n) => n.op !== 'Cast')
    if (reader)
      throw new PareError(
        'E_UNSUPPORTED',
        `form "${v.form}" cannot spell ${v.id}: ${reader.op} reads ${v.data.dtype}`,
        {
          where: reader.name
        }
      )
  }
  const expanded = spellExpansions(folding, (v) => storedAs(v, opset))
  const whole8 = marked.filter(
    (v) => v.form === 'foldable' && isInteger(v.data.dtype) && !packedTypes.includes(v.data.dtype)
  )
  return { model: expanded.model, stored: new Map([...whole8.map((v) => [v.id, v.id] as const), ...expanded.payloads]) }
}

/** The smallest way to store a constant in its form. */
function storedAs(v: Constant, opset: number): Stored | undefined {
  const { form, data } = v
  if (form === undefined || asIs.includes(form) || form === 'nbits') return undefined
  if (form === 'auto') return smallest(data, opset)
  if (form === 'foldable' && !packedTypes.includes(data.dtype)) return undefined
  const ways = encodings.find((e) => e.form === form)?.store(data) ?? 'there is no such form in ONNX'
  if (typeof ways === 'string')
    throw new PareError('E_UNSUPPORTED', `form "${form}" cannot spell ${v.id}: ${ways}`, { where: v.id })
  return cheapest(ways.filter((w) => w.opset <= opset))
}

/** The smallest of all forms; `undefined` where that is the constant as it is. */
function smallest(data: Tensor, opset: number): Stored | undefined {
  const ways = encodings.flatMap((e) => {
    const own = e.store(data)
    return typeof own === 'string' ? [] : own.filter((w) => w.opset <= opset)
  })
  if (packedTypes.includes(data.dtype)) return cheapest(ways)
  const plain = storedPlain(data)
  const best = cheapest([plain, ...ways])
  return best === plain ? undefined : best
}

/** Turns spelled constants back into constants with their form. The very same model when there are none. */
export function recogniseForms(model: Model): Model {
  const folded = recogniseExpansions(model, encodings)
  const out = apply(folded, recogniseFoldable(wholeOf(folded)))
  const { rewrite, level } = recogniseNbits(out)
  const made = apply(out, rewrite)
  return level === undefined ? made : { ...made, meta: { ...made.meta, [accuracyKey]: level } }
}

/** Does the written graph itself show the form? */
export function isStructural(v: Value): boolean {
  if (!v.data || v.form === undefined || asIs.includes(v.form) || v.form === 'auto') return false
  return v.form !== 'foldable' || isInteger(v.data.dtype)
}

/**
 * Constants whose spelling the engine did not fold away, by id: those of a folding form of which its optimised graph
 * still holds what the file stored. Empty when all runs as plain float kernels.
 */
export function unfolded(model: Model, optimized: Model): string[] {
  const { stored } = spell(model, model.opset)
  const kept = allGraphs(optimized).flatMap((g) => [...g.values.values()].filter((v) => v.data).map((v) => v.id))
  return [...new Set(kept.flatMap((id) => stored.get(id) ?? []))]
}

function apply(model: Model, { replaced, changed }: Rewrite): Model {
  if (replaced.size === 0 && changed.size === 0) return model
  return mapGraphs(model, (graph) => {
    const isTouched = graph.nodes.some((n) => replaced.has(n)) || [...changed.keys()].some((id) => graph.values.has(id))
    return isTouched ? applyTo(graph, replaced, changed) : graph
  })
}

function applyTo(graph: Graph, replaced: Rewrite['replaced'], changed: Rewrite['changed']): Graph {
  const values = new Map([...graph.values].map(([id, v]) => [id, changed.get(id) ?? v] as const))
  const nodes: Node[] = []
  const loose = new Set<string>()
  for (const n of graph.nodes) {
    const made = replaced.get(n)
    for (const v of made?.values ?? []) values.set(v.id, v)
    for (const node of made?.nodes ?? [n]) nodes.push(node)
    if (made) for (const id of [...n.inputs, ...n.outputs]) if (id) loose.add(id)
  }
  const used = new Set([...graph.inputs, ...graph.outputs, ...nodes.flatMap((n) => [...reads(n), ...n.outputs])])
  for (const id of loose) if (!used.has(id)) values.delete(id)
  return { ...graph, nodes, values }
}

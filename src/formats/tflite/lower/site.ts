/**
 * Lowering: nodes of ONNX become nodes of the domain `tflite`, whose operators are TensorFlow Lite's and whose attributes are the
 * fields of its options. A rule writes them in place of one node, or refuses with a reason.
 */
import { PareError } from '../../../base/errors.ts'
import { attrInt, attrs as makeAttrs } from '../../../ir/attrs.ts'
import type { Draft } from '../../../ir/edit.ts'
import { factsOf } from '../../../ir/graph.ts'
import { isIdentity, permuteTensor } from '../../../ir/order.ts'
import { scalar, tensor } from '../../../ir/tensor.ts'
import type { Known, NodeFacts, Order } from '../../../ops/types.ts'
import type { AttrInput, DType, Node, Tensor } from '../../../types.ts'

export const domain = 'tflite'

/** Operators of a file's maker, which stay as they are. */
export const customDomain = 'tflite.custom'

export const isLowered = (node: Node): boolean => node.domain === domain || node.domain === customDomain

export type Fields = Readonly<Record<string, AttrInput | undefined>>

/** What a new value is; `as`: the value of the graph that it takes the place of. */
export interface Result {
  readonly shape: readonly number[]
  readonly dtype?: DType
  readonly as?: string
}

/** A node about to be lowered. */
export interface Site {
  readonly node: Node
  readonly facts: NodeFacts
  readonly draft: Draft
  /** Sizes of an input, all of them numbers. */
  dims(input?: number): readonly number[]
  /** The first output: its name, type and sizes. */
  readonly y: Required<Result>
  id(input?: number): string
  has(input: number): boolean
  /** The content of a constant input. */
  constant(input: number): Tensor | undefined
  data(t: Tensor, hint?: string): string
  /** A float constant of the type that the first input has. */
  number(value: number): string
  ints(values: readonly number[]): string
  /** Adds an operator of TensorFlow Lite. */
  op(code: string, inputs: readonly (string | null)[], fields: Fields, result: Result): string
  /** Adds an operator of ONNX, to be lowered later. */
  onnx(op: string, inputs: readonly (string | null)[], attrs: Fields, result: Result): string
  /** Is the first size of a value that of a batch, which the model leaves open? */
  isOpen(id: string): boolean
  /** A value with its axes in another order: a constant or its codes at once, anything else through a Transpose. */
  turned(id: string, order: Order, as?: string): string
}

/** Throws what a rule refuses with. */
export function refuse(reason: string): never {
  throw new PareError('E_UNSUPPORTED', reason)
}

export type Rule = (s: Site) => void

/** Rules by name of the operator, with its domain outside ONNX's. */
export type Rules = Readonly<Record<string, Rule>>

export function siteOf(draft: Draft, node: Node, open: Set<string>): Site {
  const facts = factsOf(draft, node)
  const dimsOf = (k: Known | undefined): readonly number[] => {
    if (!k?.shape) refuse('its shape is not known before running')
    return k.shape.map((d) => (typeof d === 'number' ? d : refuse(`its size ${d} is not known before running`)))
  }
  const type = (id: string, { shape, dtype }: Result): void => {
    const old = draft.value(id)
    draft.set({ ...old, id, type: 'tensor', shape, dtype: dtype ?? facts.inputs[0]?.dtype ?? 'float32' })
  }
  const add = (
    op: string,
    own: string | undefined,
    inputs: readonly (string | null)[],
    fields: Fields,
    r: Result,
    remarks = node.remarks
  ): string => {
    const id = r.as ?? draft.fresh(`${node.outputs[0]}_${op.toLowerCase()}`)
    if (open.has(node.outputs[0] as string) && inputs.some((x) => x !== null && open.has(x))) open.add(id)
    const name = draft.fresh(r.as === undefined ? id : node.name)
    draft.addNode({
      name,
      op,
      ...(own === undefined ? {} : { domain: own }),
      inputs,
      outputs: [id],
      attrs: makeAttrs(fields),
      ...(remarks ? { remarks } : {})
    })
    type(id, r)
    return id
  }
  const site: Site = {
    node,
    facts,
    draft,
    dims: (input = 0) => dimsOf(facts.inputs[input]),
    get y() {
      const dtype = facts.outputs[0]?.dtype ?? refuse('the type of its output is not known')
      return { as: node.outputs[0] as string, shape: dimsOf(facts.outputs[0]), dtype }
    },
    id: (input = 0) => node.inputs[input] ?? refuse(`input ${input} is missing`),
    has: (input) => node.inputs[input] != null,
    constant: (input) => draft.constant(node.inputs[input]),
    data: (t, hint = `${node.outputs[0]}_c`) => draft.addConstant(t, hint),
    number: (value) => site.data(scalar(facts.inputs[0]?.dtype ?? 'float32', value)),
    ints: (values) => site.data(tensor('int32', [values.length], values)),
    op: (code, inputs, fields, r) => add(code, domain, inputs, fields, r),
    onnx: (op, inputs, fields, r) => add(op, undefined, inputs, fields, r),
    isOpen: (id) => open.has(id),
    turned: (id, order, as) => {
      if (isIdentity(order) && as === undefined) return id
      const constant = draft.constant(id)
      if (constant && as === undefined) return draft.addConstant(permuteTensor(constant, order), id)
      const codes = as === undefined ? codesOf(draft, id) : undefined
      const narrow = as === undefined ? narrowOf(draft, id) : undefined
      const v = draft.value(id)
      const shape = dimsOf(v)
      const result = { shape: order.map((a) => shape[a] as number), ...(v?.dtype ? { dtype: v.dtype } : {}) }
      if (codes) {
        const axis = attrInt(codes.node, 'axis', 1)
        const made = draft.addConstant(permuteTensor(codes.data, order), codes.node.inputs[0] as string)
        const fields = { ...codes.node.attrs, axis: order.indexOf((axis + order.length) % order.length) }
        const { op, inputs, remarks } = codes.node
        return add(op, undefined, [made, ...inputs.slice(1)], fields, result, remarks)
      }
      if (narrow) {
        const made = draft.addConstant(permuteTensor(narrow.data, order), narrow.node.inputs[0] as string)
        const { op, domain: own, attrs } = narrow.node
        return add(op, own, [made], attrs, result)
      }
      return site.onnx('Transpose', [id], { perm: order }, { ...result, ...(as === undefined ? {} : { as }) })
    }
  }
  return site
}

/** The schema's name of an element type. */
export const typeName = (dtype: DType): string => dtype.replace('float8e', 'float8_e').toUpperCase()

/** The node that gives constant codes their numbers, and the codes. */
export function codesOf(draft: Draft, id: string): { readonly node: Node; readonly data: Tensor } | undefined {
  const node = draft.producer(id)
  const data = draft.constant(node?.inputs[0])
  return node?.op === 'DequantizeLinear' && node.domain === undefined && data ? { node, data } : undefined
}

/** The node that widens a constant of float16, and the constant. */
export function narrowOf(draft: Draft, id: string): { readonly node: Node; readonly data: Tensor } | undefined {
  const node = draft.producer(id)
  const data = draft.constant(node?.inputs[0])
  const isCast = node?.op === 'Cast' && node.domain === undefined
  const isWidened = node?.op === 'DEQUANTIZE' && isLowered(node)
  return node && data?.dtype === 'float16' && (isCast || isWidened) ? { node, data } : undefined
}

/** Is a value a constant, or one stored in fewer bits? */
export const isFixed = (draft: Draft, id: string): boolean =>
  draft.constant(id) !== undefined || codesOf(draft, id) !== undefined || narrowOf(draft, id) !== undefined

/** The order from channels first to channels last, and back. */
export const toLast = (rank: number): Order => [0, ...Array.from({ length: rank - 2 }, (_, i) => i + 2), 1]
export const toFirst = (rank: number): Order => [0, rank - 1, ...Array.from({ length: rank - 2 }, (_, i) => i + 1)]

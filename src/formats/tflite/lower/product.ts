/** Products of matrices: FULLY_CONNECTED with a constant weight [outputs, inputs], BATCH_MATMUL of two computed ones. */
import { attrFloat, attrInt } from '../../../ir/attrs.ts'
import { elementCount, tensor, toFloats } from '../../../ir/tensor.ts'
import type { Node } from '../../../types.ts'
import { isFixed, type Result, type Rules, refuse, type Site } from './site.ts'

/** A constant that adds one number to each output; `undefined` for any other. */
function asBias(s: Site, id: string | null | undefined, outputs: number): string | undefined {
  const shape = id == null ? undefined : s.draft.value(id)?.shape
  if (id == null || !shape || !isFixed(s.draft, id) || shape.at(-1) !== outputs) return undefined
  if (elementCount(shape as readonly number[]) !== outputs) return undefined
  const data = s.draft.constant(id)
  if (shape.length === 1) return id
  return data ? s.data({ ...data, shape: [outputs] }, id) : undefined
}

/** The Add right behind a node that adds a bias to what it makes. */
function biasBehind(s: Site, outputs: number): { readonly add: Node; readonly bias: string } | undefined {
  const add = s.draft.soleConsumer(s.y.as)
  if (add?.op !== 'Add' || add.domain !== undefined) return undefined
  const bias = asBias(s, add.inputs[0] === s.y.as ? add.inputs[1] : add.inputs[0], outputs)
  return bias === undefined ? undefined : { add, bias }
}

function matMul(s: Site): void {
  const [a, b, y] = [s.dims(0), s.dims(1), s.y]
  if (b.length !== 2 || !isFixed(s.draft, s.id(1)) || a.length < 2) {
    batches(s)
    return
  }
  const outputs = b[1] as number
  const found = biasBehind(s, outputs)
  const fields = { keep_num_dims: Number(a.length > 2) }
  const inputs = [s.id(0), s.turned(s.id(1), [1, 0]), found?.bias ?? null]
  if (!found) {
    s.op('FULLY_CONNECTED', inputs, fields, y)
    return
  }
  const as = found.add.outputs[0] as string
  s.draft.remove(found.add)
  s.op('FULLY_CONNECTED', inputs, fields, { ...y, as })
}

function batches(s: Site): void {
  const [a, b] = [s.dims(0), s.dims(1)]
  if (a.length < 2 || b.length < 2) refuse('a product with a vector')
  s.op('BATCH_MATMUL', [s.id(0), s.id(1)], {}, s.y)
}

/** alpha · A · B + beta · C. */
function gemm(s: Site): void {
  const { shape, as, dtype } = s.y
  const outputs = shape[1] as number
  const [alpha, beta] = [attrFloat(s.node, 'alpha', 1), attrFloat(s.node, 'beta', 1)]
  const x = attrInt(s.node, 'transA', 0) === 0 ? s.id(0) : s.turned(s.id(0), [1, 0])
  const isTurned = attrInt(s.node, 'transB', 0) !== 0
  const bias = s.has(2) ? (asBias(s, s.id(2), outputs) ?? spread(s, outputs)) : null
  const isPlain = alpha === 1 && (beta === 1 || bias === null)
  const within = isPlain && (bias !== null || !s.has(2))
  const last: Result = within ? { shape, as, dtype } : { shape, dtype }
  const made = isFixed(s.draft, s.id(1))
    ? s.op('FULLY_CONNECTED', [x, isTurned ? s.id(1) : s.turned(s.id(1), [1, 0]), within ? bias : null], {}, last)
    : within && bias === null
      ? s.op('BATCH_MATMUL', [x, s.id(1)], { adj_y: Number(isTurned) }, last)
      : s.op('BATCH_MATMUL', [x, s.id(1)], { adj_y: Number(isTurned) }, { shape, dtype })
  if (within && (bias === null || isFixed(s.draft, s.id(1)))) return
  const scaled = alpha === 1 ? made : s.op('MUL', [made, s.number(alpha)], {}, { shape })
  if (!s.has(2)) {
    s.onnx('Identity', [scaled], {}, s.y)
    return
  }
  const added = beta === 1 ? s.id(2) : s.op('MUL', [s.id(2), s.number(beta)], {}, { shape: s.dims(2) })
  s.op('ADD', [scaled, added], {}, s.y)
}

/** One number for all outputs as one for each. */
function spread(s: Site, outputs: number): string | null {
  const data = s.constant(2)
  if (!data || elementCount(data.shape) !== 1) return null
  return s.data(tensor('float32', [outputs], Array<number>(outputs).fill(toFloats(data)[0] as number)), s.id(2))
}

export const productRules: Rules = { MatMul: matMul, Gemm: gemm }

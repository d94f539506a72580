/** Gradients of matrix products: dA = dY·Bᵀ, dB = Aᵀ·dY, summed over the axes along which an operand was repeated. */
import { PareError } from '../base/errors.ts'
import { attrFloat, attrInt } from '../ir/attrs.ts'
import { contraction, labelsOf, termsOf } from './einsum.ts'
import { algebra, expand, inputOf, range, reshape, rule, sumTo, total, transpose, wants } from './grad.ts'
import type { Grad, GradBuilder, Ref } from './types.ts'

const turned = (g: GradBuilder, x: Ref): Ref => {
  const rank = x.shape.length
  return transpose(g, x, [...range(rank - 2), rank - 1, rank - 2])
}

const matMul: Grad = rule((g, n, dy) => {
  const [a, b] = [inputOf(g, n, 0), inputOf(g, n, 1)]
  // A vector is a matrix of one row or one column, which the result does not have.
  const left = a.shape.length === 1 ? reshape(g, a, [1, ...a.shape]) : a
  const right = b.shape.length === 1 ? reshape(g, b, [...b.shape, 1]) : b
  const rows = a.shape.length === 1 ? [1] : [a.shape.at(-2) as number]
  const columns = b.shape.length === 1 ? [1] : [b.shape.at(-1) as number]
  const lead = dy.shape.slice(0, dy.shape.length - Number(a.shape.length > 1) - Number(b.shape.length > 1))
  const d = reshape(g, dy, [...lead, ...rows, ...columns])
  return [
    wants(g, n, 0) ? reshape(g, sumTo(g, g.op('MatMul', [d, turned(g, right)]), left.shape), a.shape) : null,
    wants(g, n, 1) ? reshape(g, byRight(g, left, right, d), b.shape) : null
  ]
})

/** One product over all rows where the right operand has no batch of its own. */
function byRight(g: GradBuilder, left: Ref, right: Ref, d: Ref): Ref {
  if (right.shape.length !== 2 || left.shape.length <= 2)
    return sumTo(g, g.op('MatMul', [turned(g, left), d]), right.shape)
  const flat = (x: Ref): Ref => reshape(g, x, [total(x.shape.slice(0, -1)), x.shape.at(-1) as number])
  return g.op('Gemm', [flat(left), flat(d)], { transA: 1 })
}

/** Y = α·A′·B′ + β·C, where ′ transposes as the attributes say. */
const gemm: Grad = rule((g, n, dy) => {
  const [a, b] = [inputOf(g, n, 0), inputOf(g, n, 1)]
  const [transA, transB] = [attrInt(n.node, 'transA', 0), attrInt(n.node, 'transB', 0)]
  const [alpha, beta] = [attrFloat(n.node, 'alpha', 1), attrFloat(n.node, 'beta', 1)]
  const product = (left: Ref, right: Ref, ta: number, tb: number): Ref =>
    g.op('Gemm', [left, right], {
      transA: ta || undefined,
      transB: tb || undefined,
      alpha: alpha === 1 ? undefined : { kind: 'float', value: alpha }
    })
  const byC = (): Ref => {
    const sum = sumTo(g, dy, inputOf(g, n, 2).shape)
    return beta === 1 ? sum : algebra(g).mul(sum, beta)
  }
  return [
    wants(g, n, 0) ? (transA ? product(b, dy, transB, 1) : product(dy, b, 0, 1 - transB)) : null,
    wants(g, n, 1) ? (transB ? product(dy, a, 1, transA) : product(a, dy, 1 - transA, 0)) : null,
    wants(g, n, 2) ? byC() : null
  ].slice(0, n.node.inputs.length)
})

/** com.microsoft: α·A′·B′ on the last two axes. */
const fusedMatMul: Grad = (g, n, dys) => {
  const [a, b, dy] = [inputOf(g, n, 0), inputOf(g, n, 1), dys[0]]
  if (!dy) return [null, null]
  if (
    attrInt(n.node, 'transBatchA', 0) ||
    attrInt(n.node, 'transBatchB', 0) ||
    a.shape.length < 2 ||
    b.shape.length < 2
  )
    throw new PareError('E_UNSUPPORTED', 'no gradient of FusedMatMul with transposed batches or vectors', {
      where: n.node.name
    })
  const alpha = attrFloat(n.node, 'alpha', 1)
  const d = alpha === 1 ? dy : algebra(g).mul(dy, alpha)
  const [transA, transB] = [attrInt(n.node, 'transA', 0) !== 0, attrInt(n.node, 'transB', 0) !== 0]
  const [left, right] = [transA ? turned(g, a) : a, transB ? turned(g, b) : b]
  const byA = (): Ref => sumTo(g, g.op('MatMul', [d, turned(g, right)]), left.shape)
  const byB = (): Ref => sumTo(g, g.op('MatMul', [turned(g, left), d]), right.shape)
  return [
    wants(g, n, 0) ? (transA ? turned(g, byA()) : byA()) : null,
    wants(g, n, 1) ? (transB ? turned(g, byB()) : byB()) : null
  ]
}

// ---------------------------------------------------------------- Einsum

/** By an operand: the product of dY and the other operands over all labels it lacks, repeated along those only it has. */
const einsum: Grad = rule((g, n, dy) => {
  const { inputs: terms } = termsOf(n)
  const found = contraction(n)
  const labels = terms.map((term, i) => labelsOf(n, term, inputOf(g, n, i).shape.length))
  const output = found?.output ?? []
  const letter = lettersFor([...labels.flat(), ...output])
  const spell = (list: readonly string[]): string => list.map(letter).join('')
  return terms.map((_, i) => {
    if (!wants(g, n, i)) return null
    const own = labels[i] as readonly string[]
    if (new Set(own).size !== own.length)
      throw new PareError('E_UNSUPPORTED', 'no gradient of Einsum where a term repeats a label', { where: n.node.name })
    const x = inputOf(g, n, i)
    const others = terms.map((_, j) => j).filter((j) => j !== i)
    const elsewhere = new Set([...output, ...others.flatMap((j) => labels[j] as readonly string[])])
    const isWhole = (l: string, axis: number): boolean => x.shape[axis] === found?.sizes.get(l)
    const kept = own.filter((l, axis) => elsewhere.has(l) && isWhole(l, axis))
    const equation = `${[spell(output), ...others.map((j) => spell(labels[j] as readonly string[]))].join(',')}->${spell(kept)}`
    const product = g.op('Einsum', [dy, ...others.map((j) => inputOf(g, n, j))], { equation })
    const shape = own.map((l, axis) => (kept.includes(l) ? (x.shape[axis] as number) : 1))
    return expand(g, reshape(g, product, shape), x.shape)
  })
})

/** A letter for each label; those of an ellipsis get letters that no term uses. */
function lettersFor(labels: readonly string[]): (label: string) => string {
  const used = new Set(labels.filter((l) => l.length === 1))
  const free = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'].filter((l) => !used.has(l))
  const hidden = [...new Set(labels.filter((l) => l.length > 1))]
  return (label) => (label.length === 1 ? label : (free[hidden.indexOf(label)] as string))
}

export const matmulGrads: Readonly<Record<string, Grad>> = {
  MatMul: matMul,
  Gemm: gemm,
  'com.microsoft:FusedMatMul': fusedMatMul,
  Einsum: einsum
}

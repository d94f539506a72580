/**
 * Matrix products. MatMul follows numpy: the last two axes multiply, those before broadcast, a vector gains an axis of 1
 * that the result loses again. MACs = elements of the result × length of the summed axis.
 */
import { unknownDim } from '../base/dim.ts'
import { attrInt } from '../ir/attrs.ts'
import type { Dim, DType } from '../types.ts'
import { withChannels } from './channels.ts'
import { einsumCost, inferEinsum } from './einsum.ts'
import { matrixLinear, type Places } from './linear.ts'
import { matmulChannels } from './matmul.channels.ts'
import { matmulGrads } from './matmul.grad.ts'
import { broadcast, dtypeOf, fail, normalFor, shapeOf, single, tensorType, withGrads } from './op.ts'
import type { Cost, Known, NodeFacts, NodeView, Op, QuantRule, WeightPlace } from './types.ts'
import { times, volume } from './window.ts'

interface MatMulForm {
  /** Positions of the two matrices. */
  readonly a: number
  readonly b: number
  readonly dtype: (n: NodeView) => DType | undefined
}

function inferMatMul(n: NodeView, form: MatMulForm): readonly (Known | undefined)[] {
  const [a, b] = [operand(n, form.a, 'A'), operand(n, form.b, 'B')]
  return [tensorType(form.dtype(n), a && b && product(n, a, b))]
}

/** Shape of a matrix, transposed as FusedMatMul's attributes say (`transBatch`: the first axis moves before the last two). */
function operand(n: NodeView, input: number, letter: 'A' | 'B'): readonly Dim[] | undefined {
  const shape = shapeOf(n, input)
  if (!shape || shape.length < 2) return shape
  const batched = attrInt(n.node, `transBatch${letter}`, 0) !== 0
  const moved = batched ? [...shape.slice(1, -1), shape[0] as Dim, shape.at(-1) as Dim] : shape
  if (attrInt(n.node, `trans${letter}`, 0) === 0) return moved
  return [...moved.slice(0, -2), moved.at(-1) as Dim, moved.at(-2) as Dim]
}

function product(n: NodeView, a: readonly Dim[], b: readonly Dim[]): readonly Dim[] | undefined {
  if (a.length === 0 || b.length === 0) fail(n, 'a scalar is no matrix')
  const left = a.length === 1 ? [1, ...a] : a
  const right = b.length === 1 ? [...b, 1] : b
  sameInner(n, left.at(-1) as Dim, right.at(-2) as Dim)
  const batch = broadcast(n, [left.slice(0, -2), right.slice(0, -2)])
  const rows = a.length === 1 ? [] : [left.at(-2) as Dim]
  const columns = b.length === 1 ? [] : [right.at(-1) as Dim]
  return batch && [...batch, ...rows, ...columns]
}

function sameInner(n: NodeView, a: Dim, b: Dim): void {
  if (typeof a === 'number' && typeof b === 'number' && a !== b) fail(n, `inner sizes ${a} and ${b} differ`)
}

function matMulCost(n: NodeView, form: MatMulForm): Cost {
  return { macs: times(volume(n.outputs[0]), operand(n, form.a, 'A')?.at(-1)) }
}

// ---------------------------------------------------------------- Gemm

function inferGemm(n: NodeView, b: number, dtype: DType | undefined): readonly (Known | undefined)[] {
  const [left, right] = [operand(n, 0, 'A'), operand(n, b, 'B')]
  if ((left && left.length !== 2) || (right && right.length !== 2)) fail(n, 'both inputs must be matrices')
  if (left && right) sameInner(n, left[1] as Dim, right[0] as Dim)
  return [tensorType(dtype, [left?.[0] ?? unknownDim, right?.[1] ?? unknownDim])]
}

function gemmCost(n: NodeView, b: number): Cost {
  return { macs: times(volume(n.outputs[0]), operand(n, 0, 'A')?.[1] ?? operand(n, b, 'B')?.[0]) }
}

// ---------------------------------------------------------------- products with packed weights

/** A[…,K] × a packed weight of attributes K and N gives [...,N]. */
function inferPacked(n: NodeView): readonly (Known | undefined)[] {
  const a = shapeOf(n, 0)
  const [k, columns] = [attrInt(n.node, 'K', -1), attrInt(n.node, 'N', -1)]
  if (k < 1 || columns < 1) fail(n, 'needs attributes K and N')
  if (a) sameInner(n, a.at(-1) ?? unknownDim, k)
  return [tensorType(dtypeOf(n, 0), a && [...a.slice(0, -1), columns])]
}

// ---------------------------------------------------------------- records

const first = (n: NodeView): DType | undefined => dtypeOf(n, 0)
const microsoft = 'com.microsoft'

function matMul(name: string, form: MatMulForm, rest: Partial<Op> = {}): Op {
  return { name, infer: (n) => inferMatMul(n, form), cost: (n) => matMulCost(n, form), ...rest }
}

const packed = (name: string, o: Partial<Op> = {}): Op => ({
  name,
  domain: microsoft,
  infer: inferPacked,
  codes: 'weights',
  cost: (n) => ({ macs: times(volume(n.outputs[0]), attrInt(n.node, 'K', 0)) }),
  ...o
})

const columns: WeightPlace = { input: 1, axis: () => -1 }
const rows: WeightPlace = { input: 0, axis: () => -2 }
/** Rows where the matrix is transposed. */
const turnedColumns: WeightPlace = { input: 1, axis: (node) => (attrInt(node, 'transB', 0) !== 0 ? -2 : -1) }

/** Weight per column. The axis is counted from the end, for weights of any rank. */
const matMulRule: QuantRule = { inputs: [0, 1], weights: columns, output: 'own' }
const gemmWeight: WeightPlace = { input: 1, axis: (node) => (attrInt(node, 'transB', 0) !== 0 ? 0 : 1) }
const gemmRule: QuantRule = {
  inputs: [0, 1],
  weights: gemmWeight,
  bias: 2,
  output: 'own'
}

const matrix = (weight: number, bias?: number): Pick<Op, 'linear'> => {
  const places: Places = { weight, ...(bias === undefined ? {} : { bias }) }
  return { linear: (n: NodeFacts) => matrixLinear(n, places) }
}

/** Matrix products. */
export const matmulOps: readonly Op[] = withChannels(
  matmulChannels,
  withGrads(matmulGrads, [
    matMul(
      'MatMul',
      { a: 0, b: 1, dtype: first },
      {
        quant: matMulRule,
        weights: [columns, rows],
        ...matrix(1),
        starts: [undefined, normalFor((w) => w.at(-2) ?? 1)]
      }
    ),
    matMul('MatMulInteger', { a: 0, b: 1, dtype: () => 'int32' }, { codes: 'values', ...matrix(1) }),
    matMul(
      'QLinearMatMul',
      { a: 0, b: 3, dtype: (n) => dtypeOf(n, 7) ?? dtypeOf(n, 0) },
      { codes: 'values', ...matrix(3), ...single }
    ),
    matMul('FusedMatMul', { a: 0, b: 1, dtype: first }, { domain: microsoft, weights: [turnedColumns], ...matrix(1) }),
    matMul('TransposeMatMul', { a: 0, b: 1, dtype: first }, { domain: microsoft, ...matrix(1) }),
    matMul(
      'DynamicQuantizeMatMul',
      { a: 0, b: 1, dtype: first },
      { domain: microsoft, codes: 'values', ...matrix(1, 4) }
    ),
    matMul(
      'MatMulIntegerToFloat',
      { a: 0, b: 1, dtype: (n) => dtypeOf(n, 2) },
      { domain: microsoft, codes: 'values', ...matrix(1, 6) }
    ),
    {
      name: 'Gemm',
      infer: (n) => inferGemm(n, 1, dtypeOf(n, 0)),
      cost: (n) => gemmCost(n, 1),
      quant: gemmRule,
      weights: [gemmWeight],
      ...matrix(1, 2),
      starts: [undefined, normalFor((w, node) => w[attrInt(node, 'transB', 0) !== 0 ? 1 : 0] ?? 1), 0]
    },
    {
      name: 'FusedGemm',
      domain: microsoft,
      infer: (n) => inferGemm(n, 1, dtypeOf(n, 0)),
      cost: (n) => gemmCost(n, 1)
    },
    {
      name: 'QGemm',
      domain: microsoft,
      infer: (n) => inferGemm(n, 3, dtypeOf(n, 8) ?? 'float32'),
      cost: (n) => gemmCost(n, 3),
      codes: 'values',
      ...matrix(3, 6)
    },
    packed('MatMulNBits', { precision: 'half' }),
    packed('MatMulBnb4'),
    { name: 'Einsum', infer: inferEinsum, cost: einsumCost },
    {
      name: 'Det',
      infer: (n) => [tensorType(dtypeOf(n, 0), shapeOf(n, 0)?.slice(0, -2))]
    }
  ])
)

/** Matrix products: the inner axes are summed, rows and columns go through, axes before them broadcast. */
import { attrInt } from '../ir/attrs.ts'
import type { Dim } from '../types.ts'
import { type ChannelRule, into, link, out } from './channels.ts'
import { shapeOf } from './op.ts'
import type { Link, NodeView, Span } from './types.ts'

function matMul(n: NodeView): readonly Link[] {
  const [a, b, y] = [shapeOf(n, 0), shapeOf(n, 1), n.outputs[0]?.shape]
  if (!a || !b || !y || a.length === 0 || b.length === 0) return []
  const [hasRows, hasColumns] = [a.length > 1, b.length > 1]
  const inner = hasColumns ? b.length - 2 : 0
  const batch = y.length - Number(hasRows) - Number(hasColumns)
  return [
    ...link(a.at(-1), [into(0, a.length - 1), into(1, inner)], { sums: true }),
    ...(hasRows ? link(a.at(-2), [into(0, a.length - 2), out(0, batch)]) : []),
    ...(hasColumns ? link(b.at(-1), [into(1, b.length - 1), out(0, y.length - 1)]) : []),
    ...y.slice(0, batch).flatMap((size, axis) => {
      const shared = [a, b].flatMap((shape, at) => atAxis(shape.slice(0, -2), at, axis - batch, size))
      return link(size, [...shared, out(0, axis)])
    })
  ]
}

/** The axis of an operand, counted from the end, where it is as long as the result's. */
function atAxis(shape: readonly Dim[], at: number, fromEnd: number, size: Dim): readonly Span[] {
  const axis = shape.length + fromEnd
  return axis >= 0 && shape[axis] === size ? [into(at, axis)] : []
}

function gemm(n: NodeView): readonly Link[] {
  const [a, b, c] = [shapeOf(n, 0), shapeOf(n, 1), shapeOf(n, 2) ?? []]
  const [left, right] = ['transA', 'transB'].map((name) => attrInt(n.node, name, 0) !== 0)
  const [row, summed] = left ? [1, 0] : [0, 1]
  const [inner, column] = right ? [1, 0] : [0, 1]
  const [rows, columns] = [a?.[row], b?.[column]]
  return [
    ...link(a?.[summed], [into(0, summed), into(1, inner)], { sums: true }),
    ...link(columns, [into(1, column), ...(columns === undefined ? [] : atAxis(c, 2, -1, columns)), out(0, 1)]),
    ...link(rows, [into(0, row), ...(rows === undefined ? [] : atAxis(c, 2, -2, rows)), out(0, 0)])
  ]
}

export const matmulChannels: Readonly<Record<string, ChannelRule>> = { MatMul: matMul, Gemm: gemm }

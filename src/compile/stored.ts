/** Constants of a model as they are stored: floats, narrower floats, or codes that DequantizeLinear makes floats of. */
import { attrInt } from '../ir/attrs.ts'
import { constant } from '../ir/graph.ts'
import { isFloat, tensor, toFloats, toNumbers } from '../ir/tensor.ts'
import { castConstant, type Dequantized, dequantizedConstant } from '../ops/quantized.ts'
import type { Graph, Tensor } from '../types.ts'

/** What a constant is: its numbers, and where it is codes, the code and scale of each element. */
export interface Stored {
  readonly shape: readonly number[]
  readonly floats: ArrayLike<number>
  readonly codes?: { code(index: number): number; scale(index: number): number }
}

export function storedOf(graph: Graph, id: string | null | undefined): Stored | undefined {
  const data = constant(graph, id)
  if (data) return { shape: data.shape, floats: toFloats(data) }
  const cast = floatsCast(graph, id)
  if (cast) return { shape: cast.shape, floats: toFloats(cast) }
  const coded = dequantizedConstant(graph, id)
  return coded && expandedOf(coded)
}

/** The floats of another type that a value is made of, where it is float32. */
function floatsCast(graph: Graph, id: string | null | undefined): Tensor | undefined {
  const from = graph.values.get(id ?? '')?.dtype === 'float32' ? castConstant(graph, id) : undefined
  return from && isFloat(from.dtype) ? from : undefined
}

/** Does a node make a value of a constant that is stored in another type? */
export const isStoredOtherwise = (graph: Graph, id: string): boolean =>
  (dequantizedConstant(graph, id) ?? floatsCast(graph, id)) !== undefined

function expandedOf({ node, codes, scale, zero }: Dequantized): Stored {
  const [numbers, scales, zeros] = [toNumbers(codes), toNumbers(scale), zero && toNumbers(zero)]
  const rank = codes.shape.length
  const given = attrInt(node, 'axis', 1)
  const axis = given < 0 ? given + rank : given
  const block = Math.max(1, attrInt(node, 'block_size', 0))
  const inner = codes.shape.slice(axis + 1).reduce((n, d) => n * d, 1)
  const size = codes.shape[axis] ?? 1
  const blocked = scale.shape.length === rank && rank > 1
  const place = (index: number): number => {
    if (scale.shape.length === 0 || scales.length === 1) return 0
    const along = Math.floor(index / inner) % size
    if (!blocked) return along
    const outer = Math.floor(index / (inner * size))
    return (outer * Math.ceil(size / block) + Math.floor(along / block)) * inner + (index % inner)
  }
  const code = (index: number): number => (numbers[index] as number) - (zeros?.[place(index)] ?? 0)
  const scaleAt = (index: number): number => scales[place(index)] as number
  const floats = Float32Array.from({ length: numbers.length }, (_, i) => code(i) * scaleAt(i))
  return { shape: codes.shape, floats, codes: { code, scale: scaleAt } }
}

/** A constant as a float tensor, whatever it is stored as. */
export function floatConstant(graph: Graph, id: string | null | undefined): Tensor | undefined {
  const data = constant(graph, id)
  if (data) return data
  const stored = storedOf(graph, id)
  return stored && tensor('float32', stored.shape, stored.floats)
}

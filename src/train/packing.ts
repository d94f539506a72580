/** Parameters packed into few flat arrays: fewer tensors to pass and to update at every step. */
import { assert } from '../base/errors.ts'
import { bytesOf, elementCount, tensorOf, toFloats } from '../ir/tensor.ts'
import type { DType, Tensor } from '../types.ts'

export interface Parameter {
  /** Id of the constant in the model. */
  readonly id: string
  readonly shape: readonly number[]
  readonly dtype: DType
  readonly data: Tensor
  /** Only some elements may differ from zero: 1 for those, 0 for others; as long as the parameter. */
  readonly mask?: Tensor | undefined
}

/**
 * One array of parameters, always flat: ONNX Runtime takes ten times as long for arithmetic with a scalar where the other
 * shape ends in 1, as that of a kernel over time does.
 */
export interface Chunk {
  readonly parts: readonly { readonly id: string; readonly shape: readonly number[]; readonly offset: number }[]
  readonly size: number
  readonly decays: boolean
  readonly masked: boolean
}

const chunkElements = 262_144

/** As many sizes of one Split as shape inference follows. */
const chunkParts = 64

/** Parameters of the same kind in order, at most 64 and 1 MB a chunk; larger ones are chunks of their own. */
export function packParameters(parameters: readonly Parameter[], o: { readonly decay: boolean }): readonly Chunk[] {
  const chunks: Chunk[] = []
  const kinds = new Map<string, Parameter[]>()
  for (const p of parameters) {
    const key = `${o.decay && isDecayed(p)},${p.mask !== undefined}`
    kinds.set(key, [...(kinds.get(key) ?? []), p])
  }
  for (const list of kinds.values()) {
    const first = list[0] as Parameter
    const kind = { decays: o.decay && isDecayed(first), masked: first.mask !== undefined }
    let open: Parameter[] = []
    let size = 0
    for (const p of list) {
      const n = elementCount(p.shape)
      if (open.length === chunkParts || (open.length > 0 && size + n > chunkElements)) {
        chunks.push(chunkOf(open, kind))
        open = []
        size = 0
      }
      open.push(p)
      size += n
    }
    chunks.push(chunkOf(open, kind))
  }
  return chunks
}

/** Weight decay is for matrices and kernels, not for biases and scales. */
const isDecayed = (p: Parameter): boolean => p.shape.filter((d) => d > 1).length > 1

function chunkOf(list: readonly Parameter[], kind: { decays: boolean; masked: boolean }): Chunk {
  let offset = 0
  const parts = list.map(({ id, shape }) => {
    const part = { id, shape, offset }
    offset += elementCount(shape)
    return part
  })
  return { parts, size: offset, ...kind }
}

/** One array out of the tensors of a chunk's parameters. */
export function packChunk(chunk: Chunk, tensorFor: (id: string) => Tensor | undefined): Tensor {
  const out = new Float32Array(chunk.size).fill(1)
  for (const part of chunk.parts) {
    const t = tensorFor(part.id)
    if (!t) continue
    assert(elementCount(t.shape) === elementCount(part.shape), `${part.id} of shape [${t.shape}]`)
    out.set(toFloats(t), part.offset)
  }
  return tensorOf('float32', [chunk.size], bytesOf(out))
}

/** The parameters of a chunk, each in memory of its own. */
export function unpackChunk(chunk: Chunk, packed: Tensor): Map<string, Tensor> {
  const values = toFloats(packed)
  return new Map(
    chunk.parts.map(({ id, shape, offset }) => [
      id,
      tensorOf('float32', shape, bytesOf(values.slice(offset, offset + elementCount(shape))))
    ])
  )
}

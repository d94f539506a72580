/** The vector of a model's trained numbers. */
import { assert } from '../base/errors.ts'
import { bytesOf, elementCount, tensorOf, toFloats } from '../ir/tensor.ts'
import type { Training } from '../train/index.ts'
import type { Model, Tensor } from '../types.ts'
import type { Manifest, Part } from './types.ts'

/** What a training graph trains, by name; statistics of normalization are among it. */
export function manifestOf(training: Training, model: Model): Manifest {
  const shapeOf = (id: string): readonly number[] => model.graph.values.get(id)?.data?.shape ?? []
  const weights = training.chunks.flatMap((c) =>
    c.parts.map(({ id, shape }) => ({ name: id, shape, role: 'weight' as const }))
  )
  const statistics = training.statistics.map(({ id }) => ({ name: id, shape: shapeOf(id), role: 'statistic' as const }))
  return layOut([...weights, ...statistics])
}

/** Parts one behind the other, in the order of their names' code units. */
export function layOut(parts: readonly Pick<Part, 'name' | 'shape' | 'role'>[]): Manifest {
  let offset = 0
  const sorted = [...parts].sort((a, b) => (a.name < b.name ? -1 : 1))
  const placed = sorted.map((p): Part => {
    const size = elementCount(p.shape)
    const part = { ...p, offset, size }
    offset += size
    return part
  })
  return { parts: placed, size: offset }
}

/** SHA-256 of names, shapes and roles: what a model message names as its base. */
export function manifestHash({ parts }: Manifest): Promise<Uint8Array> {
  return sha256(new TextEncoder().encode(JSON.stringify(parts.map(({ name, shape, role }) => [name, shape, role]))))
}

export async function sha256(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>))
}

/** The vector out of tensors by name. */
export function toVector(manifest: Manifest, tensors: ReadonlyMap<string, Tensor>): Float32Array {
  const out = new Float32Array(manifest.size)
  for (const { name, offset, size } of manifest.parts) {
    const t = tensors.get(name)
    assert(t && elementCount(t.shape) === size, `no ${name} of ${size} numbers`)
    out.set(toFloats(t), offset)
  }
  return out
}

/** Tensors by name out of the vector, each in memory of its own. */
export function fromVector(manifest: Manifest, vector: Float32Array): Map<string, Tensor> {
  return new Map(
    manifest.parts.map(({ name, shape, offset, size }) => [
      name,
      tensorOf('float32', shape, bytesOf(vector.slice(offset, offset + size)))
    ])
  )
}

/** The values that a model holds at the manifest's constants. */
export function vectorOf(manifest: Manifest, { graph }: Model): Float32Array {
  const tensors = manifest.parts.flatMap(({ name }) => {
    const data = graph.values.get(name)?.data
    return data ? [[name, data] as const] : []
  })
  return toVector(manifest, new Map(tensors))
}

/** The ONNX project's own cases: models with inputs and outputs as protobuf files. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fromBinary } from '@bufbuild/protobuf'
import { type ModelProto, TensorProtoSchema } from 'onnx-buf'
import { readTensor } from '../src/formats/onnx/tensors.ts'
import type { Tensor } from '../src/types.ts'

/** Inputs by position, as the cases number them. */
export function readFeeds(proto: ModelProto, folder: string): Record<string, Tensor> {
  const source = { bytes: new Uint8Array(0), external: () => new Uint8Array(0), grow: () => {} }
  const defaults = new Set(proto.graph?.initializer.map((t) => t.name))
  const names = (proto.graph?.input ?? []).map((v) => v.name)
  const feeds: Record<string, Tensor> = {}
  for (const [i, name] of names.entries()) {
    const file = join(folder, `input_${i}.pb`)
    try {
      feeds[name] = readTensor(fromBinary(TensorProtoSchema, readFileSync(file)), source)
    } catch (e) {
      if (!defaults.has(name)) throw e
    }
  }
  return feeds
}

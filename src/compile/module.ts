/** A model as the file of a module. */
import { hasRoundedValues } from '../ops/quantized.ts'
import type { Model } from '../types.ts'
import { lower } from './lower.ts'
import { wasmOf } from './wasm/module.ts'

/** Models on codes in both variants. `fastest`: ways of kernels by key. Throws as `lower` does. */
export const moduleOf = (model: Model, fastest: Readonly<Record<string, string>> = {}): Uint8Array<ArrayBuffer> =>
  hasRoundedValues(model)
    ? wasmOf(lower(model, { fastest }), lower(model, { dots: 'bytes', fastest }))
    : wasmOf(lower(model, { fastest }))

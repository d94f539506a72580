/** A model as the file of a module. */
import { hasRoundedValues } from '../ops/quantized.ts'
import type { Model } from '../types.ts'
import { lower } from './lower.ts'
import { wasmOf } from './wasm/module.ts'

/** Models on codes in both variants. Throws as `lower` does. */
export const moduleOf = (model: Model): Uint8Array<ArrayBuffer> =>
  hasRoundedValues(model) ? wasmOf(lower(model), lower(model, { dots: 'bytes' })) : wasmOf(lower(model))

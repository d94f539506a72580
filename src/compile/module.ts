/** A model as the file of a module. */
import { hasRoundedValues } from '../ops/quantized.ts'
import type { Model } from '../types.ts'
import { lower } from './lower.ts'
import { wasmOf } from './wasm/module.ts'

/**
 * Models on codes in both variants; the same model with several sizes of its inputs in one module. `fastest`: ways of kernels by
 * key. Throws as `lower` does.
 */
export function moduleOf(
  given: Model | readonly [Model, ...Model[]],
  fastest: Readonly<Record<string, string>> = {}
): Uint8Array<ArrayBuffer> {
  const base = lower(given, { fastest })
  const isOnCodes = hasRoundedValues('graph' in given ? given : given[0])
  return isOnCodes ? wasmOf(base, lower(given, { dots: 'bytes', fastest })) : wasmOf(base)
}

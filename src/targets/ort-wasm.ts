import { fusedRows, onnxRuntime, onnxRuntimeDevice } from './onnxruntime.ts'
import type { Target } from './types.ts'

/** ONNX Runtime's WebAssembly provider, in browsers. */
export const ortWasm: Target = {
  ...onnxRuntime,
  name: 'ort-wasm',
  aliases: ['ort-web'],
  summary: 'ONNX Runtime in the browser (WebAssembly)',
  runtime: 'onnxruntime-web',
  // The selectors of both packages' CPU provider are the same.
  fusesLike: ['onnxruntime-node'],
  fused: [
    ...fusedRows,
    { op: 'com.microsoft:RotaryEmbedding', kept: 'its kernel takes 1.2 to 1.6 times as long' },
    { op: 'com.microsoft:MultiHeadAttention', kept: 'its kernel is no faster, and for few keys far slower' },
    {
      op: 'com.microsoft:GroupQueryAttention',
      kept: 'its kernel takes 0.7 to 1.8 times as long as queries of a group as rows of one product'
    },
    { op: 'com.microsoft:SkipLayerNormalization', joined: true },
    { op: 'com.microsoft:SkipSimplifiedLayerNormalization' }
  ],
  saturates: false,
  channelMultiple: 8,
  assumesDotProducts: false,
  device: onnxRuntimeDevice({
    read: 'onnxruntime-web 1.30 (2026-08)',
    notes: [{ from: 'memory', says: 'vectors of 128 bits; dot products in builds with relaxed vectors only' }]
  })
}

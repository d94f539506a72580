import { fusedRows, onnxRuntime, onnxRuntimeDevice } from './onnxruntime.ts'
import type { Target } from './types.ts'

/** ONNX Runtime's CPU provider on a machine with dot-product instructions (VNNI, ARM dotprod). */
export const ortCpu: Target = {
  ...onnxRuntime,
  name: 'ort-cpu',
  summary: 'ONNX Runtime on a CPU with int8 dot products (x86 VNNI, ARM dotprod)',
  runtime: 'onnxruntime-node',
  fusesLike: [],
  endings: ['.onnx', '.txt', '.zip'],
  fused: [
    ...fusedRows,
    { op: 'com.microsoft:RotaryEmbedding' },
    {
      op: 'com.microsoft:MultiHeadAttention',
      past: 'keys turned',
      kept: 'its kernel takes 0.9 to 1.3 times as long behind keys that are kept transposed'
    },
    {
      op: 'com.microsoft:MultiHeadAttention',
      past: 'before heads',
      kept: 'its kernel is no faster behind a past that is kept before heads come first'
    },
    // With keys and values of the past it has two more outputs: 0.6 to 1.1 times as long.
    { op: 'com.microsoft:MultiHeadAttention', when: [['outputs', '==', 3]] },
    { op: 'com.microsoft:MultiHeadAttention', kept: 'its kernel takes 0.9 to 1.4 times as long without a past' },
    {
      op: 'com.microsoft:GroupQueryAttention',
      kept: 'its kernel takes 0.8 to 1.6 times as long as queries of a group as rows of one product'
    },
    {
      op: 'com.microsoft:SkipLayerNormalization',
      kept: 'its kernel takes 2.5 to 12 times as long',
      prevented: true
    },
    { op: 'com.microsoft:SkipSimplifiedLayerNormalization', kept: 'its kernel takes 1.3 to 2 times as long' }
  ],
  saturates: false,
  channelMultiple: 8,
  assumesDotProducts: true,
  device: onnxRuntimeDevice({
    align: [
      {
        from: 'memory',
        ref: 'blocked layout',
        of: 'out',
        multiple: 16,
        type: 'float32',
        costs: 'padding, or the plain layout'
      },
      { from: 'memory', ref: 'dot products of 4', of: 'in', multiple: 4, type: 'uint8', costs: 'padded ends' }
    ]
  })
}

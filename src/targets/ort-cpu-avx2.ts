import { onnxRuntimeDevice } from './onnxruntime.ts'
import { ortCpu } from './ort-cpu.ts'
import type { Target } from './types.ts'

/** The same on x86 without VNNI: products of u8 and s8 are added in pairs in int16, which saturates. */
export const ortCpuAvx2: Target = {
  ...ortCpu,
  endings: [],
  name: 'ort-cpu-avx2',
  summary: 'ONNX Runtime on an x86 CPU without VNNI (AVX2, AVX-512): int8 pair sums can saturate',
  saturates: true,
  channelMultiple: 8,
  assumesDotProducts: false,
  device: onnxRuntimeDevice({
    notes: [
      {
        from: 'documentation',
        ref: 'vpmaddubsw',
        says: 'sums of two products of uint8 and int8 saturate at 16 bits: weights are held to 7 bits'
      }
    ]
  })
}

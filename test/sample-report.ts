import type { Candidate, Layer, Report } from '../src/report/types.ts'
import type { Interval } from '../src/types.ts'

const interval = (value: number, half: number, n: number): Interval => ({
  value,
  low: value - half,
  high: value + half,
  n
})

const candidate = (
  name: string,
  bytes: number,
  time: number,
  drop: number,
  why: string,
  chosen = false
): Candidate => ({
  name,
  recipe: [
    ['fuse', {}],
    ['quantize-static', { calibrator: 'best' }]
  ],
  measurement: { bytes: Math.round(1_090_000 * bytes), metrics: { top1: interval(0.812 - drop, 0.02, 1488) } },
  ratios: { bytes, latency: { median: time, low: time - 0.02, high: time + 0.02 } },
  drop: { top1: interval(drop, 0.004, 1488) },
  chosen,
  why
})

const ort = { name: 'onnxruntime-node', version: '1.30.0' }

/** A full Report of invented figures, as `compress` makes it. `name` stands in every place where a model's text goes. */
export function sampleReport(name = 'layer'): Report {
  const layers: Layer[] = Array.from({ length: 22 }, (_, i) => ({
    node: `${name}/conv_${i}`,
    op: i === 21 ? 'Gemm' : i % 7 === 6 ? 'Add' : 'Conv',
    dtype: i === 0 || i === 14 ? 'float32' : 'uint8',
    kernel: i === 0 || i === 14 ? 'Conv' : i === 21 ? 'com.microsoft:QGemm' : 'QLinearConv',
    sqnrDb: 24 + ((i * 37) % 29),
    accumulatedSqnrDb: 42 - i * 0.9 - ((i * 13) % 5),
    bytes: 400 * 2 ** Math.floor(i / 4) + 300,
    macs: 2_359_296 - i * 40_000,
    ms: 0.03 - (i % 5) * 0.004
  }))
  const [calibrationN, selectionN, testN] = [512, 1488, 3000]
  return {
    pare: '0.1.0',
    reportVersion: 1,
    command: 'pare compress resnet20.onnx --data test.npz --preprocess cifar.json --max-drop 0.5%',
    model: { path: `models/${name}.onnx`, sha256: '5f'.repeat(32) },
    output: { path: `models/${name}.pare.onnx`, sha256: 'a7'.repeat(32) },
    target: 'ort-cpu',
    seed: 0,
    threads: 1,
    objective: 'balanced',
    data: { path: 'test.npz', sha256: 'b1'.repeat(32), calibrationN, selectionN, testN, synthetic: false },
    before: {
      bytes: 1_090_000,
      gzipBytes: 1_012_000,
      brotliBytes: 1_004_000,
      parameters: 272_474,
      nonzeroParameters: 272_474,
      macs: 40_800_000,
      metrics: { top1: interval(0.81, 0.014, testN), top5: interval(0.988, 0.004, testN) },
      latencyMs: { p50: 0.56, p90: 0.59, p99: 0.71, n: 400 },
      loadMs: 33,
      peakBytes: 41_000_000
    },
    after: {
      bytes: 312_000,
      gzipBytes: 268_000,
      brotliBytes: 259_000,
      parameters: 272_474,
      nonzeroParameters: 268_120,
      macs: 40_800_000,
      metrics: { top1: interval(0.809, 0.014, testN), top5: interval(0.989, 0.004, testN) },
      latencyMs: { p50: 0.29, p90: 0.31, p99: 0.4, n: 400 },
      loadMs: 31,
      peakBytes: 36_000_000
    },
    ratios: {
      bytes: 312_000 / 1_090_000,
      latency: { median: 0.52, low: 0.507, high: 0.532 },
      loadMs: 31 / 33,
      peakBytes: 36 / 41
    },
    drop: { top1: interval(0.001, 0.003, testN), top5: interval(-0.001, 0.0015, testN) },
    agreement: { value: 0.972, n: testN },
    constraint: { metric: 'top1', maxDrop: 0.005, met: true },
    candidates: [
      candidate('foldable int8', 0.27, 1, 0.0004, 'as fast as the original; int8 is 1.9 × faster at the same accuracy'),
      candidate(`int8, ${name}`, 0.29, 0.52, 0.001, 'best for balanced', true),
      candidate(
        'int8 with 2 layers in float',
        0.33,
        0.57,
        0.0004,
        'larger and slower than plain int8, which keeps the promise'
      ),
      candidate('int8, min-max', 0.29, 0.52, 0.0083, 'loses more than is allowed'),
      candidate('fp16', 0.5, 1.02, 0, 'not as small'),
      candidate('4-bit palette', 0.16, 1, 0.024, 'loses more than is allowed')
    ],
    steps: [
      {
        pass: 'simplify',
        options: {},
        ms: 42,
        before: { nodes: 86, bytes: 1_089_000 },
        after: { nodes: 72, bytes: 1_089_000 }
      },
      {
        pass: 'fuse',
        options: {},
        ms: 18,
        before: { nodes: 72, bytes: 1_089_000 },
        after: { nodes: 31, bytes: 1_083_000 }
      },
      {
        pass: 'quantize-static',
        options: { calibrator: 'best' },
        plan: { layers: 19 },
        ms: 3810,
        before: { nodes: 31, bytes: 1_083_000 },
        after: { nodes: 97, bytes: 309_000 }
      }
    ],
    refusals: [
      { node: `${name}/conv_0`, op: 'Conv', reason: 'an input of 3 channels is slower in int8 on this target' },
      { node: `${name}/conv_14`, op: 'Conv', reason: 'its weights span 11 bits' }
    ],
    notes: ['this processor adds int8 products without saturating (VNNI); older ones may not'],
    curves: { loss: Array.from({ length: 40 }, (_, i) => [i, 2.3 * Math.exp(-i / 12) + 0.1 * ((i * 7) % 3)] as const) },
    layers,
    recipe: [
      ['simplify', {}],
      ['fuse', {}],
      ['quantize-static', { calibrator: 'best', exclude: [`${name}/conv_0`] }]
    ],
    machine: { cpu: 'Intel(R) Xeon(R) Processor', cores: 2, node: '20.20.2', engine: ort, measured: ort }
  }
}

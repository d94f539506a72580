/** Every pass with several options each, pairs of them, and writing at every opset. */
import { type Rng, rng } from '../../src/base/random.ts'
import { passes } from '../../src/passes/index.ts'
import type { Recipe } from '../../src/passes/types.ts'
import { type Kind, kinds } from './noise.ts'

export interface Trial {
  readonly recipe: Recipe
  /** Options of writing. */
  readonly write?: Readonly<Record<string, unknown>>
  readonly target?: string
  readonly kind: Kind
}

type Variant = readonly [options: Readonly<Record<string, unknown>>, kind: Kind]

const trained: Variant = [{ epochs: 1, batch: 4, holdout: 0 }, 'any']

/** By pass; one that is not named here is tried with its defaults, as one that may lose everything. */
const variants: Readonly<Record<string, readonly Variant[]>> = {
  simplify: [
    [{}, 'lossless'],
    [{}, 'lossless'],
    [{ fold: false }, 'lossless'],
    [{ merge: false }, 'lossless'],
    [{ maxFoldBytes: 64 }, 'lossless']
  ],
  fuse: [
    [{}, 'lossless'],
    [{}, 'lossless']
  ],
  equalize: [
    [{}, 'lossless'],
    [{ absorb: false }, 'lossless'],
    [{ clip: 'keep' }, 'lossless'],
    [{ clip: 'min' }, 'lossless'],
    [{ clip: 'skip', rounds: 1 }, 'lossless']
  ],
  smooth: [
    [{}, 'lossless'],
    [{ gain: 0 }, 'lossless'],
    [{ insert: false, gain: 0 }, 'lossless']
  ],
  'prune-blocks': [
    [{ count: 1, samples: 8 }, 'any'],
    [{ ratio: 0.5, repair: 'statistics' }, 'any']
  ],
  'prune-channels': [
    [{ ratio: 0.3, align: 1, criterion: 'l2', repair: 'none' }, 'any'],
    [{ ratio: 0.5, align: 2, criterion: 'activation' }, 'any'],
    [{ parameters: 0.6, align: 1, criterion: 'fpgm', repair: 'statistics' }, 'any']
  ],
  'prune-rows': [
    [{ minRows: 2 }, 'any'],
    [{ minRows: 2, rows: 3, unused: '0' }, 'any']
  ],
  factorize: [
    [{ energy: 0.9, align: 1 }, 'any'],
    [{ macs: 0.9, align: 1, method: 'tucker', scope: 'layer' }, 'any'],
    [{ error: 0.5, align: 2, method: 'spatial' }, 'any']
  ],
  'prune-weights': [
    [{ ratio: 0.5, minElements: 1 }, 'any'],
    [{ threshold: 0.1, pattern: '1x4', minElements: 1 }, 'any'],
    [{ ratio: 0.5, pattern: '2:4', criterion: 'wanda', scope: 'layer', minElements: 1 }, 'any'],
    [{ ratio: 0.7, criterion: 'sparsegpt', minElements: 1 }, 'any']
  ],
  'quantize-static': [
    [{}, 'int8'],
    [{ calibrator: 'minmax' }, 'int8'],
    // They cut off what is rare.
    [{ calibrator: 'entropy' }, 'int4'],
    [{ calibrator: 'percentile', perChannel: false }, 'int4'],
    [{ calibrator: 'best', reduceRange: 'always' }, 'int8'],
    [{ activations: 'int8' }, 'int8'],
    [{ correctBias: false }, 'int8']
  ],
  'quantize-dynamic': [
    [{ minElements: 1 }, 'int8'],
    [{ minElements: 1, type: 'uint8' }, 'int8'],
    [{ minElements: 1, perChannel: false, correctBias: false }, 'int8'],
    [{ minElements: 1, microsoft: true, include: ['MatMul', 'Gemm', 'Gather', 'LSTM'] }, 'int8'],
    [{ minElements: 1, include: ['MatMul', 'Gemm', 'Gather', 'Conv'] }, 'int8']
  ],
  'quantize-weights': [
    [{ minElements: 1 }, 'int8'],
    [{ minElements: 1, form: 'qdq' }, 'int8'],
    [{ minElements: 1, perChannel: false, symmetric: false }, 'int8'],
    [{ minElements: 1, bits: 4 }, 'int4'],
    [{ minElements: 1, bits: 4, form: 'qdq', blockSize: 16 }, 'int4'],
    [{ minElements: 1, bits: 6, form: 'palette' }, 'int4'],
    [{ minElements: 1, bits: 5, form: 'auto' }, 'int4'],
    [{ minElements: 1, bits: 4, method: 'gptq' }, 'int4'],
    [{ minElements: 1, bits: 4, method: 'hqq' }, 'int4'],
    [{ minElements: 1, bits: 4, method: 'awq' }, 'int4'],
    [{ minElements: 1, bits: 4, form: 'nbits', blockSize: 16, include: ['MatMul', 'Gemm'] }, 'int4'],
    [{ minElements: 1, form: 'nbits', include: ['MatMul', 'Gemm', 'Gather'] }, 'int4'],
    [{ minElements: 1, bits: 2 }, 'any']
  ],
  'quantize-nf4': [
    [{ minElements: 1, blockSize: 16 }, 'int4'],
    [{ minElements: 1 }, 'int4']
  ],
  'cast-float': [
    [{ minElements: 1 }, 'float16'],
    [{ minElements: 1, type: 'bfloat16' }, 'bfloat16'],
    [{ minElements: 1, compute: true }, 'float16'],
    [{ compute: true }, 'float16'],
    [{ type: 'float32' }, 'float16']
  ],
  round: [[{}, 'int4']],
  'correct-bias': [[{}, 'int4']],
  'to-qoperator': [
    [{}, 'int8'],
    [{ microsoft: true }, 'int8']
  ],
  'mix-precision': [[{ minElements: 1, types: ['float16', 'int8', 'int4'], maxDrop: 0.5 }, 'any']],
  train: [trained],
  distill: [
    [{ ...trained[0], width: 0.5 }, 'any'],
    [{ ...trained[0], depth: 0.5 }, 'any']
  ],
  finetune: [trained],
  'train-quantized': [
    [{ epochs: 1, batch: 4, holdout: 0 }, 'any'],
    [{ epochs: 1, batch: 4, holdout: 0, bits: 4, quantization: { activations: 'float' } }, 'any']
  ]
}

const slow = new Set(['train', 'distill', 'finetune', 'train-quantized', 'mix-precision'])
const targets = ['ort-cpu', 'ort-cpu', 'ort-cpu', 'ort-cpu', 'ort-cpu-avx2', 'ort-wasm']

/** It is asked to give inputs other sizes, which the graphs are not fed. */
const tried = passes.filter((p) => p.name !== 'fix-sizes')

/** Passes that draw by themselves, so that those before them draw what they drew without them. */
const apart = new Set(['prune-blocks', 'prune-channels', 'prune-weights', 'prune-rows', 'factorize'])

const pick = <T>(random: Rng, all: readonly T[]): T => all[random.below(all.length)] as T
const worse = (a: Kind, b: Kind): Kind => (kinds.indexOf(a) > kinds.indexOf(b) ? a : b)

function step(random: Rng, only: (name: string) => boolean): readonly [Recipe[number], Kind] {
  const pass = pick(
    random,
    tried.filter((p) => only(p.name))
  )
  const [options, kind] = pick(random, variants[pass.name] ?? [[{}, 'any'] as const])
  return [[pass.name, options], kind]
}

/** What a graph is tried with: each pass once with options that are drawn, opsets, and as many pairs. */
export function trialsFor(seed: number, known: readonly string[]): Trial[] {
  const random = rng(`trials ${seed}`)
  const trials: Trial[] = []
  const target = (): { target?: string } => {
    const name = pick(random, targets)
    return known.includes(name) && name !== 'ort-cpu' ? { target: name } : {}
  }
  for (const { name } of tried) {
    if (apart.has(name)) continue
    if (slow.has(name) && random.below(3) > 0) continue
    const [made, kind] = step(random, (n) => n === name)
    trials.push({ recipe: [made], kind, ...target() })
  }
  for (let i = 0; i < 2; i++) trials.push({ recipe: [], write: { opset: 13 + random.below(13) }, kind: 'lossless' })
  const quick = (name: string): boolean => !slow.has(name) && !apart.has(name)
  for (let i = 0; i < 8; i++) {
    const [first, a] = step(random, quick)
    const [second, b] = step(random, i === 0 ? (name) => slow.has(name) : quick)
    const write = random.below(5) === 0 ? { write: { opset: 13 + random.below(13) } } : {}
    trials.push({ recipe: [first, second], kind: worse(a, b), ...write, ...target() })
  }
  for (const name of apart) {
    const [made, kind] = step(random.fork(name), (n) => n === name)
    trials.push({ recipe: [made], kind })
  }
  return trials
}

/**
 * What an operator was before: forms of opset 13 for what changed up to opset 25, as far as the older form can say it, and
 * newer operators in terms of older ones. Source: ONNX Changelog.md.
 */
import { PareError } from '../../base/errors.ts'
import { inferShapes } from '../../ops/infer.ts'
import type { DType, Model } from '../../types.ts'
import { castLike, gelu, groupNorm, hardSwish, layerNorm, mish, rmsNorm, swish } from './apart.ts'
import { lowerWith } from './lowering.ts'
import {
  axesToAttribute,
  axisToAttribute,
  both,
  drop,
  halfPixel,
  interpolation,
  no,
  noReduction,
  noSymmetric,
  noWrap,
  noZeroSizes,
  only,
  onlyOnes,
  onlyText,
  partOfShape,
  quantizedBefore21,
  splitSizes,
  typeOfScale,
  wholePads,
  wholeResize
} from './older-forms.ts'
import { newestOpset, workingOpset } from './opsets.ts'
import type { Change } from './raise.ts'

/** Oldest opset that models are written at. */
export const lowestOpset = 13

/**
 * The model at another opset; the very same model where it is of that opset. From the working opset on, newer ones only add
 * to operators, so that raising changes no node. Throws `E_OPSET` for an opset out of range, and one that names the nodes which have no form there.
 */
export function lowerModel(model: Model, opset: number): Model {
  if (opset === model.opset) return model
  const newest = model.opset >= workingOpset ? Math.max(model.opset, newestOpset) : model.opset
  if (!Number.isInteger(opset) || opset < lowestOpset || opset > newest)
    throw new PareError('E_OPSET', `a model of opset ${model.opset} cannot be written at opset ${opset}`, {
      facts: { possible: `${lowestOpset} to ${newest}` }
    })
  if (opset > model.opset) return { ...model, opset }
  return lowerWith({ changes, introduced, dtypes, inputs }, inferShapes(model), opset)
}

// ---------------------------------------------------------------- the table

const reductions = ['ReduceL1', 'ReduceL2', 'ReduceLogSum', 'ReduceLogSumExp', 'ReduceMax']
  .concat(['ReduceMean', 'ReduceMin', 'ReduceProd', 'ReduceSumSquare'])
  .sort()
const scatters = ['ScatterElements', 'ScatterND']
const quantizers = ['QuantizeLinear', 'DequantizeLinear']

const changes: readonly Change[] = [
  { op: 'BatchNormalization', since: 14, rule: only('training_mode', 0) },
  { op: ['GRU', 'LSTM', 'RNN'], since: 14, rule: only('layout', 0) },
  { op: 'HardSwish', since: 14, rule: hardSwish },
  { op: 'Identity', since: 14, rule: no('sequence') },
  { op: 'Reshape', since: 14, rule: noZeroSizes },
  { op: 'CastLike', since: 15, rule: castLike },
  { op: 'Shape', since: 15, rule: partOfShape },
  { op: ['Identity', 'If', 'Loop'], since: 16, rule: no('optional') },
  { op: 'RoiAlign', since: 16, rule: halfPixel },
  { op: scatters, since: 16, rule: both(noReduction('none'), drop('reduction')) },
  { op: 'LayerNormalization', since: 17, rule: layerNorm },
  { op: 'LpPool', since: 18, rule: both(only('ceil_mode', 0), onlyOnes('dilations')) },
  { op: 'Mish', since: 18, rule: mish },
  { op: 'Pad', since: 18, rule: wholePads },
  { op: reductions, since: 18, rule: axesToAttribute },
  {
    op: 'Resize',
    since: 18,
    rule: both(only('antialias', 0), onlyText('keep_aspect_ratio_policy', 'stretch'), wholeResize)
  },
  { op: scatters, since: 18, rule: noReduction('none', 'add', 'mul') },
  { op: 'Split', since: 18, rule: splitSizes },
  { op: 'AveragePool', since: 19, rule: onlyOnes('dilations') },
  { op: 'Cast', since: 19, rule: drop('saturate') },
  { op: 'Pad', since: 19, rule: noWrap },
  { op: 'QuantizeLinear', since: 19, rule: drop('saturate') },
  { op: 'Resize', since: 19, rule: noSymmetric },
  { op: 'DFT', since: 20, rule: axisToAttribute },
  { op: 'Gelu', since: 20, rule: gelu },
  { op: 'GridSample', since: 20, rule: interpolation },
  { op: 'GroupNormalization', since: 21, rule: groupNorm },
  { op: quantizers, since: 21, rule: quantizedBefore21 },
  { op: quantizers, since: 23, rule: typeOfScale },
  { op: 'RMSNormalization', since: 23, rule: rmsNorm },
  { op: 'Cast', since: 24, rule: drop('round_mode') },
  { op: 'Swish', since: 24, rule: swish }
]

const introduced: Readonly<Record<string, number>> = {
  Trilu: 14,
  Bernoulli: 15,
  Optional: 15,
  OptionalGetElement: 15,
  OptionalHasElement: 15,
  GridSample: 16,
  BlackmanWindow: 17,
  DFT: 17,
  HammingWindow: 17,
  HannWindow: 17,
  MelWeightMatrix: 17,
  SequenceMap: 17,
  STFT: 17,
  BitwiseAnd: 18,
  BitwiseNot: 18,
  BitwiseOr: 18,
  BitwiseXor: 18,
  CenterCropPad: 18,
  Col2Im: 18,
  DeformConv: 19,
  AffineGrid: 20,
  ImageDecoder: 20,
  RegexFullMatch: 20,
  StringConcat: 20,
  StringSplit: 20,
  Attention: 23,
  RotaryEmbedding: 23,
  TensorScatter: 24
}

const dtypes: Partial<Readonly<Record<DType, number>>> = {
  float8e4m3fn: 19,
  float8e4m3fnuz: 19,
  float8e5m2: 19,
  float8e5m2fnuz: 19,
  int4: 21,
  uint4: 21,
  float4e2m1: 23,
  float8e8m0: 24,
  int2: 25,
  uint2: 25
}

/** Operators that took bfloat16 only with opset 22. */
const withoutBfloat16 = [
  'AveragePool',
  'Conv',
  'ConvTranspose',
  'DeformConv',
  'Elu',
  'GlobalAveragePool',
  'GlobalMaxPool'
]
  .concat(['GRU', 'GridSample', 'HardSigmoid', 'InstanceNormalization', 'LpPool', 'LSTM', 'MaxPool', 'RNN', 'Selu'])
  .concat(['Softplus', 'Softsign', 'ThresholdedRelu'])

const small: readonly DType[] = ['int8', 'int16', 'uint8', 'uint16']

const inputs = [
  { op: ['Add', 'Sub', 'Mul', 'Div'], dtypes: small, since: 14 },
  { op: ['Relu'], dtypes: [...small, 'int32', 'int64'], since: 14 },
  { op: ['CumSum'], dtypes: ['float16', 'bfloat16'], since: 14 },
  { op: ['LeakyRelu', 'PRelu', 'Where', 'GreaterOrEqual', 'LessOrEqual'], dtypes: ['bfloat16'], since: 16 },
  { op: quantizers, dtypes: ['float16', 'bfloat16'], since: 19 },
  { op: ['Equal'], dtypes: ['string'], since: 19 },
  { op: ['IsInf', 'IsNaN'], dtypes: ['bfloat16'], since: 20 },
  { op: ['IsInf'], dtypes: ['float16'], since: 20 },
  { op: ['ReduceMax', 'ReduceMin'], dtypes: ['bool'], since: 20 },
  { op: withoutBfloat16, dtypes: ['bfloat16'], since: 22 }
] as const satisfies readonly { op: readonly string[]; dtypes: readonly DType[]; since: number }[]

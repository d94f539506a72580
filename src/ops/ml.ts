/** The simple operators of ai.onnx.ml: scaling, encoding, linear models. Trees and kernels have no `cost`. */
import { addDims, unknownDim } from '../base/dim.ts'
import { attrFloats, attrInt, attrInts, attrStrings, attrTensor, hasAttr } from '../ir/attrs.ts'
import type { Dim, DType } from '../types.ts'
import { dtypeOf, freeOp, shapeOf, tensorType } from './op.ts'
import type { Cost, Known, NodeView, Op } from './types.ts'
import { times, volume } from './window.ts'

const domain = 'ai.onnx.ml'

const floats = (n: NodeView): readonly (Known | undefined)[] => [tensorType('float32', shapeOf(n, 0))]

/** The type of the list of values that is present. */
function inferEncoder(n: NodeView): readonly (Known | undefined)[] {
  const dtype: DType | undefined =
    attrTensor(n.node, 'values_tensor')?.dtype ??
    (hasAttr(n.node, 'values_int64s')
      ? 'int64'
      : hasAttr(n.node, 'values_floats')
        ? 'float32'
        : hasAttr(n.node, 'values_strings')
          ? 'string'
          : undefined)
  return [tensorType(dtype ?? swapped(dtypeOf(n, 0)), shapeOf(n, 0))]
}

/** Classes by name and by number map to each other. */
const swapped = (dtype: DType | undefined): DType | undefined =>
  dtype === 'string' ? 'int64' : dtype === 'int64' ? 'string' : undefined

const batchOf = (n: NodeView): Dim => {
  const x = shapeOf(n, 0)
  return x?.length === 1 ? 1 : (x?.[0] ?? unknownDim)
}

function inferRegressor(n: NodeView, targets: Dim): readonly (Known | undefined)[] {
  return [tensorType('float32', [batchOf(n), targets])]
}

/** The label of each sample, and a score per class; scores of two classes may be spelled as one. */
function inferClassifier(n: NodeView): readonly (Known | undefined)[] {
  const names = ['classlabels_strings', 'classlabels_string'].find((name) => attrStrings(n.node, name)?.length)
  const known = names
    ? attrStrings(n.node, names)?.length
    : (attrInts(n.node, 'classlabels_ints') ?? attrInts(n.node, 'classlabels_int64s'))?.length
  const classes = known !== undefined && known > 2 ? known : unknownDim
  return [tensorType(names ? 'string' : 'int64', [batchOf(n)]), tensorType('float32', [batchOf(n), classes])]
}

/** One zero or one per category. */
function inferOneHot(n: NodeView): readonly (Known | undefined)[] {
  const x = shapeOf(n, 0)
  const categories = (attrInts(n.node, 'cats_int64s') ?? attrStrings(n.node, 'cats_strings'))?.length
  return [tensorType('float32', x && [...x, categories ?? unknownDim])]
}

function inferFeatures(n: NodeView): readonly (Known | undefined)[] {
  const widths = attrInts(n.node, 'inputdimensions')
  return [tensorType('float32', [batchOf(n), widths?.reduce<Dim>(addDims, 0) ?? unknownDim])]
}

function linearCost(n: NodeView): Cost {
  return { macs: times(volume(n.inputs[0]), (attrFloats(n.node, 'intercepts')?.length ?? 1) || 1) }
}

/** Simple operators of classical machine learning. */
export const mlOps: readonly Op[] = [
  ...['Scaler', 'Normalizer'].map((name) => freeOp(name, { domain, infer: floats })),
  ...['Binarizer', 'Imputer'].map((name) => freeOp(name, { domain })),
  ...['LabelEncoder', 'CategoryMapper'].map((name) => freeOp(name, { domain, infer: inferEncoder })),
  freeOp('OneHotEncoder', { domain, infer: inferOneHot }),
  freeOp('FeatureVectorizer', { domain, infer: inferFeatures }),
  {
    name: 'LinearRegressor',
    domain,
    infer: (n) => inferRegressor(n, attrInt(n.node, 'targets', 1)),
    cost: linearCost
  },
  { name: 'LinearClassifier', domain, infer: inferClassifier, cost: linearCost },
  { name: 'TreeEnsembleRegressor', domain, infer: (n) => inferRegressor(n, attrInt(n.node, 'n_targets', 1)) },
  { name: 'TreeEnsembleClassifier', domain, infer: inferClassifier },
  { name: 'SVMRegressor', domain, infer: (n) => inferRegressor(n, 1) },
  { name: 'SVMClassifier', domain, infer: inferClassifier }
]

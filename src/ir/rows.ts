/** Which of a target's rows a node meets, and in words why it meets none. */
import type { NodeView } from '../ops/types.ts'
import type { Condition, Fact, Facts, Feature, FusedRow, IntegerRow, Target } from '../targets/types.ts'
import type { Node } from '../types.ts'
import { attrInt, attrInts, attrString } from './attrs.ts'
import { opName } from './graph.ts'

/** What each feature is, in words. */
export const featureWords: Readonly<Record<Feature, string>> = {
  alignCorners: 'whether corners stay corners',
  autoPad: 'its way of padding',
  axes: 'its axes, together',
  axis: 'each of its axes',
  batch: 'its batch',
  beta: 'its beta',
  bias: 'its bias',
  block: 'its block size',
  broadcast: 'what of its smaller operand is broadcast',
  ceilMode: 'whether it rounds sizes up',
  channels: 'the channels of its data',
  channelsHeight: 'channels × height',
  channelsWidth: 'channels × width',
  constants: 'what its constant operands hold',
  coordinates: 'its way of placing pixels',
  dataZeroPoint: 'the zero point of its data',
  depthMultiplier: 'its outputs for each channel',
  depthwise: 'whether each channel has a filter of its own',
  dilation: 'its dilation',
  dilationRatio: 'its dilation down over that across',
  dtype: 'the type of its data',
  elements: 'the elements of its data',
  exponent: 'its exponent',
  from: 'the type that it casts from',
  fused: 'its fused activation',
  gates: 'its gates beyond the plain ones',
  groups: 'its groups',
  halfPixel: 'whether pixels are placed by their centres',
  height: 'the height of its data',
  hidden: 'its hidden size',
  indices: 'the type of its indices',
  indicesRank: 'the axes of its indices',
  inner: 'the length of its inner product',
  inputs: 'the number of its inputs',
  kernel: 'each side of its kernel',
  kernelArea: 'the area of its kernel',
  kernelHeight: 'the height of its kernel',
  kernelWidth: 'the width of its kernel',
  longest: 'its longest axis',
  masks: 'its masks of ellipses, new and dropped axes',
  mode: 'its mode',
  norm: 'its norm',
  openAxes: 'the number of axes of open size',
  outputChannels: 'its output channels',
  outputRank: 'the axes of its output without leading ones',
  outputs: 'its outputs',
  padding: 'its padding',
  pads: 'each of its pads',
  parameters: 'its operand of whole numbers',
  permutation: 'its permutation',
  plane: 'height × width',
  quantized: 'its scales',
  rank: 'the number of its axes',
  reduced: 'the number of elements that are reduced to one',
  reducedLongest: 'its longest reduced axis',
  runtimeInputs: 'the number of inputs that are no constants',
  sameScales: 'the scales of what it reads and gives',
  scale: 'its output over its input, by side',
  scaleRatio: 'the scale of its input over that of its output',
  sequence: 'its steps',
  size: 'its new size',
  slope: 'its slope',
  spatial: 'its spatial axes',
  starts: 'where it starts',
  steps: 'its steps',
  stride: 'each of its strides',
  strideArea: 'its strides, multiplied',
  weight: 'its weight',
  weightScales: 'the scales of its weight',
  weightSum: 'the sum of the absolute codes of a filter',
  weightType: 'the type of its weight',
  weightZeroPoint: 'the zero point of its weight',
  weightsFormat: 'the format of its weight',
  wideRank: 'the number of axes without leading ones',
  width: 'the width of its data'
}

/** How features are read from a node; one that is not here is not known of nodes. */
const features: Readonly<Partial<Record<Feature, (n: Pick<NodeView, 'node'>) => Fact | undefined>>> = {
  // Of Resize, the only operator that rows ask it of.
  mode: ({ node }) => attrString(node, 'mode', 'nearest'),
  dilation: ({ node }) => attrInts(node, 'dilations') ?? [1],
  outputs: ({ node }) => node.outputs.filter((id) => id !== '').length,
  groups: ({ node }) => attrInt(node, 'group', 1)
}

const relations: Readonly<Record<Condition[1], (have: number | string, want: Condition[2]) => boolean>> = {
  '==': (have, want) => have === want,
  '!=': (have, want) => have !== want,
  '<=': (have, want) => Number(have) <= Number(want),
  '>=': (have, want) => Number(have) >= Number(want),
  multiple: (have, want) => Number(have) % Number(want) === 0,
  in: (have, want) => (want as readonly (number | string)[]).includes(have)
}

/** Does a fact meet a condition? `undefined`: the fact is not known. */
export function isMet(facts: Facts, [feature, relation, value]: Condition): boolean | undefined {
  const fact = facts(feature)
  if (fact === undefined) return undefined
  const all = typeof fact === 'object' ? fact : [fact]
  return all.every((have) => relations[relation](have, value))
}

/** What of a condition a node does not meet, in words; `undefined` where it meets it. */
function missed(n: Pick<NodeView, 'node'>, condition: Condition): string | undefined {
  const facts: Facts = (feature) => features[feature]?.(n)
  const [feature, relation, value] = condition
  if (isMet(facts, condition)) return undefined
  return `its ${feature} is ${facts(feature) ?? 'not known'}, and must be ${relation} ${value}`
}

/**
 * The row of a node's operator that it meets. A text: the target has rows for the operator, but none for this node;
 * `undefined`: it has none at all.
 */
export function rowFor(target: Pick<Target, 'name' | 'integer'>, n: NodeView): IntegerRow | string | undefined {
  let reason: string | undefined
  for (const row of rowsOf(target, n.node)) {
    const misses = (row.when ?? []).flatMap((c) => missed(n, c) ?? [])
    if (misses.length === 0) return row
    reason ??= `${misses.join('; ')} for ${target.name} to compute it on integers`
  }
  return reason
}

/**
 * The row of an operator that stands for several, as a node of it is to be written; `undefined` where there is none. `past`:
 * how the past of an attention is kept.
 */
export const fusedRowFor = (
  target: Pick<Target, 'fused'>,
  op: string,
  node: Node,
  past?: FusedRow['past']
): FusedRow | undefined =>
  target.fused?.find(
    (row) =>
      row.op === op &&
      (row.past === undefined || row.past === past) &&
      (row.when ?? []).every((c) => missed({ node }, c) === undefined)
  )

/** Types of activations that quantization can make. */
export type CodeType = 'uint8' | 'int8'

/** The type of activations that most of a target's operators compute on; of those the one that is named first. */
export function preferredType(target: Pick<Target, 'integer'>): CodeType {
  const counts = new Map<CodeType, number>()
  for (const row of target.integer)
    for (const type of codeTypes(row, true)) counts.set(type, (counts.get(type) ?? 0) + 1)
  let best: CodeType = 'uint8'
  for (const [type, n] of counts) if (n > (counts.get(best) ?? 0)) best = type
  return best
}

/** Types of activations of a row, for a node with int8 weights or without constant weights. */
export const codeTypes = (row: IntegerRow, isWeighted: boolean): readonly CodeType[] =>
  row.types.flatMap(({ values, weights = 'int8' }) =>
    (values === 'uint8' || values === 'int8') && (!isWeighted || weights === 'int8') ? [values] : []
  )

/** A target's rows of a node's operator, whatever the node. */
export const rowsOf = (target: Pick<Target, 'integer'>, node: Pick<Node, 'op' | 'domain'>): readonly IntegerRow[] =>
  target.integer.filter((row) => row.op === opName(node))

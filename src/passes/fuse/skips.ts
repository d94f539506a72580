/** Sums before normalizations, biases before activations, embeddings: what runtimes compute with the node behind it. */
import { attrFloat, attrInt, attrString, float } from '../../ir/attrs.ts'
import type { Node } from '../../types.ts'
import { sameShape } from '../shapes.ts'
import { type Bound, pattern } from './pattern.ts'
import type { Site } from './rule.ts'
import { spelling, type Written } from './spelling.ts'

const skipNorm = ['LayerNormalization(s=Add|Sum(x, y), #g, #b)', 'LayerNormalization(s=Add|Sum(x, y), #g)']
const skipRms = 'SimplifiedLayerNormalization(s=Add|Sum(x, y), #g)'

export const skipLayerNorm = spelling({
  name: 'skip-layer-norm',
  makes: 'com.microsoft:SkipLayerNormalization',
  pattern: pattern(
    'LayerNormalization(s=Add|Sum(Add(x, #c), y), #g, #b)',
    'LayerNormalization(s=Add|Sum(Add(x, #c), y), #g)',
    ...skipNorm
  ),
  write: (found, root, site) => skipWritten(found, root, site, ['b', 'c'])
})

export const skipRmsNorm = spelling({
  name: 'skip-rms-norm',
  makes: 'com.microsoft:SkipSimplifiedLayerNormalization',
  pattern: pattern(skipRms),
  write: (found, root, site) => skipWritten(found, root, site, ['c'])
})

/** The sum is written as Sum, which the runtime does not join to the node behind it. */
const apart = (found: Bound): Written | undefined => {
  const sum = found.named['s']
  const { x = null, y = null } = found.values
  if (sum?.op !== 'Add') return undefined
  return { op: 'Sum', inputs: [x, y], at: sum }
}

export const skipLayerNormApart = spelling({
  name: 'skip-layer-norm-apart',
  makes: 'com.microsoft:SkipLayerNormalization',
  prevents: true,
  pattern: pattern(...skipNorm),
  write: apart
})

const isFixed = ({ values: { x, y } }: Bound, site: Site): boolean =>
  site.constant(x) !== undefined || site.constant(y) !== undefined

/** Input, skip, γ and the further constants in order; the sum itself is the fourth output where others read it. */
function skipWritten(found: Bound, root: Node, site: Site, further: readonly string[]): Written | string | undefined {
  const { x = null, y = null, g = null, c } = found.values
  const sum = found.named['s']
  if (!sum || isFixed(found, site)) return undefined
  const [a, b] = [site.value(x)?.shape, site.value(y)?.shape]
  if (a?.length !== 3 || !sameShape(a, b)) return 'what it adds is not known to be [batch, length, size] on both sides'
  if (attrInt(root, 'axis', -1) !== -1 && attrInt(root, 'axis', -1) !== 2)
    return 'it normalizes other axes than the last'
  if (root.outputs.length > 1) return 'its statistics are read'
  if (c !== undefined && site.constant(c)?.shape.length !== 1) return undefined
  const total = sum.outputs[0] ?? ''
  const isRead = site.isOutput(total) || site.consumers(total).length > 1
  return {
    inputs: [x, y, g, ...further.map((name) => found.values[name] ?? null)],
    attrs: { epsilon: float(attrFloat(root, 'epsilon', 1e-5)) },
    ...(isRead ? { outputs: [root.outputs[0] ?? '', '', '', total], given: [sum] } : {})
  }
}

const biased = pattern('Gelu(Add(x, #c))')

const biasedWritten = (approximate: string) => (found: Bound, root: Node, site: Site) => {
  const { x = null, c = null } = found.values
  if (attrString(root, 'approximate', 'none') !== approximate) return undefined
  const [size] = site.constant(c)?.shape ?? []
  return site.constant(c)?.shape.length === 1 && site.value(x)?.shape?.at(-1) === size ? { inputs: [x, c] } : undefined
}

export const biasGelu = spelling({
  name: 'bias-gelu',
  makes: 'com.microsoft:BiasGelu',
  pattern: biased,
  write: biasedWritten('none')
})

export const fastGelu = spelling({
  name: 'fast-gelu',
  makes: 'com.microsoft:FastGelu',
  pattern: biased,
  write: biasedWritten('tanh')
})

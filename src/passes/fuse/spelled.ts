/**
 * Ends of patterns that runtimes join to one kernel, as exporters spell them out. Their last factor and shift are constants
 * that would fit into the linear layer behind, but then the pattern is lost.
 */
import type { Node } from '../../types.ts'
import { erfGelu, tanhGelu } from './gelus.ts'
import { rmsNorm, scaledLayerNorm, wholeLayerNorm } from './norms.ts'
import type { Pattern } from './pattern.ts'
import type { Site } from './rule.ts'

const known: readonly (readonly [string, Pattern])[] = [
  ['Gelu', erfGelu],
  ['Gelu', tanhGelu],
  ['LayerNorm', wholeLayerNorm],
  ['LayerNorm', scaledLayerNorm],
  ['RMSNorm', rmsNorm]
]

/** Which pattern a node ends; `undefined` where it ends none. */
export const spelledOut = (node: Node, site: Site): string | undefined =>
  known.find(([, pattern]) => pattern.find(node, site))?.[0]

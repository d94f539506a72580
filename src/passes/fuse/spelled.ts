/**
 * Ends of patterns that runtimes join to one kernel, as exporters spell them out:
 *   Gelu       ½ · (x · (1 + erf(x/√2))), also with tanh instead of erf
 *   LayerNorm  γ · (x − μ)/√(σ² + ε) + β, also without β (RMSNorm: without μ)
 * Their last factor and shift are constants that would fit into the linear layer behind, but then the pattern is lost.
 */
import type { Node } from '../../types.ts'
import type { Site } from './rule.ts'

/** Which pattern a node ends; `undefined` where it ends none. */
export function spelledOut(node: Node, site: Site): string | undefined {
  if (node.op === 'Mul') {
    if (operands(node, site).some((n) => n.op === 'Mul' && operands(n, site).some((m) => isOnePlusErf(m, site))))
      return 'Gelu'
    return isScaledNorm(node, site) ? 'LayerNorm' : undefined
  }
  return node.op === 'Add' && operands(node, site).some((n) => isScaledNorm(n, site)) ? 'LayerNorm' : undefined
}

const operands = (node: Node, site: Site): readonly Node[] =>
  node.inputs.flatMap((id) => (id && site.producer(id)) || [])

const isOnePlusErf = (node: Node, site: Site): boolean =>
  node.op === 'Add' && operands(node, site).some((n) => n.op === 'Erf' || n.op === 'Tanh')

/** γ · (something / √(something)). */
const isScaledNorm = (node: Node, site: Site): boolean =>
  node.op === 'Mul' && operands(node, site).some((n) => n.op === 'Div' && endsInRoot(n.inputs[1], site))

const endsInRoot = (id: string | null | undefined, site: Site): boolean => !!id && site.producer(id)?.op === 'Sqrt'

/** Replacing linear layers by others that scale their channels; the algebra is in ../fuse/linear.ts. */
import { assert } from '../../../base/errors.ts'
import type { Draft } from '../../../ir/edit.ts'
import { type Absorbed, absorbed, type LinearLayer, linearLayer } from '../../fuse/linear.ts'
import { type Site, siteOf } from '../../fuse/rule.ts'

/**
 * Makes the layer of `output` read `x`, with the weight and bias that `make` gives. The caller has checked that `make`
 * gives no reason against it.
 */
export function changeLinear(
  d: Draft,
  output: string,
  x: string | undefined,
  make: (l: LinearLayer, site: Site) => Absorbed | string
): void {
  const site = siteOf(d)
  const node = d.producer(output)
  const linear = node && linearLayer(node, site)
  assert(node && linear && typeof linear !== 'string', `no linear layer makes ${output}`)
  const made = make(linear, site)
  assert(typeof made !== 'string', `${node.name}: ${String(made)}`)
  d.replace(node, absorbed(linear, made, x ?? (node.inputs[0] as string), output, site))
}

/**
 * Attention whose heads of queries share keys and values, behind a past, as one operator (Ainslie et al. 2023). Its kernel is
 * causal whatever it is given, so that the mask must be.
 */
import { float } from '../../ir/attrs.ts'
import { tensor } from '../../ir/tensor.ts'
import type { Node } from '../../types.ts'
import { attentionRule, turnedBy } from './attention.ts'
import { type Attended, biasOf } from './attention-bias.ts'
import { hidesLater } from './causal.ts'
import type { Bound } from './pattern.ts'
import { existing, shared } from './reuse.ts'
import type { Site } from './rule.ts'
import { sizeValue } from './sizes.ts'

export const groupedAttention = attentionRule(
  'grouped-attention',
  'com.microsoft:GroupQueryAttention',
  (found, sizes, root, site) => {
    if (sizes.groups === sizes.heads) return undefined
    if (sizes.past !== 'heads first') return 'it has no past of [batch, heads, length, size]'
    const bias = biasOf(found, sizes, site)
    if (typeof bias === 'string') return bias
    const { v = '', past_k = '', past_v = '' } = found.values
    const past = site.value(past_k)?.shape?.[2]
    if (past === undefined || !isCausal(found, sizes, past, site))
      return 'its mask is not known to hide later tokens, which the kernel always does'
    if (sizes.queries !== 1 && site.value(found.values['q'])?.shape?.[0] !== 1)
      return 'its kernel takes several tokens behind a past of one text alone, and neither number is fixed to 1'
    const given = [found.named['ck'] as Node, found.named['cv'] as Node]
    const [q, k] = [turnedBy('q', found, site), turnedBy('k', found, site)]
    const counts = [(): string => lastOf(found, sizes, site), (): string => totalOf(sizes, site)]
    return {
      inputs: [q, k, v, past_k, past_v, ...counts, ...(bias === null ? [] : [null, null, null, bias])],
      attrs: { num_heads: sizes.heads, kv_num_heads: sizes.groups, scale: float(sizes.scale) },
      outputs: [root.outputs[0] ?? '', ...given.map((n) => n.outputs[0] ?? '')],
      given
    }
  }
)

/** One query sees every key. */
const isCausal = (found: Bound, { queries }: Attended, past: Attended['keys'], site: Site): boolean =>
  queries === 1 || hidesLater(found, past, site)

const int32 = { dtype: 'int32' } as const

/** Keys with those of the past, int32 [1]. */
function totalOf({ length }: Attended, site: Site): string {
  const keys = sizeValue(length, site)
  return existing('Cast', [keys], `${keys}_int32`, { ...int32, shape: [1] }, site, { to: 6 })
}

/** The last key of each text, int32 [batch]. */
function lastOf({ values }: Bound, sizes: Attended, site: Site): string {
  const total = totalOf(sizes, site)
  const one = shared(tensor('int32', [1], [1]), 'one_int32', site)
  const last = existing('Sub', [total, one], `${total}_last`, { ...int32, shape: [1] }, site)
  const batch = sizeValue({ of: values['q'] ?? '', axis: 0 }, site)
  return existing(
    'Expand',
    [last, batch],
    `${last}_of_all`,
    { ...int32, shape: [site.value(values['q'])?.shape?.[0] ?? '?'] },
    site
  )
}

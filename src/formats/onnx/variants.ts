/** Constants that a spelling needs in another shape or type than the model holds them. */
import { PareError } from '../../base/errors.ts'
import { equalTensors } from '../../ir/tensor.ts'
import type { Form, Tensor, Value } from '../../types.ts'
import { constantValue, type Whole } from './whole.ts'

/** A constant to be had in another shape or type. All its readers agreeing, it changes in place. */
export class Variants {
  readonly changed = new Map<string, Value>()
  private readonly whole: Whole
  private readonly wanted = new Map<string, Map<string, { data: Tensor; form: Form | undefined; count: number }>>()
  constructor(whole: Whole) {
    this.whole = whole
  }

  /** First pass: says what is wanted of a constant. */
  want(id: string, data: Tensor, form?: Form): void {
    const variants = this.wanted.get(id) ?? new Map()
    this.wanted.set(id, variants)
    const key = `${data.dtype}[${data.shape}]`
    const known = variants.get(key)
    variants.set(key, { data, form, count: (known?.count ?? 0) + 1 })
  }

  /** Second pass: the id under which the variant is read, and the value to add to the reader's graph, if new. */
  take(id: string, like: Tensor): { readonly id: string; readonly added: readonly Value[] } {
    const variant = this.wanted.get(id)?.get(`${like.dtype}[${like.shape}]`)
    if (!variant) throw new PareError('E_INTERNAL', `no variant of ${id}`)
    const original = this.whole.constant(id)
    const form = variant.form ? { form: variant.form } : {}
    // A square matrix that was turned has the type of the original, and other content.
    const isOriginal = original && original.form === variant.form && isSame(original.data, variant.data)
    if (isOriginal) return { id, added: [] }
    if (variant.count === this.whole.readCount(id)) {
      this.changed.set(id, { ...constantValue(id, variant.data), ...form })
      return { id, added: [] }
    }
    const made = this.whole.fresh(id)
    return { id: made, added: [{ ...constantValue(made, variant.data), ...form }] }
  }
}

const sameType = (a: Tensor, b: Tensor): boolean => a.dtype === b.dtype && String(a.shape) === String(b.shape)

const isSame = (a: Tensor, b: Tensor): boolean => a === b || (sameType(a, b) && equalTensors(a, b))

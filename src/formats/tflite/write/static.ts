/** All sizes as numbers: TensorFlow Lite plans its memory before it runs. A batch that is open becomes 1, and stays said. */
import { PareError } from '../../../base/errors.ts'
import { bind, openSizes } from '../../../ir/bind.ts'
import { inferShapes } from '../../../ops/infer.ts'
import type { Dim, Model } from '../../../types.ts'

export interface Static {
  readonly model: Model
  /** Values whose first size is that of the open batch. */
  readonly open: Set<string>
}

/** The model for `batch` samples. Throws `E_UNSUPPORTED` for inputs with other open sizes. */
export function staticModel(model: Model, batch: number): Static {
  const typed = inferShapes(model)
  const { samples, others } = openSizes(typed)
  const named = [...others].map(([size, input]) => `${size} of ${input}`)
  if (named.length > 0)
    throw new PareError(
      'E_UNSUPPORTED',
      'a TensorFlow Lite file has sizes in numbers, and inputs of this model leave some open',
      {
        where: named[0] as string,
        facts: { open: named.join(', ') },
        hint: 'pare fix-sizes gives them sizes first'
      }
    )
  const isOpen = (d: Dim | undefined): boolean => typeof d === 'string' && samples.has(d)
  const open = new Set([...typed.graph.values.values()].flatMap((v) => (isOpen(v.shape?.[0]) ? [v.id] : [])))
  const bound = bind(typed, Object.fromEntries([...samples].map((d) => [d, batch])))
  return { model: inferShapes(bound), open }
}

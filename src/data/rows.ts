/** Outputs as one row of numbers a sample. */
import { PareError } from '../base/errors.ts'
import { kindOf, toNumbers } from '../ir/tensor.ts'
import type { Tensor } from '../types.ts'

/** What a model gave, by output. */
export type Outputs = Readonly<Record<string, Tensor>>
/** The numbers of one sample. */
export type Row = ArrayLike<number>

/** Numbers of an output, the length of a row, and the shape that a row has. */
export interface Rows {
  readonly values: ArrayLike<number>
  readonly length: number
  readonly shape: readonly number[]
}

/** The rows of an output. Throws `E_DATA_SHAPE` where it holds fewer than `n`. */
export function rowsOf(name: string, t: Tensor, n: number): Rows {
  const values = toNumbers(t)
  const rows = t.shape[0] ?? 0
  if (rows < n || values.length % rows !== 0)
    throw new PareError(
      'E_DATA_SHAPE',
      `output ${name} is [${t.shape.join(', ')}]: not one row for each of ${n} samples`
    )
  return { values, length: values.length / rows, shape: t.shape.slice(1) }
}

/** The row of sample `i`; typed arrays are not copied. */
export function row({ values, length }: Rows, i: number): Row {
  if (ArrayBuffer.isView(values)) return (values as unknown as Float32Array).subarray(i * length, (i + 1) * length)
  return Array.from({ length }, (_, k) => values[i * length + k] as number)
}

/** Does a tensor hold real numbers? */
export const isNumeric = (t: Tensor): boolean => t.dtype !== 'string' && kindOf(t.dtype) !== 'complex'

/** The original's outputs. Throws `E_OPTION` where there are none to compare with. */
export function referenced(name: string, reference: Outputs | undefined): Outputs {
  if (reference) return reference
  throw new PareError('E_OPTION', `${name} compares with the original model: it says nothing of that model alone`)
}

/** The output that stands beside the original's of a name. Throws `E_DATA_SHAPE` where there is none. */
export function counterpart(outputs: Outputs, name: string): Tensor {
  const t = outputs[name]
  if (t) return t
  throw new PareError('E_DATA_SHAPE', `the model has no output ${name} as the original has`, {
    facts: { outputs: spell(outputs) }
  })
}

/** Names, types and shapes. */
export const spell = (outputs: Outputs): string =>
  Object.entries(outputs)
    .map(([name, t]) => `${name}: ${t.dtype}[${t.shape.join(', ')}]`)
    .join(', ')

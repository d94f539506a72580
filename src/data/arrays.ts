/** Datasets over arrays whose first axis is the samples. */
import { part, toArray } from '../base/bytes.ts'
import { assert, PareError } from '../base/errors.ts'
import { bitsOf, isFloat, tensorOf, toNumbers } from '../ir/tensor.ts'
import type { Batch, Dataset, Tensor } from '../types.ts'

/** Raw samples of one input, and what makes a batch of them the model's input. */
export interface Column {
  readonly data: Tensor
  prepare?(rows: Tensor): Tensor
}

/** A dataset that knows its labels without reading its samples: what splitting by label needs. */
export interface LabelledDataset extends Dataset {
  readonly labels?: readonly number[]
}

export interface Columns {
  readonly columns: Readonly<Record<string, Column>>
  readonly labels?: readonly number[] | undefined
  readonly sha256?: string | undefined
  readonly where?: string | undefined
  /** Inputs of which a sample is a sequence. */
  readonly stepped?: readonly string[] | undefined
  readonly notes?: readonly string[] | undefined
}

/** A dataset over arrays that are the model's inputs already. Throws `E_DATA` for none, unequal counts or NaN. */
export function arrayDataset(a: {
  readonly inputs: Readonly<Record<string, Tensor>>
  readonly labels?: readonly number[]
  readonly sha256?: string
  readonly stepped?: readonly string[] | undefined
}): LabelledDataset {
  const columns = Object.fromEntries(Object.entries(a.inputs).map(([name, data]) => [name, { data }]))
  return columnDataset({ ...a, columns })
}

/** A dataset over raw arrays, prepared batch by batch: memory holds the raw arrays and one batch. */
export function columnDataset({ columns, labels, sha256, where = 'data', stepped, notes }: Columns): LabelledDataset {
  const entries = Object.entries(columns)
  const size = entries[0]?.[1].data.shape[0]
  if (!size) throw new PareError('E_DATA', 'no samples', { where })
  for (const [name, { data }] of entries) {
    if (data.shape[0] !== size)
      throw new PareError(
        'E_DATA',
        `${name} holds ${data.shape[0] ?? 'no axis of'} samples, ${entries[0]?.[0]} ${size}`,
        { where }
      )
    if (bitsOf(data.dtype) < 8)
      throw new PareError('E_DATA', `${name} is ${data.dtype}; samples must be whole bytes`, { where })
    if (data.bytes instanceof Uint8Array) refuseNaN(data, `${where}, ${name}`)
  }
  if (labels && labels.length !== size)
    throw new PareError('E_LABELS', `${labels.length} labels for ${size} samples`, { where })
  const batchOf = (picked: readonly number[]): Batch => ({
    n: picked.length,
    inputs: Object.fromEntries(entries.map(([name, column]) => [name, rowsOf(column, picked, `${where}, ${name}`)])),
    ...(labels && { labels: picked.map((i) => labels[i] as number) }),
    ...(stepped && { stepped })
  })
  return {
    size,
    labelled: labels !== undefined,
    ...(labels && { labels }),
    ...(notes && { notes }),
    ...(stepped && { isStepped: true }),
    ...(sha256 !== undefined && { sha256 }),
    async *batches({ batch, indices }) {
      for (const picked of chunks(size, batch, indices)) yield batchOf(picked)
    }
  }
}

/** The sample numbers of each batch in order; the last may be short. */
export function* chunks(size: number, batch: number, indices?: readonly number[]): Generator<readonly number[]> {
  assert(Number.isInteger(batch) && batch > 0, `a batch of ${batch}`)
  const count = indices?.length ?? size
  for (let at = 0; at < count; at += batch) {
    const n = Math.min(batch, count - at)
    const picked = indices ? indices.slice(at, at + n) : Array.from({ length: n }, (_, i) => at + i)
    for (const i of picked) assert(Number.isInteger(i) && i >= 0 && i < size, `sample ${i} of ${size}`)
    yield picked
  }
}

/** Stretches of samples of one length, in their order. */
export function alike(picked: readonly number[], lengths: readonly number[]): readonly (readonly number[])[] {
  const runs: number[][] = []
  for (const i of picked) {
    const last = runs.at(-1)
    if (last && lengths[last[0] as number] === lengths[i]) last.push(i)
    else runs.push([i])
  }
  return runs
}

function rowsOf({ data, prepare }: Column, picked: readonly number[], where: string): Tensor {
  const [size, ...rest] = data.shape as readonly [number, ...number[]]
  const row = data.bytes.length / size
  const first = picked[0] ?? 0
  const consecutive = picked.every((index, i) => index === first + i)
  const bytes = consecutive
    ? toArray(part(data.bytes, first * row, (first + picked.length) * row))
    : new Uint8Array(picked.length * row)
  if (!consecutive)
    picked.forEach((index, i) => void bytes.set(toArray(part(data.bytes, index * row, (index + 1) * row)), i * row))
  const rows = tensorOf(data.dtype, [picked.length, ...rest], bytes)
  if (!(data.bytes instanceof Uint8Array)) refuseNaN(rows, where, picked)
  return prepare ? prepare(rows) : rows
}

/** Throws `E_DATA` naming the first sample and element that is not a number. `picked`: numbers of the rows. */
export function refuseNaN(t: Tensor, where: string, picked?: readonly number[]): void {
  if (!isFloat(t.dtype)) return
  const values = toNumbers(t)
  for (let i = 0; i < values.length; i++) {
    if (!Number.isNaN(values[i])) continue
    const row = values.length / (t.shape[0] ?? 1)
    const at = Math.floor(i / row)
    throw new PareError('E_DATA', 'the data holds NaN', {
      where,
      facts: { sample: String(picked?.[at] ?? at), element: `[${unravel(i % row, t.shape.slice(1))}]` },
      hint: 'remove or repair that sample'
    })
  }
}

function unravel(flat: number, shape: readonly number[]): string {
  const out: number[] = []
  let rest = flat
  for (const d of [...shape].reverse()) {
    out.unshift(rest % d)
    rest = Math.floor(rest / d)
  }
  return out.join(', ')
}

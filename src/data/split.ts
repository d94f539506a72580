/** Parts of a dataset. */
import { PareError, stopIfAborted } from '../base/errors.ts'
import { rng } from '../base/random.ts'
import type { Dataset } from '../types.ts'
import type { LabelledDataset } from './arrays.ts'

/** The samples of `indices`, in that order; nothing is copied. */
export function subset(dataset: LabelledDataset, indices: readonly number[]): LabelledDataset {
  const { labels, lengths } = dataset
  return {
    size: indices.length,
    labelled: dataset.labelled,
    ...(labels && { labels: indices.map((i) => labels[i] as number) }),
    ...(lengths && { lengths: indices.map((i) => lengths[i] as number) }),
    ...(dataset.sha256 !== undefined && { sha256: dataset.sha256 }),
    ...(dataset.isStepped && { isStepped: true }),
    ...(dataset.marks && { marks: dataset.marks }),
    batches: ({ batch, indices: picked }) =>
      dataset.batches({ batch, indices: picked ? picked.map((i) => indices[i] as number) : indices })
  }
}

/** The label of every sample: the list that came with the data, or else read batch by batch. Throws `E_LABELS` where there are none. */
export async function labelsIn(dataset: LabelledDataset, signal?: AbortSignal): Promise<readonly number[]> {
  if (dataset.labels) return dataset.labels
  const labels: number[] = []
  const indices = Array.from({ length: dataset.size }, (_, i) => i)
  if (dataset.labelled)
    for await (const batch of dataset.batches({ batch: 256, indices })) {
      stopIfAborted(signal)
      for (const label of batch.labels ?? []) labels.push(label)
    }
  if (labels.length === dataset.size) return labels
  throw new PareError('E_LABELS', `${labels.length} of ${dataset.size} samples have a label`, {
    hint: 'folders by class, labels.csv, an array y, or a data module that is labelled'
  })
}

/** `n` samples drawn by the seed, in the order of the data; each class in proportion where labels are known. */
export function drawn(dataset: LabelledDataset, n: number, seed: number | string): LabelledDataset {
  const order = spread(dataset.size, dataset.labels, seed)
  return subset(
    dataset,
    order.slice(0, n).sort((a, b) => a - b)
  )
}

export interface Parts {
  readonly calibration: Dataset
  readonly selection: Dataset
  readonly test: Dataset
}

/**
 * Splits by seed: a fifth, at most 512 samples, to calibrate, three tenths to select among candidates, the rest to
 * test. Where labels are known every part holds each class in proportion. Throws `E_DATA` below three samples.
 */
export function splitData(dataset: LabelledDataset, seed: number | string): Parts {
  const n = dataset.size
  if (n < 3)
    throw new PareError('E_DATA', `${n} samples cannot be split into calibration, selection and test`, {
      hint: 'give at least 3; a few hundred make a measurement'
    })
  const order = spread(n, dataset.labels, seed)
  const [first, second] = cuts(n)
  return {
    calibration: subset(dataset, order.slice(0, first)),
    selection: subset(dataset, order.slice(first, second)),
    test: subset(dataset, order.slice(second))
  }
}

/** Two halves, drawn by the seed, with each class in proportion where labels are known. */
export function halved(dataset: LabelledDataset, seed: number | string): readonly [Dataset, Dataset] {
  const order = spread(dataset.size, dataset.labels, seed)
  const half = Math.ceil(dataset.size / 2)
  return [subset(dataset, order.slice(0, half)), subset(dataset, order.slice(half))]
}

/** What `splitData` does not select by: to train on, where nothing is left to test. */
export function besidesSelection(dataset: LabelledDataset, seed: number | string): LabelledDataset {
  const order = spread(dataset.size, dataset.labels, seed)
  const [first, second] = cuts(dataset.size)
  return subset(dataset, [...order.slice(0, first), ...order.slice(second)])
}

/** Where the calibration and the selection part end. */
function cuts(n: number): readonly [number, number] {
  const first = Math.min(512, Math.max(1, Math.round(n * 0.2)))
  return [first, first + Math.max(1, Math.round(n * 0.3))]
}

/** A random order in which every stretch holds the classes in proportion: the k-th of m of a class sits near k/m. */
function spread(n: number, labels: readonly number[] | undefined, seed: number | string): readonly number[] {
  const random = rng(seed).fork('split')
  const shuffled = random.permutation(n)
  if (!labels) return shuffled
  const classes = new Map<number, number[]>()
  for (const i of shuffled) {
    const label = labels[i] as number
    const members = classes.get(label)
    if (members) members.push(i)
    else classes.set(label, [i])
  }
  const place = new Float64Array(n)
  for (const label of [...classes.keys()].sort((a, b) => a - b)) {
    const members = classes.get(label) as number[]
    const offset = random.next()
    members.forEach((i, k) => {
      place[i] = (k + offset) / members.length
    })
  }
  return shuffled.sort((a, b) => (place[a] as number) - (place[b] as number) || a - b)
}

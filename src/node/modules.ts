/** The user's own dataset or metric: a module of code, so only ever a path that the user typed on the command line. */
import { realpath } from 'node:fs/promises'
import { pathToFileURL } from 'node:url'
import { PareError } from '../base/errors.ts'
import { refuseNaN } from '../data/arrays.ts'
import type { ModelInput } from '../data/fit.ts'
import { checkLabels } from '../data/labels.ts'
import { dtypeNames, tensorOf } from '../ir/tensor.ts'
import { wholeInputs } from '../runtime/batches.ts'
import type { Batch, Dataset, Metric, Tensor } from '../types.ts'
import { isDataset } from './job.ts'

type Fields = Readonly<Record<string, unknown>>

/**
 * Runs a module whose default export is a Dataset, or a function of the model's inputs that returns one. Every batch is
 * checked on its way: names, shapes, counts, labels, NaN. Throws `E_FILE`, `E_DATA`, `E_DATA_SHAPE`, `E_LABELS`.
 */
export async function loadDataset(
  path: string,
  inputs: readonly ModelInput[],
  o: { readonly classes?: number | undefined; readonly partly?: boolean | undefined } = {}
): Promise<Dataset> {
  const exported = await load(path)
  const found: unknown = typeof exported === 'function' ? await own(path, () => exported(inputs)) : exported
  if (isDataset(found)) return checkedDataset(found, path, inputs, o)
  throw new PareError('E_DATA', 'the module exports no Dataset', {
    where: path,
    hint: 'export default { size, labelled, batches({ batch, indices }) } or a function that returns it'
  })
}

/**
 * A Dataset of somebody else's code, each batch checked on its way. `where` is what errors call it. Throws `E_DATA`, and in
 * its batches `E_DATA`, `E_DATA_SHAPE`, `E_LABELS`.
 */
export function checkedDataset(
  dataset: Dataset,
  path: string,
  inputs: readonly ModelInput[],
  o: { readonly classes?: number | undefined; readonly partly?: boolean | undefined } = {}
): Dataset {
  const { size, labelled, sha256 }: Fields = { ...dataset }
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0 || typeof labelled !== 'boolean')
    throw new PareError('E_DATA', "the Dataset's size must be a count and its labelled true or false", { where: path })
  if (size === 0) throw new PareError('E_DATA', 'no samples', { where: path })
  return {
    size,
    labelled,
    ...(typeof sha256 === 'string' && { sha256 }),
    async *batches(wanted) {
      const count = wanted.indices?.length ?? size
      let n = 0
      for await (const given of stepwise(path, () => dataset.batches(wanted))) {
        const batch = checkBatch(given, inputs, labelled, `${path}, batch from sample ${n}`)
        if (batch.labels) checkLabels(batch.labels, o.classes, path, o.partly)
        n += batch.n
        if (n > count) break
        yield batch
      }
      if (n !== count)
        throw new PareError('E_DATA', `${n}${n > count ? ' or more' : ''} samples came where ${count} were asked for`, {
          where: path,
          hint: 'batches({ batch, indices }) gives the samples of indices, or all of them without'
        })
    }
  }
}

/** Runs a module whose default export is a Metric. Throws `E_FILE`, `E_OPTION`. */
export async function loadMetric(path: string): Promise<Metric> {
  return checkedMetric(await load(path), path)
}

/** A Metric of somebody else's code; what it gives is checked. Throws `E_OPTION`. */
export function checkedMetric(m: unknown, path: string): Metric {
  const needs = isFields(m) ? m['needs'] : undefined
  const fits =
    isFields(m) &&
    typeof m['name'] === 'string' &&
    (m['better'] === 'higher' || m['better'] === 'lower') &&
    (m['scale'] === 'binary' || m['scale'] === 'real') &&
    isFields(needs) &&
    typeof needs['labels'] === 'boolean' &&
    typeof needs['reference'] === 'boolean' &&
    typeof m['scores'] === 'function'
  if (!fits)
    throw new PareError('E_OPTION', 'this is no Metric', {
      where: path,
      hint: "a Metric is { name, better: 'higher' | 'lower', scale: 'binary' | 'real', needs: { labels, reference }, scores(outputs, batch, reference) }"
    })
  const metric = m as unknown as Metric
  return {
    name: metric.name,
    better: metric.better,
    needs: metric.needs,
    scale: metric.scale,
    scores(outputs, batch, reference) {
      let scores: unknown
      try {
        scores = metric.scores(outputs, batch, reference)
      } catch (cause) {
        throw failure(path, cause)
      }
      if (Array.isArray(scores) && scores.length === batch.n && scores.every((s) => typeof s === 'number'))
        return scores
      throw new PareError('E_OPTION', `the metric gave no list of ${batch.n} numbers, one a sample`, { where: path })
    }
  }
}

/** Runs a module's own function. What it throws is the module's fault, not ours. */
async function own<T>(path: string, run: () => T | Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (cause) {
    throw failure(path, cause)
  }
}

/** A module's batches one by one; an error inside it is told from one of ours outside. */
async function* stepwise(path: string, start: () => AsyncIterable<Batch>): AsyncGenerator<Batch> {
  const source: Partial<AsyncIterable<Batch> & Iterable<Batch>> = await own(path, start)
  const iterator = source[Symbol.asyncIterator]?.() ?? source[Symbol.iterator]?.()
  if (!iterator) throw new PareError('E_DATA', 'batches gives nothing to go through', { where: path })
  let isDone = false
  try {
    while (!isDone) {
      const step = await own(path, async () => iterator.next())
      isDone = step.done === true
      if (!isDone) yield step.value
    }
  } finally {
    if (!isDone) await iterator.return?.()
  }
}

function failure(path: string, cause: unknown): PareError {
  if (cause instanceof PareError) return cause
  return new PareError('E_DATA', 'the module failed', { where: path, cause, facts: { why: String(cause) } })
}

async function load(path: string): Promise<unknown> {
  const real = await realpath(path).catch((cause) => {
    throw new PareError('E_FILE', 'no such file', { where: path, cause })
  })
  const module = await import(pathToFileURL(real).href).catch((cause) => {
    throw new PareError('E_DATA', 'the module cannot be loaded', { where: path, cause, facts: { why: String(cause) } })
  })
  return module.default
}

function checkBatch(given: unknown, inputs: readonly ModelInput[], labelled: boolean, where: string): Batch {
  const bad = (message: string): PareError => new PareError('E_DATA', message, { where })
  if (!isFields(given) || !isFields(given['inputs'])) throw bad('a batch is { n, inputs, labels }')
  const { n, labels } = given
  if (typeof n !== 'number' || !Number.isInteger(n) || n < 1) throw bad('n must be the number of samples')
  const tensors = given['inputs']
  const whole = wholeInputs({ inputs })
  const checked = inputs.map(
    (input) => [input.name, checkTensor(tensors[input.name], n, input, where, whole.has(input.name))] as const
  )
  if (!labelled) return { n, inputs: Object.fromEntries(checked) }
  if (!Array.isArray(labels) || labels.length !== n) throw new PareError('E_LABELS', `not ${n} labels`, { where })
  return { n, inputs: Object.fromEntries(checked), labels: labels.map(Number) }
}

function checkTensor(given: unknown, n: number, input: ModelInput, where: string, isWhole: boolean): Tensor {
  const place = `${where}, ${input.name}`
  const bad = (message: string): PareError => new PareError('E_DATA', message, { where: place })
  if (!isFields(given)) throw bad(`no tensor for the model's input ${input.name}`)
  const { dtype, shape, bytes } = given
  const known = dtypeNames.find((d) => d === dtype)
  if (!known || known === 'string' || !(bytes instanceof Uint8Array))
    throw bad('a tensor is { dtype, shape, bytes: Uint8Array }')
  if (!Array.isArray(shape) || !shape.every((d) => Number.isSafeInteger(d) && d >= 0))
    throw bad('a shape is a list of counts')
  const own = isWhole ? ['n', ...(input.shape ?? [])] : input.shape
  const fits =
    (input.dtype ?? known) === known &&
    (own?.length ?? shape.length) === shape.length &&
    (own ?? []).every((d, i) => i === 0 || typeof d === 'string' || d === shape[i])
  if (!fits)
    throw new PareError('E_DATA_SHAPE', 'the data does not fit the model', {
      facts: {
        model: `input ${input.name}: ${input.dtype ?? '?'}[${input.shape?.join(', ') ?? ''}]`,
        data: `${where}: ${known}[${shape.join(', ')}]`
      }
    })
  if (shape[0] !== n) throw bad(`${shape[0] ?? 'no'} rows where n is ${n}`)
  const tensor = tensorOf(known, shape, bytes)
  refuseNaN(tensor, place)
  return tensor
}

const isFields = (x: unknown): x is Fields => typeof x === 'object' && x !== null

/**
 * Scores of samples. ONNX runtimes return rows first: output o of a batch of n is [n, …]; rows past n are padding.
 * Class scores are outputs of [n, C ≥ 2], also spelled [n, C, 1, 1]; a class is the index of the first greatest score.
 * For agreement also of [n, windows, C]: a sample agrees where all of its windows do.
 * An output that holds NaN is never right and has an infinite error.
 */

import { PareError } from '../base/errors.ts'
import { isFloat, isInteger, kindOf, toNumbers } from '../ir/tensor.ts'
import type { Batch, Dim, Metric, Session, Tensor } from '../types.ts'
import { argmax } from './argmax.ts'
import { ctcText } from './ctc.ts'

type Outputs = Readonly<Record<string, Tensor>>
type Row = ArrayLike<number>

/** Every metric that is built in, by name. */
export const metrics: Readonly<Record<string, Metric>> = Object.fromEntries(
  [
    topK('top1', 1),
    topK('top5', 5),
    agreement(),
    compared('relativeError', 'lower', relativeError),
    compared('cosine', 'higher', cosine),
    reconstruction(),
    ctcText()
  ].map((m) => [m.name, m])
)

/** The built-in metric of a name; throws `E_OPTION` for an unknown one. */
export function metricFor(name: string): Metric {
  const metric = Object.hasOwn(metrics, name) ? metrics[name] : undefined
  if (metric) return metric
  throw new PareError('E_OPTION', `no metric named '${name}'`, { hint: Object.keys(metrics).join(', ') })
}

/** Where a model may give classes `top1` with labels; without them `agreement` for class scores; else `relativeError`. */
export function defaultMetric(outputs: Session['outputs'], labelled: boolean): Metric {
  if (labelled && outputs.some((o) => mayClassify(o))) return metricFor('top1')
  return metricFor(outputs.some((o) => isScores(o)) ? 'agreement' : 'relativeError')
}

/** Class scores, or classes themselves, as far as the declared type tells. */
function mayClassify({ dtype, shape }: Session['outputs'][number]): boolean {
  const single = (d: Dim): boolean => typeof d === 'string' || d === 1
  if (shape === undefined) return true
  if (dtype !== undefined && !isFloat(dtype)) return isInteger(dtype) && shape.slice(1).every(single)
  return shape.length >= 2 && shape[1] !== 1 && shape.slice(2).every(single)
}

/** Number of classes of a model: of its first output of class scores. `undefined` where there is none. */
export function classCount(outputs: Session['outputs']): number | undefined {
  const shape = outputs.find((o) => isScores(o))?.shape
  return shape && typeof shape[1] === 'number' ? shape[1] : undefined
}

function isScores(o: Session['outputs'][number]): boolean {
  return (o.dtype === undefined || isFloat(o.dtype)) && o.shape !== undefined && isScoreShape(o.shape)
}

const isScoreShape = (shape: readonly Dim[]): boolean =>
  shape.length >= 2 && typeof shape[1] === 'number' && shape[1] >= 2 && shape.slice(2).every((d) => d === 1)

/** Numbers of an output, and the length of a row. */
interface Rows {
  readonly values: ArrayLike<number>
  readonly length: number
}

function rowsOf(name: string, t: Tensor, n: number): Rows {
  const values = toNumbers(t)
  const rows = t.shape[0] ?? 0
  if (rows < n || values.length % rows !== 0)
    throw new PareError(
      'E_DATA_SHAPE',
      `output ${name} is [${t.shape.join(', ')}]: not one row for each of ${n} samples`
    )
  return { values, length: values.length / rows }
}

const isNumeric = (t: Tensor): boolean => t.dtype !== 'string' && kindOf(t.dtype) !== 'complex'

/** Predicted classes of one output, −1 where it holds NaN; `undefined` when the output is not about classes. */
function predictions(name: string, t: Tensor, n: number): readonly number[] | undefined {
  if (isFloat(t.dtype) && isScoreShape(t.shape)) {
    const { values, length } = rowsOf(name, t, n)
    return Array.from({ length: n }, (_, i) => argmax(values, i * length, length))
  }
  if (isInteger(t.dtype) && t.shape.length >= 1 && t.shape.slice(1).every((d) => d === 1))
    return Array.from(rowsOf(name, t, n).values).slice(0, n)
  return undefined
}

/** Predicted classes also of several windows a sample, [n, windows, C ≥ 2], window by window. */
function windowed(name: string, t: Tensor, n: number): readonly number[] | undefined {
  const [rows, windows = 0, classes] = t.shape
  if (!isFloat(t.dtype) || t.shape.length !== 3 || rows !== n || windows < 2 || classes === 1 || isScoreShape(t.shape))
    return predictions(name, t, n)
  return predictions(name, { ...t, shape: [n * windows, classes as number] }, n * windows)
}

function topK(name: string, k: number): Metric {
  return {
    name,
    better: 'higher',
    needs: { labels: true, reference: false },
    scale: 'binary',
    scores(outputs, batch) {
      const labels = batch.labels
      if (!labels) throw new PareError('E_LABELS', `${name} needs labelled data`)
      const scored = Object.entries(outputs).find(([, t]) => isFloat(t.dtype) && isScoreShape(t.shape))
      if (scored) {
        const { values, length } = rowsOf(...scored, batch.n)
        return labels.map((label, i) => (isAmong(values, i * length, length, label, k) ? 1 : 0))
      }
      const classes = k === 1 ? firstPredictions(outputs, batch.n) : undefined
      if (classes) return labels.map((label, i) => (classes[i] === label ? 1 : 0))
      throw new PareError('E_OPTION', `${name} needs an output of class scores [n, classes]`, {
        facts: { outputs: spell(outputs) }
      })
    }
  }
}

function firstPredictions(outputs: Outputs, n: number): readonly number[] | undefined {
  for (const [name, t] of Object.entries(outputs)) {
    const found = predictions(name, t, n)
    if (found) return found
  }
  return undefined
}

/** Is the label among the k greatest scores? Of equal scores the first counts as greater. */
function isAmong(values: ArrayLike<number>, from: number, length: number, label: number, k: number): boolean {
  if (label < 0 || label >= length) return false
  const own = values[from + label] as number
  let ahead = 0
  for (let i = 0; i < length; i++) {
    const v = values[from + i] as number
    if (Number.isNaN(v)) return false
    if (v > own || (v === own && i < label)) ahead++
  }
  return ahead < k
}

function agreement(): Metric {
  return {
    name: 'agreement',
    better: 'higher',
    needs: { labels: false, reference: true },
    scale: 'binary',
    scores(outputs, batch, reference) {
      const agrees = new Array<number>(batch.n).fill(1)
      let compared = 0
      for (const [name, r] of Object.entries(referenced('agreement', reference))) {
        const theirs = windowed(name, r, batch.n)
        if (!theirs) continue
        const ours = windowed(name, counterpart(outputs, name), batch.n)
        compared++
        const windows = theirs.length / batch.n
        theirs.forEach((c, i) => {
          if (!ours || c < 0 || c !== ours[i]) agrees[Math.floor(i / windows)] = 0
        })
      }
      if (compared > 0) return agrees
      throw new PareError('E_OPTION', 'agreement needs an output of class scores [n, classes]', {
        facts: { outputs: spell(outputs) }
      })
    }
  }
}

/** A metric of each numeric output against the reference's; of several outputs the worst counts. */
function compared(name: string, better: Metric['better'], score: (y: Row, r: Row) => number): Metric {
  const worst = better === 'lower' ? Math.max : Math.min
  return {
    name,
    better,
    needs: { labels: false, reference: true },
    scale: 'real',
    scores(outputs, batch, reference) {
      const numeric = Object.entries(referenced(name, reference)).filter(([, t]) => isNumeric(t))
      if (numeric.length === 0) throw new PareError('E_OPTION', `${name} needs a numeric output`)
      const perOutput = numeric.map(([output, t]) => {
        const r = rowsOf(output, t, batch.n)
        const y = rowsOf(output, counterpart(outputs, output), batch.n)
        if (y.length !== r.length)
          throw new PareError(
            'E_DATA_SHAPE',
            `output ${output} has ${y.length} numbers a sample, the original's ${r.length}`
          )
        return Array.from({ length: batch.n }, (_, i) => score(row(y, i), row(r, i)))
      })
      return Array.from({ length: batch.n }, (_, i) =>
        perOutput.map((scores) => scores[i] as number).reduce((a, b) => worst(a, b))
      )
    }
  }
}

/** ‖y − r‖ / ‖r‖; where r is zero 0 for equal outputs and 1 otherwise. */
function relativeError(y: Row, r: Row): number {
  let [difference, norm] = [0, 0]
  for (let i = 0; i < r.length; i++) {
    const d = (y[i] as number) === (r[i] as number) ? 0 : (y[i] as number) - (r[i] as number)
    difference += d * d
    norm += (r[i] as number) ** 2
  }
  if (difference === 0) return 0
  const e = norm === 0 ? 1 : Math.sqrt(difference / norm)
  return Number.isNaN(e) ? Number.POSITIVE_INFINITY : e
}

/** y·r / (‖y‖ ‖r‖); two zero vectors are the same, NaN is opposite. */
function cosine(y: Row, r: Row): number {
  let [dot, yy, rr] = [0, 0, 0]
  for (let i = 0; i < r.length; i++) {
    dot += (y[i] as number) * (r[i] as number)
    yy += (y[i] as number) ** 2
    rr += (r[i] as number) ** 2
  }
  if (yy === 0 || rr === 0) return yy === rr ? 1 : 0
  const c = dot / Math.sqrt(yy * rr)
  return Number.isNaN(c) ? -1 : c
}

/** Mean squared error between a model's input and its output of that size, as of an autoencoder. */
function reconstruction(): Metric {
  return {
    name: 'reconstruction',
    better: 'lower',
    needs: { labels: false, reference: false },
    scale: 'real',
    scores(outputs, batch) {
      const [y, x] = reconstructed(outputs, batch)
      return Array.from({ length: batch.n }, (_, i) => {
        let sum = 0
        for (let k = 0; k < x.length; k++)
          sum += ((y.values[i * y.length + k] as number) - (x.values[i * x.length + k] as number)) ** 2
        return Number.isNaN(sum) ? Number.POSITIVE_INFINITY : sum / x.length
      })
    }
  }
}

function reconstructed(outputs: Outputs, batch: Batch): readonly [Rows, Rows] {
  for (const [output, y] of Object.entries(outputs))
    for (const [input, x] of Object.entries(batch.inputs)) {
      if (!isFloat(y.dtype) || !isNumeric(x)) continue
      const pair = [rowsOf(output, y, batch.n), rowsOf(input, x, batch.n)] as const
      if (pair[0].length === pair[1].length) return pair
    }
  throw new PareError('E_OPTION', 'reconstruction needs an output of the same size as an input', {
    facts: { outputs: spell(outputs), inputs: spell(batch.inputs) }
  })
}

function row({ values, length }: Rows, i: number): Row {
  if (ArrayBuffer.isView(values)) return (values as unknown as Float32Array).subarray(i * length, (i + 1) * length)
  return Array.from({ length }, (_, k) => values[i * length + k] as number)
}

function referenced(name: string, reference: Outputs | undefined): Outputs {
  if (reference) return reference
  throw new PareError('E_OPTION', `${name} compares with the original model: it says nothing of that model alone`)
}

function counterpart(outputs: Outputs, name: string): Tensor {
  const t = outputs[name]
  if (t) return t
  throw new PareError('E_DATA_SHAPE', `the model has no output ${name} as the original has`, {
    facts: { outputs: spell(outputs) }
  })
}

const spell = (outputs: Outputs): string =>
  Object.entries(outputs)
    .map(([name, t]) => `${name}: ${t.dtype}[${t.shape.join(', ')}]`)
    .join(', ')

/** `[agreement]` where outputs are class scores and it is not among the metrics already; a fact of any comparison. */
export function agreementBeside(outputs: Session['outputs'], metrics: readonly Metric[]): readonly Metric[] {
  const areClasses = classCount(outputs) !== undefined || metrics.some((m) => m.name === 'top1')
  return areClasses && !metrics.some((m) => m.name === 'agreement') ? [metricFor('agreement')] : []
}

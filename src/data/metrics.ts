/**
 * Scores of samples. ONNX runtimes return rows first: output o of a batch of n is [n, …]; rows past n are padding.
 * Class scores are outputs of [n, C ≥ 2], also spelled [n, C, 1, 1]; a class is the index of the first greatest score.
 * For agreement also of [n, windows, C]: a sample agrees where all of its windows do.
 * An output that holds NaN is never right and has an infinite error.
 */

import { PareError } from '../base/errors.ts'
import { isFloat, isInteger } from '../ir/tensor.ts'
import type { Session } from '../runtime/types.ts'
import type { Batch, Dim, Metric, Tensor } from '../types.ts'
import { argmax } from './argmax.ts'
import { ctcText } from './ctc.ts'
import { detections } from './detections.ts'
import { type Part, partName, within } from './parts.ts'
import { counterpart, isNumeric, type Outputs, type Row, type Rows, referenced, row, rowsOf, spell } from './rows.ts'

/** Every metric that is built in, by name. */
export const metrics: Readonly<Record<string, Metric>> = Object.fromEntries(
  [
    topK('top1', 1),
    topK('top5', 5),
    agreement(),
    compared('relativeError', 'lower', relativeError),
    compared('cosine', 'higher', cosine),
    reconstruction(),
    ctcText(),
    detections()
  ].map((m) => [m.name, m])
)

/** The built-in metric of a name; throws `E_OPTION` for an unknown one. */
export function metricFor(name: string): Metric {
  const metric = Object.hasOwn(metrics, name) ? metrics[name] : undefined
  if (metric) return metric
  throw new PareError('E_OPTION', `no metric named '${name}'`, { hint: Object.keys(metrics).join(', ') })
}

/** Class scores, or classes themselves, as far as the declared type tells. */
export function mayClassify({ dtype, shape }: Session['outputs'][number]): boolean {
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

/** Class scores by their declared shape: [N, C ≥ 2] with C fixed. */
export function isScores(o: Session['outputs'][number]): boolean {
  return (o.dtype === undefined || isFloat(o.dtype)) && o.shape !== undefined && isScoreShape(o.shape)
}

const isScoreShape = (shape: readonly Dim[]): boolean =>
  shape.length >= 2 && typeof shape[1] === 'number' && shape[1] >= 2 && shape.slice(2).every((d) => d === 1)

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

/** `relativeError` by parts of the outputs, of which the worst counts. */
export const relativeErrorOf = (parts: readonly Part[]): Metric =>
  compared('relativeError', 'lower', relativeError, parts)

/** `cosine` of each numeric output, of which the worst counts. */
export const cosineOf = (parts: readonly Part[]): Metric => compared('cosine', 'higher', cosine, parts)

/**
 * A metric of each part of the outputs against the reference's, whole outputs by default; of several the worst counts.
 * With parts given, each is also a metric of its own.
 */
function compared(
  name: string,
  better: Metric['better'],
  score: (y: Row, r: Row) => number,
  parts?: readonly Part[]
): Metric {
  const worst = better === 'lower' ? Math.max : Math.min
  return {
    name,
    better,
    needs: { labels: false, reference: true },
    scale: 'real',
    scores(outputs, batch, reference) {
      const original = referenced(name, reference)
      const all = parts ?? numericOutputs(original)
      if (all.length === 0) throw new PareError('E_OPTION', `${name} needs a numeric output`)
      const perPart = all.map((part) => {
        const { output } = part
        const r = rowsOf(output, counterpart(original, output), batch.n)
        const y = rowsOf(output, counterpart(outputs, output), batch.n)
        if (y.length !== r.length)
          throw new PareError(
            'E_DATA_SHAPE',
            `output ${output} has ${y.length} numbers a sample, the original's ${r.length}`
          )
        const taken = (rows: Rows, i: number): Row => within(row(rows, i), rows.shape, part)
        return Array.from({ length: batch.n }, (_, i) => score(taken(y, i), taken(r, i)))
      })
      return Array.from({ length: batch.n }, (_, i) =>
        perPart.map((scores) => scores[i] as number).reduce((a, b) => worst(a, b))
      )
    },
    ...(parts && parts.length > 1
      ? { parts: parts.map((p) => ({ ...compared(name, better, score, [p]), name: partName(p) })) }
      : {})
  }
}

const numericOutputs = (outputs: Outputs): readonly Part[] =>
  Object.entries(outputs).flatMap(([output, t]) => (isNumeric(t) ? [{ output }] : []))

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

/** `[agreement]` where outputs are class scores and no metric says it or something else of them; a fact of any comparison. */
export function agreementBeside(outputs: Session['outputs'], metrics: readonly Metric[]): readonly Metric[] {
  if (metrics.some((m) => ['agreement', 'cosine', 'detections'].includes(m.name))) return []
  const areClasses = classCount(outputs) !== undefined || metrics.some((m) => m.name === 'top1')
  return areClasses ? [metricFor('agreement')] : []
}

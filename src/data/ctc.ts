/**
 * Text of a network trained with CTC, as a recogniser of lines or speech gives it: the class of the greatest score at
 * every time step, repeats made one, blanks dropped. (Graves et al., Connectionist Temporal Classification, 2006, best
 * path decoding.) Texts are sequences of class indices: what the classes are called does not matter to compare them.
 */

import { PareError } from '../base/errors.ts'
import { isFloat, toNumbers } from '../ir/tensor.ts'
import type { Metric, Tensor } from '../types.ts'
import { argmax } from './argmax.ts'

type Outputs = Readonly<Record<string, Tensor>>

export interface CtcOptions {
  /** Index of the blank; from the end where negative: −1 is the last class. */
  readonly blank: number
}

/** Greedy text of each of the first `n` samples of [n, time, classes] or [time, n, classes]; `undefined` beside NaN. */
export function ctcTexts(t: Tensor, n: number, blank = 0): readonly (readonly number[] | undefined)[] {
  const [first, second, classes] = t.shape as readonly [number, number, number]
  const isTimeFirst = first !== n && second === n
  const steps = isTimeFirst ? first : second
  const [perSample, perStep] = isTimeFirst ? [classes, n * classes] : [second * classes, classes]
  const values = toNumbers(t)
  const dropped = blank < 0 ? classes + blank : blank
  return Array.from({ length: n }, (_, i) => {
    const text: number[] = []
    let before = dropped
    for (let step = 0; step < steps; step++) {
      const c = argmax(values, i * perSample + step * perStep, classes)
      if (c < 0) return undefined
      if (c !== before && c !== dropped) text.push(c)
      before = c
    }
    return text
  })
}

/** Levenshtein distance: insertions, deletions and substitutions of one symbol each. */
export function editDistance(a: readonly number[], b: readonly number[]): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (const [i, symbol] of a.entries()) {
    const next = [i + 1]
    for (const [j, other] of b.entries()) {
      const [above, left, corner] = [row[j + 1] as number, next[j] as number, row[j] as number]
      next.push(Math.min(above + 1, left + 1, corner + (symbol === other ? 0 : 1)))
    }
    row = next
  }
  return row[b.length] as number
}

/**
 * How much of the original's greedy text a model keeps: 1 − edit distance / length of the longer text, of the first float
 * output of rank 3. Two empty texts agree; a text beside NaN agrees with none.
 */
export function ctcText({ blank }: CtcOptions = { blank: 0 }): Metric {
  return {
    name: 'ctcText',
    better: 'higher',
    needs: { labels: false, reference: true },
    scale: 'real',
    scores(outputs, { n }, reference) {
      if (!reference)
        throw new PareError('E_OPTION', 'ctcText compares with the original model: it says nothing of that model alone')
      const [name, theirs] = sequenceOutput(reference)
      const ours = outputs[name]
      checkSteps(name, theirs, n, blank)
      if (ours?.shape.length !== 3 || !isFloat(ours.dtype) || ours.shape[2] !== theirs.shape[2])
        throw new PareError('E_DATA_SHAPE', `the model has no output ${name} of classes as the original has`, {
          facts: { original: spell(reference), outputs: spell(outputs) }
        })
      checkSteps(name, ours, n, blank)
      const texts = ctcTexts(ours, n, blank)
      return ctcTexts(theirs, n, blank).map((text, i) => similarity(texts[i], text))
    }
  }
}

function similarity(a: readonly number[] | undefined, b: readonly number[] | undefined): number {
  if (!a || !b) return 0
  const longest = Math.max(a.length, b.length)
  return longest === 0 ? 1 : 1 - editDistance(a, b) / longest
}

function sequenceOutput(outputs: Outputs): readonly [string, Tensor] {
  const found = Object.entries(outputs).find(([, t]) => isFloat(t.dtype) && t.shape.length === 3)
  if (found) return found
  throw new PareError('E_OPTION', 'ctcText needs an output of class scores at every step: [n, time, classes]', {
    facts: { outputs: spell(outputs) }
  })
}

function checkSteps(name: string, { shape }: Tensor, n: number, blank: number): void {
  const [first = 0, second = 0, classes = 0] = shape
  if (first < n && second !== n)
    throw new PareError('E_DATA_SHAPE', `output ${name} is [${shape.join(', ')}]: none of its axes is of ${n} samples`)
  if (classes < 2 || blank >= classes || blank < -classes)
    throw new PareError('E_OPTION', `output ${name} has ${classes} classes, and blank is number ${blank}`, {
      hint: 'classes lie on the last axis, the blank among them'
    })
}

const spell = (outputs: Outputs): string =>
  Object.entries(outputs)
    .map(([name, t]) => `${name}: ${t.dtype}[${t.shape.join(', ')}]`)
    .join(', ')

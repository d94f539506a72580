/**
 * Arrays for models with states. Where the data has nothing for the states, they start at zero and are fed back: a sample is
 * then a sequence of steps. Arrays of [samples, steps, …] are that already; arrays of [steps, …] are one recording, its samples
 * in order, and are cut into sequences.
 */

import { part } from '../base/bytes.ts'
import { PareError } from '../base/errors.ts'
import { bitsOf, elementCount } from '../ir/tensor.ts'
import type { Session } from '../runtime/types.ts'
import type { Tensor } from '../types.ts'

type ModelInput = Session['inputs'][number]
type Arrays = ReadonlyMap<string, () => Tensor>

/** Steps of a sequence that is cut out of a recording, at most; and the sequences that a short one is cut into. */
export const mostSteps = 50
const fewestSequences = 12

export interface Sequences {
  /** Arrays of the inputs that are no states. */
  readonly arrays: Arrays
  /** Inputs that hold sequences. */
  readonly stepped: readonly string[]
  readonly notes: readonly string[]
}

/** Steps of the sequences that a recording of `count` samples is cut into. */
export const stepsFor = (count: number): number => Math.max(1, Math.min(mostSteps, Math.floor(count / fewestSequences)))

/**
 * The data as sequences; `undefined` where the model has no states, or the data has them. `whole`: inputs that take a
 * sample as it is.
 */
export function asSequences(
  arrays: Arrays,
  inputs: readonly ModelInput[],
  states: ReadonlySet<string>,
  whole: ReadonlySet<string>
): Sequences | undefined {
  if (states.size === 0 || [...states].some((name) => arrays.has(name))) return undefined
  const named = states.size === 1 ? `the state ${[...states][0]} starts` : `the states ${[...states].join(', ')} start`
  const moving = inputs.filter(
    (i) => !states.has(i.name) && !whole.has(i.name) && arrays.has(nameIn(arrays, i, inputs, states))
  )
  const [first] = moving
  // Series are sequences in themselves: a run takes one whole.
  if (!first) return { arrays, stepped: [], notes: [`${named} at zero`] }
  const firstName = nameIn(arrays, first, inputs, states)
  const shape = arrays.get(firstName)?.().shape ?? []
  const renamed = new Map(arrays)
  if (firstName !== first.name) {
    renamed.set(first.name, arrays.get(firstName) as () => Tensor)
    renamed.delete(firstName)
  }
  const said = `${named} at zero and ${states.size === 1 ? 'is' : 'are'} fed back`
  const rank = first.shape?.length ?? 0
  if (shape.length === rank + 1)
    return {
      arrays: renamed,
      stepped: moving.map((i) => i.name),
      notes: [`${said} over the ${shape[1]} steps of each sample`]
    }
  const count = shape[0] ?? 0
  const steps = stepsFor(count)
  const cut = new Map<string, () => Tensor>()
  const asIs = new Set(inputs.flatMap((i) => (whole.has(i.name) && !states.has(i.name) ? [i.name] : [])))
  for (const [name, array] of renamed)
    if (asIs.has(name)) cut.set(name, () => sameForAll(array(), count))
    else if (name !== 'y' || inputs.some((i) => i.name === 'y')) cut.set(name, () => inPieces(array(), count, steps))
  const rest = count % steps
  const dropped = [
    rest > 0 ? `; the last ${rest} are left out` : '',
    renamed.has('y') ? '; labels of samples are not used' : ''
  ]
  return {
    arrays: cut,
    stepped: moving.map((i) => i.name),
    notes: [
      `${said}: the ${count} samples are taken as one recording in order, in sequences of ${steps}${dropped.join('')}`
    ]
  }
}

/** `x` serves the only input that is no state. */
function nameIn(arrays: Arrays, input: ModelInput, inputs: readonly ModelInput[], states: ReadonlySet<string>): string {
  const others = inputs.filter((i) => !states.has(i.name))
  return !arrays.has(input.name) && others.length === 1 ? 'x' : input.name
}

/** [count, …] as [sequences, steps, …]; what is not of `count` samples is the same for all. */
function inPieces(t: Tensor, count: number, steps: number): Tensor {
  const [first, ...rest] = t.shape
  if (first !== count) return t
  if (bitsOf(t.dtype) < 8) throw new PareError('E_DATA', `samples of ${t.dtype}: samples must be whole bytes`)
  const n = Math.floor(count / steps)
  const size = (n * steps * elementCount(rest) * bitsOf(t.dtype)) / 8
  return { dtype: t.dtype, shape: [n, steps, ...rest], bytes: part(t.bytes, 0, size) }
}

/** One row of an array whose `count` rows are alike, as a value for all samples; any other array as it is. */
function sameForAll(t: Tensor, count: number): Tensor {
  const [rows, ...shape] = t.shape
  if (rows !== count || count === 0 || t.strings) return t
  const bytes = t.bytes.slice()
  const size = bytes.length / count
  for (let i = size; i < bytes.length; i++) if (bytes[i] !== bytes[i % size]) return t
  return { dtype: t.dtype, shape, bytes: bytes.slice(0, size) }
}

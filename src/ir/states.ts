/**
 * States: inputs that a model gives back as outputs, to be fed again with the next piece of a sequence (hidden and cell
 * states of recurrent layers, past keys and values, caches). Found by name, type and shape.
 */
import type { Session } from '../runtime/types.ts'

/** An input, and the output that holds its next value. */
export interface StatePair {
  readonly input: string
  readonly output: string
}

type Port = Session['inputs'][number]

const stateName =
  /(^|[^a-z])(states?|memory|mem|cache|hidden|cell|past|rnn|lstm|gru|hx|cx|[hc]_?[0tn]?)(n|in)?($|[^a-z])|(^|[^a-z])r\d+i($|[^a-z])|state|past/i

/** Does the name of an input say that it is a state? */
export const looksLikeState = (name: string): boolean => stateName.test(name)

/** The name without what tells the old value from the new one. */
const stem = (name: string): string =>
  name
    .toLowerCase()
    .replace(/^(past_key_values|present_key_values|past|present|prev(ious)?|next|new|init(ial)?|in|out)[._]?(?=.)/, '')
    .replace(/(?<=.)[._]?(input|output|in|out|next|new|prev|[0nt])$/, '')
    .replace(/(?<=^r\d+)[io]$/, '')

const mayEqual = (a: Port, b: Port): boolean =>
  (a.dtype === undefined || b.dtype === undefined || a.dtype === b.dtype) &&
  (!a.shape || !b.shape || (a.shape.length === b.shape.length && a.shape.every((d, i) => fits(d, b.shape?.[i]))))

const fits = (a: number | string, b: number | string | undefined): boolean =>
  typeof a === 'string' || typeof b === 'string' || a === b

/** The states of a model, each with its output; an input that looks like a state but comes back nowhere is none. */
export function statePairs({ inputs, outputs }: Pick<Session, 'inputs' | 'outputs'>): readonly StatePair[] {
  const taken = new Set<string>()
  const pairs: StatePair[] = []
  const candidates = inputs.filter((i) => looksLikeState(i.name))
  for (const input of candidates) {
    const open = outputs.filter((o) => !taken.has(o.name) && mayEqual(input, o))
    const same = open.find((o) => stem(o.name) === stem(input.name))
    const only = candidates.length === 1 && open.length === 1 ? open[0] : undefined
    const output = same ?? only
    if (!output) continue
    taken.add(output.name)
    pairs.push({ input: input.name, output: output.name })
  }
  return pairs
}

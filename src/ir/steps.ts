/**
 * Samples that are sequences: a model with states runs on each step in turn. States start at zero, or at what the data
 * gives, and every step is fed what the step before gave. The inputs named in `Batch.stepped` have an axis of steps
 * behind that of the samples; the others are the same at every step.
 */
import { toArray } from '../base/bytes.ts'
import { PareError } from '../base/errors.ts'
import type { Session } from '../runtime/types.ts'
import type { Batch, Dim, Tensor } from '../types.ts'
import { looksLikeState, statePairs } from './states.ts'
import { byteLength, elementCount, tensor } from './tensor.ts'

type Feeds = Readonly<Record<string, Tensor>>

/** Steps of every sample of a batch: 1 where samples are no sequences. */
export function stepsIn({ inputs, stepped = [] }: Batch): number {
  const counts = new Set(stepped.flatMap((name) => inputs[name]?.shape[1] ?? []))
  if (counts.size > 1)
    throw new PareError('E_DATA_SHAPE', `the inputs ${stepped.join(', ')} hold different numbers of steps`)
  return [...counts][0] ?? 1
}

/** One step of every sample, as a batch without sequences. */
export function stepOf(batch: Batch, at: number): Batch {
  const { stepped = [], ...rest } = batch
  const cut = stepped.flatMap((name) => {
    const t = batch.inputs[name]
    return t ? [[name, rowsAt(t, at)] as const] : []
  })
  return { ...rest, inputs: { ...batch.inputs, ...Object.fromEntries(cut) } }
}

/** Position `at` of the second axis, which is left out. */
function rowsAt({ dtype, shape, bytes }: Tensor, at: number): Tensor {
  const [n = 1, steps = 1, ...rest] = shape
  const row = byteLength(dtype, elementCount(rest))
  const all = toArray(bytes)
  const out = new Uint8Array(n * row)
  for (let i = 0; i < n; i++) {
    const from = (i * steps + at) * row
    out.set(all.subarray(from, from + row), i * row)
  }
  return { dtype, shape: [n, ...rest], bytes: out }
}

/**
 * A state that nothing was read into yet: zeros; an open length of a past is 0, of anything else 1. `undefined` for what
 * is no state.
 */
export function emptyState(
  { name, dtype = 'float32', shape }: Session['inputs'][number],
  samples: number
): Tensor | undefined {
  if (!shape || !looksLikeState(name)) return undefined
  const open = (d: Dim): number =>
    /batch|^n$/i.test(String(d)) ? samples : /past|cache|len|seq/i.test(String(d)) ? 0 : 1
  const sizes = shape.map((d) => (typeof d === 'number' ? d : open(d)))
  return tensor(dtype, sizes, new Float64Array(elementCount(sizes)))
}

/** What a model is fed and gives at each step of one sample; the state it gives is fed to the next step. */
export async function* stepsOn(
  session: Session,
  sample: Batch,
  feed: (step: Batch) => Feeds
): AsyncGenerator<{ readonly feeds: Feeds; readonly outputs: Feeds }> {
  const pairs = statePairs(session)
  const count = stepsIn(sample)
  let states: Feeds = {}
  for (let at = 0; at < count; at++) {
    const feeds = { ...feed(stepOf(sample, at)), ...states }
    const given = await session.run(feeds)
    yield { feeds, outputs: given }
    states = Object.fromEntries(pairs.flatMap(({ input, output }) => (given[output] ? [[input, given[output]]] : [])))
  }
}

/** Results of one sample's steps, [1, steps, …] each; of a state that of the last step. */
export function joinSteps(session: Session, steps: readonly Feeds[]): Record<string, Tensor> {
  const states = new Set(statePairs(session).map((p) => p.output))
  const last = steps.at(-1) ?? {}
  const joined = Object.entries(last).map(([name, t]) => {
    if (states.has(name)) return [name, t] as const
    const all = steps.map((s) => s[name] as Tensor)
    const odd = all.find((s) => s.shape.join() !== t.shape.join())
    if (odd)
      throw new PareError('E_DATA_SHAPE', `output ${name} is of different sizes at different steps`, {
        facts: { one: `[${odd.shape.join(', ')}]`, another: `[${t.shape.join(', ')}]` }
      })
    const shape = [1, all.length, ...(t.shape[0] === 1 ? t.shape.slice(1) : t.shape)]
    if (t.strings)
      return [
        name,
        tensor(
          'string',
          shape,
          all.flatMap((s) => s.strings ?? [])
        )
      ] as const
    const bytes = new Uint8Array(t.bytes.length * all.length)
    for (const [i, s] of all.entries()) bytes.set(toArray(s.bytes), i * t.bytes.length)
    return [name, { dtype: t.dtype, shape, bytes }] as const
  })
  return Object.fromEntries(joined)
}

/** Seeded inputs for models without data, and the sizes that they have: enough to run and time models, never to judge accuracy. */
import { listed } from '../../base/listed.ts'
import type { Rng } from '../../base/random.ts'
import { arrayDataset, type LabelledDataset } from '../../data/arrays.ts'
import { looksLikeState } from '../../ir/states.ts'
import { byteLength, elementCount } from '../../ir/tensor.ts'
import { costOf, type Shapes } from '../../ops/cost.ts'
import { countText } from '../../report/words.ts'
import { batching, feedsOf, firstRun, wholeInputs } from '../../runtime/batches.ts'
import type { Runner, Session } from '../../runtime/types.ts'
import { madeShapes, preparedInputs, seriesLengths } from '../../search/made-inputs.ts'
import type { Dataset, Model, Tensor } from '../../types.ts'
import { hasLoops } from './foreseen.ts'

/** MACs that all random samples of a model may take together; and the fewest samples, which can still be split. */
const affordable = 64e9
const fewest = 6

type Asked = { readonly model: Model; readonly inputs: Session['inputs'] }

const hasFreeSize = ({ inputs }: Asked): boolean =>
  inputs.some(({ shape }) => shape?.slice(1).some((d) => typeof d !== 'number'))

/** Plausible shapes of inputs for one sample: the first whose work can be told. */
export const guessedShapes = (o: Asked): Shapes => madeShapes(o.inputs, lengthByShapes(o))

/** What work was counted at, where sizes are free. */
export const workNotes = (o: Asked, shapes: Shapes): string[] =>
  o.inputs.flatMap(({ name, shape }) =>
    !looksLikeState(name) && shape?.slice(1).some((d) => typeof d !== 'number')
      ? [`work is counted at ${name}: [${shapes[name]?.join(', ')}], as guessed; the model leaves its size free`]
      : []
  )

/** Why samples run one by one, where an input is why. */
export function runNotes({ inputs }: Pick<Asked, 'inputs'>): string[] {
  const whole = [...wholeInputs({ inputs })]
  if (whole.length === 0) return []
  const [is, their] = whole.length === 1 ? ['input', 'has'] : ['inputs', 'have']
  return [`${is} ${listed(whole)} ${their} no batch axis in front: samples run one by one`]
}

/** The first of the plausible lengths whose shapes do not contradict the graph and tell its work, else the first. */
function lengthByShapes(o: Asked): number {
  const lengths = seriesLengths(o.model)
  if (lengths.length === 1 || !hasFreeSize(o)) return lengths[0] as number
  const isKnown = (n: number): boolean => {
    try {
      return costOf(o.model, madeShapes(o.inputs, n)).total !== undefined
    } catch {
      return false
    }
  }
  return lengths.find(isKnown) ?? (lengths[0] as number)
}

/** The first of the plausible lengths that the model runs at. */
async function lengthByRunning(o: Asked & { readonly engine: Runner }, rng: Rng): Promise<number> {
  const lengths = seriesLengths(o.model)
  const first = lengths[0] as number
  if (lengths.length === 1 || !hasFreeSize(o) || hasLoops(o.model)) return first
  const session = await o.engine.open(o.model)
  try {
    for (const series of lengths) {
      const [feeds] = preparedInputs(o.model, o.inputs, { rng, count: 1, alike: true, series })
      const ran = await session.run(feeds ?? {}).then(
        () => true,
        () => false
      )
      if (ran) return series
    }
    return first
  } finally {
    await session.close()
  }
}

/** Samples for every input: `wanted`, or as many as a heavy model runs through in reasonable time; and a note of the sizes that were taken where the model leaves them open. */
export async function syntheticDataset(
  o: Asked & { readonly engine: Runner },
  rng: Rng,
  wanted: number
): Promise<{ readonly data: LabelledDataset; readonly notes: readonly string[] }> {
  const series = await lengthByRunning(o, rng)
  const macs = costOf(o.model, madeShapes(o.inputs, series)).total ?? 0
  const size = Math.max(fewest, Math.min(wanted, Math.floor(affordable / Math.max(1, macs))))
  const samples = preparedInputs(o.model, o.inputs, { rng, count: size, alike: true, series })
  const fewer =
    size < wanted ? [`a sample takes ${countText(macs)} MACs: ${size} random samples instead of ${wanted}`] : []
  const whole = wholeInputs(o)
  const columns = o.inputs.map(({ name }) => [
    name,
    joined(
      samples.map((s) => s[name] as Tensor),
      whole.has(name)
    )
  ])
  return {
    data: arrayDataset({ inputs: Object.fromEntries(columns) }),
    notes: [...guessedSizes(o.inputs, series), ...fewer]
  }
}

/** One sample of each, along a first axis. */
function joined(rows: readonly Tensor[], isWhole: boolean): Tensor {
  const [{ dtype, shape }] = rows as readonly [Tensor]
  const each = isWhole ? shape : shape.slice(1)
  const row = byteLength(dtype, elementCount(each))
  const bytes = new Uint8Array(row * rows.length)
  for (const [i, t] of rows.entries()) bytes.set(t.bytes.slice(0, row), i * row)
  return { dtype, shape: [rows.length, ...each], bytes }
}

/** Inputs of one run for each plausible length, the most plausible first. */
export function guessedFeeds(o: Asked, rng: Rng): readonly Readonly<Record<string, Tensor>>[] {
  const made = (series: number) => preparedInputs(o.model, o.inputs, { rng, count: 1, alike: true, series })
  return seriesLengths(o.model).flatMap(made)
}

/** A note where sizes of the inputs were guessed: times and layers are those of one size among many. */
export function guessedSizes(inputs: Session['inputs'], series?: number): string[] {
  const shapes = madeShapes(inputs, series)
  const whole = wholeInputs({ inputs })
  return inputs.flatMap(({ name, shape }) => {
    const rest = whole.has(name) ? (shape ?? []) : (shape?.slice(1) ?? [])
    if (looksLikeState(name) || rest.every((d) => typeof d === 'number')) return []
    const taken = whole.has(name) ? shapes[name] : ['N', ...(shapes[name]?.slice(1) ?? [])]
    return [
      `input ${name} is of any size [${shape?.join(', ')}]: [${taken?.join(', ')}] was guessed; give --data for the real one`
    ]
  })
}

/** Shapes of one run on the data: what work is counted at. */
export async function shapesOn({ inputs }: Asked, data: Dataset): Promise<Shapes> {
  const feeds = feedsOf({ inputs }, await firstRun(data, batching([{ inputs }], 1)))
  return Object.fromEntries(Object.entries(feeds).map(([name, t]) => [name, t.shape]))
}

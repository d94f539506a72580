/**
 * By what a model is judged where the user names nothing, and which of its outputs count. Decided from structure: what the
 * graph ends with, shapes, and for detections and parts of outputs from what the original gives for a few samples.
 */
import { PareError } from '../base/errors.ts'
import { detections, layoutOf, layoutText, noDetections } from '../data/detections.ts'
import { classCount, cosineOf, metricFor, metrics, relativeErrorOf } from '../data/metrics.ts'
import { type Part, partName, partsOf, type Seen } from '../data/parts.ts'
import { statePairs } from '../ir/states.ts'
import { isFloat } from '../ir/tensor.ts'
import { batching, fedOf, runOn, runs } from '../runtime/batches.ts'
import type { Session } from '../runtime/types.ts'
import type { Dataset, Interval, Metric, Model } from '../types.ts'
import { decide, isHandedOn } from './meaning.ts'

/** What there is to decide by. */
export interface JudgingInput {
  readonly model: Model
  readonly outputs: Session['outputs']
  readonly dataset: Dataset
  /** What the user asked for; by default decided here. */
  readonly asked?: Metric | undefined
  /** Outputs that count, by name; by default all but inputs handed on. */
  readonly picked?: readonly string[] | undefined
  /** Opens the original, where it has to be seen. */
  open(): Promise<Session>
}

/** The metric of the promise first, and what is said of it. */
export interface Judging {
  readonly metrics: readonly [Metric, ...Metric[]]
  readonly notes: readonly string[]
}

type Port = Session['outputs'][number]

const samplesSeen = 8

/** What a model is judged by. Throws `E_OPTION` for outputs that it does not have, and what running it throws. */
export async function judgingOf(o: JudgingInput): Promise<Judging> {
  const { ports, notes } = counting(o)
  const decided = o.asked ? undefined : decide(o.model, ports, o.dataset.labelled)
  const asked = decided ? metricFor(decided.metric) : (o.asked as Metric)
  const isOwn = Object.hasOwn(metrics, asked.name) && metrics[asked.name] === asked
  const isMeant = isOwn && asked.name === 'detections'
  const seen = isMeant || (isOwn && asked.name === 'relativeError') ? await outputsSeen(o, ports) : []
  const mayDetect = isMeant || (decided?.metric === 'relativeError' && ports.some(mayHoldBoxes))
  const layout = mayDetect ? layoutOf(seen, isMeant) : undefined
  if (isMeant && !layout) throw noDetections(seen[0]?.outputs ?? {})
  const limited = (m: Metric): Metric =>
    (isOwn && ports.length < o.outputs.length) || o.picked ? onOutputs(m, ports) : m
  if (layout)
    return { metrics: [limited(detections(layout))], notes: [...notes, `judged by detections: ${layoutText(layout)}`] }
  const parts = partsOf(seen)
  const first = limited(isOwn ? bound(asked, parts, ports) : asked)
  const extra = first.name === 'top1' && (classCount(ports) ?? 0) >= 100 ? [limited(metricFor('top5'))] : []
  const why = decided ? [`judged by ${decided.metric}: ${decided.why}`] : []
  return { metrics: [first, ...extra], notes: [...notes, ...why, ...partNotes(parts)] }
}

/** The outputs that count. */
function counting({ model, outputs, picked, dataset }: JudgingInput): {
  readonly ports: readonly Port[]
  readonly notes: string[]
} {
  if (picked) {
    const unknown = picked.filter((name) => !outputs.some((p) => p.name === name))
    if (unknown.length > 0)
      throw new PareError('E_OPTION', `the model has no output ${unknown.join(', ')}`, {
        where: '--output',
        hint: outputs.map((p) => p.name).join(', ')
      })
    return {
      ports: outputs.filter((p) => picked.includes(p.name)),
      notes: [`judged on output ${picked.join(', ')} alone`]
    }
  }
  const states = new Set(
    dataset.isStepped ? statePairs({ inputs: fedOf(model).inputs, outputs }).map((p) => p.output) : []
  )
  const handedOn = outputs.filter((p) => !states.has(p.name) && isHandedOn(model, p.name)).map((p) => p.name)
  const left = new Set([...states, ...handedOn])
  if (left.size === 0 || left.size === outputs.length) return { ports: outputs, notes: [] }
  return {
    ports: outputs.filter((p) => !left.has(p.name)),
    notes: [
      ...(handedOn.length > 0
        ? [`not judged: ${handedOn.join(', ')}, inputs that the model hands on as they are`]
        : []),
      ...(states.size > 0 ? [`not judged by themselves: ${[...states].join(', ')}, states that are fed back`] : [])
    ]
  }
}

/** A built-in metric that knows the outputs of this model. */
function bound(metric: Metric, parts: readonly Part[], ports: readonly Port[]): Metric {
  if (metric.name === 'relativeError' && parts.length > 0) return relativeErrorOf(parts)
  const floats = ports.filter((p) => p.dtype === undefined || isFloat(p.dtype))
  if (metric.name === 'cosine' && floats.length > 0) return cosineOf(floats.map((p) => ({ output: p.name })))
  return metric
}

/** A metric that sees some outputs alone. */
function onOutputs(metric: Metric, ports: readonly Port[]): Metric {
  const names = new Set(ports.map((p) => p.name))
  const some = <T>(given: Readonly<Record<string, T>>): Record<string, T> =>
    Object.fromEntries(Object.entries(given).filter(([name]) => names.has(name)))
  return {
    ...metric,
    scores: (outputs, batch, reference) => metric.scores(some(outputs), batch, reference && some(reference))
  }
}

async function outputsSeen(o: JudgingInput, ports: readonly Port[]): Promise<readonly Seen[]> {
  const indices = Array.from({ length: Math.min(samplesSeen, o.dataset.size) }, (_, i) => i)
  const session = await o.open()
  const seen: Seen[] = []
  try {
    for await (const run of runs(o.dataset, batching([session], 1), { rest: 'fill', indices })) {
      const all = await runOn(session, run)
      const outputs = Object.fromEntries(ports.flatMap(({ name }) => (all[name] ? [[name, all[name]]] : [])))
      seen.push({ n: run.batch.n, outputs })
    }
    return seen
  } finally {
    await session.close()
  }
}

/** Four numbers beside others, as far as shapes tell. */
const mayHoldBoxes = ({ dtype, shape }: Port): boolean =>
  (dtype === undefined || isFloat(dtype)) && (shape === undefined || shape.length >= 3)

function partNotes(parts: readonly Part[]): string[] {
  const cut = parts.filter((p) => p.channels)
  if (cut.length === 0) return []
  return [`ranges differ by 16 times or more, each part is compared by itself: ${cut.map(partName).join('; ')}`]
}

/** The part of the outputs that counts: the worst. Nothing where there is one part only. */
export function worstPart(metric: Metric, drops: Readonly<Record<string, Interval>>): string[] {
  const all = (metric.parts ?? []).flatMap(({ name }) => (drops[name] ? [{ name, ...drops[name] }] : []))
  const [first, ...rest] = all.sort((a, b) => b.value - a.value)
  const last = rest.at(-1)
  if (!first || !last) return []
  const text = ({ name, value }: typeof first): string => `${name}: ${value.toPrecision(3)}`
  return [
    `the promise of ${metric.name} is on the worst part of every sample; parts by mean drop: ${text(first)} (the worst) … ${text(last)}`
  ]
}

/** A request on its way: admitted, cut where it is long, through the stages of its model, and put together again. */
import { PareError } from '../../base/errors.ts'
import { type Inputs, joined, rowsOfAll, samplesOf, shapeKey } from '../../serve/batching.ts'
import { cut, padded } from '../../serve/padding.ts'
import { admit, type Limits } from '../../serve/queue.ts'
import { followed, pickedRows, placeRow, roomFor, unsure } from '../../serve/stages.ts'
import { countRequest } from '../../serve/statistics.ts'
import type { InferReply } from '../../serve/types.ts'
import type { Tensor } from '../../types.ts'
import type { Call, Route, Served, Stage } from './model.ts'
import { type Pool, rateOf } from './pool.ts'

const now = (): number => performance.now()

/** Answers a request. Throws `E_BUSY` where that would not be in time, `E_REQUEST` and `E_RUN` where the model does not run on it. */
export async function answer(model: Served, call: Call, pool: Pool, limits: Limits): Promise<InferReply> {
  const { request, arrived } = call
  const [{ tuning }] = model.stages
  model.active++
  let began = Number.POSITIVE_INFINITY
  const run = (stage: Stage, inputs: Inputs): Promise<Inputs> =>
    queued(model, stage, call, inputs, pool, (at) => {
      began = Math.min(began, at)
    })
  try {
    const { padded: symbol } = tuning
    const whole = symbol === undefined ? undefined : padded(request.inputs, model.signature, symbol)
    const pieces = piecesOf(whole?.inputs ?? request.inputs, tuning)
    admitted(model, call, pieces, pool, limits)
    const outputs = await Promise.all(pieces.map((inputs) => throughStages(model, inputs, run)))
    const all = outputs.length === 1 ? (outputs[0] as Inputs) : joined(outputs, (n) => new Uint8Array(n))
    const given = symbol !== undefined && whole ? cut(all, model.signature, symbol, whole.length) : all
    countRequest(model.statistics, true, now() - arrived, began - arrived)
    return replyOf(model, call, given)
  } catch (error) {
    countRequest(model.statistics, false, now() - arrived, 0)
    throw error
  } finally {
    model.active--
  }
}

/** Where samples may depend on each other, or are not in front, a request is run as it came. */
function piecesOf(inputs: Inputs, { isBatched, piece }: Stage['tuning']): readonly Inputs[] {
  if (!isBatched) return [inputs]
  const n = samplesOf(inputs)
  return Array.from({ length: Math.ceil(n / piece) }, (_, i) =>
    rowsOfAll(inputs, i * piece, Math.min(n, (i + 1) * piece))
  )
}

/** Throws `E_BUSY` where an answer would be late even if all samples went through all stages. */
function admitted(model: Served, call: Call, pieces: readonly Inputs[], pool: Pool, limits: Limits): void {
  const { isBatched, piece } = model.stages[0].tuning
  const samples = pieces.reduce((n, p) => n + (isBatched ? samplesOf(p) : 1), 0)
  const bytes = pieces.reduce((n, p) => n + bytesIn(p), 0)
  const sampleMs = model.stages.reduce((ms, stage) => ms + rateOf(stage, keyOf(stage, pieces[0] as Inputs)), 0)
  const outlook = {
    ...pool.waiting(),
    runMs: sampleMs * Math.min(samples, Math.max(piece, 1)),
    patienceMs: dueOf(call) - now()
  }
  admit(outlook, { samples, bytes }, limits)
}

const dueOf = ({ request, arrived, timeoutMs }: Call): number =>
  arrived + Math.min(timeoutMs, request.timeoutMs ?? timeoutMs)

const bytesIn = (inputs: Inputs): number =>
  [...inputs.values()].reduce((n, t) => n + t.bytes.length + (t.strings?.length ?? 0), 0)

const keyOf = ({ tuning }: Stage, inputs: Inputs): string => `${shapeKey(inputs)}${tuning.isBatched ? '' : ' whole'}`

/** Waits for a run of a stage; `began` is told when it was begun. */
function queued(
  model: Served,
  stage: Stage,
  call: Call,
  given: Inputs,
  pool: Pool,
  began: (at: number) => void
): Promise<Inputs> {
  const inputs = new Map([...given].filter(([name]) => stage.inputs.includes(name)))
  return new Promise((done, fail) =>
    pool.queue({
      ...{ model, stage, inputs, key: keyOf(stage, inputs), bytes: bytesIn(inputs) },
      samples: stage.tuning.isBatched ? samplesOf(inputs) : 1,
      ...{ arrived: call.arrived, due: dueOf(call), isGone: call.isGone },
      outputs: stage.route ? stage.outputs : call.request.outputs.map((o) => o.name),
      done: (outputs, at) => {
        began(at)
        done(outputs)
      },
      fail
    })
  )
}

type Run = (stage: Stage, inputs: Inputs) => Promise<Inputs>

/** Samples through the stages: a sample has the scores of the first stage that is sure of it, or of the last. */
async function throughStages({ stages, signature }: Served, inputs: Inputs, run: Run): Promise<Inputs> {
  let known = inputs
  let places: readonly number[] | undefined
  let scores: Tensor | undefined
  for (const stage of stages) {
    const given = await run(stage, known)
    if (!stage.route) return given
    const own = given.get(stage.route.scores) as Tensor
    const n = own.shape[0] as number
    places ??= Array.from({ length: n }, (_, i) => i)
    scores ??= roomFor(n, own)
    for (const [from, to] of places.entries()) placeRow(scores, to, own, from)
    const left = parted(stage.route, given, n)
    if (left.length === 0) break
    known = pickedRows(new Map([...known, ...given]), left)
    places = left.map((i) => (places as readonly number[])[i] as number)
  }
  return new Map([[signature.outputs[0]?.name as string, scores as Tensor]])
}

/** Places of the samples that go on, which are counted. */
function parted(route: Route, given: Inputs, n: number): readonly number[] {
  const { exit } = route
  const left = exit ? unsure(given.get(exit.confidence) as Tensor, exit.threshold) : []
  route.goingOn = followed(route.goingOn, left.length, n)
  route.answered += n - left.length
  return left
}

function replyOf(model: Served, { request }: Call, all: Inputs): InferReply {
  return {
    model: model.name,
    version: model.version,
    ...(request.id === undefined ? {} : { id: request.id }),
    outputs: request.outputs.map(({ name, isBinary }) => {
      const tensor = all.get(name)
      if (!tensor) throw new PareError('E_INTERNAL', `the runtime gave no ${name}`)
      return { name, isBinary, tensor }
    })
  }
}

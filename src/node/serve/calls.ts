/** A request on its way through the queue: admitted, cut where it is long, and put together again. */
import { PareError } from '../../base/errors.ts'
import { type Inputs, joined, rowsOfAll, samplesOf, shapeKey } from '../../serve/batching.ts'
import { cut, padded } from '../../serve/padding.ts'
import { admit, type Limits } from '../../serve/queue.ts'
import { countRequest } from '../../serve/statistics.ts'
import type { InferReply } from '../../serve/types.ts'
import type { Call, Part, Served } from './model.ts'
import { type Pool, rateOf } from './pool.ts'

const now = (): number => performance.now()

/** Answers a request. Throws `E_BUSY` where that would not be in time, `E_REQUEST` and `E_RUN` where the model does not run on it. */
export async function answer(model: Served, call: Call, pool: Pool, limits: Limits): Promise<InferReply> {
  const { request, arrived } = call
  model.active++
  let began = arrived
  try {
    const { padded: symbol } = model.tuning
    const whole = symbol === undefined ? undefined : padded(request.inputs, model.signature, symbol)
    const parts = partsOf(model, call, whole?.inputs ?? request.inputs)
    const samples = parts.reduce((n, p) => n + p.samples, 0)
    const bytes = parts.reduce((n, p) => n + p.bytes, 0)
    const runMs = rateOf(model, parts[0]?.key ?? '') * Math.min(samples, Math.max(model.tuning.piece, 1))
    const patienceMs = Math.min(call.timeoutMs, request.timeoutMs ?? call.timeoutMs) - (now() - arrived)
    const waiting = pool.waiting()
    admit({ ...waiting, runMs, patienceMs }, { samples, bytes }, limits)
    const outputs = await Promise.all(
      parts.map(
        (part) =>
          new Promise<Inputs>((done, fail) =>
            pool.queue({
              ...part,
              done: (o, at) => {
                began = at
                done(o)
              },
              fail
            })
          )
      )
    )
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

type Unsent = Omit<Part, 'done' | 'fail'>

function partsOf(model: Served, { request, arrived, timeoutMs, isGone }: Call, inputs: Inputs): readonly Unsent[] {
  const due = arrived + Math.min(timeoutMs, request.timeoutMs ?? timeoutMs)
  const part = (of: Inputs, samples: number): Unsent => ({
    ...{ model, inputs: of, samples, arrived, due, isGone },
    key: shapeKey(of),
    bytes: [...of.values()].reduce((n, t) => n + t.bytes.length + (t.strings?.length ?? 0), 0),
    outputs: request.outputs.map((o) => o.name)
  })
  // Its samples may depend on each other, or are not in front: it is run as it came.
  if (!model.tuning.isBatched) return [{ ...part(inputs, 1), key: `${shapeKey(inputs)} whole` }]
  const n = samplesOf(inputs)
  const { piece } = model.tuning
  const cuts = Array.from({ length: Math.ceil(n / piece) }, (_, i) => i * piece)
  return cuts.map((from) => part(rowsOfAll(inputs, from, Math.min(n, from + piece)), Math.min(piece, n - from)))
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

/** A client of a federation, from joining to the last round; the same in Node and in a browser. */
import { PareError, stopIfAborted } from '../../base/errors.ts'
import { fromHex, toHex } from '../../base/hex.ts'
import { readModel } from '../../formats/read.ts'
import { type Residual, takeTurn } from '../client.ts'
import { localFor } from '../local.ts'
import { parseRecipe } from '../recipe.ts'
import { type At, type JoinOptions, messageOf, seedOf } from './at.ts'
import { type OpenRound, type RunInfo, readForm, receiptForm, roundForm, runForm } from './forms.ts'
import { type Connection, type Requests, requestsOf } from './http.ts'
import { inSecureSum } from './in-sum.ts'
import { checkReceipt } from './signing.ts'
import { floatBytes, floatsOf, packRecord, type Store, unpackRecord } from './store.ts'

export interface Joined {
  /** Rounds in which an update was sent. */
  readonly rounds: number
  /** Bytes of bodies. */
  readonly up: number
  readonly down: number
  /** How the run ended. */
  readonly why: string
}

/** What was made for a round, before it is sent. */
interface Pending {
  readonly round: number
  readonly attempt: number
  readonly base: string
  readonly loss: number
  readonly message: Uint8Array
  readonly residual?: Residual
  readonly untaken?: Residual
}

/**
 * Takes part until the run is over. Nothing but updates leaves. What was made is kept before it is sent, so that a client that
 * was killed sends the same bytes again. Throws what cannot be mended: `E_SIGNATURE` for another run than that of the
 * invitation, `E_CONFLICT` for an invitation that another has used, `E_BUSY` for a server that is gone.
 */
export async function takePartIn(o: JoinOptions): Promise<Joined> {
  const counts = { up: 0, down: 0 }
  const connection: Connection = {
    url: (o.url ?? o.invitation.url).replace(/\/$/, ''),
    run: fromHex(o.invitation.run),
    crypto: o.crypto,
    signer: o.signer,
    fetch: o.fetch ?? ((...all) => globalThis.fetch(...all)),
    signal: o.signal,
    counted: (up, down) => {
      counts.up += up
      counts.down += down
    }
  }
  const requests = requestsOf(connection)
  const { info, bytes } = await joined(o, requests)
  const recipe = parseRecipe(info.recipe)
  const model = readModel(bytes)
  const data = typeof o.data === 'function' ? await o.data(model) : o.data
  const local = await localFor(model, recipe, o.engine)
  try {
    const ended = await rounds({ o, requests, info, recipe, local, data, run: connection.run })
    return { ...ended, ...counts }
  } finally {
    await local.close()
  }
}

async function joined(
  o: JoinOptions,
  requests: Requests
): Promise<{ readonly info: RunInfo; readonly bytes: Uint8Array }> {
  const { run, organiser, token } = o.invitation
  await requests.request('POST', '/v1/join', new TextEncoder().encode(JSON.stringify({ token })))
  const info = readForm(runForm, await requests.request('GET', '/v1/run'), 'what the server tells of the run')
  if (info.run !== run || info.organiser !== organiser)
    throw new PareError('E_SIGNATURE', 'the server is of another run than the invitation')
  const bytes = await requests.request('GET', '/v1/model')
  if (toHex(await o.crypto.sha256(bytes)) !== info.model.sha256)
    throw new PareError('E_SIGNATURE', 'the model that came is not the one of the run')
  o.told?.({ kind: 'joined', run: info })
  return { info, bytes }
}

async function rounds(at: At): Promise<Pick<Joined, 'rounds' | 'why'>> {
  const { o, requests } = at
  let [version, sent] = [-1, 0]
  for (;;) {
    stopIfAborted(o.signal)
    const told = readForm(
      roundForm,
      await requests.request('GET', `/v1/round?after=${version}`),
      'what the server tells of the round'
    )
    version = told.version
    if (told.mine) await settle(o.store, told.mine)
    if (told.state === 'done') return { rounds: sent, why: told.why }
    if (told.state === 'wait') {
      o.told?.({ kind: 'waits', why: told.why })
      continue
    }
    try {
      await (at.info.secure ? inSecureSum(at, told) : turn(at, told))
      sent++
    } catch (thrown) {
      // Too late, or not with these others: the round goes on without this client, the next may go on with it.
      if (!(thrown instanceof PareError && isPassed.has(thrown.code))) throw thrown
      o.told?.({ kind: 'left', round: told.round, why: thrown.message })
    }
  }
}

const isPassed: ReadonlySet<string> = new Set(['E_LATE', 'E_CONFLICT', 'E_PRIVACY'])

async function turn(at: At, told: OpenRound): Promise<void> {
  const { o, requests, run } = at
  const kept = await pendingOf(o.store)
  const isSame = kept?.round === told.round && kept.attempt === told.attempt && kept.base === told.base
  const pending = isSame ? kept : await train(at, told)
  const { round, attempt, message } = pending
  const reply = await requests.request('PUT', `/v1/update/${round}/${attempt}`, message)
  const expected = { round, attempt, key: toHex(o.signer.key), sha256: toHex(await o.crypto.sha256(message)) }
  await checkReceipt(o.crypto, fromHex(at.info.organiser), run, expected, readForm(receiptForm, reply, 'the receipt'))
  o.told?.({ kind: 'sent', round, bytes: message.length, loss: pending.loss })
}

async function train(at: At, told: OpenRound): Promise<Pending> {
  const { o, local, recipe } = at
  const message = await messageOf(at, told)
  o.told?.({ kind: 'trains', round: told.round })
  const turned = await takeTurn({
    ...{ local, recipe, message, data: at.data, seed: await seedOf(o), signal: o.signal },
    residual: await residualOf(o.store)
  })
  const { round, attempt, base } = told
  const pending: Pending = { round, attempt, base, ...turned }
  await o.store.write('pending', writePending(pending))
  return pending
}

// ---------------------------------------------------------------- what is kept

function writePending(p: Pending): Uint8Array {
  const { round, attempt, base, loss, message, residual, untaken } = p
  return packRecord(
    { round, attempt, base, loss },
    {
      message,
      ...(residual ? { residual: floatBytes(residual.values) } : {}),
      ...(untaken ? { untaken: floatBytes(untaken.values) } : {})
    }
  )
}

async function pendingOf(store: Store): Promise<Pending | undefined> {
  const bytes = await store.read('pending')
  if (!bytes) return undefined
  const { told, parts } = unpackRecord(bytes)
  const { residual, untaken, message } = parts
  const round = told['round'] as number
  return {
    ...(told as Pick<Pending, 'round' | 'attempt' | 'base' | 'loss'>),
    message: message as Uint8Array,
    ...(residual ? { residual: { round, values: floatsOf(residual) } } : {}),
    ...(untaken ? { untaken: { round, values: floatsOf(untaken) } } : {})
  }
}

async function residualOf(store: Store): Promise<Residual | undefined> {
  const bytes = await store.read('residual')
  if (!bytes) return undefined
  const { told, parts } = unpackRecord(bytes)
  return { round: told['round'] as number, values: floatsOf(parts['values'] as Uint8Array) }
}

/** Once a round is over: what coding lost is kept where the update is in the model, and else all of the update. */
async function settle(
  store: Store,
  mine: { readonly round: number; readonly attempt: number; readonly isIncluded: boolean }
): Promise<void> {
  const pending = await pendingOf(store)
  if (!pending || pending.round !== mine.round || pending.attempt !== mine.attempt) return
  const kept = mine.isIncluded ? pending.residual : pending.untaken
  if (kept) await store.write('residual', packRecord({ round: kept.round }, { values: floatBytes(kept.values) }))
  await store.remove('pending')
}

/**
 * Signed requests and receipts. A request carries in headers its sender's key, the time, a nonce, the hash of its body and an
 * Ed25519 signature over all of these with the run, the verb and the path: nothing of it can be changed, and nothing can be
 * sent twice.
 */
import { equalBytes } from '../../base/bytes.ts'
import { PareError } from '../../base/errors.ts'
import { fromHex, toHex } from '../../base/hex.ts'
import { fields, label } from '../secure/fields.ts'
import type { SecureCrypto, Signer } from '../secure/types.ts'

/** Names of the headers. */
export const headers = {
  key: 'pare-key',
  time: 'pare-time',
  nonce: 'pare-nonce',
  body: 'pare-body-sha256',
  signature: 'pare-signature'
} as const

export interface RequestParts {
  /** 16 bytes. */
  readonly run: Uint8Array
  readonly method: string
  /** With the query. */
  readonly path: string
}

/** A request is taken for so long before and after its time, in ms. */
export const clockWindow = 120_000

const line = (text: string): Uint8Array => {
  const bytes = new TextEncoder().encode(text)
  return fields([bytes.length, 4], bytes)
}

const requestText = (p: RequestParts, time: number, nonce: Uint8Array, body: Uint8Array): Uint8Array =>
  fields(label('pare request 1'), p.run, line(p.method), line(p.path), line(String(time)), nonce, body)

/** Headers of a signed request. `time`: ms by the server's clock. */
export async function signRequest(
  crypto: SecureCrypto,
  signer: Signer,
  parts: RequestParts,
  body: Uint8Array,
  time: number
): Promise<Record<string, string>> {
  const nonce = crypto.random(16)
  const hash = await crypto.sha256(body)
  const signature = await signer.sign(requestText(parts, time, nonce, hash))
  return {
    [headers.key]: toHex(signer.key),
    [headers.time]: String(time),
    [headers.nonce]: toHex(nonce),
    [headers.body]: toHex(hash),
    [headers.signature]: toHex(signature)
  }
}

/** What a server remembers of requests: nonces within the window, and when it started. */
export interface SeenRequests {
  readonly since: number
  readonly nonces: Map<string, number>
}

export const noRequests = (now: number): SeenRequests => ({ since: now, nonces: new Map() })

/** A request whose signature holds; its body is still to be compared with the hash. */
export interface SignedRequest {
  readonly key: string
  readonly body: Uint8Array
}

type Given = Readonly<Record<string, string | readonly string[] | undefined>>

/** Checks the headers of a request. Throws `E_SIGNATURE`, and `E_REPLAY` for a nonce that was seen or a time outside the window. */
export async function checkRequest(
  crypto: SecureCrypto,
  parts: RequestParts,
  given: Given,
  seen: SeenRequests,
  now: number
): Promise<SignedRequest> {
  const key = hexOf(given, headers.key, 32)
  const nonce = hexOf(given, headers.nonce, 16)
  const body = hexOf(given, headers.body, 32)
  const signature = hexOf(given, headers.signature, 64)
  const time = Number(given[headers.time])
  if (!Number.isSafeInteger(time)) throw unsigned(headers.time)
  const text = requestText(parts, time, fromHex(nonce), fromHex(body))
  if (!(await crypto.verify(fromHex(key), text, fromHex(signature))))
    throw new PareError('E_SIGNATURE', 'the signature of the request does not hold', {
      hint: 'it was changed on its way, or is for another run'
    })
  if (Math.abs(now - time) > clockWindow || time < seen.since)
    throw new PareError('E_REPLAY', 'the time of the request is not now', {
      hint: 'take the time from /v1/time and sign again'
    })
  for (const [old, at] of seen.nonces) {
    if (at >= now - 2 * clockWindow) break
    seen.nonces.delete(old)
  }
  const id = key + nonce
  if (seen.nonces.has(id)) throw new PareError('E_REPLAY', 'this very request was made before')
  seen.nonces.set(id, now)
  return { key, body: fromHex(body) }
}

/** Throws `E_SIGNATURE` where the body is not the one that was signed. */
export async function checkBody(crypto: SecureCrypto, { body }: SignedRequest, bytes: Uint8Array): Promise<void> {
  if (!equalBytes(await crypto.sha256(bytes), body))
    throw new PareError('E_SIGNATURE', 'the body is not the one that was signed')
}

const unsigned = (name: string): PareError =>
  new PareError('E_SIGNATURE', `the request is not signed: ${name} is missing or broken`)

function hexOf(given: Given, name: string, bytes: number): string {
  const text = given[name]
  if (typeof text === 'string' && text.length === 2 * bytes && /^[0-9a-f]*$/.test(text)) return text
  throw unsigned(name)
}

// ---------------------------------------------------------------- receipts

/** That a server has an update on its disk, signed with the organiser's key. */
export interface Receipt {
  readonly round: number
  readonly attempt: number
  /** Hex, of the client. */
  readonly key: string
  readonly sha256: string
  readonly signature: string
}

type Received = Omit<Receipt, 'signature'>

const receiptText = (run: Uint8Array, r: Received): Uint8Array =>
  fields(label('pare receipt 1'), run, [r.round, 4], [r.attempt, 4], fromHex(r.key), fromHex(r.sha256))

export async function signReceipt(
  crypto: SecureCrypto,
  organiser: Uint8Array,
  run: Uint8Array,
  r: Received
): Promise<Receipt> {
  return { ...r, signature: toHex(await crypto.sign(organiser, receiptText(run, r))) }
}

/** Throws `E_SIGNATURE` for a receipt that is not the organiser's, or for another message. */
export async function checkReceipt(
  crypto: SecureCrypto,
  organiser: Uint8Array,
  run: Uint8Array,
  expected: Received,
  given: Receipt
): Promise<void> {
  if (!(await crypto.verify(organiser, receiptText(run, expected), fromHex(given.signature))))
    throw new PareError('E_SIGNATURE', 'the receipt of the server is not signed by the organiser')
}

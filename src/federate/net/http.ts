/** A client's requests: signed, tried again where the network fails, refused with the server's own words. */
import { type Code, codes, PareError, stopIfAborted } from '../../base/errors.ts'
import type { SecureCrypto, Signer } from '../secure/types.ts'
import { signRequest } from './signing.ts'

export interface Connection {
  /** Of the server, without a slash at its end. */
  readonly url: string
  readonly run: Uint8Array
  readonly crypto: SecureCrypto
  readonly signer: Signer
  readonly fetch: typeof fetch
  readonly signal?: AbortSignal | undefined
  /** Told of the bytes of bodies that went up and came down. */
  counted?(up: number, down: number): void
}

export interface Requests {
  /** The body of a reply. Throws what the server refused, by its code, and `E_BUSY` where it cannot be reached for long. */
  request(method: 'GET' | 'POST' | 'PUT', path: string, body?: Uint8Array): Promise<Uint8Array>
}

/** Waits between tries, in ms; a server that restarts is back within them. */
const waits = [200, 500, 1000, 2000, 4000, 8000, 8000, 8000, 8000, 8000, 8000, 8000]

/**
 * An exchange takes so long at most, in ms. A reply that is lost with its server may never end otherwise, and Node ends a process that
 * waits for nothing else.
 */
const exchangeMs = 180_000

/** Largest reply that is read. */
const maxReply = 2 ** 31 - 1

const empty = new Uint8Array(0)

export function requestsOf(c: Connection): Requests {
  let offset: number | undefined
  const clock = async (signal: AbortSignal): Promise<number> => {
    if (offset === undefined) {
      const reply = await c.fetch(`${c.url}/v1/time`, { signal })
      const { time } = (await reply.json()) as { readonly time: number }
      offset = time - Date.now()
    }
    return Math.round(Date.now() + offset)
  }
  const once = async (method: string, path: string, body: Uint8Array): Promise<Uint8Array> => {
    const late = new AbortController()
    const timer = setTimeout(() => late.abort(), exchangeMs)
    try {
      const signal = c.signal ? AbortSignal.any([c.signal, late.signal]) : late.signal
      return await exchange(method, path, body, signal)
    } finally {
      clearTimeout(timer)
    }
  }
  const exchange = async (method: string, path: string, body: Uint8Array, signal: AbortSignal): Promise<Uint8Array> => {
    const base = new URL(c.url).pathname.replace(/\/$/, '')
    const signed = await signRequest(c.crypto, c.signer, { run: c.run, method, path }, body, await clock(signal))
    const reply = await c.fetch(`${new URL(c.url).origin}${base}${path}`, {
      method,
      headers: { ...signed, ...(body.length > 0 ? { 'content-type': 'application/octet-stream' } : {}) },
      ...(body.length > 0 ? { body: body as Uint8Array<ArrayBuffer> } : {}),
      signal
    })
    if (Number(reply.headers.get('content-length') ?? 0) > maxReply)
      throw new PareError('E_LIMIT', 'the reply is too large')
    const bytes = new Uint8Array(await reply.arrayBuffer())
    c.counted?.(body.length, bytes.length)
    if (reply.ok) return bytes
    throw refusalOf(reply.status, bytes, path)
  }
  return {
    request: async (method, path, body = empty) => {
      for (let tries = 0; ; tries++) {
        stopIfAborted(c.signal)
        try {
          return await once(method, path, body)
        } catch (thrown) {
          stopIfAborted(c.signal)
          const wait = waits[tries]
          const isClock = thrown instanceof PareError && thrown.code === 'E_REPLAY'
          if (isClock) offset = undefined
          if (wait === undefined || !(isClock || isPassing(thrown))) throw asPare(thrown, c.url)
          await new Promise((resolve) => setTimeout(resolve, wait))
        }
      }
    }
  }
}

/** The network failed, or the server is busy: it may be there again. */
const isPassing = (thrown: unknown): boolean => !(thrown instanceof PareError) || thrown.code === 'E_BUSY'

const asPare = (thrown: unknown, url: string): PareError =>
  thrown instanceof PareError
    ? thrown
    : new PareError('E_BUSY', 'the server of the federation cannot be reached', { where: url, cause: thrown })

function refusalOf(status: number, bytes: Uint8Array, path: string): PareError {
  let told: { readonly error?: unknown; readonly code?: unknown } = {}
  try {
    told = JSON.parse(new TextDecoder().decode(bytes)) as typeof told
  } catch {
    // A proxy in between answers in words of its own.
  }
  const message =
    typeof told.error === 'string' ? told.error.slice(0, 1000) : `the server answered with status ${status}`
  const known = typeof told.code === 'string' && Object.hasOwn(codes, told.code) ? (told.code as Code) : undefined
  return new PareError(known ?? (status >= 500 ? 'E_BUSY' : 'E_REQUEST'), message, { where: path })
}

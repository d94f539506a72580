/**
 * What every server of Pare stands on: fastify with bounded requests, bodies as bytes whatever their type, `{"error"}` for whatever
 * goes wrong, a token, and an end that loses nothing.
 *
 *     const http = httpServer({ maxBodyBytes: 64 * 1024 * 1024 })
 *     route(http.app, 'POST', '/sum', async ({ body }) => sumOf(body as Buffer))
 *     const url = await http.listen({ host: '127.0.0.1', port: 8000 })
 *     await http.close()
 *
 * Handlers throw `PareError`; `statusOf` says what becomes of its code.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { Server, type Socket } from 'node:net'
import { promisify } from 'node:util'
import { deflate, gunzip, gzip, inflate } from 'node:zlib'
import {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  fastify,
  LogController
} from 'fastify'
import { type Code, PareError } from '../base/errors.ts'
import { answersTo, isLoopback, nameIn } from './hosts.ts'

/** What a server is bounded by. Times are ms, sizes bytes. */
export interface HttpOptions {
  /** Of a request, after it was inflated too. */
  readonly maxBodyBytes: number
  /** All of a request's headers; 16 KiB by default. */
  readonly maxHeaderBytes?: number
  /** Until all of a request must have come, 30 s by default: whoever sends slower is cut off. */
  readonly requestTimeoutMs?: number
  /** 1,024 by default. */
  readonly maxConnections?: number
  /** Requests without `Authorization: Bearer TOKEN` are answered 401; absent: whoever connects is served. */
  readonly token?: string
  /** Paths that are served without the token, such as those that ask whether the server lives. */
  readonly open?: readonly string[]
  /** Origins of pages that may call; by default only the server's own. */
  readonly origins?: readonly string[]
  /**
   * Names of the server beside localhost, 127.0.0.1 and [::1], and beyond loopback the machine's name and all addresses. Where it asks for
   * no token and does not encrypt, requests whose `Host` is neither one of them nor that of an allowed origin are answered 403.
   */
  readonly hosts?: readonly string[]
  /** How names are given, as replies tell it; `--allow-origin` by default. */
  readonly moreHosts?: string
  /** What to try where a body is too large, as replies tell it. */
  readonly largerBodies?: string
  /** Certificate and key, as PEM; absent: what is sent is not encrypted. */
  readonly tls?: { readonly cert: string; readonly key: string }
  /** Compress replies from 1 KiB on for clients that take it. */
  readonly compress?: boolean
  readonly log?: FastifyBaseLogger
}

/** A server that was not started yet, with routes to be added. */
export interface HttpServer {
  readonly app: FastifyInstance
  /** Requests that are being answered. */
  readonly running: () => number
  /** Starts to take connections; gives the address. Throws `E_USAGE` where that cannot be had. Port 0: any that is free. */
  listen(at: { readonly host: string; readonly port: number }): Promise<string>
  /**
   * Takes no more connections, answers what has come on those that are there (each with `Connection: close`), and settles
   * when all are answered, or after `patienceMs` (25 s by default) with `false`.
   */
  close(patienceMs?: number): Promise<boolean>
}

/** Statuses of error codes; all others are bad requests. */
const statuses: Partial<Record<Code, number>> = {
  E_ABSENT: 404,
  E_SIGNATURE: 401,
  E_REPLAY: 401,
  E_PRIVACY: 403,
  E_CONFLICT: 409,
  E_LATE: 410,
  E_LIMIT: 413,
  E_UNSUPPORTED: 501,
  E_BUSY: 503,
  E_ABORTED: 503,
  E_RUN: 500,
  E_INTERNAL: 500
}

/** The HTTP status of an error. */
export const statusOf = ({ code }: PareError): number => statuses[code] ?? 400

/** An error in one line, as replies tell it. Nothing of the machine is told where the error is a bug. */
export function wordsOf(error: PareError): string {
  if (error.code === 'E_INTERNAL') return 'the server failed; its log says more'
  const facts = Object.entries(error.facts).filter(([label]) => label !== retryAfter)
  return [
    error.where && !error.message.includes(error.where) ? `${error.where}: ${error.message}` : error.message,
    ...(facts.length ? [`(${facts.map(([label, text]) => `${label} ${text}`).join(', ')})`] : []),
    ...(error.hint ? [`; ${error.hint}`] : [])
  ]
    .join(' ')
    .replace(' ;', ';')
}

/** The fact of an `E_BUSY` that says after how many seconds to try again. */
export const retryAfter = 'retry after'

const defaults = { headers: 16 * 1024, request: 30_000, connections: 1024, patience: 25_000 } as const

/** A proxy in front keeps its connections for 60 s at most, and must be the one that closes them. */
const keepAliveMs = 75_000

/** Replies are compressed from here on. */
const worthCompressing = 1024

/** Connections are ended once no request has come for so long, or after so long in all: what is on its way is answered. */
const [quietMs, lingerMs] = [300, 3000]

/** A server with nothing on it but its rules. */
export function httpServer(o: HttpOptions): HttpServer {
  const app = fastify({
    ...(o.tls ? { https: o.tls } : {}),
    ...(o.log ? { loggerInstance: o.log } : { logger: false }),
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: o.maxBodyBytes,
    requestTimeout: o.requestTimeoutMs ?? defaults.request,
    connectionTimeout: 0,
    keepAliveTimeout: keepAliveMs,
    http: {
      maxHeaderSize: o.maxHeaderBytes ?? defaults.headers,
      headersTimeout: o.requestTimeoutMs ?? defaults.request,
      connectionsCheckingInterval: 1000,
      // Node itself would answer without a word.
      requireHostHeader: false
    },
    return503OnClosing: false,
    forceCloseConnections: true,
    exposeHeadRoutes: false,
    requestIdHeader: 'x-request-id',
    frameworkErrors: (error, request, reply) =>
      void sendError(reply, error.statusCode ?? 400, refusalOf(error, request)),
    clientErrorHandler
  })
  app.server.on('checkExpectation', (_request, response) => {
    response.writeHead(417, { 'content-type': 'application/json', connection: 'close' })
    response.end(JSON.stringify({ error: 'nothing but 100-continue can be expected' }))
  })
  app.server.maxConnections = o.maxConnections ?? defaults.connections
  takeBytes(app, o)
  sayErrors(app, o)
  guard(app, o)
  if (o.compress) compressReplies(app)
  return { app, ...life(app) }
}

/** The reply of every failure. */
export function sendError(reply: FastifyReply, status: number, message: string): FastifyReply {
  return reply
    .code(status)
    .type('application/json')
    .send(JSON.stringify({ error: message }))
}

/** A route for one verb; others are answered 405. */
export function route(
  app: FastifyInstance,
  method: 'GET' | 'POST' | 'PUT' | 'DELETE',
  url: string,
  handler: (request: FastifyRequest, reply: FastifyReply) => unknown
): void {
  app.route({ method, url, handler: async (request, reply) => handler(request, reply) })
  for (const other of ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'HEAD'] as const)
    if (other !== method && !app.hasRoute({ method: other, url }))
      app.route({
        method: other,
        url,
        handler: (request, reply) =>
          sendError(reply.header('allow', method), 405, `${request.method} is not for this path: use ${method}`)
      })
}

/** Bytes of any type that a client names, or of none; inflated where they came compressed. */
function takeBytes(app: FastifyInstance, o: HttpOptions): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) =>
    inflated(body, request.headers['content-encoding'], o)
  )
}

const inflaters = { gzip: promisify(gunzip), 'x-gzip': promisify(gunzip), deflate: promisify(inflate) } as const

/** Throws `E_LIMIT` where more bytes come out than a body may have, `E_REQUEST` for other encodings and bytes that are none. */
async function inflated(body: Buffer, encoding: string | undefined, o: HttpOptions): Promise<Buffer> {
  const name = encoding?.trim().toLowerCase() ?? 'identity'
  if (name === 'identity' || name === '' || body.length === 0) return body
  if (!Object.hasOwn(inflaters, name))
    throw new PareError('E_REQUEST', 'the body is in an encoding that is not known', {
      hint: 'use gzip, deflate or none'
    })
  const most = o.maxBodyBytes
  try {
    return await inflaters[name as keyof typeof inflaters](body, { maxOutputLength: most })
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE')
      throw new PareError('E_LIMIT', `the body inflates to more than ${most} bytes`, {
        ...(o.largerBodies ? { hint: o.largerBodies } : {}),
        cause
      })
    throw new PareError('E_REQUEST', `the ${name} body is damaged`, { cause })
  }
}

/** What fastify refuses before a handler sees it, by the codes of its errors. */
const refusals: Readonly<Record<string, (request: FastifyRequest) => string>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: ({ routeOptions }) => `the body has more than ${routeOptions.bodyLimit} bytes`,
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: () => 'the body has not as many bytes as Content-Length says',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: () => 'the header Content-Type names no type',
  FST_ERR_BAD_URL: () => 'the path has a % that stands for no character of UTF-8; % itself is written %25',
  FST_ERR_MAX_PARAM_LENGTH: () => 'a name in the path is too long'
}

/** Such a refusal in words. `larger`: what to try where the body is too large. */
export function refusalOf({ code = '' }: { readonly code?: string }, request: FastifyRequest, larger?: string): string {
  const words = refusals[code]?.(request) ?? 'the request cannot be read'
  return larger && code === 'FST_ERR_CTP_BODY_TOO_LARGE' ? `${words}; ${larger}` : words
}

function sayErrors(app: FastifyInstance, { largerBodies }: HttpOptions): void {
  app.setNotFoundHandler((request, reply) =>
    sendError(reply, 404, `there is no ${request.method} ${request.url.slice(0, 200)}`)
  )
  app.setErrorHandler((error: Error & { statusCode?: number; code?: string }, request, reply) => {
    if (error instanceof PareError) {
      const status = statusOf(error)
      if (status === 500) request.log.error({ err: error }, 'request failed')
      const wait = error.facts[retryAfter]
      if (wait !== undefined) reply.header('retry-after', wait)
      return sendError(reply, status, wordsOf(error))
    }
    const status = error.statusCode ?? 500
    if (status < 500) return sendError(reply, status, refusalOf(error, request, largerBodies))
    request.log.error({ err: error }, 'request failed')
    return sendError(reply, status, 'the server failed; its log says more')
  })
}

const headerFaults: Readonly<Record<string, readonly [status: number, reason: string, message: string]>> = {
  HPE_HEADER_OVERFLOW: [431, 'Request Header Fields Too Large', 'the headers are too large'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'Request Timeout', 'the request took too long to come']
}

/** What never becomes a request is answered on the bare connection. */
function clientErrorHandler(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return
  const [status, reason, message] = headerFaults[error.code ?? ''] ?? [400, 'Bad Request', 'this is not HTTP']
  const body = JSON.stringify({ error: message })
  const head = `HTTP/1.1 ${status} ${reason}\r\nContent-Type: application/json\r\nConnection: close`
  if (socket.writable) socket.end(`${head}\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
  socket.destroySoon()
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()

/** Who may call: bearers of the token, and no page of another origin that a browser of this machine happens to show. */
function guard(app: FastifyInstance, o: HttpOptions): void {
  const { token, open = [], origins = [], hosts = [], moreHosts = '--allow-origin' } = o
  const wanted = token === undefined ? undefined : digest(`Bearer ${token}`)
  const isKnown = answersTo({ hosts, origins })
  let isLocal = false
  app.server.once('listening', () => {
    const at = app.server.address()
    isLocal = typeof at === 'object' && at !== null && isLoopback(at.address)
  })
  app.addHook('onRequest', async (request, reply) => {
    const { origin, host, authorization } = request.headers
    if (host === undefined && request.raw.httpVersion === '1.1')
      return sendError(reply, 400, 'the header Host is missing')
    if (!wanted && !o.tls && host !== undefined && !isKnown(nameIn(host) ?? '', isLocal))
      return sendError(reply, 403, `this server is not called by the name in Host; ${moreHosts} names others`)
    if (origin !== undefined && !isOwn(origin, host)) {
      if (!origins.includes(origin)) return sendError(reply, 403, 'pages of this origin may not call this server')
      reply.header('access-control-allow-origin', origin).header('vary', 'origin')
    }
    if (wanted && !open.includes(request.url) && !timingSafeEqual(digest(authorization ?? ''), wanted))
      return sendError(
        reply.header('www-authenticate', 'Bearer'),
        401,
        'a token is needed: Authorization: Bearer TOKEN'
      )
  })
}

function isOwn(origin: string, host: string | undefined): boolean {
  return URL.canParse(origin) && new URL(origin).host === host
}

const deflaters = { gzip: promisify(gzip), deflate: promisify(deflate) } as const

function compressReplies(app: FastifyInstance): void {
  app.addHook('onSend', async (request, reply, payload) => {
    if (typeof payload !== 'string' && !Buffer.isBuffer(payload)) return payload
    const encoding = (['gzip', 'deflate'] as const).find((e) => accepts(request.headers['accept-encoding'], e))
    if (!encoding || payload.length < worthCompressing) return payload
    reply.header('content-encoding', encoding).header('vary', 'accept-encoding').removeHeader('content-length')
    return deflaters[encoding](payload, { level: 1 })
  })
}

const accepts = (header: string | string[] | undefined, encoding: string): boolean =>
  String(header ?? '')
    .split(',')
    .some((part) => {
      const [name, ...params] = part.trim().split(';')
      return name === encoding && !params.some((p) => /^\s*q=0(\.0*)?\s*$/.test(p))
    })

/** Counts requests, starts and ends. */
function life(app: FastifyInstance): Omit<HttpServer, 'app'> {
  let [running, isClosing, last] = [0, false, 0]
  const changed = new Set<() => void>()
  app.addHook('onRequest', async (_request, reply) => {
    running++
    last = performance.now()
    reply.raw.once('close', () => {
      running--
      for (const tell of changed) tell()
    })
  })
  app.addHook('onSend', async (_request, reply) => {
    if (isClosing) reply.header('connection', 'close')
  })
  const idle = (patienceMs: number): Promise<boolean> =>
    new Promise((resolve) => {
      const done = (all: boolean): void => {
        clearTimeout(timer)
        changed.delete(look)
        resolve(all)
      }
      const look = (): void => {
        if (running === 0) done(true)
      }
      const timer = setTimeout(() => done(false), patienceMs)
      changed.add(look)
      look()
    })
  return {
    running: () => running,
    listen: async ({ host, port }) => {
      try {
        return await app.listen({ host, port, listenTextResolver: (address) => `listening at ${address}` })
      } catch (cause) {
        const { code, message } = cause as NodeJS.ErrnoException
        const why = code === 'EADDRINUSE' ? 'another program listens there' : message
        throw new PareError('E_USAGE', `the server cannot listen at ${host}:${port}`, {
          facts: { why },
          hint: '--port with another number; 0 takes any that is free',
          cause
        })
      }
    },
    close: async (patienceMs = defaults.patience) => {
      isClosing = true
      // The listener alone: fastify would also end connections whose next request is on its way.
      Server.prototype.close.call(app.server)
      const began = performance.now()
      last = began
      while (performance.now() - last < quietMs && performance.now() - began < Math.min(lingerMs, patienceMs))
        await new Promise((resolve) => setTimeout(resolve, quietMs / 3))
      const all = await idle(patienceMs)
      await app.close().catch((e: NodeJS.ErrnoException) => {
        if (e.code !== 'ERR_SERVER_NOT_RUNNING') throw e
      })
      return all
    }
  }
}

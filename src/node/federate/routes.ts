/** What a run answers over HTTP. Everything under /v1/ but the time is signed by a client; nothing that comes is code. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { PareError } from '../../base/errors.ts'
import { fromHex } from '../../base/hex.ts'
import { type RunInfo, readForm, stepForm } from '../../federate/net/forms.ts'
import { checkBody, checkRequest, noRequests, type SignedRequest } from '../../federate/net/signing.ts'
import type { SecureCrypto } from '../../federate/secure/types.ts'
import { refusalOf, route, statusOf, wordsOf } from '../http.ts'
import { type Engine, isMember } from './engine.ts'
import { metricsOf, pageOf, type Shown } from './page.ts'

export interface RoutesSetup {
  readonly engine: Engine
  readonly crypto: SecureCrypto
  readonly info: RunInfo
  /** Bytes of the model that the run began with. */
  readonly model: Uint8Array
  readonly origins: readonly string[]
  shown(): Shown
}

/** A request waits so long for something new, in ms; then it is answered that there is nothing. */
const holdMs = 20_000

const joinForm = z.strictObject({ token: z.string().regex(/^[0-9a-f]{32}$/) })

export function addRoutes(app: FastifyInstance, s: RoutesSetup): void {
  route(app, 'GET', '/', (_, reply) => reply.type('text/html; charset=utf-8').send(pageOf(s.shown())))
  route(app, 'GET', '/metrics', (_, reply) => reply.type('text/plain; version=0.0.4').send(metricsOf(s.shown())))
  route(app, 'GET', '/v1/time', () => ({ time: Date.now() }))
  void app.register(async (scope) => {
    const signed = signatures(scope, s)
    sayCodes(scope)
    allowPages(scope, s.origins)
    answers(scope, s, signed)
  })
}

type Signed = (request: FastifyRequest) => SignedRequest

/** Checks the signature before the body is read, and the body before the request is answered. */
function signatures(scope: FastifyInstance, { crypto, info, engine }: RoutesSetup): Signed {
  const seen = noRequests(Date.now())
  const of = new WeakMap<FastifyRequest, SignedRequest>()
  const run = fromHex(info.run)
  scope.addHook('onRequest', async (request) => {
    if (request.method === 'OPTIONS') return
    const parts = { run, method: request.method, path: request.url }
    const signed = await checkRequest(crypto, parts, request.headers, seen, Date.now())
    if (!request.url.startsWith('/v1/join') && !isMember(engine.told, signed.key))
      throw new PareError('E_SIGNATURE', 'this key has not joined the run')
    of.set(request, signed)
  })
  const signed: Signed = (request) => of.get(request) as SignedRequest
  scope.addHook('preHandler', async (request) => {
    if (request.method !== 'OPTIONS') await checkBody(crypto, signed(request), bodyOf(request))
  })
  return signed
}

const bodyOf = ({ body }: FastifyRequest): Uint8Array =>
  Buffer.isBuffer(body) ? new Uint8Array(body.buffer, body.byteOffset, body.byteLength) : new Uint8Array(0)

/** Refusals carry their code, so that a client can tell what to do. */
function sayCodes(scope: FastifyInstance): void {
  scope.setErrorHandler((error: Error & { statusCode?: number; code?: string }, request, reply) => {
    const own = error instanceof PareError ? error : undefined
    const status = own ? statusOf(own) : (error.statusCode ?? 500)
    if (status >= 500) request.log.error({ err: error }, 'request failed')
    const code = own?.code ?? (status === 413 ? 'E_LIMIT' : status < 500 ? 'E_REQUEST' : 'E_INTERNAL')
    const words = own ? wordsOf(own) : status < 500 ? refusalOf(error, request) : 'the server failed; its log says more'
    return reply
      .code(status)
      .type('application/json')
      .send(JSON.stringify({ error: words, code }))
  })
}

/** Pages of allowed origins may send signed requests. */
function allowPages(scope: FastifyInstance, origins: readonly string[]): void {
  if (origins.length === 0) return
  scope.options('/v1/*', (_, reply) =>
    reply
      .header('access-control-allow-methods', 'GET, POST, PUT')
      .header(
        'access-control-allow-headers',
        'content-type, pare-key, pare-time, pare-nonce, pare-body-sha256, pare-signature'
      )
      .header('access-control-max-age', '600')
      .code(204)
      .send()
  )
}

function answers(scope: FastifyInstance, s: RoutesSetup, signed: Signed): void {
  const { engine, info, model } = s
  const bytes = (reply: FastifyReply, of: Uint8Array): FastifyReply =>
    reply.type('application/octet-stream').send(Buffer.from(of.buffer, of.byteOffset, of.byteLength))
  route(scope, 'POST', '/v1/join', async (request) => {
    const { token } = readForm(joinForm, bodyOf(request), 'a request to join')
    await engine.joinClient(signed(request).key, token)
    return {}
  })
  route(scope, 'GET', '/v1/run', () => info)
  route(scope, 'GET', '/v1/model', (_, reply) => bytes(reply, model))
  route(scope, 'GET', '/v1/round', async (request) => {
    const after = Number((request.query as Record<string, string>)['after'] ?? -1)
    if (engine.version() <= after) await engine.changed(holdMs)
    return engine.roundFor(signed(request).key)
  })
  route(scope, 'GET', '/v1/message/:base', (request, reply) => bytes(reply, engine.message(param(request, 'base'))))
  route(scope, 'PUT', '/v1/update/:round/:attempt', (request) => {
    const [round, attempt] = [number(request, 'round'), number(request, 'attempt')]
    return engine.accept(signed(request).key, round, attempt, bodyOf(request))
  })
  const place = '/v1/secure/:round/:attempt/:step'
  scope.route({
    method: 'PUT',
    url: place,
    handler: async (request) => {
      const step = stepOf(request)
      await engine.sumAccept(signed(request).key, number(request, 'attempt'), step, bodyOf(request))
      return {}
    }
  })
  scope.route({
    method: 'GET',
    url: place,
    handler: async (request, reply) => {
      const { key } = signed(request)
      const [attempt, step] = [number(request, 'attempt'), stepOf(request)]
      const until = Date.now() + holdMs
      for (;;) {
        const message = engine.sumMessage(key, attempt, step)
        if (message) return bytes(reply, message)
        const left = until - Date.now()
        if (left <= 0) throw new PareError('E_BUSY', `step ${step} has not begun`, { hint: 'ask again' })
        await engine.changed(left)
      }
    }
  })
}

const param = (request: FastifyRequest, name: string): string => (request.params as Record<string, string>)[name] ?? ''

function number(request: FastifyRequest, name: string): number {
  const text = param(request, name)
  if (/^\d{1,10}$/.test(text)) return Number(text)
  throw new PareError('E_REQUEST', `${name} is a whole number, not ${text.slice(0, 40)}`)
}

function stepOf(request: FastifyRequest): ReturnType<typeof stepForm.parse> {
  const parsed = stepForm.safeParse(param(request, 'step'))
  if (parsed.success) return parsed.data
  throw new PareError('E_ABSENT', 'there is no such step of a sum')
}

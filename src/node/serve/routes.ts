/** The paths of the Open Inference Protocol (v2), and of what is told about the server itself. */
import { randomBytes } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { PareError } from '../../base/errors.ts'
import { page } from '../../serve/page.ts'
import type { Limits } from '../../serve/queue.ts'
import { configJson, metadataJson, printReply } from '../../serve/reply.ts'
import { headerLength, readRequest } from '../../serve/request.ts'
import { statisticsJson } from '../../serve/statistics.ts'
import { route, statusOf } from '../http.ts'
import { version } from '../version.ts'
import { answer } from './calls.ts'
import type { Metrics } from './metrics.ts'
import { bytesOf, type Served } from './model.ts'
import type { Pool } from './pool.ts'
import { longJson, type Reader } from './reader.ts'
import type { Repository } from './repository.ts'
import { snapshot } from './snapshot.ts'

/** What the paths are about. */
export interface Serving {
  readonly pool: Pool
  readonly reader: Reader
  readonly models: Repository
  readonly metrics: Metrics
  readonly limits: Limits
  readonly maxBodyBytes: number
  /** A request is answered by then or refused, ms. */
  readonly timeoutMs: number
  readonly delayMs: number
  /** Clients may load and unload models. */
  readonly isControlled: boolean
  readonly workers: () => number
  readonly isReady: () => boolean
}

const binaryHeader = 'inference-header-content-length'

/** Paths that answer without the token: whether the server lives is asked by what starts it. */
export const openPaths = ['/v2/health/live', '/v2/health/ready'] as const

const extensions = [
  'binary_tensor_data',
  'statistics',
  'model_repository',
  'model_configuration',
  'parameters'
] as const

export function addRoutes(app: FastifyInstance, s: Serving): void {
  health(app, s)
  for (const prefix of ['/v2/models/:name', '/v2/models/:name/versions/:version']) ofModel(app, prefix, s)
  repositoryPaths(app, s)
  app.addHook('onResponse', async ({ url, method }, reply) =>
    app.log.debug({ method, path: url.slice(0, 200), status: reply.statusCode, ms: reply.elapsedTime }, 'request')
  )
  route(app, 'GET', '/metrics', (_request, reply) =>
    reply.type('text/plain; version=0.0.4; charset=utf-8').send(s.metrics.text(s.models, s.pool))
  )
  route(app, 'GET', '/stats', () => snapshot(s.pool, s.models, s.isReady(), s.workers()))
  route(app, 'GET', '/', (_request, reply) => {
    const nonce = randomBytes(16).toString('base64')
    const own = `'nonce-${nonce}'`
    reply.header(
      'content-security-policy',
      `default-src 'none'; connect-src 'self'; style-src ${own}; script-src ${own}`
    )
    return reply.type('text/html; charset=utf-8').send(page(version, nonce))
  })
}

function health(app: FastifyInstance, { models, isReady }: Serving): void {
  route(app, 'GET', '/v2', () => ({ name: 'pare', version, extensions }))
  route(app, 'GET', '/v2/health/live', () => ({ live: true }))
  route(app, 'GET', '/v2/health/ready', () => {
    if (!isReady()) throw new PareError('E_BUSY', 'the server is not ready')
    return { ready: true, live: true }
  })
  route(app, 'GET', '/v2/models', () => ({ models: [...new Set(models.ready.map((m) => m.name))] }))
  route(app, 'GET', '/v2/models/stats', () => ({ model_stats: models.ready.map(statsOf) }))
}

const statsOf = (m: Served): object => statisticsJson(m.name, m.version, m.statistics, bytesOf(m))

interface Named {
  readonly name: string
  readonly version?: string
}

function ofModel(app: FastifyInstance, prefix: string, s: Serving): void {
  const { models } = s
  const found = ({ params }: FastifyRequest): Served => {
    const { name, version } = params as Named
    return models.find(name, version)
  }
  route(app, 'GET', prefix, (request) => {
    const { name, signature } = found(request)
    return metadataJson(name, models.versions(name), signature)
  })
  route(app, 'GET', `${prefix}/ready`, (request) => ({ name: found(request).name, ready: true }))
  route(app, 'GET', `${prefix}/config`, (request) => {
    const { name, signature, stages } = found(request)
    const { tuning } = stages[0]
    const most = tuning.isBatched ? tuning.size : 0
    return configJson(name, signature, { most, delayMs: s.delayMs, workers: s.workers() })
  })
  route(app, 'GET', `${prefix}/stats`, (request) => ({ model_stats: [statsOf(found(request))] }))
  route(app, 'POST', `${prefix}/infer`, (request, reply) => infer(found(request), request, reply, s))
}

async function infer(model: Served, request: FastifyRequest, reply: FastifyReply, s: Serving): Promise<FastifyReply> {
  const arrived = performance.now()
  const ended = (status: number): void => s.metrics.ended(model, performance.now() - arrived, status)
  try {
    const body = (request.body as Buffer | null | undefined) ?? Buffer.alloc(0)
    const jsonBytes = headerLength(textOf(request.headers[binaryHeader]), body.length)
    const json = body.subarray(0, jsonBytes ?? body.length)
    const read = json.length > longJson ? await s.reader.read(json) : undefined
    const asked = readRequest(body, jsonBytes, model.signature, s.maxBodyBytes, read)
    const isGone = (): boolean => reply.raw.destroyed
    const given = await answer(model, { request: asked, arrived, timeoutMs: s.timeoutMs, isGone }, s.pool, s.limits)
    const printed = printReply(given)
    ended(200)
    if (printed.jsonBytes === undefined) return reply.type('application/json').send(printed.parts[0])
    reply.header(binaryHeader, String(printed.jsonBytes)).type('application/octet-stream')
    return reply.send(Buffer.concat(printed.parts as Uint8Array[]))
  } catch (error) {
    ended(error instanceof PareError ? (error.code === 'E_ABORTED' ? 499 : statusOf(error)) : 500)
    throw error
  }
}

const textOf = (header: string | string[] | undefined): string | undefined =>
  Array.isArray(header) ? header.join() : header

function repositoryPaths(app: FastifyInstance, { models, isControlled }: Serving): void {
  route(app, 'POST', '/v2/repository/index', ({ body }) => {
    const onlyReady = fieldsOf(body)['ready'] === true
    return models.entries
      .filter((e) => !onlyReady || e.state === 'READY')
      .map(({ name, version, state, reason }) => ({ name, version, state, reason }))
  })
  const control = (path: 'load' | 'unload', work: (name: string) => Promise<void>): void =>
    route(app, 'POST', `/v2/repository/models/:name/${path}`, async ({ params, body }) => {
      if (!isControlled)
        throw new PareError('E_REQUEST', 'models are not loaded on request here', {
          hint: 'start the server with --allow-model-control'
        })
      refuseUploads(fieldsOf(body)['parameters'])
      const { name } = params as Named
      await work(name)
      return { name, [path]: true }
    })
  control('load', models.load)
  control('unload', models.unload)
}

/** Models come from the server's own folder: with a configuration or a file of a client's, anybody could run anything here. */
function refuseUploads(parameters: unknown): void {
  const odd = Object.keys(typeof parameters === 'object' && parameters !== null ? parameters : {}).find(
    (k) => k !== 'unload_dependents'
  )
  if (odd !== undefined)
    throw new PareError(
      'E_REQUEST',
      `the parameter ${odd.slice(0, 100)} is not taken: models come from the server’s own folder`
    )
}

/** An empty body is an empty object. */
function fieldsOf(body: unknown): Readonly<Record<string, unknown>> {
  const text = Buffer.isBuffer(body) ? body.toString().trim() : ''
  if (text === '') return {}
  try {
    const json: unknown = JSON.parse(text)
    if (typeof json === 'object' && json !== null) return json as Readonly<Record<string, unknown>>
  } catch {
    // Said below, as for JSON that is no object.
  }
  throw new PareError('E_REQUEST', 'the body is no JSON object')
}

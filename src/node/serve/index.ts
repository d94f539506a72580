/** `pare serve`: models behind HTTP, from the first measurement to the last answer. */
import { pino } from 'pino'
import type { PareError } from '../../base/errors.ts'
import { chooseWorkers, type Workers } from '../../serve/plan.ts'
import { httpServer } from '../http.ts'
import { room } from './limits.ts'
import { metrics } from './metrics.ts'
import { bytesOf, type Served } from './model.ts'
import { pool, workOf } from './pool.ts'
import { reader } from './reader.ts'
import { type Repository, repository } from './repository.ts'
import { addRoutes, openPaths } from './routes.ts'

export interface ServeOptions {
  /** A model, or a folder of models. */
  readonly path: string
  readonly host: string
  readonly port: number
  readonly token?: string
  /** Absent: as many as the machine has use for, by what was measured. */
  readonly workers?: number
  /** Run models in processes of their own, which may crash or hang without taking the server along. */
  readonly isIsolated: boolean
  /** Samples that requests are joined up to; absent: by what was measured. */
  readonly batch?: number
  /** An input that says which positions of a sample count; models that have it run requests of different lengths together. */
  readonly mask?: string
  /** How long a request may wait for others to join it, ms. */
  readonly delayMs: number
  /** A request is answered within this or refused, ms. */
  readonly timeoutMs: number
  /** A run that takes longer is taken for one that never ends, ms. */
  readonly hangMs: number
  /** How long requests are still taken after the server was asked to stop, ms. */
  readonly drainMs: number
  readonly maxBodyBytes: number
  readonly maxConnections: number
  readonly compress: boolean
  readonly origins: readonly string[]
  /** Names that it is called by beside its own; `.example.org`: all below that. */
  readonly hosts: readonly string[]
  readonly isControlled: boolean
  readonly logLevel: 'silent' | 'error' | 'warn' | 'info' | 'debug'
}

/** What was measured and chosen. */
export interface Plan {
  readonly models: readonly Served[]
  readonly workers: Workers
}

export interface Server {
  readonly url: string
  readonly plan: Plan
  /** Loads all models again, as their files are now. */
  reload(): Promise<void>
  /** Answers what has come, and ends. `false`: not all could be answered in time. */
  close(): Promise<boolean>
  /** Settles when the server can go on no longer, with the reason. */
  readonly failed: Promise<string>
}

/** Requests that wait hold at most so much. */
const queued = { queuedSamples: 10_000, queuedBytes: 512 * 1024 * 1024 } as const

/** Time to measure a model in, ms: at the start, and while others are served. */
const budget = { start: 2000, reload: 400 } as const

/** How long accepted requests may take after the server was asked to stop, ms. */
const patienceMs = 25_000

type Parts = ReturnType<typeof build>

function build(o: ServeOptions) {
  const log = pino({ level: o.logLevel })
  let fail: (why: string) => void = () => undefined
  const failed = new Promise<string>((resolve) => {
    fail = resolve
  })
  const state = { isReady: false, wanted: 1 }
  const figures = metrics()
  const workers = pool({
    ...{ isIsolated: o.isIsolated, hangMs: o.hangMs, delayMs: o.delayMs },
    watch: {
      ran: (model, samples, _ms, waited, reason) => figures.ran(model, samples, waited, reason),
      lost: (why, isHung) => {
        log.error({ why }, 'worker lost')
        if (!isHung) return
        state.isReady = false
        fail(why)
      }
    }
  })
  const models: Repository = repository(workers, {
    path: o.path,
    ...(o.batch === undefined ? {} : { batch: o.batch }),
    load: {
      ...{ budgetMs: budget.start, mostBatch: 64, mostMs: o.timeoutMs / 3 },
      ...(o.mask === undefined ? {} : { mask: o.mask })
    },
    reloadBudgetMs: budget.reload,
    told: (event, facts) => log.info(facts, `model ${event}`)
  })
  return { log, state, workers, models, figures, failed }
}

/** Loads and measures all models in one worker, and says how many workers there should be. */
async function measure({ workers, models }: Parts, o: ServeOptions): Promise<Plan> {
  await workers.grow(1)
  await models.loadAll()
  const chosen = chooseWorkers(
    room(),
    models.ready.map((m) => ({ sampleMs: workOf(m, m.stages[0], ''), bytes: bytesOf(m) }))
  )
  const asked =
    o.workers === undefined ? undefined : { count: o.workers, why: `asked for; measured best: ${chosen.count}` }
  return { models: models.ready, workers: asked ?? chosen }
}

/** What would be served, and how, without serving it. */
export async function planOf(o: ServeOptions): Promise<Plan> {
  const parts = build({ ...o, logLevel: 'silent' })
  try {
    return await measure(parts, o)
  } finally {
    await parts.workers.end()
  }
}

/** Serves. Throws what keeps a model from being loaded, and `E_USAGE` where the server cannot listen. */
export async function serve(o: ServeOptions): Promise<Server> {
  const parts = build(o)
  const { log, state, workers, models, figures } = parts
  const jsonReader = reader()
  const http = httpServer({
    ...{
      maxBodyBytes: o.maxBodyBytes,
      maxConnections: o.maxConnections,
      compress: o.compress,
      origins: o.origins,
      hosts: [o.host, ...o.hosts],
      moreHosts: '--allow-host',
      largerBodies: '--max-body of the server takes larger ones (megabytes)',
      log
    },
    ...(o.token === undefined ? {} : { token: o.token, open: openPaths })
  })
  addRoutes(http.app, {
    ...{ pool: workers, reader: jsonReader, models, metrics: figures, limits: queued, maxBodyBytes: o.maxBodyBytes },
    ...{ timeoutMs: o.timeoutMs, delayMs: o.delayMs, isControlled: o.isControlled },
    workers: () => state.wanted,
    isReady: () => state.isReady && workers.alive > 0
  })
  let plan: Plan
  let url: string
  try {
    // Whoever asks whether the server lives is answered while models are loaded.
    url = await http.listen({ host: o.host, port: o.port })
    plan = await measure(parts, o)
    state.wanted = plan.workers.count
    await workers.grow(plan.workers.count)
  } catch (error) {
    await http.close(0)
    await workers.end()
    throw error
  }
  state.isReady = true
  log.info({ url, workers: plan.workers.count, models: models.ready.length }, 'ready')
  return {
    url,
    plan,
    failed: parts.failed,
    reload: async () => {
      for (const name of new Set(models.entries.map((e) => e.name)))
        await models
          .load(name)
          .catch((e: PareError) => log.error({ model: name, why: e.message }, 'model stays as it was'))
    },
    close: async () => {
      state.isReady = false
      log.info('draining')
      await new Promise((resolve) => setTimeout(resolve, o.drainMs))
      const all = await http.close(patienceMs)
      await jsonReader.end()
      await workers.end()
      log.info({ answered: all }, 'ended')
      return all
    }
  }
}

import { readFileSync, statSync } from 'node:fs'
import { PareError } from '../base/errors.ts'
import { isLoopback } from '../node/hosts.ts'
import type { ServeOptions, Server } from '../node/serve/index.ts'
import { folder, readable } from './check.ts'
import { type Command, isOn, number, type Surroundings, text } from './command.ts'
import type { Flag, Parsed } from './flags.ts'
import { planText } from './serve-plan.ts'
import { styleFor } from './style.ts'

const flag = (group: string, name: string, kind: Flag['kind'], about: string, rest: Partial<Flag> = {}): Flag => ({
  ...{ name, kind, about, group },
  ...rest
})

const flags: readonly Flag[] = [
  flag('address', 'host', 'text', 'address to listen at; other than this machine alone, give a token', {
    hint: 'ADDRESS',
    default: '127.0.0.1'
  }),
  flag('address', 'port', 'whole', 'port to listen at; 0 takes any that is free', {
    hint: 'N',
    default: '$PORT, else 8000'
  }),
  flag('address', 'token-file', 'text', 'requests need Authorization: Bearer and what stands in this file', {
    hint: 'FILE'
  }),
  flag('address', 'allow-origin', 'list', 'pages of these origins may call', { hint: 'https://…,…' }),
  flag('address', 'allow-host', 'list', 'names that the server is called by beside its own; .NAME for all below it', {
    hint: 'NAME,…'
  }),
  flag('address', 'allow-model-control', 'boolean', 'clients may load and unload models of the folder'),
  flag(
    'address',
    'gzip',
    'boolean',
    'compress replies from 1 KiB on for clients that take it (requests may always come compressed)'
  ),
  flag('work', 'plan', 'boolean', 'measure, print what would be chosen and why, and serve nothing'),
  flag('work', 'workers', 'whole', 'copies of each model that run at a time, each on one thread', {
    hint: 'N',
    default: 'by cores and what was measured'
  }),
  flag('work', 'batch', 'whole', 'samples that requests are joined up to', {
    hint: 'N',
    default: 'by what was measured'
  }),
  flag('work', 'batch-delay', 'number', 'how long a request may wait for others to join it', {
    hint: 'MS',
    default: 0
  }),
  flag(
    'work',
    'mask',
    'text',
    'mask input [samples, length]: requests of different lengths are filled up and run together',
    { hint: 'NAME' }
  ),
  flag(
    'work',
    'isolate',
    'boolean',
    'run models in processes of their own, for files that are not trusted; data is copied'
  ),
  flag('limits', 'timeout', 'number', 'a request is answered within so many seconds or refused', {
    hint: 'S',
    default: 30
  }),
  flag('limits', 'hang-timeout', 'number', 'seconds after which a run is taken for one that never ends', {
    hint: 'S',
    default: 120
  }),
  flag('limits', 'drain', 'number', 'seconds in which requests are still taken after SIGTERM; 5 behind a balancer', {
    hint: 'S',
    default: 0
  }),
  flag('limits', 'max-body', 'number', 'megabytes of a request, also after it was inflated', {
    hint: 'MB',
    default: 64
  }),
  flag('limits', 'max-connections', 'whole', 'connections at a time', { hint: 'N', default: 1024 }),
  flag('output', 'log-level', 'choice', 'what the log on standard output tells, as lines of JSON', {
    choices: ['silent', 'error', 'warn', 'info', 'debug'],
    default: 'info'
  }),
  flag('output', 'quiet', 'boolean', 'print nothing on standard error but errors'),
  flag('output', 'json', 'boolean', 'print the plan as JSON'),
  flag('output', 'debug', 'boolean', 'show where an error comes from')
]

/** `pare serve` */
export const command: Command = {
  name: 'serve',
  summary: 'answer requests over HTTP (Open Inference Protocol), several in one run of a model',
  positionals: [{ name: 'model.onnx|folder' }],
  flags,
  examples: ['pare serve model.onnx', 'pare serve models --port 8080', 'pare serve model.onnx --plan'],
  more: 'SIGHUP loads the models again as their files are then; SIGTERM and Ctrl-C answer what has come, and end.',
  run: async (given, at) => {
    const o = optionsOf(given)
    const { planOf, serve } = await import('../node/serve/index.ts')
    if (isOn(given, 'plan')) {
      const plan = await planOf(o)
      at.out.write(planText(plan, styleFor(at.out), isOn(given, 'json')))
      return 0
    }
    at.takeSignals()
    const server = await serve(o)
    if (!isOn(given, 'quiet')) at.err.write(greeting(server, o, at))
    return untilEnd(server)
  }
}

function optionsOf(given: Parsed): ServeOptions {
  const [path = ''] = given.positionals
  servable(path)
  const host = text(given, 'host') ?? '127.0.0.1'
  const token = tokenOf(text(given, 'token-file'))
  const positive = (name: string, or: number, least = 0): number => {
    const n = number(given, name) ?? or
    if (n < least) throw new PareError('E_USAGE', `--${name} takes ${least} or more, not ${n}`)
    return n
  }
  const [workers, batch] = ['workers', 'batch'].map((name) =>
    given.values.has(name) ? positive(name, 1, 1) : undefined
  )
  return {
    ...{ path, host, port: portOf(given) },
    ...(token === undefined ? {} : { token }),
    ...(workers === undefined ? {} : { workers }),
    ...(batch === undefined ? {} : { batch }),
    ...(given.values.has('mask') ? { mask: text(given, 'mask') ?? '' } : {}),
    isIsolated: isOn(given, 'isolate'),
    delayMs: positive('batch-delay', 0),
    timeoutMs: positive('timeout', 30, 0.001) * 1000,
    hangMs: positive('hang-timeout', 120, 0.1) * 1000,
    drainMs: positive('drain', 0) * 1000,
    maxBodyBytes: Math.ceil(positive('max-body', 64, 0.001) * 1024 * 1024),
    maxConnections: positive('max-connections', 1024, 1),
    compress: isOn(given, 'gzip'),
    origins: (given.values.get('allow-origin') as readonly string[] | undefined) ?? [],
    hosts: (given.values.get('allow-host') as readonly string[] | undefined) ?? [],
    isControlled: isOn(given, 'allow-model-control'),
    logLevel: (given.values.get('log-level') as ServeOptions['logLevel'] | undefined) ?? 'info'
  }
}

/** A file or a folder that is there. Throws `E_FILE`. */
function servable(path: string): void {
  const stats = statSync(path, { throwIfNoEntry: false })
  if (!stats)
    throw new PareError('E_FILE', 'there is no such file or folder', {
      facts: { path },
      hint: 'name a model (NAME.onnx) or a folder of models (NAME.onnx, NAME/model.onnx, NAME/1/model.onnx)'
    })
  if (stats.isDirectory()) folder(path)
  else readable(path)
}

/** `--port`, or `PORT` as containers are told it. */
function portOf(given: Parsed): number {
  const port = number(given, 'port') ?? Number(process.env['PORT'] || 8000)
  if (!(Number.isInteger(port) && port >= 0 && port < 65536)) throw new PareError('E_USAGE', `${port} is no port`)
  return port
}

function tokenOf(path: string | undefined): string | undefined {
  if (path === undefined) return undefined
  const token = readFileSync(readable(path), 'utf8').trim()
  if (!/^[\x21-\x7e]{8,}$/.test(token))
    throw new PareError('E_USAGE', 'the token is at least 8 printable characters without spaces', { where: path })
  return token
}

function greeting({ url, plan }: Server, o: ServeOptions, { err }: Surroundings): string {
  const style = styleFor(err)
  const open = isLoopback(o.host) || o.token !== undefined
  return `${planText(plan, style, false)}
${style.bold(url)}  page and figures
${url}/v2/models/${plan.models[0]?.name ?? 'NAME'}/infer  requests
${open ? '' : `${style.bad('anybody who reaches this address is served')}: --token-file FILE asks for a token\n`}`
}

/** Ends by a signal, or with status 1 where a worker computes for ever. */
function untilEnd(server: Server): Promise<number> {
  return new Promise((resolve) => {
    let isEnding = false
    const end = (): void => {
      // Asked twice: at once. A thread that computes cannot be ended but with the process.
      if (isEnding) process.kill(process.pid, 'SIGKILL')
      isEnding = true
      void server.close().then((all) => resolve(all ? 0 : 1))
    }
    process.on('SIGTERM', end)
    process.on('SIGINT', end)
    process.on('SIGHUP', () => void server.reload())
    void server.failed.then(async () => {
      await Promise.race([server.close(), new Promise((done) => setTimeout(done, 30_000))])
      process.kill(process.pid, 'SIGKILL')
    })
  })
}

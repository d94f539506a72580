/** Workers over a real Redis: one is killed, the server is restarted, jobs are hostile. Needs `redis-server` on the path. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Queue, QueueEvents } from 'bullmq'
import { Redis } from 'ioredis'
import { build } from 'rolldown'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { version } from '../version.ts'
import { failureOf, prefix, queueName, sha256, studyKey } from './connection.ts'
import { putFiles, type RemoteRuns, remoteRuns } from './driver.ts'

const found = spawnSync('redis-server', ['--version'], { encoding: 'utf8' })
const reason = found.status === 0 ? '' : ' (skipped: redis-server is not installed)'

const folder = mkdtempSync(join(tmpdir(), 'pare-redis-'))
const children = new Set<ChildProcess>()
let port = 0
let server: ChildProcess
const url = (): string => `redis://127.0.0.1:${port}`

const freePort = (): Promise<number> =>
  new Promise((then) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port: p } = probe.address() as { port: number }
      probe.close(() => then(p))
    })
  })

async function startServer(): Promise<void> {
  const options = [
    '--bind',
    '127.0.0.1',
    '--appendonly',
    'yes',
    '--appendfsync',
    'always',
    '--save',
    '',
    '--maxmemory-policy',
    'noeviction'
  ]
  server = spawn('redis-server', ['--port', `${port}`, '--dir', folder, ...options], { stdio: 'ignore' })
  children.add(server)
  for (let i = 0; i < 200; i++) {
    const ping = spawnSync('redis-cli', ['-p', `${port}`, 'ping'], { encoding: 'utf8' })
    if (ping.stdout?.trim() === 'PONG') return
    await new Promise((then) => setTimeout(then, 50))
  }
  throw new Error('redis-server did not start')
}

const ended = (child: ChildProcess): Promise<void> => new Promise((then) => child.once('exit', () => then()))

/** A worker whose jobs take a while: y = factor · x + the first byte of a file. */
const program = `
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { PareError } from ${JSON.stringify(fileURLToPath(new URL('../../base/errors.ts', import.meta.url)))}
import { serveRemote } from ${JSON.stringify(fileURLToPath(new URL('worker.ts', import.meta.url)))}
const [url, folder] = process.argv.slice(2)
await serveRemote({
  url, folder, lease: 1,
  setup: z.strictObject({ factor: z.number(), file: z.string() }),
  job: z.strictObject({ x: z.int().min(0).max(1000) }),
  ready: () => console.log('ready'),
  done: (id, code) => console.log('done ' + id + ' ' + code),
  open: async (s, fetch) => {
    const [first] = readFileSync(await fetch(s.file))
    return {
      run: async ({ x }) => {
        console.log('begun ' + x)
        await new Promise((then) => setTimeout(then, 150))
        if (x === 13) throw new PareError('E_RUN', 'this one does not run')
        return { y: s.factor * x + first }
      },
      close: async () => {}
    }
  }
}, new AbortController().signal)
`

interface Started {
  readonly child: ChildProcess
  readonly said: string[]
  until(text: RegExp): Promise<void>
}

function startWorker(name: string): Started {
  const child = spawn(process.execPath, [join(folder, 'worker.mjs'), url(), join(folder, name)], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  children.add(child)
  const said: string[] = []
  const waiting: { readonly text: RegExp; then(): void }[] = []
  child.stdout?.on('data', (d: Buffer) => {
    said.push(d.toString())
    for (const w of waiting) if (w.text.test(said.join(''))) w.then()
  })
  return {
    child,
    said,
    until: (text) => new Promise((then) => (text.test(said.join('')) ? then() : waiting.push({ text, then })))
  }
}

const answer = z.strictObject({ y: z.number() })
type Runs = RemoteRuns<{ readonly x: number }, { readonly y: number }>
const signal = new AbortController().signal

describe.skipIf(reason !== '')(`workers over Redis${reason}`, { timeout: 120_000 }, () => {
  beforeAll(async () => {
    port = await freePort()
    await startServer()
    const entry = join(folder, 'entry.ts')
    writeFileSync(entry, program)
    await build({
      input: entry,
      platform: 'node',
      external: (id) => ['bullmq', 'ioredis'].includes(id),
      resolve: { modules: [fileURLToPath(new URL('../../../node_modules', import.meta.url))] },
      output: { file: join(folder, 'worker.mjs'), format: 'esm', inlineDynamicImports: true }
    })
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
    spawnSync('ln', [
      '-s',
      fileURLToPath(new URL('../../../node_modules', import.meta.url)),
      join(folder, 'node_modules')
    ])
  }, 120_000)
  afterAll(async () => {
    for (const child of children) child.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  })

  it('answer every job once, though one of them is killed and Redis is restarted', async () => {
    const [file] = await putFiles(url(), [Uint8Array.from([7, 1, 2])])
    const [first, second] = [startWorker('one'), startWorker('two')]
    const runs: Runs = await remoteRuns({ url: url(), setup: { factor: 3, file }, answer })
    const counts = new Map<number, number>()
    const all = Array.from({ length: 12 }, async (_, x) => {
      const made = await runs.run({ x }, signal)
      counts.set(x, (counts.get(x) ?? 0) + 1)
      return made.y
    })
    await first.until(/begun/)
    first.child.kill('SIGKILL')
    await second.until(/done/)
    server.kill('SIGKILL')
    await ended(server)
    await startServer()
    expect(await Promise.all(all)).toEqual(Array.from({ length: 12 }, (_, x) => 3 * x + 7))
    expect([...counts.values()]).toEqual(Array(12).fill(1))
    await runs.close()
    second.child.kill('SIGKILL')
  })

  it('tell by its code what a job threw', async () => {
    const [file] = await putFiles(url(), [Uint8Array.from([1])])
    const worker = startWorker('three')
    const runs: Runs = await remoteRuns({ url: url(), setup: { factor: 2, file }, answer })
    await expect(runs.run({ x: 13 }, signal)).rejects.toMatchObject({ code: 'E_RUN', message: 'this one does not run' })
    await expect(runs.run({ x: 5000 }, signal)).rejects.toMatchObject({ code: 'E_MESSAGE' })
    const stop = new AbortController()
    const stopped = runs.run({ x: 5 }, stop.signal)
    stop.abort()
    await expect(stopped).rejects.toMatchObject({ code: 'E_ABORTED' })
    await runs.close()
    const other: Runs = await remoteRuns({ url: url(), setup: { factor: 'code', file: '../../etc/passwd' }, answer })
    await expect(other.run({ x: 1 }, signal)).rejects.toMatchObject({ code: 'E_MESSAGE' })
    await other.close()
    worker.child.kill('SIGKILL')
  })

  it('refuse hostile jobs with a code, and go on', async () => {
    const worker = startWorker('four')
    const connection = new Redis(url(), { maxRetriesPerRequest: null })
    const queue = new Queue(queueName, { connection, prefix })
    const events = new QueueEvents(queueName, { connection: connection.duplicate(), prefix })
    await events.waitUntilReady()
    const put = async (text: string): Promise<string> => {
      await connection.set(studyKey(sha256(text)), text)
      return sha256(text)
    }
    const [file] = await putFiles(url(), [Uint8Array.from([1])])
    const good = await put(JSON.stringify({ factor: 2, file }))
    const absent = await put(JSON.stringify({ factor: 2, file: 'a'.repeat(64) }))
    const path = await put(JSON.stringify({ factor: 2, file: '../../etc/passwd' }))
    const forged = 'b'.repeat(64)
    await connection.set(studyKey(forged), '{"factor":1}')
    const tampered = await put(JSON.stringify({ factor: 4, file: sha256(Uint8Array.from([9])) }))
    await connection.set(`${prefix}:blob:${sha256(Uint8Array.from([9]))}`, '1')
    await connection.set(`${prefix}:blob:${sha256(Uint8Array.from([9]))}:0`, Buffer.from([8]))
    const pare = version
    const hostile: readonly (readonly [unknown, string])[] = [
      [{ study: '../../x', pare, job: {} }, 'E_MESSAGE'],
      [{ study: good, pare, job: { x: 1e9 } }, 'E_MESSAGE'],
      [{ study: good, pare, job: { x: 1 }, module: 'evil.js' }, 'E_MESSAGE'],
      [{ study: good, pare: '0.0.0-other', job: { x: 1 } }, 'E_CONSTRAINT'],
      [{ study: good, pare, job: { x: 1, code: 'x'.repeat(70_000) } }, 'E_LIMIT'],
      [{ study: 'c'.repeat(64), pare, job: { x: 1 } }, 'E_ABSENT'],
      [{ study: forged, pare, job: { x: 1 } }, 'E_DATA'],
      [{ study: absent, pare, job: { x: 1 } }, 'E_ABSENT'],
      [{ study: path, pare, job: { x: 1 } }, 'E_DATA'],
      [{ study: tampered, pare, job: { x: 1 } }, 'E_DATA'],
      [7, 'E_MESSAGE'],
      [null, 'E_MESSAGE']
    ]
    const found = await Promise.all(
      hostile.map(async ([data]) => {
        const job = await queue.add('trial', data, { attempts: 3 })
        return failureOf(
          await job.waitUntilFinished(events, 60_000).then(
            () => '',
            (e: Error) => e.message
          )
        ).code
      })
    )
    expect(found).toEqual(hostile.map(([, code]) => code))
    const runs: Runs = await remoteRuns({ url: url(), setup: { factor: 2, file }, answer })
    expect(await runs.run({ x: 4 }, signal)).toEqual({ y: 9 })
    await runs.close()
    await events.close()
    await queue.close()
    connection.disconnect()
    worker.child.kill('SIGKILL')
  })

  it('are refused another address, and one where nobody answers', async () => {
    const at = (u: string): Promise<unknown> => remoteRuns({ url: u, setup: {}, answer })
    await expect(at('http://127.0.0.1:1')).rejects.toMatchObject({ code: 'E_USAGE' })
    await expect(at('nothing')).rejects.toMatchObject({ code: 'E_USAGE' })
    await expect(at(`redis://127.0.0.1:${await freePort()}`)).rejects.toMatchObject({ code: 'E_FILE' })
  })
})

/**
 * The server beside clients that others wrote, requests that are no good, and the program as a container starts it.
 * `PARE_SERVE_FULL=1`: as many requests as the benchmarks name, instead of a few.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { rng } from '../src/base/random.ts'
import { type ServeOptions, type Server, serve } from '../src/node/serve/index.ts'
import { isBuilt, program } from './program.ts'
import { serveOptions, writeKind, writeKinds } from './serve-models.ts'

const isFull = process.env['PARE_SERVE_FULL'] === '1'
const folder = mkdtempSync(join(tmpdir(), 'pare-serve-clients-'))
let server: Server
const options: ServeOptions = { ...serveOptions(folder), maxConnections: 1024, compress: true }

beforeAll(async () => {
  writeKinds(folder, ['echo', 'dynamic', 'conv'])
  writeKind('double', join(folder, 'net.onnx'))
  server = await serve(options)
}, 60_000)
afterAll(async () => {
  await server.close()
  rmSync(folder, { recursive: true, force: true })
})

const portOf = (url: string): number => Number(new URL(url).port)

/** Sends bytes over a connection of their own; gives what came back when the server had answered, or closed. */
function exchange(port: number, bytes: Uint8Array): Promise<Buffer> {
  return new Promise((resolve) => {
    const parts: Buffer[] = []
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes))
    const end = (): void => {
      socket.destroy()
      resolve(Buffer.concat(parts))
    }
    socket.on('data', (d) => {
      parts.push(d)
      if (isWhole(Buffer.concat(parts))) end()
    })
    socket.on('close', end)
    socket.on('error', end)
    // A request that lacks its last bytes is waited for by the server; its half of the connection is closed.
    socket.setTimeout(500, () => socket.end())
  })
}

function isWhole(reply: Buffer): boolean {
  const at = reply.indexOf('\r\n\r\n')
  const length = /^content-length: (\d+)/im.exec(reply.subarray(0, Math.max(0, at)).toString())?.[1]
  return at >= 0 && length !== undefined && reply.length >= at + 4 + Number(length)
}

/** The first reply: what a request left over may be another, which is answered too. */
const parts = (reply: Buffer): { status: number; head: string; body: Buffer } => {
  const at = reply.indexOf('\r\n\r\n')
  const head = reply.subarray(0, at).toString()
  const length = /^content-length: (\d+)/im.exec(head)?.[1]
  const end = length === undefined ? reply.length : at + 4 + Number(length)
  return { status: Number(head.split(' ')[1]), head, body: reply.subarray(at + 4, end) }
}

interface Exchange {
  readonly call: string
  readonly request: string
  readonly status: number
  readonly jsonBytes?: number
  readonly encoding: string
  readonly body: string
}
const recorded = JSON.parse(readFileSync(fileURLToPath(new URL('serve-client.json', import.meta.url)), 'utf8')) as {
  readonly exchanges: readonly Exchange[]
}

describe('tritonclient', () => {
  it('gets the bytes that it got when its requests were recorded', async () => {
    for (const { call, request, status, jsonBytes, encoding, body } of recorded.exchanges) {
      const reply = parts(await exchange(portOf(server.url), Buffer.from(request, 'base64')))
      expect([call, reply.status]).toEqual([call, status])
      expect(/inference-header-content-length: (\d+)/i.exec(reply.head)?.[1]).toBe(
        jsonBytes === undefined ? undefined : String(jsonBytes)
      )
      expect(/content-encoding: (\w+)/i.exec(reply.head)?.[1] ?? '').toBe(encoding)
      expect(reply.body.toString('base64')).toBe(body)
    }
  })

  const python = process.env['PARE_PYTHON'] ?? 'python3'
  const has = spawnSync(python, ['-c', 'import tritonclient.http']).status === 0
  const reason = has ? '' : ` (skipped: ${python} has no package tritonclient[http]; PARE_PYTHON names another)`
  it.skipIf(!has)(
    `gets along with the server by all of its calls${reason}`,
    async () => {
      const script = fileURLToPath(new URL('serve-client.py', import.meta.url))
      const child = spawn(python, [script, new URL(server.url).host])
      let [out, err] = ['', '']
      child.stdout.on('data', (d: Buffer) => {
        out += d.toString()
      })
      child.stderr.on('data', (d: Buffer) => {
        err += d.toString()
      })
      const status = await new Promise((resolve) => child.on('close', resolve))
      expect({ status, err }).toEqual({ status: 0, err: '' })
      const said = out
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { call: string; value: unknown })
      const value = (call: string): unknown => said.find((s) => s.call === call)?.value
      const echoed = { out_fp32: [0.5, -2], out_flag: [true, false], out_text: ['ä', ''], out_fp16: [0.25, 8] }
      for (const call of ['binary', 'gzip', 'deflate'])
        expect(value(call)).toEqual({ id: call, ...echoed, out_int64: [2 ** 62, -5] })
      expect(value('json')).toEqual({ id: 'json', ...echoed, out_int64: [2 ** 40, -5] })
      expect(value('some')).toEqual({ id: 'some', out_text: ['ä', ''], out_fp32: [0.5, -2] })
      expect(value('large')).toEqual([800, 800, true])
      expect([value('live'), value('ready'), value('unloaded'), value('loaded')]).toEqual([true, true, false, true])
      expect(said.filter((s) => s.call === 'error').map((s) => s.value)).toEqual([
        '[400] x: the model takes shape [-1, 32], not [1, 3]',
        '[404] there is no model absent'
      ])
    },
    60_000
  )

  const curl = spawnSync('curl', ['--version']).status === 0
  it.skipIf(!curl)(`is no more than curl needs${curl ? '' : ' (skipped: there is no curl)'}`, () => {
    const body = '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]}'
    // The server runs in this process: curl in one that does not wait for it.
    return new Promise<void>((resolve, reject) => {
      const child = spawn('curl', ['-s', '-d', body, `${server.url}/v2/models/net/infer`])
      let out = ''
      child.stdout.on('data', (d: Buffer) => {
        out += d.toString()
      })
      child.on('close', () => {
        try {
          expect(JSON.parse(out)).toMatchObject({ outputs: [{ name: 'y', data: [2, 4, 6, 8] }] })
          resolve()
        } catch (error) {
          reject(error)
        }
      })
    })
  })
})

describe('a request that is no good', () => {
  const count = isFull ? 10_000 : 300
  it(`never brings the server down: ${count} changed requests`, async () => {
    const r = rng(7)
    const whole = recorded.exchanges
      .filter((e) => e.call.startsWith('POST'))
      .map((e) => Buffer.from(e.request, 'base64'))
    const odd = [
      '-1',
      '0',
      '4294967296',
      '9007199254740992',
      '1e400',
      'null',
      '"',
      '{',
      '[[[[',
      '\r\n',
      '\u0000',
      'NaN'
    ]
    const before = process.memoryUsage.rss()
    const change = (from: Buffer): Buffer => {
      const at = r.below(from.length)
      switch (r.below(5)) {
        case 0:
          return Buffer.concat([from.subarray(0, at), Buffer.from([r.below(256)]), from.subarray(at + 1)])
        case 1:
          return Buffer.concat([from.subarray(0, at), from.subarray(at + r.below(20))])
        case 2:
          return Buffer.concat([
            from.subarray(0, at),
            Buffer.from(odd[r.below(odd.length)] as string),
            from.subarray(at)
          ])
        case 3:
          return Buffer.from(
            from.toString('latin1').replace(/\d+/g, (n) => (r.below(12) === 0 ? (odd[r.below(4)] as string) : n)),
            'latin1'
          )
        default:
          return from.subarray(0, at)
      }
    }
    const statuses = new Map<number, number>()
    const one = async (): Promise<void> => {
      const sent = change(whole[r.below(whole.length)] as Buffer)
      const { status, body } = parts(await exchange(portOf(server.url), sent))
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
      // NaN: nothing was said on a connection whose request never became whole.
      if (status >= 400) expect(JSON.parse(body.toString())).toEqual({ error: expect.any(String) })
      if (status >= 500) expect([500, 501, 503, 505]).toContain(status)
    }
    for (let i = 0; i < count; i += 50) await Promise.all(Array.from({ length: 50 }, one))
    expect([...statuses.keys()].some((s) => s === 400)).toBe(true)
    expect((await fetch(`${server.url}/v2/health/ready`)).status).toBe(200)
    expect(process.memoryUsage.rss() - before).toBeLessThan(300e6)
  }, 600_000)

  it('is told so: bombs, depths and sizes', async () => {
    const ask = async (body: string | Uint8Array, headers: Record<string, string> = {}) => {
      const reply = await fetch(`${server.url}/v2/models/conv/infer`, {
        method: 'POST',
        body: body as Uint8Array<ArrayBuffer>,
        headers
      })
      return [reply.status, ((await reply.json()) as { error: string }).error] as const
    }
    const input = (shape: readonly number[]) =>
      JSON.stringify({ inputs: [{ name: 'image', datatype: 'FP32', shape, data: [] }] })
    expect(await ask(gzipSync(Buffer.alloc(200 * 1024 * 1024)), { 'content-encoding': 'gzip' })).toEqual([
      413,
      'the body inflates to more than 1048576 bytes; --max-body of the server takes larger ones (megabytes)'
    ])
    expect(await ask('x'.repeat(1048577))).toEqual([
      413,
      'the body has more than 1048576 bytes; --max-body of the server takes larger ones (megabytes)'
    ])
    expect(await ask(gzipSync('{}').subarray(0, 12), { 'content-encoding': 'gzip' })).toEqual([
      400,
      'the gzip body is damaged'
    ])
    expect(await ask('')).toEqual([400, 'the request has no body'])
    expect(await ask('['.repeat(10_000))).toEqual([400, expect.stringContaining('not JSON')])
    expect(await ask(`${'['.repeat(10_000)}${']'.repeat(10_000)}`)).toEqual([400, 'the request is no JSON object'])
    expect(await ask(`${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}`)).toEqual([400, '"inputs" is no list'])
    expect(await ask(input([1, 3, 2 ** 53, 2 ** 53]))).toEqual([400, 'image: "shape" is no list of sizes'])
    expect(await ask(input([1, 3, 2 ** 30, 2 ** 30]))).toEqual([
      413,
      expect.stringContaining('beyond the 1048576 bytes')
    ])
    expect(await ask(input([0, 3, 8, 8]))).toEqual([400, 'there are no samples'])
  }, 30_000)

  it('is one that calls the server by a name that a stranger led here', async () => {
    const port = portOf(server.url)
    const status = async (path: string, host: string): Promise<number> => {
      const head = `GET ${path} HTTP/1.1\r\nhost: ${host}:${port}\r\norigin: http://${host}:${port}\r\n\r\n`
      return parts(await exchange(port, Buffer.from(head))).status
    }
    for (const path of ['/', '/v2', '/v2/models/net', '/stats', '/metrics'])
      expect([path, await status(path, 'evil.com'), await status(path, 'localhost')]).toEqual([path, 403, 200])
  })

  const half = isFull ? 500 : 40
  it(`does not hold others up: ${half} connections that never finish their request`, async () => {
    const slow = await serve({ ...options, path: join(folder, 'net.onnx') })
    const sockets: Socket[] = []
    const closed = Array.from({ length: half }, () => {
      const socket = connect(portOf(slow.url), '127.0.0.1', () =>
        socket.write('POST /v2/models/net/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{')
      )
      socket.on('error', () => undefined)
      sockets.push(socket)
      return new Promise<void>((resolve) => socket.on('close', () => resolve()))
    })
    const body = '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]}'
    for (let i = 0; i < 20; i++)
      expect((await fetch(`${slow.url}/v2/models/net/infer`, { method: 'POST', body })).status).toBe(200)
    // The full run waits until the server has had enough of them.
    if (isFull) await Promise.all(closed)
    for (const socket of sockets) socket.destroy()
    expect(await slow.close()).toBe(true)
  }, 120_000)
})

describe.skipIf(!isBuilt)('the program (needs npm run build)', () => {
  /** As a container starts it: by environment and signals alone. */
  function begin(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    const { NODE_OPTIONS: _, ...own } = process.env
    const child = spawn(process.execPath, [program, 'serve', ...args], { env: { ...own, ...env } })
    let [out, err] = ['', '']
    const ended = new Promise<{ status: number | null; signal: NodeJS.Signals | null }>((resolve) =>
      child.on('close', (status, signal) => resolve({ status, signal }))
    )
    const ready = new Promise<string>((resolve, reject) => {
      child.stdout.on('data', (d: Buffer) => {
        out += d.toString()
        const url = /"url":"([^"]+)".*"msg":"ready"/.exec(out)?.[1]
        if (url) resolve(url)
      })
      child.stderr.on('data', (d: Buffer) => {
        err += d.toString()
      })
      void ended.then(() => reject(new Error(err)))
    })
    ready.catch(() => undefined)
    return { child, ended, ready, said: () => ({ out, err }) }
  }

  const image = { name: 'image', datatype: 'FP32', shape: [1, 3, 8, 8], data: Array(192).fill(0.5) }
  const picture = JSON.stringify({ inputs: [image] })
  /** The status, or how it failed and on what kind of connection. */
  const ask = (url: string, agent: Agent): Promise<string> =>
    new Promise((resolve) => {
      const r = request(url, { agent, method: 'POST' }, (reply) => {
        reply.resume()
        reply.on('error', () => resolve('a reply that was cut'))
        reply.on('end', () => resolve(String(reply.statusCode)))
      })
      r.on('error', (e: NodeJS.ErrnoException) => resolve(`${e.code} ${r.reusedSocket ? 'used' : 'fresh'}`))
      r.end(picture)
    })

  it('answers what it took before SIGTERM, and ends with status 0', async () => {
    for (let i = 0; i < (isFull ? 50 : 3); i++) {
      const { child, ended, ready } = begin([folder, '--host', '0.0.0.0', '--workers', '2'], { PORT: '0' })
      const url = (await ready).replace('0.0.0.0', '127.0.0.1')
      const agent = new Agent({ keepAlive: true })
      const seen = new Set<string>()
      let isStopped = false
      const client = async (): Promise<void> => {
        while (!isStopped) {
          const one = await ask(`${url}/v2/models/conv/infer`, agent)
          seen.add(one)
          if (one !== '200') return
        }
      }
      const clients = Array.from({ length: 8 }, client)
      await new Promise((resolve) => setTimeout(resolve, 150))
      child.kill('SIGTERM')
      expect(await ended).toEqual({ status: 0, signal: null })
      isStopped = true
      await Promise.all(clients)
      agent.destroy()
      // A connection that the server never took is refused, or reset where the system had taken it for the server.
      expect([...seen].filter((s) => !/^ECONN(REFUSED|RESET) fresh$/.test(s))).toEqual(['200'])
    }
  }, 600_000)

  it('ends with another status than 0 where a run never ends, after it has answered the others', async () => {
    const path = writeKinds(join(folder, 'hang', 'models'), ['loop', 'double'])
    const { ended, ready } = begin([path, '--workers', '2', '--hang-timeout', '2', '--port', '0'])
    const url = await ready
    const steps = { name: 'steps', datatype: 'INT64', shape: [1], data: [1e9] }
    const x = { name: 'x', datatype: 'FP32', shape: [64, 64], data: Array(64 * 64).fill(0.1) }
    const hung = fetch(`${url}/v2/models/loop/infer`, { method: 'POST', body: JSON.stringify({ inputs: [steps, x] }) })
    const small = { name: 'x', datatype: 'FP32', shape: [1, 4], data: [1, 2, 3, 4] }
    const other = await fetch(`${url}/v2/models/double/infer`, {
      method: 'POST',
      body: JSON.stringify({ inputs: [small] })
    })
    expect(other.status).toBe(200)
    const reply = await hung
    expect([reply.status, await reply.json()]).toEqual([
      503,
      { error: expect.stringContaining('took longer than 2000 ms') }
    ])
    // Ended by itself: an exit while the runtime computes would abort.
    expect(await ended).toEqual({ status: null, signal: 'SIGKILL' })
  }, 60_000)

  it('asks for its token, warns without one, and refuses what it cannot do', async () => {
    const { child, ended, ready, said } = begin([join(folder, 'net.onnx'), '--host', '0.0.0.0', '--port', '0'])
    await ready
    child.kill('SIGINT')
    expect((await ended).status).toBe(0)
    expect(said().err).toContain('anybody who reaches this address is served')
    const wrong = begin([join(folder, 'net.onnx'), '--port', '99999'])
    expect((await wrong.ended).status).toBe(2)
    const none = begin([join(folder, 'none.onnx')])
    expect((await none.ended).status).toBe(2)
    expect(none.said().err).toContain('a folder of models (NAME.onnx, NAME/model.onnx')
  }, 60_000)
})

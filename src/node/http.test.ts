import { connect } from 'node:net'
import { hostname } from 'node:os'
import { gzipSync } from 'node:zlib'
import { afterEach, describe, expect, it } from 'vitest'
import { PareError } from '../base/errors.ts'
import { type HttpOptions, type HttpServer, httpServer, retryAfter, route } from './http.ts'

const servers: HttpServer[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close(1000)
})

async function serve(o: Partial<HttpOptions> = {}): Promise<{ http: HttpServer; url: string; port: number }> {
  const http = httpServer({ maxBodyBytes: 10_000, ...o })
  route(http.app, 'POST', '/length', ({ body }) => ({ length: (body as Buffer | undefined)?.length ?? 0 }))
  route(http.app, 'GET', '/long', () => 'x'.repeat(5000))
  route(http.app, 'GET', '/slow', async () => {
    await new Promise((resolve) => setTimeout(resolve, 200))
    return { done: true }
  })
  route(http.app, 'GET', '/busy', () => {
    throw new PareError('E_BUSY', 'too many requests', { facts: { [retryAfter]: '3', waiting: '7' } })
  })
  route(http.app, 'GET', '/bug', () => {
    throw new TypeError('at /secret/path')
  })
  servers.push(http)
  const url = await http.listen({ host: '127.0.0.1', port: 0 })
  return { http, url, port: Number(new URL(url).port) }
}

async function told(url: string, init?: RequestInit): Promise<readonly [number, unknown]> {
  const reply = await fetch(url, init)
  return [reply.status, JSON.parse(await reply.text())]
}

/** Sends bytes as they are; gives all that comes back until the server ends the connection. */
const raw = (port: number, bytes: string): Promise<string> =>
  new Promise((resolve, reject) => {
    let all = ''
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes))
    socket.on('data', (d) => {
      all += d.toString()
    })
    socket.on('close', () => resolve(all))
    socket.on('error', reject)
  })

describe('bodies', () => {
  it('are bytes, of whatever type or none', async () => {
    const { url } = await serve()
    for (const type of ['application/json', 'application/x-www-form-urlencoded', 'a/b'])
      expect(await told(`${url}/length`, { method: 'POST', body: '12345', headers: { 'content-type': type } })).toEqual(
        [200, { length: 5 }]
      )
    expect(await told(`${url}/length`, { method: 'POST', body: Buffer.from('123') })).toEqual([200, { length: 3 }])
    expect(await told(`${url}/length`, { method: 'POST' })).toEqual([200, { length: 0 }])
  })

  it('are inflated, within the limit', async () => {
    const { url } = await serve()
    const send = (bytes: Buffer, encoding: string) =>
      told(`${url}/length`, { method: 'POST', body: new Uint8Array(bytes), headers: { 'content-encoding': encoding } })
    expect(await send(gzipSync(Buffer.alloc(9000)), 'gzip')).toEqual([200, { length: 9000 }])
    expect(await send(gzipSync(Buffer.alloc(5_000_000)), 'gzip')).toEqual([
      413,
      { error: 'the body inflates to more than 10000 bytes' }
    ])
    for (const bytes of [Buffer.from('none'), gzipSync('whole').subarray(0, 12)])
      expect(await send(bytes, 'gzip')).toEqual([400, { error: 'the gzip body is damaged' }])
    expect(await send(Buffer.alloc(0), 'gzip')).toEqual([200, { length: 0 }])
    expect((await send(Buffer.from('none'), 'br'))[0]).toBe(400)
    const long = { method: 'POST', body: 'x'.repeat(10_001) }
    expect(await told(`${url}/length`, long)).toEqual([413, { error: 'the body has more than 10000 bytes' }])
    const { url: hinting } = await serve({ largerBodies: 'send less' })
    expect(await told(`${hinting}/length`, long)).toEqual([
      413,
      { error: 'the body has more than 10000 bytes; send less' }
    ])
  })
})

describe('replies', () => {
  it('say every failure as {"error"}', async () => {
    const { url } = await serve()
    expect(await told(`${url}/none`)).toEqual([404, { error: 'there is no GET /none' }])
    expect(await told(`${url}/length`)).toEqual([405, { error: 'GET is not for this path: use POST' }])
    expect(await told(`${url}/bug`)).toEqual([500, { error: 'the server failed; its log says more' }])
    expect(await told(`${url}/%zz`)).toEqual([
      400,
      { error: 'the path has a % that stands for no character of UTF-8; % itself is written %25' }
    ])
    const busy = await fetch(`${url}/busy`)
    expect([busy.status, busy.headers.get('retry-after'), await busy.json()]).toEqual([
      503,
      '3',
      { error: 'too many requests (waiting 7)' }
    ])
  })

  it('answer what is no request', async () => {
    const { port } = await serve()
    expect(await raw(port, 'nonsense\r\n\r\n')).toMatch(/^HTTP\/1.1 400 [\s\S]*{"error":"this is not HTTP"}$/)
    expect(await raw(port, 'GET /long HTTP/1.1\r\nconnection: close\r\n\r\n')).toMatch(
      /^HTTP\/1.1 400 [\s\S]*{"error":"the header Host is missing"}$/
    )
    expect(await raw(port, 'GET /long HTTP/1.1\r\nhost: localhost\r\nexpect: more\r\n\r\n')).toMatch(
      /^HTTP\/1.1 417 [\s\S]*{"error":/
    )
    const long = `GET /long HTTP/1.1\r\nhost: localhost\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`
    expect(await raw(port, long)).toMatch(/^HTTP\/1.1 431 [\s\S]*{"error":"the headers are too large"}$/)
  })

  it('cut off whoever sends too slowly', async () => {
    const { port } = await serve({ requestTimeoutMs: 500 })
    expect(await raw(port, 'POST /length HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n12')).toMatch(
      /408 [\s\S]*{"error":"the request took too long to come"}$/
    )
  })

  it('are compressed where that was asked for, of the server and by the client', async () => {
    const { url } = await serve({ compress: true })
    const get = async (accept: string) => {
      const reply = await fetch(`${url}/long`, { headers: { 'accept-encoding': accept } })
      return [reply.headers.get('content-encoding'), (await reply.text()).length]
    }
    expect(await get('gzip')).toEqual(['gzip', 5000])
    expect(await get('deflate')).toEqual(['deflate', 5000])
    expect(await get('gzip;q=0')).toEqual([null, 5000])
    const { url: plain } = await serve()
    expect((await fetch(`${plain}/long`)).headers.get('content-encoding')).toBeNull()
  })
})

describe('callers', () => {
  it('need the token, except for what is open', async () => {
    const { url } = await serve({ token: 'secret', open: ['/long'] })
    expect((await fetch(`${url}/slow`)).status).toBe(401)
    expect((await fetch(`${url}/slow`, { headers: { authorization: 'Bearer wrong' } })).status).toBe(401)
    expect((await fetch(`${url}/slow`, { headers: { authorization: 'Bearer secret' } })).status).toBe(200)
    expect((await fetch(`${url}/long`)).status).toBe(200)
  })

  it('are no pages of other origins', async () => {
    const { url } = await serve({ origins: ['https://here.example'] })
    const from = (origin: string) => fetch(`${url}/slow`, { headers: { origin } })
    expect((await from('https://elsewhere.example')).status).toBe(403)
    expect((await from('null')).status).toBe(403)
    expect((await from(url)).status).toBe(200)
    expect((await from('https://here.example')).headers.get('access-control-allow-origin')).toBe('https://here.example')
  })
})

describe('names in Host', () => {
  const refused = 'this server is not called by the name in Host; --allow-origin names others'
  const status = async (port: number, host: string, more = '', path = '/long'): Promise<number> => {
    const reply = await raw(port, `GET ${path} HTTP/1.1\r\nhost: ${host}\r\n${more}connection: close\r\n\r\n`)
    if (reply.includes(' 403 ')) expect(reply).toContain(JSON.stringify({ error: refused }))
    return Number(reply.split(' ')[1])
  }

  it('are those of this machine, where it alone is served and no token asked for', async () => {
    const { port } = await serve({ origins: ['https://here.example:444'], hosts: ['Box.local', 'fd00::1'] })
    for (const own of ['localhost', '127.0.0.1', '[::1]', 'here.example', 'box.local', '[fd00::1]'])
      expect([own, await status(port, own), await status(port, `${own.toUpperCase()}:${port}`)]).toEqual([
        own,
        200,
        200
      ])
    const odd = ['', 'localhost.evil.com', '127.0.0.1.evil.com', 'evil@localhost', 'localhost/evil', '::1', '127.0.0.2']
    for (const other of ['evil.com', `evil.com:${port}`, ...odd])
      expect([other, await status(port, other)]).toEqual([other, 403])
    expect(await status(port, `evil.com:${port}`, `origin: http://evil.com:${port}\r\n`)).toBe(403)
    expect(await status(port, 'evil.com', '', '/none')).toBe(403)
    expect(await raw(port, 'GET /long HTTP/1.0\r\n\r\n')).toMatch(/^HTTP\/1.1 200 /)
  })

  it('are free where a token is asked for', async () => {
    const { port } = await serve({ token: 'secret' })
    expect(await status(port, 'evil.com', 'authorization: Bearer secret\r\n')).toBe(200)
  })

  it('are also any address and the machine’s name, where others are served', async () => {
    const http = httpServer({ maxBodyBytes: 1, hosts: ['models.example', '.inside.example'] })
    route(http.app, 'GET', '/long', () => 'x')
    servers.push(http)
    const port = Number(new URL(await http.listen({ host: '0.0.0.0', port: 0 })).port)
    const own = ['192.0.2.7', '[2001:db8::7]', hostname(), 'localhost', 'models.example', 'a.b.inside.example']
    for (const name of own) expect([name, await status(port, `${name}:${port}`)]).toEqual([name, 200])
    for (const name of ['evil.com', '192.0.2.7.evil.com', 'inside.example', 'x.models.example', 'evilinside.example'])
      expect([name, await status(port, name)]).toEqual([name, 403])
  })
})

describe('the end', () => {
  it('loses nothing that has come', async () => {
    const { http, url } = await serve()
    const replies = Array.from({ length: 20 }, () => told(`${url}/slow`))
    while (http.running() < 20) await new Promise((resolve) => setTimeout(resolve, 5))
    expect(await http.close()).toBe(true)
    expect(await Promise.all(replies)).toEqual(Array(20).fill([200, { done: true }]))
    await expect(fetch(`${url}/slow`)).rejects.toThrow()
  })

  it('does not wait for ever', async () => {
    const { http, url } = await serve()
    const reply = fetch(`${url}/slow`).catch(() => 'cut')
    while (http.running() < 1) await new Promise((resolve) => setTimeout(resolve, 5))
    expect(await http.close(1)).toBe(false)
    await reply
  })
})

it('says that a port is taken', async () => {
  const { port } = await serve()
  await expect(httpServer({ maxBodyBytes: 1 }).listen({ host: '127.0.0.1', port })).rejects.toMatchObject({
    code: 'E_USAGE',
    facts: { why: 'another program listens there' }
  })
})

/** Federations over HTTP: a server and clients in one process, each with a folder of its own. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { metricFor } from '../src/data/metrics.ts'
import { readModel } from '../src/formats/read.ts'
import { toNumbers } from '../src/ir/tensor.ts'
import type { ServerOptions } from '../src/node/federate/options.ts'
import type { FederationServer } from '../src/node/federate/serve.ts'
import { load } from '../src/node/files.ts'
import { nodeRunner } from '../src/node/runner.ts'
import { meanScore } from '../src/train/index.ts'
import { begin, dataOf, held, join1 } from './federation.ts'

const statesOf = (server: FederationServer): string[] => server.shown().told.commits.map((c) => c.state)

const four = (server: FederationServer, order = [0, 1, 2, 3]): Promise<unknown> =>
  Promise.all(order.map((k) => join1(server, k)))

const dataModule = `
export default {
  size: 20,
  labelled: true,
  async *batches({ batch, indices = Array.from({ length: 20 }, (_, i) => i) }) {
    for (let at = 0; at < indices.length; at += batch) {
      const labels = indices.slice(at, at + batch).map((i) => i % 10)
      const pixels = Float32Array.from({ length: labels.length * 196 }, (_, k) => (k % 196) / 196)
      const shape = [labels.length, 1, 14, 14]
      yield { n: labels.length, inputs: { x: { dtype: 'float32', shape, bytes: new Uint8Array(pixels.buffer) } }, labels }
    }
  }
}
`

describe('a federation over HTTP', () => {
  it('trains digits with four clients to the same bytes whatever their order, and shows what it did', async () => {
    const [a, b] = [
      await begin({ recipe: { rounds: 4, local: { epochs: 4, batch: 10, rate: 0.1 } } }),
      await begin({ recipe: { rounds: 4, local: { epochs: 4, batch: 10, rate: 0.1 } } })
    ]
    const [joined] = await Promise.all([four(a.server), four(b.server, [3, 1, 0, 2])])
    expect(joined).toHaveLength(4)
    expect(await a.server.ended).toBe('all 4 rounds are done')
    await b.server.ended
    expect(statesOf(a.server)).toEqual(statesOf(b.server))
    const result = await load(join(a.folder, 'run', 'result.onnx'))
    const env = { engine: nodeRunner() }
    const score = await meanScore(result, { data: held(), metric: metricFor('top1') }, env)
    expect(score).toBe(a.server.shown().told.commits.at(-1)?.entry.score)
    expect(score).toBeGreaterThan(0.4)
    const page = await (await fetch(a.server.url)).text()
    expect(page).toContain('all 4 rounds are done')
    expect(page).toContain('4 joined, 16 updates in the model')
    const metrics = await (await fetch(`${a.server.url}/metrics`)).text()
    expect(metrics).toContain('pare_federation_rounds_total 4')
    expect(metrics).toMatch(/pare_federation_received_bytes_total [1-9]\d{4,}/)
    for (const { key } of a.server.shown().told.members) expect(page + metrics).not.toContain(key)
    await Promise.all([a.server.close(), b.server.close()])
  }, 240_000)

  it('goes on from its folder after the server ended, with no update lost', async () => {
    const plain = await begin()
    await Promise.all([four(plain.server), plain.server.ended])
    const first = await begin()
    const clients = four(first.server)
    const { port } = new URL(first.server.url)
    while (first.server.shown().told.commits.length < 1) await new Promise((resolve) => setTimeout(resolve, 20))
    await first.server.close()
    const again = await begin({ port: Number(port) }, first.folder)
    await Promise.all([clients, again.server.ended])
    expect(again.server.notes).toContain('the folder holds this run already: it goes on as it was begun')
    expect(statesOf(again.server)).toEqual(statesOf(plain.server))
    await Promise.all([plain.server.close(), again.server.close()])
  }, 240_000)

  it('takes clients whose data is a module that gives labels by batch', async () => {
    const { server, folder } = await begin({
      recipe: { rounds: 1, clientsPerRound: 2 },
      server: { minClients: 2, minUpdates: 2 }
    })
    const path = join(folder, 'data.mjs')
    writeFileSync(path, dataModule)
    const ended = await Promise.all([0, 1].map((k) => join1(server, k, { data: path })))
    expect(ended.map((e) => e.rounds)).toEqual([1, 1])
    expect(await server.ended).toBe('the one round is done')
    await server.close()
  }, 120_000)

  it('is called by names of this machine and of its address for clients, where it is on this machine alone', async () => {
    const { server } = await begin({ url: 'https://rounds.example:8090' })
    const status = (host: string): Promise<number | undefined> =>
      new Promise((resolve, reject) => {
        const asked = get(`${server.url}/metrics`, { headers: { host } }, (reply) => {
          reply.resume()
          resolve(reply.statusCode)
        })
        asked.on('error', reject)
      })
    const statuses = await Promise.all(['evil.com', 'localhost:1', 'rounds.example'].map(status))
    await server.close()
    expect(statuses).toEqual([403, 200, 200])
  })

  it('refuses to be reached without encryption, and keeps its secret to its owner', async () => {
    await expect(begin({ host: '0.0.0.0' })).rejects.toThrow('without encryption')
    const { server, folder } = await begin()
    expect(existsSync(join(folder, 'run', 'key'))).toBe(true)
    const secret = readFileSync(join(folder, 'run', 'key'), 'utf8').trim()
    for (const file of ['run.json', 'journal'])
      expect(readFileSync(join(folder, 'run', file), 'utf8')).not.toContain(secret)
    await server.close()
  })
})

describe('secure sums over HTTP', () => {
  it('end with a client that was lost in a round, and with what each sent known to nobody', async () => {
    const { server } = await begin({
      server: { secure: { bits: 12, clip: 0.25 }, deadline: 12 },
      recipe: { rounds: 2 }
    })
    const stop = new AbortController()
    const lost = join1(server, 3, { signal: stop.signal, told: (e) => void (e.kind === 'trains' && stop.abort()) })
    const others = [0, 1, 2].map((k) => join1(server, k))
    await expect(lost).rejects.toThrow('stopped')
    await Promise.all(others)
    expect(await server.ended).toBe('all 2 rounds are done')
    for (const c of server.shown().told.commits) expect(c.clients).toHaveLength(3)
    await server.close()
  }, 240_000)

  it('of two groups give a rule two means to choose by', async () => {
    const { server } = await begin({
      clients: 6,
      server: { secure: { bits: 12, clip: 0.25 }, groups: 2, rule: 'median', minClients: 6, minUpdates: 4 },
      recipe: { rounds: 1, clientsPerRound: 6 }
    })
    await Promise.all([0, 1, 2, 3, 4, 5].map((k) => join1(server, k)))
    expect(await server.ended).toBe('the one round is done')
    expect(server.shown().told.commits[0]).toMatchObject({ entry: { rule: 'secure sums of groups, median' } })
    expect(server.shown().told.commits[0]?.clients).toHaveLength(6)
    await server.close()
  }, 240_000)

  it('count a client for its samples, as plain updates do, where weights are asked for', async () => {
    const sizes = [20, 40, 40]
    const weightsOf = async (server: Partial<ServerOptions>): Promise<Float32Array> => {
      const float = { codec: 'float' }
      const begun = await begin({
        server: { ...server, minClients: 3, minUpdates: 3 },
        recipe: { rounds: 1, clientsPerRound: 3, up: float, down: float }
      })
      await Promise.all(sizes.map((n, k) => join1(begun.server, k, { data: dataOf(k, n) })))
      await begun.server.ended
      await begun.server.close()
      const { graph } = readModel(readFileSync(join(begun.folder, 'run', 'result.onnx')))
      return Float32Array.from([...graph.values.values()].flatMap((v) => (v.data ? Array.from(toNumbers(v.data)) : [])))
    }
    const secure = { bits: 16, clip: 0.5 }
    const plain = await weightsOf({})
    const far = async (server: Partial<ServerOptions>): Promise<number> =>
      (await weightsOf(server)).reduce((n, x, i) => Math.max(n, Math.abs(x - (plain[i] as number))), 0)
    const step = (2 * secure.clip) / (2 ** secure.bits - 1)
    expect(await far({ secure: { ...secure, maxWeight: 4 } })).toBeLessThan(1.5 * step)
    expect(await far({ secure })).toBeGreaterThan(10 * step)
    await expect(
      begin({
        server: { secure: { ...secure, maxWeight: 4 }, privacy: { noise: 1, bound: 1, epsilon: 1, delta: 0.01 } }
      })
    ).rejects.toThrow(/count alike/)
  }, 120_000)

  it('are never made where too few are left: the round is given up', async () => {
    const { server } = await begin({
      server: { secure: { bits: 12, clip: 0.25 }, deadline: 3, minClients: 3 },
      recipe: { rounds: 1 }
    })
    const stop = new AbortController()
    const waits = [0, 1, 2].map((k) =>
      join1(server, k, {
        signal: stop.signal,
        floor: 3,
        told: (e) => void (k > 0 && e.kind === 'trains' && stop.abort())
      })
    )
    const ended = await Promise.allSettled(waits)
    expect(ended.every((e) => e.status === 'rejected')).toBe(true)
    while (server.shown().told.attempts < 2) await new Promise((resolve) => setTimeout(resolve, 50))
    expect(server.shown().told.commits).toEqual([])
    await server.close()
  }, 120_000)

  it('are not joined by a client that wants more company', async () => {
    const { server } = await begin({ server: { secure: { bits: 12, clip: 0.25 } }, recipe: { rounds: 1 } })
    const left: string[] = []
    const stop = new AbortController()
    const careful = join1(server, 0, {
      floor: 4,
      signal: stop.signal,
      told: (e) => {
        if (e.kind !== 'left') return
        left.push(e.why)
        stop.abort()
      }
    })
    await expect(
      Promise.all([careful, ...[1, 2, 3].map((k) => join1(server, k, { signal: stop.signal }))])
    ).rejects.toThrow('stopped')
    expect(left[0]).toContain('takes part in sums of 4 or more')
    await server.close()
  }, 120_000)
})

describe('differential privacy over HTTP', () => {
  it('ends the run before its budget is passed, and says what the noise does', async () => {
    const { server } = await begin({
      server: { privacy: { epsilon: 30, delta: 0.025, noise: 1, bound: 1 }, minUpdates: 1 },
      recipe: { rounds: 50, local: { epochs: 1, batch: 40, rate: 0.05 } }
    })
    expect(server.notes.join()).toContain('it will destroy the model')
    await four(server)
    expect(await server.ended).toContain('would pass the budget of ε = 30')
    const { told, spent } = server.shown()
    expect(told.commits.length).toBeGreaterThan(1)
    expect(told.commits.length).toBeLessThan(50)
    expect(spent?.epsilon).toBeLessThanOrEqual(30)
    await server.close()
  }, 240_000)
})

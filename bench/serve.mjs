/**
 * What `pare serve` does under load: client and server on the same machine, loopback only, bounded in count and time.
 *
 *   node bench/serve.mjs throughput|batching|peer|overload|stop|reload --models FOLDER [--runs 5] [--seconds 4]
 *
 * The folder has resnet20.onnx, resnet20-int8.onnx and resnet56.onnx (inputs `image` [N,3,32,32]) and mlp.onnx (`x` [N,1024]).
 * `peer` has MLServer beside it, from an environment with bench/peers/requirements-serve.txt that PARE_PEERS_PYTHON names.
 * Requests that are no good, and results that are compared with single runs: `PARE_SERVE_FULL=1 npx vitest run test/serve.test.ts
 * src/node/serve/serve.test.ts`.
 */
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import {
  binaryRequest,
  closedLoop,
  cpuMs,
  floats,
  jsonRequest,
  median,
  openLoop,
  rss,
  startServer
} from './serve/load.mjs'
import { peerPython, startMlserver } from './serve/mlserver.mjs'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    models: { type: 'string' },
    runs: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '4' },
    clients: { type: 'string', default: '8' }
  }
})
const [models, runs, seconds, clients] = [
  values.models,
  Number(values.runs),
  Number(values.seconds),
  Number(values.clients)
]
const file = (name) => join(models, `${name}.onnx`)

const image = (i) => [{ name: 'image', datatype: 'FP32', shape: [1, 3, 32, 32], data: floats(3072, i) }]
const row = (i) => [{ name: 'x', datatype: 'FP32', shape: [1, 1024], data: floats(1024, i) }]
const many = (make) => Array.from({ length: 16 }, (_, i) => make(i))
const pictures = many((i) => binaryRequest(image(i)))
const rows = many((i) => binaryRequest(row(i)))
const inferOf = (url, name) => `${url}/v2/models/${name}/infer`
const print = (cells) => process.stdout.write(`| ${cells.join(' | ')} |\n`)
const fixed = (n, digits = 1) => (n === undefined ? '' : n.toFixed(digits))

/** `pare serve` on one of the models. */
const pare =
  (name, ...args) =>
  () =>
    startServer([file(name), ...args])

/**
 * Two servers by turns, under the same load; medians over the runs, and the median of the ratios. The server's processor time
 * for a request tells of the work also where other programs hold the processor.
 */
async function paired(name, requests, settings, load) {
  const servers = []
  for (const [label, start] of settings) servers.push([label, await start()])
  const results = settings.map(() => [])
  for (let run = 0; run < runs; run++)
    for (const [i, [, { url, pid }]] of servers.entries()) {
      const before = await cpuMs(pid)
      const result = await closedLoop(inferOf(url, name), requests, load)
      results[i].push({ ...result, cpu: ((await cpuMs(pid)) - before) / Math.max(1, result.codes[200] ?? 0) })
    }
  for (const [, server] of servers) await server.end()
  const of = (i, key) => results[i].map((r) => r[key])
  const ratios = of(1, 'rate').map((rate, k) => rate / results[0][k].rate)
  for (const [i, [label]] of settings.entries()) {
    const spread = (all, digits = 1) => `${fixed(Math.min(...all), digits)}–${fixed(Math.max(...all), digits)}`
    print([
      ...[name, label, load.clients, fixed(median(of(i, 'rate'))), spread(of(i, 'rate'))],
      ...[fixed(median(of(i, 'p50')), 2), fixed(median(of(i, 'p99')), 2), fixed(median(of(i, 'cpu')), 2)],
      ...[i ? `${fixed(median(ratios), 2)} (${spread(ratios, 2)})` : '', JSON.stringify(results[i][0].codes)]
    ])
  }
}

const head = () => {
  print([
    'model',
    'server',
    'clients',
    'requests/s',
    'spread',
    'p50 ms',
    'p99 ms',
    'CPU ms a request',
    'ratio',
    'statuses'
  ])
  print(Array(10).fill('---'))
}

const jobs = {
  async throughput() {
    head()
    for (const name of ['resnet56', 'resnet20-int8']) {
      const workers = [
        ['1 worker', pare(name, '--workers', '1')],
        ['2 workers', pare(name, '--workers', '2')]
      ]
      await paired(name, pictures, workers, { clients, seconds })
    }
  },
  async batching() {
    head()
    for (const [name, requests] of [
      ['mlp', rows],
      ['resnet20', pictures]
    ]) {
      const batch = [
        ['alone', pare(name, '--workers', '1', '--batch', '1')],
        ['as measured', pare(name, '--workers', '1')]
      ]
      await paired(name, requests, batch, { clients: 32, seconds })
    }
  },
  /** The ratio is of Pare's throughput to MLServer's. Both get JSON: over HTTP, MLServer takes nothing else. */
  async peer() {
    const { python, versions, why } = peerPython()
    if (!python) return void print(['mlserver', `skipped: ${why}`])
    print([versions])
    head()
    for (const [name, inputs, own] of [
      ['resnet56', image, {}],
      ['resnet20', image, {}],
      ['mlp', row, { batch: 32 }]
    ]) {
      if (!existsSync(file(name))) {
        print([name, `skipped: there is no ${file(name)}`])
        continue
      }
      for (const workers of [1, 2]) {
        const peer = () => startMlserver(python, { name, path: resolve(file(name)), workers, ...own })
        const servers = [
          [`mlserver, ${workers} process${workers > 1 ? 'es' : ''}`, peer],
          [`pare, ${workers} worker${workers > 1 ? 's' : ''}`, pare(name, '--workers', String(workers))]
        ]
        const requests = many((i) => jsonRequest(inputs(i)))
        await paired(name, requests, servers, { clients: own.batch ?? clients, seconds })
      }
    }
  },
  /** Capacity first, then three times as many requests as that. */
  async overload() {
    const timeoutMs = 500
    const server = await startServer([
      file('resnet56'),
      '--workers',
      '1',
      '--timeout',
      String(timeoutMs / 1000),
      '--max-connections',
      '4000'
    ])
    const url = inferOf(server.url, 'resnet56')
    await closedLoop(url, pictures, { clients: 8, seconds: 2 })
    const before = await closedLoop(url, pictures, { clients: 8, seconds: 5 })
    const warm = await rss(server.pid)
    const over = await openLoop(url, pictures, { rate: 3 * before.rate, seconds: 30 })
    const after = await rss(server.pid)
    await new Promise((resolve) => setTimeout(resolve, 1000))
    const then = await closedLoop(url, pictures, { clients: 8, seconds: 3 })
    print(['', 'requests/s', 'p50 ms', 'p99 ms', '503 p50 ms', '503 p99 ms', 'memory MB', 'statuses'])
    print(Array(8).fill('---'))
    for (const [label, r, memory] of [
      ['capacity', before, warm],
      [`3 × for ${fixed(over.seconds)} s, deadline ${timeoutMs} ms`, over, after],
      ['1 s later', then, await rss(server.pid)]
    ])
      print([
        label,
        fixed(r.rate),
        fixed(r.p50),
        fixed(r.p99),
        fixed(r.refusedP50),
        fixed(r.refusedP99),
        fixed(memory / 1e6),
        JSON.stringify(r.codes)
      ])
    print(['goodput', `${((100 * over.rate) / before.rate).toFixed(0)} % of capacity`, ...Array(6).fill('')])
    await server.end()
  },
  /** SIGTERM in the midst of requests: what was accepted is answered, what was not is refused at the door. */
  async stop() {
    const count = runs
    const [codes, ends] = [{}, {}]
    for (let i = 0; i < count; i++) {
      const server = await startServer([file('resnet20'), '--workers', '2'])
      const load = closedLoop(inferOf(server.url, 'resnet20'), pictures, { clients: 16, seconds: 0.6 })
      await new Promise((resolve) => setTimeout(resolve, 200 + 10 * (i % 10)))
      const { status, signal } = await server.end('SIGTERM')
      ends[signal ?? status] = (ends[signal ?? status] ?? 0) + 1
      for (const [code, n] of Object.entries((await load).codes)) codes[code] = (codes[code] ?? 0) + n
    }
    print(['SIGTERM', 'ends by status', 'replies'])
    print(Array(3).fill('---'))
    print([count, JSON.stringify(ends), JSON.stringify(codes)])
  },
  async reload() {
    const folder = mkdtempSync(join(tmpdir(), 'pare-bench-'))
    mkdirSync(join(folder, 'net'))
    copyFileSync(file('resnet20'), join(folder, 'net', 'model.onnx'))
    const server = await startServer([folder, '--workers', '2', '--allow-model-control'])
    let isDone = false
    const load = closedLoop(inferOf(server.url, 'net'), pictures, { clients: 8, seconds: 300, stopped: () => isDone })
    const memory = []
    let loaded = 0
    for (let i = 0; i < 4 * runs; i++) {
      const reply = await fetch(`${server.url}/v2/repository/models/net/load`, { method: 'POST' })
      loaded += Number(reply.status === 200)
      memory.push(await rss(server.pid))
    }
    isDone = true
    const { codes, p50, p99 } = await load
    await server.end()
    rmSync(folder, { recursive: true })
    print(['loads', 'replies', 'p50 ms', 'p99 ms', 'memory MB after each'])
    print(Array(5).fill('---'))
    print([
      `${loaded} of ${4 * runs}`,
      JSON.stringify(codes),
      fixed(p50),
      fixed(p99),
      memory.map((m) => fixed(m / 1e6, 0)).join(' ')
    ])
  }
}

const job = jobs[positionals[0]]
if (!job || !models) throw new Error(`one of ${Object.keys(jobs).join(', ')}, and --models FOLDER`)
await job()

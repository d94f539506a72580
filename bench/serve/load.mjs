/** Load for a server on this machine, bounded in count and time: requests are written once, and sent over connections that stay open. */
import { spawn } from 'node:child_process'
import { Agent, request } from 'node:http'
import { fileURLToPath } from 'node:url'

const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

/** Starts `pare serve` on a free port; settles when it is ready. `end(signal)` gives status, signal and what was logged. */
export async function startServer(args) {
  const child = spawn(process.execPath, [program, 'serve', ...args, '--port', '0'], {
    stdio: ['ignore', 'pipe', 'pipe']
  })
  let [out, err] = ['', '']
  const ended = new Promise((resolve) => child.on('exit', (status, signal) => resolve({ status, signal, out, err })))
  child.stderr.on('data', (d) => (err += d))
  const url = await new Promise((resolve, reject) => {
    child.stdout.on('data', (d) => {
      out += d
      const ready = /"url":"([^"]+)".*"msg":"ready"/.exec(out)
      if (ready) resolve(ready[1])
    })
    ended.then(({ status }) => reject(new Error(`the server ended with ${status}: ${err}${out}`)))
  })
  const end = (signal = 'SIGTERM') => {
    child.kill(signal)
    return ended
  }
  return { url, pid: child.pid, ended, end }
}

/** The body of a request in binary tensors, and its headers. */
export function binaryRequest(inputs, id) {
  const head = Buffer.from(
    JSON.stringify({
      ...(id === undefined ? {} : { id }),
      parameters: { binary_data_output: true },
      inputs: inputs.map(({ name, datatype, shape, data }) => ({
        ...{ name, datatype, shape },
        parameters: { binary_data_size: data.byteLength }
      }))
    })
  )
  const tensors = inputs.map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength))
  const body = Buffer.concat([head, ...tensors])
  return { body, headers: { 'inference-header-content-length': head.length, 'content-length': body.length } }
}

/** The same in JSON alone. */
export function jsonRequest(inputs) {
  const list = inputs.map(({ data, ...rest }) => ({ ...rest, data: Array.from(data, (v) => Number(v.toPrecision(9))) }))
  const body = Buffer.from(JSON.stringify({ inputs: list }))
  return { body, headers: { 'content-type': 'application/json', 'content-length': body.length } }
}

/** Outputs of a reply by name, and its id. */
export function parseReply({ headers, body }) {
  const jsonBytes = Number(headers['inference-header-content-length'])
  const json = JSON.parse(body.subarray(0, jsonBytes).toString())
  let at = jsonBytes
  const outputs = json.outputs.map(({ name, shape, datatype, parameters }) => {
    const bytes = body.subarray(at, at + parameters.binary_data_size)
    at += bytes.length
    return { name, shape, datatype, bytes }
  })
  return { id: json.id, outputs }
}

/** One request; `ms` until the whole reply is there. A connection that fails has status 0. */
export function send(agent, url, { body, headers }) {
  const began = performance.now()
  return new Promise((resolve) => {
    const fail = (e) =>
      resolve({ status: 0, code: e.code, ms: performance.now() - began, body: Buffer.alloc(0), headers: {} })
    const r = request(url, { agent, method: 'POST', headers }, (reply) => {
      const parts = []
      reply.on('data', (d) => parts.push(d))
      reply.on('error', fail)
      reply.on('end', () =>
        resolve({
          status: reply.statusCode,
          ms: performance.now() - began,
          body: Buffer.concat(parts),
          headers: reply.headers
        })
      )
    })
    r.on('error', fail)
    r.end(body)
  })
}

/** `clients` that each send the next request when the last was answered, for so many seconds. */
export async function closedLoop(url, requests, { clients, seconds, stopped = () => false }) {
  const agent = new Agent({ keepAlive: true, maxSockets: clients })
  const [replies, end] = [[], performance.now() + seconds * 1000]
  let next = 0
  const client = async () => {
    while (performance.now() < end && !stopped()) {
      const { status, code, ms } = await send(agent, url, requests[next++ % requests.length])
      replies.push({ status, code, ms })
      if (status === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
  const began = performance.now()
  await Promise.all(Array.from({ length: clients }, client))
  agent.destroy()
  return summary(replies, (performance.now() - began) / 1000)
}

/** So many requests a second, whether they are answered or not. */
export async function openLoop(url, requests, { rate, seconds }) {
  const agent = new Agent({ keepAlive: true })
  const [pending, began] = [[], performance.now()]
  for (let i = 0; i < rate * seconds; ) {
    const due = Math.min(rate * seconds, ((performance.now() - began) / 1000) * rate)
    for (; i < due; i++)
      pending.push(
        send(agent, url, requests[i % requests.length]).then(({ status, code, ms }) => ({ status, code, ms }))
      )
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  const took = (performance.now() - began) / 1000
  const replies = await Promise.all(pending)
  agent.destroy()
  return summary(replies, took)
}

export function summary(replies, seconds) {
  const of = (status) =>
    replies
      .filter((r) => r.status === status)
      .map((r) => r.ms)
      .toSorted((a, b) => a - b)
  const at = (all, share) => all[Math.min(all.length - 1, Math.floor(share * all.length))]
  const good = of(200)
  const codes = {}
  for (const { status, code } of replies) codes[status || code] = (codes[status || code] ?? 0) + 1
  const refused = of(503)
  return {
    rate: good.length / seconds,
    p50: at(good, 0.5),
    p99: at(good, 0.99),
    most: good.at(-1),
    refusedP99: at(refused, 0.99),
    refusedP50: at(refused, 0.5),
    codes,
    seconds
  }
}

export const median = (all) => all.toSorted((a, b) => a - b)[Math.floor(all.length / 2)]

/** Numbers that look like a normalized picture, the same for the same seed. */
export function floats(n, seed) {
  let s = (seed * 2654435761 + 12345) >>> 0
  return Float32Array.from({ length: n }, () => {
    s = (Math.imul(s, 1664525) + 1013904223) >>> 0
    return (s / 2 ** 32) * 4 - 2
  })
}

/** ms of processor time that a process and those that it started have had so far, on Linux, in ticks of 10 ms. */
export async function cpuMs(pid) {
  const { readFile, readdir } = await import('node:fs/promises')
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).replace(/^.*\) /s, '').split(' ')
  const threads = await readdir(`/proc/${pid}/task`)
  const lists = await Promise.all(threads.map((t) => readFile(`/proc/${pid}/task/${t}/children`, 'utf8')))
  const children = lists.flatMap((l) => l.split(' ').filter(Boolean))
  const theirs = await Promise.all(children.map((child) => cpuMs(child)))
  return (Number(fields[11]) + Number(fields[12])) * 10 + theirs.reduce((a, b) => a + b, 0)
}

/** Resident bytes of a process. */
export async function rss(pid) {
  const { readFile } = await import('node:fs/promises')
  return Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024
}

/**
 * Kills a federation's server and clients at random moments, and compares what comes out with an undisturbed run of the same
 * clients. Every run is of processes: one server, `--clients` clients, on digits of the `mnist` package.
 *
 *     node bench/federated-kills.mjs --kills 50 --clients 4 --rounds 6 [--secure] [--out kills.jsonl]
 *
 * One line of JSON a kill is appended to --out; what stands there already counts, so that a run that was stopped goes on.
 */
import { spawn } from 'node:child_process'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync
} from 'node:fs'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const program = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))

const { values: given } = parseArgs({
  options: {
    kills: { type: 'string', default: '50' },
    clients: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '6' },
    secure: { type: 'boolean', default: false },
    of: { type: 'string', default: 'server,clients' },
    out: { type: 'string', default: 'federated-kills.jsonl' }
  }
})
const [clients, rounds, wanted] = [given.clients, given.rounds, given.kills].map(Number)

const work = mkdtempSync(join(tmpdir(), 'federated-kills-'))

/** A file of arrays as .npz stores them, without compression. */
async function data() {
  const { zipSync } = await import('fflate')
  const sets = createRequire(import.meta.url)('mnist')
  const npy = (descr, shape, bytes) => {
    const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape.join(', ')},), }`
    const head = Buffer.from(`\x93NUMPY\x01\x00..${text.padEnd(117)}\n`, 'latin1')
    head.writeUInt16LE(118, 8)
    return new Uint8Array(Buffer.concat([head, bytes]))
  }
  const each = 100
  for (let k = 0; k < clients; k++) {
    const x = new Float32Array(each * 784)
    const y = new BigInt64Array(each)
    for (let i = 0; i < each; i++) {
      const from = (k * 10 + Math.floor(i / 10)) * 784
      x.set(sets[i % 10].raw.slice(from, from + 784), i * 784)
      y[i] = BigInt(i % 10)
    }
    const parts = {
      'x.npy': npy('<f4', [each, 1, 28, 28], Buffer.from(x.buffer)),
      'y.npy': npy('<i8', [each], Buffer.from(y.buffer))
    }
    writeFileSync(join(work, `data-${k}.npz`), zipSync(parts, { level: 0 }))
  }
}

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })

const recipe = {
  rounds,
  clientsPerRound: clients,
  local: { epochs: 1, batch: 20, rate: 0.1 },
  up: { codec: 'stc', share: 0.05 }
}

/** A run of processes. Gives the hashes of the states after each round, the messages that were refused, and the seconds. */
async function run(name, kill) {
  const folder = join(work, name)
  mkdirSync(folder)
  writeFileSync(join(folder, 'recipe.json'), JSON.stringify(recipe))
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const begun = performance.now()
  const live = new Map()
  const ended = new Map()
  const start = (who, words) => {
    const child = spawn(process.execPath, [program, ...words], { stdio: ['ignore', 'ignore', 'pipe'] })
    let said = ''
    child.stderr.on('data', (d) => {
      said += d
    })
    live.set(who, child)
    ended.set(who, new Promise((resolve) => child.on('exit', (code, signal) => resolve({ code, signal, said }))))
  }
  const words = {
    server: [
      'federate',
      'serve',
      join(work, 'model.onnx'),
      '--out',
      join(folder, 'run'),
      '--recipe',
      join(folder, 'recipe.json'),
      '--port',
      String(port),
      '--clients',
      String(clients),
      '--min-clients',
      String(clients),
      '--min-updates',
      String(clients),
      ...(given.secure ? ['--secure'] : [])
    ]
  }
  start('server', words.server)
  const invitations = join(folder, 'run', 'invitations')
  while (!existsSync(invitations) || readdirSync(invitations).filter((f) => f.endsWith('.json')).length < clients)
    await wait(50)
  for (let k = 0; k < clients; k++) {
    words[k] = [
      'federate',
      'join',
      url,
      '--data',
      join(work, `data-${k}.npz`),
      '--invite',
      join(invitations, `${String(k + 1).padStart(3, '0')}.json`),
      '--seed',
      String(k)
    ]
    start(k, words[k])
  }
  const restarts = kill?.(live, (who) => start(who, words[who]), ended)
  const over = async (who) => {
    for (;;) {
      const at = ended.get(who)
      const end = await at
      if (ended.get(who) !== at) continue
      if (end.signal === 'SIGKILL') {
        await wait(20)
        continue
      }
      return end
    }
  }
  const checked = async (who) => {
    for (;;) {
      const end = await over(who)
      if (end.code === 0) return
      // A client gives up where the server is away for a minute, as on a machine that is busy with other work.
      if (!/cannot be reached/.test(end.said)) throw new Error(`${who} ended with ${end.code}: ${end.said}`)
      start(who, words[who])
    }
  }
  await Promise.all([...ended.keys()].map(checked))
  const kills = (await restarts?.stop()) ?? 0
  const journal = readFileSync(join(folder, 'run', 'journal'), 'utf8')
    .trim()
    .split('\n')
    .map((l) => JSON.parse(l))
  const commits = journal.filter((e) => e.kind === 'commit')
  rmSync(folder, { recursive: true })
  return {
    states: commits.map((c) => c.state),
    attempts: journal.filter((e) => e.kind === 'open').length,
    kills,
    s: (performance.now() - begun) / 1000
  }
}

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

/** Kills one of those named again and again, and starts it again at once. */
const killing = (who, between, most) => (live, start, ended) => {
  let [isOver, kills] = [false, 0]
  const loop = (async () => {
    while (!isOver && kills < most) {
      await wait(between[0] + Math.random() * (between[1] - between[0]))
      const chosen = who[Math.floor(Math.random() * who.length)]
      const child = live.get(chosen)
      if (isOver || !child || child.exitCode !== null) break
      child.kill('SIGKILL')
      await ended.get(chosen)
      kills++
      start(chosen)
    }
  })()
  return {
    stop: async () => {
      isOver = true
      await loop
      return kills
    }
  }
}

const seen = existsSync(given.out)
  ? readFileSync(given.out, 'utf8')
      .trim()
      .split('\n')
      .map((l) => JSON.parse(l))
  : []
const done = (kind) => seen.filter((s) => s.kind === kind && s.secure === given.secure).reduce((n, s) => n + s.kills, 0)

await data()
const { parse, initialise, writeModel } = await import(new URL('../dist/index.js', import.meta.url))
const lenet = readFileSync(new URL('lenet.txt', import.meta.url), 'utf8')
writeFileSync(join(work, 'model.onnx'), writeModel(initialise(parse(lenet), 'kills').model).bytes)

const plain = await run('plain')
console.log(`undisturbed: ${plain.states.length} rounds in ${plain.s.toFixed(1)} s`)
let n = 0
for (const kind of given.of.split(',')) {
  while (done(kind) < wanted) {
    const who = kind === 'server' ? ['server'] : Array.from({ length: clients }, (_, k) => k)
    const most = Math.min(10, wanted - done(kind))
    const made = await run(`${kind}-${n++}`, killing(who, [200, 1000 * Math.max(2, plain.s / 5)], most))
    // Words of a secure sum are rounded by bits that nothing repeats: there the rounds are counted.
    const isSame = given.secure
      ? made.states.length === plain.states.length
      : made.states.join() === plain.states.join()
    const line = {
      kind,
      secure: given.secure,
      kills: made.kills,
      isSame,
      attempts: made.attempts,
      s: Number(made.s.toFixed(1))
    }
    seen.push(line)
    appendFileSync(given.out, `${JSON.stringify(line)}\n`)
    console.log(
      `${kind}: ${made.kills} kills, ${made.attempts} tries of ${rounds} rounds, ${made.s.toFixed(1)} s, ${isSame ? 'same' : 'OTHER'} bytes; ${done(kind)} of ${wanted}`
    )
  }
}
rmSync(work, { recursive: true })
const wrong = seen.filter((s) => !s.isSame)
console.log(`| killed | kills | runs | same bytes |\n| --- | --- | --- | --- |`)
for (const kind of given.of.split(',')) {
  const of = seen.filter((s) => s.kind === kind && s.secure === given.secure)
  console.log(
    `| ${kind} | ${of.reduce((k, s) => k + s.kills, 0)} | ${of.length} | ${of.filter((s) => s.isSame).length} |`
  )
}
process.exitCode = wrong.length > 0 ? 1 : 0

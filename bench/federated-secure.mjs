/**
 * Secure sums over HTTP beside plain updates: one server and `--clients` client processes, LeNet on digits of the `mnist` package,
 * `--epochs` epochs of `--samples` samples each in a round, the two kinds of federation by turns. Prints how long rounds take, the
 * processor time of all processes (Linux), and how long the sum takes once all inputs are there, and checks the model of every
 * secure round against the plain sum of what the clients put in, which is read from their folders.
 *
 *     node bench/federated-secure.mjs --clients 10 --rounds 3 --turns 2 --samples 600 --epochs 5
 */
import { spawn } from 'node:child_process'
import { existsSync, linkSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { zipSync } from 'fflate'

const { values: given } = parseArgs({
  options: {
    clients: { type: 'string', default: '10' },
    rounds: { type: 'string', default: '3' },
    turns: { type: 'string', default: '2' },
    samples: { type: 'string', default: '600' },
    epochs: { type: 'string', default: '5' }
  }
})
const [clients, rounds, samples, epochs] = [given.clients, given.rounds, given.samples, given.epochs].map(Number)
const program = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const [bits, clip] = [12, 0.25]

const npy = (descr, shape, bytes) => {
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape.join(', ')},), }`
  const head = Buffer.from(`\x93NUMPY\x01\x00..${text.padEnd(117)}\n`, 'latin1')
  head.writeUInt16LE(118, 8)
  return new Uint8Array(Buffer.concat([head, bytes]))
}

/** Digits for client `k`; with many clients some are shared. */
function dataFor(work, k) {
  const sets = createRequire(import.meta.url)('mnist')
  const x = new Float32Array(samples * 784)
  const y = new BigInt64Array(samples)
  for (let i = 0; i < samples; i++) {
    const { raw } = sets[i % 10]
    const from = ((k * Math.ceil(samples / 10) + Math.floor(i / 10)) % (raw.length / 784)) * 784
    x.set(raw.slice(from, from + 784), i * 784)
    y[i] = BigInt(i % 10)
  }
  const parts = {
    'x.npy': npy('<f4', [samples, 1, 28, 28], Buffer.from(x.buffer)),
    'y.npy': npy('<i8', [samples], Buffer.from(y.buffer))
  }
  const path = join(work, `data-${k}.npz`)
  writeFileSync(path, zipSync(parts, { level: 0 }))
  return path
}

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)]

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })

/** Seconds of processor time that a process has taken, or nothing where the system does not tell. */
function cpuOf({ pid }) {
  try {
    const words = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
    return (Number(words[11]) + Number(words[12])) / 100
  } catch {
    return undefined
  }
}

/** A record of a client or of the server: JSON in the first line, then the parts. */
function record(bytes) {
  const end = bytes.indexOf(10)
  const { told, lengths } = JSON.parse(bytes.subarray(0, end).toString())
  const parts = {}
  let at = end + 1
  for (const [name, length] of lengths) {
    parts[name] = Uint8Array.from(bytes.subarray(at, at + length))
    at += length
  }
  return { told, parts }
}

const { parse, initialise, writeModel } = await import(new URL('../dist/index.js', import.meta.url))
const lenet = parse(readFileSync(new URL('lenet.txt', import.meta.url), 'utf8'))

/** A federation from its first round to its last. Gives what its rounds took, and how many models were not those of the plain sum. */
async function federation(isSecure) {
  const work = mkdtempSync(join(tmpdir(), 'federated-secure-'))
  const [model, run, kept] = ['model.onnx', 'run', 'kept'].map((name) => join(work, name))
  const port = await freePort()
  const children = new Set()
  let cpu = 0
  const start = (words) => {
    const child = spawn(process.execPath, [program, ...words], { stdio: ['ignore', 'ignore', 'pipe'] })
    children.add(child)
    let said = ''
    child.stderr.on('data', (d) => {
      said += d
    })
    return new Promise((resolve) => child.on('exit', (code) => resolve({ code, said })))
  }
  writeFileSync(model, writeModel(initialise(lenet, 'secure').model).bytes)
  const local = { epochs, batch: 50, rate: 0.05 }
  const recipe = { rounds, clientsPerRound: clients, local, up: { codec: 'float' }, down: { codec: 'float' } }
  writeFileSync(join(work, 'recipe.json'), JSON.stringify(recipe))
  const secure = ['--secure', '--secure-bits', String(bits), '--secure-clip', String(clip)]
  const server = start([
    ...['federate', 'serve', model, '--out', run, '--recipe', join(work, 'recipe.json')],
    ...['--port', String(port), '--clients', String(clients), '--over-select', '1'],
    ...(isSecure ? secure : [])
  ])
  const invitations = join(run, 'invitations')
  const invitation = (k) => join(invitations, `${String(k + 1).padStart(3, '0')}.json`)
  while (!existsSync(invitations) || readdirSync(invitations).filter((f) => f.endsWith('.json')).length < clients)
    await wait(50)
  const ends = Array.from({ length: clients }, (_, k) =>
    start([
      ...['federate', 'join', `http://127.0.0.1:${port}`, '--data', dataFor(work, k)],
      ...['--invite', invitation(k)]
    ])
  )
  // What clients put in, kept by a second name before they remove it; and the states of the server.
  mkdirSync(kept)
  const keep = (path, name) => {
    try {
      linkSync(path, join(kept, name(readFileSync(path))))
    } catch {
      // None yet, or kept already.
    }
  }
  let isOver = false
  const copies = (async () => {
    while (!isOver) {
      for (let k = 0; k < clients; k++)
        keep(join(`${invitation(k)}.client`, 'input'), (bytes) => `${record(bytes).told.attempt}-${k}`)
      for (const name of existsSync(join(run, 'states')) ? readdirSync(join(run, 'states')) : [])
        keep(join(run, 'states', name), () => name)
      const seen = [...children].map(cpuOf)
      if (seen.every((s) => s !== undefined)) cpu = seen.reduce((a, b) => a + b, 0)
      await wait(20)
    }
  })()
  for (const end of [server, ...ends]) {
    const { code, said } = await end
    if (code !== 0) throw new Error(said)
  }
  isOver = true
  await copies
  const commits = readFileSync(join(run, 'journal'), 'utf8')
    .trim()
    .split('\n')
    .map((l) => JSON.parse(l))
    .filter((e) => e.kind === 'commit')
  const wrong = isSecure ? wrongModels(kept, commits) : 0
  rmSync(work, { recursive: true })
  // The first round waits for clients to begin.
  const later = commits.slice(1).map((c) => c.entry)
  return { ms: later.map((e) => e.ms), sumMs: later.map((e) => e.sumMs ?? 0), cpu: cpu / rounds, wrong }
}

const floats = (bytes) => new Float32Array(bytes.buffer)

/** How many models, from the second round on, are not those of the plain sum of what clients put in. */
function wrongModels(kept, commits) {
  const states = commits.map((c) => floats(record(readFileSync(join(kept, c.state))).parts.model))
  return commits.slice(1).filter((c, n) => {
    const inputs = readdirSync(kept).filter((f) => f.startsWith(`${c.attempt}-`))
    const words = inputs.map((f) => new Uint32Array(record(readFileSync(join(kept, f))).parts.words.buffer))
    const isSame = states[n + 1].every((after, i) => {
      const sum = words.reduce((total, w) => total + w[i], 0)
      const mean = Math.fround((sum / inputs.length) * ((2 * clip) / (2 ** bits - 1)) - clip)
      return Math.fround(states[n][i] + mean) === after
    })
    return inputs.length !== c.clients.length || !isSame
  }).length
}

const made = { plain: [], secure: [] }
for (let turn = 0; turn < Number(given.turns); turn++)
  for (const kind of Object.keys(made)) {
    const ran = await federation(kind === 'secure')
    made[kind].push(ran)
    process.stderr.write(
      `${kind}: rounds of ${ran.ms.join(', ')} ms, ${ran.cpu.toFixed(2)} s of processor time a round\n`
    )
  }
const of = (kind, what) => median(made[kind].flatMap((r) => r[what]))
const row = (name, plain, secure, unit) =>
  `| ${name} | ${plain.toFixed(2)} ${unit} | ${secure.toFixed(2)} ${unit} | ${(100 * (1 - plain / secure)).toFixed(1)} % |`
console.log('| a round | plain | secure | share of the sum |\n| --- | --- | --- | --- |')
console.log(row('wall, median', of('plain', 'ms') / 1000, of('secure', 'ms') / 1000, 's'))
console.log(row('processor, all processes', of('plain', 'cpu'), of('secure', 'cpu'), 's'))
console.log(`once all inputs are there: ${(of('secure', 'sumMs') / 1000).toFixed(2)} s`)
const wrong = made.secure.reduce((n, r) => n + r.wrong, 0)
console.log(wrong === 0 ? 'every model is that of the plain sum' : `${wrong} models are NOT those of the plain sum`)
process.exitCode = wrong > 0 ? 1 : 0
